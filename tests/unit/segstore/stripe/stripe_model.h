/* stripe_model - a stripe that is too simple to be wrong: arrays, and a copy of everything before each transaction.
 *
 *   stripe_model_stream.c   streams, cursors, writers     stripe_model.c   tables, timers, lists of ops
 *   stripe_model_ops.c      ops at random                 stripe_model_check.c   the stripe says the same
 *
 * Threads: one. */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_STRIPE_STRIPE_MODEL_H
#define KEEL_TESTS_UNIT_SEGSTORE_STRIPE_STRIPE_MODEL_H

#include "segstore/stripe/stripe.h"
#include "shared/base/rand.h"
#include "shared/base/wire.h"
#include "shared/rpc/op.h"

enum { STREAMS = 16, OFFSETS = 400, CURSORS = 2, ITEMS = 24, TIMERS = 8, WRITERS = 3, ACTION = 700, VALUE = 40 };
enum { STREAMS_MAX = 6, RECORDS_MAX = 12, DEPTH_MAX = 8 };

struct m_cursor {
    bool     there;
    uint64_t position, sent;
    uint8_t  mark[OFFSETS];
};
struct m_stream {
    bool            there;
    char            name;
    uint8_t         flags;
    uint64_t        id, start, next, epoch, owner, position[OFFSETS];
    bool            keeps;
    bool            counts; /* a queue: sizes and marks are as of the first record since bytes are limited */
    uint64_t        max_age, max_bytes, max_count, time[OFFSETS];
    uint16_t        size[OFFSETS];
    uint8_t         topic[OFFSETS];
    bool            mark[OFFSETS]; /* a part begins here */
    struct m_cursor cursor[CURSORS];
};
struct m_item {
    bool     there;
    uint32_t table;
    char     key[8];
    uint32_t key_size, value_size;
    uint8_t  value[VALUE];
    uint64_t version, expires;
};
struct m_timer {
    bool     there, delayed; /* set with its time running */
    char     key;
    uint64_t owner, delay, due, order, position;
    uint32_t action_size;
    uint8_t  action[ACTION];
};
struct m_writer {
    uint64_t id, epoch, sequence, offset;
};
struct model {
    uint64_t        time, next_local, version, failed, last_stream;
    struct m_stream streams[STREAMS];
    struct m_item   items[ITEMS];
    struct m_timer  timers[TIMERS];
    struct m_writer writers[WRITERS]; /* the one unused for longest first */
    int             writer_count;

    struct stripe_limits limits;
};

struct balance {
    uint64_t count;
    uint64_t sum; /* of hashes: equal multisets have equal sums */
};

/* ---- stripe_model_stream.c ---- */
struct m_stream *m_stream_of(struct model *m, uint64_t id);
struct m_stream *m_stream_named(struct model *m, struct bytes name);
bool             m_is_latest(const struct m_stream *st);
void             m_trim_all(struct m_stream *st, uint64_t offset);
bool             m_oldest_part(const struct m_stream *st, uint64_t *first, uint64_t *end);
bool             m_oldest(const struct m_stream *st, uint64_t *first, uint64_t *end);
void             m_age(struct m_stream *st, uint64_t time);
void             m_keep(const struct model *m, struct m_stream *st, const struct op *op);
void             m_stat(const struct m_stream *st, const struct op *op, struct wire_writer *w);
int              m_cursor_move(struct m_stream *st, const struct op *op, struct wire_writer *w);
void             m_cursor_get(const struct m_stream *st, const struct op *op, struct wire_writer *w);
int m_append(struct model *m, struct bytes ops, uint64_t position, const struct op *op, struct wire_writer *w);
int m_append_run(struct model *m, struct bytes ops, uint64_t position, const struct op *op, struct wire_writer *w);

/* ---- stripe_model.c ---- */
struct m_item *m_item_of(struct model *m, uint32_t table, struct bytes key);
int            m_list(struct model *m, struct bytes ops, uint64_t position, int depth, struct wire_writer *w);

/* ---- stripe_model_ops.c ---- */
void put_some_limits(struct rand *r, struct wire_writer *w);
void put_some(struct rand *r, const struct model *m, struct wire_writer *w, bool in_action, uint64_t below);

/* ---- stripe_model_check.c ---- */
void on_retained(void *ctx, uint64_t position);
void on_released(void *ctx, uint64_t position);
void compare(const struct stripe *s, const struct model *m, const struct balance *balance);

#endif
