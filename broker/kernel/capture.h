/* capture - rules `filter -> stream`: every message that matches is also put at the end of a named stream of the segment store.
 *
 *     publish ─ gather ─ LINK_CAPTURE ─▶ one more target of the append ─▶ PUBACK waits for it as for any other
 *
 *   table 20  key: name      value: version u8 = 1 | latest u8 | stream_id u64 | max_age_ns u64 | max_bytes u64 | max_count u64 | created_ns u64 | filter
 *
 * Whatever the QoS and whoever published it, wills too; QoS 0 is stored and nobody waits for it. A message that arrived on another shard is captured there.
 * The stream is "capture/<name>" and lies, with its row, in the stripe of that name. Every shard of every broker watches the table; the shard
 * that changes a rule tells the others itself, so that an answered change is in force everywhere in this process.
 * What the stream forgets by itself: OP_STREAM_KEEP. Records in it have an empty tag.
 * Who reads them: reader.h.   Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_CAPTURE_H
#define KEEL_BROKER_KERNEL_CAPTURE_H

#include "broker/kernel/mail.h"
#include "broker/kernel/state.h"

enum { CAPTURE_NAME_MAX = 64, CAPTURE_FILTER_MAX = 1024 };

/* One rule as this shard knows it. */
struct capture {
    struct match_link link; /* LINK_CAPTURE */
    struct list       all;  /* in kernel.captures */
    uint64_t          stream_id;
    uint64_t          version;
    uint64_t          max_age_ns; /* 0: no limit; so are the next two */
    uint64_t          max_bytes;
    uint64_t          max_count;
    uint64_t          created_wall_ns;
    uint16_t          generation;
    uint16_t          filter_size;
    uint8_t           name_size;
    bool              latest; /* STREAM_LATEST */
    uint8_t           text[]; /* name, filter */
};

static inline struct bytes capture_name(const struct capture *c)
{
    return bytes_of(c->text, c->name_size);
}
static inline struct bytes capture_filter(const struct capture *c)
{
    return bytes_of(c->text + c->name_size, c->filter_size);
}

/* Letters, digits, '-', '_' and '.', 1 to CAPTURE_NAME_MAX: a level of "$stream/<name>". */
bool capture_name_valid(struct bytes name);
/* The rule of that name, or NULL. */
struct capture *capture_find(const struct kernel *kernel, struct bytes name);

/* Begins to watch. The kernel is ready once capture_synced too. */
void capture_start(struct kernel *kernel);
bool capture_synced(const struct kernel *kernel);
void capture_fini(struct kernel *kernel);
void capture_receive(struct kernel *kernel, const struct kernel_mail *mail);

/* What an operator asks. Belongs to the caller until done() is called, once; from kernel_end or a turn of the store, or in call when refused. */
struct capture_request {
    /* status 0 or ERR_MALFORMED (name or filter), ERR_EXISTS (with another kind), ERR_NOT_FOUND, ERR_UNAVAILABLE .. */
    void (*done)(struct capture_request *request, int status);
    void               *ctx;
    struct store_call   call;         /* private */
    struct announcement announcement; /* private */
    struct kernel      *kernel;       /* private */
    struct {
        uint8_t  name[CAPTURE_NAME_MAX];
        uint8_t  filter[CAPTURE_FILTER_MAX];
        uint32_t name_size;
        uint32_t filter_size;
        bool     latest;
        uint64_t max_age_ns;
        uint64_t max_bytes;
        uint64_t max_count;
    } rule;
    struct { /* answer of capture_stat */
        uint64_t start, next, count, bytes, first_ns, last_ns;
    } stat;
};

/* Makes the rule, or changes its filter and limits. */
void capture_put(struct kernel *kernel, struct capture_request *request);
/* Forgets the rule and all that was captured. Takes rule.name. */
void capture_delete(struct kernel *kernel, struct capture_request *request);
/* Takes rule.name; fills in stat. */
void capture_stat(struct kernel *kernel, struct capture_request *request);

#endif
