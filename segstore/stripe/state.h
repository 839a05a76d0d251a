/* state - what a stripe is made of, for the files of this room only: everyone else sees stripe.h.
 *
 *   stripe.c    a list of ops, one by one            stream.c   streams by id and by name, their records
 *   run.c       records that a producer gathered
 *   cursor.c    positions, ranges, leases            table.c    keys in order, versions, expiry
 *   deadline.c  timers and their owners              writer.c   who has appended what already
 *   keep.c      what a stream forgets by itself      latest.c   the newest record of each topic
 *   limits.c    how much it may hold                 journal.c  undo and commit
 *   save.c load.c  image, hash                       live.c     which positions are held
 *   move.c      records that lie elsewhere now
 *
 * Every verb that changes state adds to the journal; what it frees or tells waits for the commit.
 * Threads: those of the stripe. */
#ifndef KEEL_SEGSTORE_STRIPE_STATE_H
#define KEEL_SEGSTORE_STRIPE_STATE_H

#include "segstore/stripe/heap.h"
#include "segstore/stripe/journal.h"
#include "segstore/stripe/keep.h"
#include "segstore/stripe/map.h"
#include "segstore/stripe/offsets.h"
#include "segstore/stripe/stripe.h"
#include "shared/base/list.h"
#include "shared/base/rand.h"
#include "shared/rpc/op.h"

enum { LEVELS_MAX = 12, ACTION_DEPTH_MAX = 8, STRIPE_NAME_MAX_BYTES = 65535 };
enum { STREAM_LOCAL_BITS = 48, STREAM_NAME_LONG = 255 };

struct lease {
    uint64_t offset;
    uint64_t consumer;
    uint64_t expires_ns; /* 0: given back; the record stays for its count of deliveries */
    uint32_t deliveries;
};

/* All offsets are in [start, next] of the stream; ranges lie apart, in order, at or behind position, and one that is done behind it. */
struct cursor {
    struct cursor   *next; /* of the same stream, by id */
    uint64_t         position;
    uint64_t         sent;
    struct op_range *ranges;
    uint32_t         range_count;
    uint32_t         range_capacity;
    struct lease    *leases; /* by offset */
    uint32_t         lease_count;
    uint32_t         lease_capacity;
    uint32_t         id;
};

/* There may be millions that do nothing: what few have stands elsewhere, and small things share a word. The name is 255 bytes at most, or its size is in its
 * first two. */
struct stream {
    uint64_t local : STREAM_LOCAL_BITS; /* its id is the stripe's number and this */
    uint64_t flags     : 2;             /* enum stream_flags */
    uint64_t keeps     : 1; /* it forgets by itself, keeps the newest of each topic or counts: has a struct keeping */
    uint64_t trimmed   : 1; /* by this transaction: stream_held */
    uint64_t shape     : 4; /* of offsets */
    uint64_t name_size : 8; /* or STREAM_NAME_LONG */
    uint64_t start;
    uint64_t next;
    uint64_t epoch;
    uint64_t owner; /* who made it */
    union {
        struct cursor  *cursors; /* use stream_cursors */
        struct keeping *keeping; /* of one that keeps */
    };
    union offsets offsets; /* of one with keeping->latest: not used */
    uint8_t       name[];
};

_Static_assert(sizeof(struct stream) == 56, "a name of 24 bytes and this fill a block of 80");

/* Until the transaction stands, positions of what it trimmed away are still known. */
struct trimmed {
    const struct stream *stream;
    uint64_t             held; /* the first of them */
};

struct value {
    uint64_t version;
    uint64_t expires_wall_ns;
    uint32_t size;
    uint8_t  data[];
};

/* A node of its table's skip list. Behind next[level] stands the key. */
struct item {
    struct heap_node node;
    struct value    *value;
    struct table    *table;
    uint32_t         key_size;
    uint32_t         level;
    struct item     *next[];
};

struct table {
    uint32_t      id;
    uint64_t      count;
    uint64_t      bytes;     /* of keys and values */
    struct table *following; /* by id; a table stays once it was used */
    struct item  *first[LEVELS_MAX];
};

struct deadline {
    struct heap_node node; /* order: when it was set, unique */
    struct list      link; /* in its owner's, while it has one */
    uint64_t         owner;
    uint64_t         delay_ns;        /* 0 with owner 0: it was set with its time running */
    uint64_t         action_position; /* of the action's first byte in the log */
    uint32_t         key_size;
    uint32_t         action_size;
    bool             present; /* not removed by this transaction */
    uint8_t          data[];  /* key, action */
};

struct owner {
    uint64_t    id;
    struct list timers;
};

struct writer {
    struct list link; /* the one unused for longest first */
    uint64_t    id;
    uint64_t    epoch;
    uint64_t    sequence;
    uint64_t    offset; /* of the last append, OP_OFFSET_NONE: several or none */
};

/* What an undone list of ops sets back by assignment. */
struct counters {
    uint64_t next_local;
    uint64_t version;        /* the last one given to a change of a table or to a timer */
    uint64_t actions_failed; /* dropped whole */
};

struct stripe {
    struct stripe_limits   limits;
    uint64_t               room_below; /* a stream with fewer records has room for any one more: by limits */
    struct stripe_observer observer;
    uint16_t               id;
    bool                   live;
    uint64_t               applied;
    uint64_t               time_ns;
    struct counters        counters;
    struct journal         journal;

    struct map      streams_by_id;
    struct map      streams_by_name;
    struct trimmed *trims; /* by the transaction under way, each stream once */
    size_t          trim_count;
    size_t          trim_capacity;
    size_t          trim_hint; /* where the last one was found */
    struct heap     aging;     /* struct keeping.node */
    struct list     counting;  /* struct keeping.link */

    struct map    items;
    struct table *tables;
    uint64_t      table_bytes;
    struct heap   expiries;
    struct rand   levels; /* shapes skip lists only: nothing that can be seen depends on it */

    uint64_t    delays;      /* timers that were set with owner 0 */
    uint64_t    delay_bytes; /* their keys and actions */
    struct map  deadlines;   /* by key */
    struct map  owners;
    struct heap due;

    struct map  writers;
    struct list writers_by_use;

    struct op_range *merged; /* scratch of cursor.c */
    size_t           merged_capacity;

    uint8_t clearing; /* while it is freed: of what is it the turn, and where */
    size_t  cleared;
};

/* A list of ops under way: where it lies in memory and in the log. */
struct ops_context {
    struct bytes ops;
    uint64_t     position;
    uint64_t     last_stream; /* made by the last STREAM_CREATE, 0: none */
    int          depth;       /* of actions that run actions */
};

static inline uint64_t stream_id(const struct stripe *s, const struct stream *stream)
{
    return (uint64_t)s->id << STREAM_LOCAL_BITS | stream->local;
}

/* It keeps only to count its bytes: no queue forgets by itself. */
static inline bool stream_counts(const struct stream *stream)
{
    return stream->keeps && (stream->flags & STREAM_QUEUE) != 0;
}

/* NULL: it forgets nothing by itself, nor counts. */
static inline struct keeping *stream_keeping(const struct stream *stream)
{
    return UNLIKELY(stream->keeps) ? stream->keeping : NULL;
}

static inline struct latest *stream_latest(const struct stream *stream)
{
    return UNLIKELY(stream->keeps) ? stream->keeping->latest : NULL;
}

static inline struct cursor **stream_cursors(struct stream *stream)
{
    return UNLIKELY(stream->keeps) ? &stream->keeping->cursors : &stream->cursors;
}

static inline struct cursor *stream_cursor(const struct stream *stream)
{
    return UNLIKELY(stream->keeps) ? stream->keeping->cursors : stream->cursors;
}

/* stream.c: part of stream_held. */
uint64_t stream_held_trimmed(struct stripe *s, const struct stream *stream);

/* Positions are known from here on. */
static inline uint64_t stream_held(struct stripe *s, const struct stream *stream)
{
    return LIKELY(!stream->trimmed) ? stream->start : stream_held_trimmed(s, stream);
}

static inline uint64_t *stream_slot(const struct stream *stream, uint64_t offset)
{
    return offsets_slot(&stream->offsets, stream->shape, offset);
}

/* Behind the last record; the caller raises next. */
static inline void stream_put_position(struct stream *stream, uint64_t held, uint64_t position)
{
    if (UNLIKELY(!offsets_fits(stream->shape, held, stream->next))) {
        stream->shape = offsets_grow(&stream->offsets, stream->shape, held, stream->next) & 15;
    }
    *stream_slot(stream, stream->next) = position;
}

static inline uint64_t context_position(const struct ops_context *context, const uint8_t *at)
{
    return context->position + (uint64_t)(at - context->ops.data);
}

/* stripe.c: applies the action of a timer that was taken out, now, whole or not at all. */
void stripe_run_action(struct stripe *s, const struct deadline *timer, int depth);

/* stream.c */
void streams_init(struct stripe *s);
void streams_fini(struct stripe *s);
/* Frees one of a stripe that is being freed. */
void           stream_clear(struct stripe *s, struct stream *stream);
struct stream *stream_find(const struct stripe *s, uint64_t id);
struct stream *stream_find_name(const struct stripe *s, struct bytes name);
struct stream *stream_make(uint64_t id, uint8_t flags, struct bytes name);
struct bytes   stream_name(const struct stream *stream);
/* The transaction stands or is undone: nothing is trimmed. */
void streams_settled(struct stripe *s);
/* From now on it keeps, and its cursors are there; or not any more. */
void stream_keep(struct stream *stream, struct keeping *keeping);
void stream_keep_not(struct stream *stream);
void stream_insert(struct stripe *s, struct stream *stream);
int  stream_create(struct stripe *s, struct ops_context *context, const struct op *op, struct wire_writer *results);
int  stream_delete(struct stripe *s, const struct op *op);
int  stream_fence(struct stripe *s, struct stream *stream, const struct op *op, struct wire_writer *results);
int  stream_append(struct stripe *s, const struct ops_context *context, const struct op *op,
                   struct wire_writer *results);
/* Put it behind the last record; false when the stream is full. */
bool stream_put(struct stripe *s, struct stream *stream, struct bytes record, const struct op_target *target,
                uint64_t position);
/* Up to offset, at most to the end; raises cursors that are left behind. */
void stream_trim(struct stripe *s, struct stream *stream, uint64_t offset);
/* [first, last] lies behind start and is needed no longer. */
void stream_release(struct stripe *s, struct stream *stream, uint64_t first, uint64_t last);

/* run.c */
int stream_append_run(struct stripe *s, const struct ops_context *context, const struct op *op,
                      struct wire_writer *results);

/* cursor.c */
struct cursor *cursor_make(uint32_t id, uint64_t position);
void           cursor_insert(struct stream *stream, struct cursor *cursor);
void           cursor_free(struct cursor *cursor);
int            cursor_move(struct stripe *s, struct stream *stream, const struct op *op, struct wire_writer *results);
void           cursor_get(const struct stream *stream, uint32_t id, struct wire_writer *results);
void           cursor_raise(struct stripe *s, struct stream *stream, struct cursor *cursor, uint64_t start);

/* table.c */
void tables_init(struct stripe *s);
void tables_fini(struct stripe *s);
/* Frees the items of a stripe that is being freed, at most so many (*most becomes less). False: there are more. */
bool         tables_clear(struct stripe *s, size_t *most);
struct bytes item_key(const struct item *item);
int          table_check(const struct stripe *s, const struct op *op);
int          table_put(struct stripe *s, const struct op *op, struct wire_writer *results);
void         table_delete(struct stripe *s, const struct op *op, struct wire_writer *results);
void         table_delete_prefix(struct stripe *s, const struct op *op, struct wire_writer *results);
void         table_get(const struct stripe *s, const struct op *op, struct wire_writer *results);
void         table_expire(struct stripe *s, const struct op *op);
/* While loading: the key is not there yet. */
const struct item *table_load_item(struct stripe *s, uint32_t table, struct bytes key, struct bytes value,
                                   uint64_t version, uint64_t expires_wall_ns);

/* deadline.c */
void             deadlines_init(struct stripe *s);
void             deadlines_fini(struct stripe *s);
struct deadline *deadline_find(const struct stripe *s, struct bytes key);
struct bytes     deadline_key(const struct deadline *timer);
struct bytes     deadline_action(const struct deadline *timer);
struct deadline *deadline_make(struct bytes key, struct bytes action);
/* Links it by key, owner or deadline, as its fields say. */
void deadline_insert(struct stripe *s, struct deadline *timer);
int  deadline_set(struct stripe *s, const struct ops_context *context, const struct op *op);
void deadline_start(struct stripe *s, const struct op *op, int depth);
bool deadline_cancel(struct stripe *s, struct bytes key);
bool deadline_run(struct stripe *s, struct bytes key, int depth);
bool deadline_take_over(struct stripe *s, const struct op *op, int depth);
void deadline_fire(struct stripe *s, const struct op *op, int depth);
void deadline_owner_lost(struct stripe *s, uint64_t owner, int depth);
/* One of those whose keys have this hash: the one whose action lies there; NULL: none. */
uint64_t         deadline_number(const struct deadline *timer);
struct deadline *deadline_at(const struct stripe *s, uint64_t number, uint64_t position);
/* Tells the observer of every record that the timer's action would append. */
void deadline_positions(const struct deadline *timer, void (*each)(void *ctx, uint64_t position), void *ctx);

/* limits.c */
extern const struct stripe_limits limits_at_first;
/* OP_LIMITS. ERR_MALFORMED */
int limits_set(struct stripe *s, const struct op *op);
/* OP_STREAM_BYTES. */
void limits_set_stream_bytes(struct stripe *s, const struct op *op);
/* From now on these are its limits, and what follows from them. */
void limits_take(struct stripe *s, const struct stripe_limits *limits);
/* The body of OP_LIMITS, which is what an image has of them, but for stream_bytes_max. */
void limits_write(const struct stripe_limits *limits, struct wire_writer *w);
bool limits_read(struct wire_reader *r, struct stripe_limits *out);

/* writer.c */
void writers_init(struct stripe *s);
void writers_fini(struct stripe *s);
/* Forgets those unused for longest until there are at most so many. */
void writers_forget(struct stripe *s, size_t most);
/* 1: new, and remembered with the offset that writer_set_offset gives it; 0: a duplicate, *out_offset of the first time; ERR_FENCED. */
int writer_admit(struct stripe *s, const struct op *op, struct writer **out, uint64_t *out_offset);
/* Of an APPEND_RUN: how many of its first records are duplicates, ERR_FENCED. *out: NULL when all are, else the offset of its last record is set by the caller. */
int64_t        writer_admit_run(struct stripe *s, const struct op *op, struct writer **out);
struct writer *writer_make(uint64_t id);
bool           writer_is_known(const struct stripe *s, uint64_t id);
void           writer_insert_last(struct stripe *s, struct writer *writer);

#endif
