/* stripe - what the entries of one log mean: streams, cursors, tables and timers. The pure state machine.
 *
 *   entry (ops) ──stripe_apply──▶ state, results for the reply, and calls to the observer
 *
 * Applying the same entries in the same order gives the same state on every replica and after every restart: time and limits are in
 * entries, nothing is drawn at random, and no hash table is walked in an order that reaches results.
 * Bodies of records stay in the log; the stripe keeps where they lie (a position: see segstore/log). Tables are in memory.
 * Memory: an idle stream costs about 85 bytes and its name (bench/micro/streams), a queued record 8 bytes per stream that holds it (16 at most with slack); a stream that keeps
 * the newest record of each topic: see latest.h. Where the bytes of queues are limited, one that holds something takes 250 bytes more, and 32 for each part but the first four (keep.h).
 * Which file does what: state.h.
 * Threads: the segment-store shard that owns it.   Units: *_ns wall clock; positions are bytes in the log's address space. */
#ifndef KEEL_SEGSTORE_STRIPE_STRIPE_H
#define KEEL_SEGSTORE_STRIPE_STRIPE_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/wire.h"

struct stripe;

/* How much a stripe may hold: part of its state, set by OP_LIMITS and OP_STREAM_BYTES. Until its first one nothing is limited but writers. What is over a limit that was lowered
 * stays, except for writers. */
struct stripe_limits {
    /* Keys and values of all tables, and timers that delays_max counts: above it TABLE_PUT and such a TIMER_SET fail with ERR_QUOTA. */
    uint64_t table_bytes_max;
    uint64_t streams_max; /* ERR_QUOTA */
    /* Backlog of one stream: APPEND to it fails with ERR_QUOTA; one that forgets by itself (keep.h) is not held to it, but one of
     * STREAM_LATEST without a max_count forgets as many as come when it is there. 0: no limit. */
    uint64_t stream_records_max;
    /* Bytes of records that wait in one STREAM_QUEUE: APPEND to it fails with ERR_QUOTA; one that is empty takes any record. Set by an op of its own, OP_STREAM_BYTES. What
     * was appended while there was no limit counts as nothing; what waits is told by whole parts, so up to a sixteenth of the limit that is gone may count still
     * (keep.h). 0: no limit. */
    uint64_t stream_bytes_max;
    /* Timers set with owner 0, whose time runs at once: TIMER_SET fails with ERR_QUOTA. 0: no limit. */
    uint64_t delays_max;
    uint32_t bounded_table; /* one table with bounds of its own: TABLE_PUT above them fails with ERR_QUOTA. 0: none */
    uint64_t bounded_rows_max;  /* 0: no limit */
    uint64_t bounded_bytes_max; /* of its keys and values. 0: no limit */
    uint32_t writers_max;       /* remembered idempotent writers, at least 1; the one unused for longest is forgotten */
};

enum { STRIPE_WRITERS_AT_FIRST = 1 << 18 }; /* writers_max before the first OP_LIMITS */

/* Told while an entry is applied; only notes what to do later. NULL members are not called. During stripe_load and replay `live` is false
 * and only retained/released are called. */
struct stripe_observer {
    void *ctx;
    void (*retained)(void *ctx, uint64_t position); /* one more stream holds the record there */
    void (*released)(void *ctx, uint64_t position); /* one fewer */
    void (*appended)(void *ctx, uint64_t stream_id, uint64_t offset, struct bytes tag, struct bytes record);
    void (*ended)(void *ctx, uint64_t stream_id, uint64_t below_epoch,
                  int status); /* ERR_FENCED: followers below this epoch; ERR_NOT_FOUND: all */
    void (*changed)(void *ctx, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                    uint64_t expires_wall_ns, bool deleted);
    bool (*followed)(void *ctx, uint64_t stream_id); /* does anyone want appended() of it now? NULL: of all */
};

struct stripe *stripe_new(uint16_t id, const struct stripe_observer *observer);
void           stripe_free(struct stripe *stripe);
/* A part of stripe_free, so that a large one holds nobody up: frees at most so many of the things that it is made of. False: there is nothing left but stripe_free. Once
 * begun the stripe is good for nothing else. */
bool stripe_clear(struct stripe *stripe, size_t most);

struct stripe_entry {
    uint64_t     index;    /* 1, 2, 3 .. per stripe */
    uint64_t     wall_ns;  /* proposed by the leader; the stripe's time never goes back */
    struct bytes ops;      /* validated with stripe_validate before it entered the log */
    uint64_t     position; /* of the first byte of ops in the log */
};

/* Are these well-formed ops that this program may log? 0, ERR_MALFORMED, ERR_CORRUPT (a record's checksum), ERR_TOO_BIG (record), ERR_DENIED
 * (an op that only the segment store itself proposes and proposed_here is false). */
MUST_CHECK int stripe_validate(struct bytes ops, uint32_t record_max_bytes, bool proposed_here);
/* Applies one entry. Returns 0 or the error of the op that ended it (then nothing but index and time changed); results are
 * written on success only. live: false while replaying. */
int stripe_apply(struct stripe *stripe, const struct stripe_entry *entry, bool live, struct wire_writer *results);

/* Are these its limits? And the ops that make them so, into w: OP_LIMITS, and OP_STREAM_BYTES where stream_bytes_max is another one. stripe: NULL: a new one. */
bool stripe_limits_are(const struct stripe *stripe, const struct stripe_limits *limits);
void stripe_limits_op(const struct stripe *stripe, const struct stripe_limits *limits, struct wire_writer *w);

uint64_t stripe_applied(const struct stripe *stripe); /* index of the last entry, 0 at first */
uint64_t stripe_time_ns(const struct stripe *stripe); /* wall clock of the last entry */
/* Of the whole state but leases and where records lie (only which are still held): equal on replicas that have applied the same entries, whatever their
 * history (restart, checkpoint, image from another node). Takes as long as an image. */
uint64_t stripe_hash(const struct stripe *stripe);
uint64_t stripe_actions_failed(const struct stripe *stripe); /* actions of timers that were dropped whole */

/* What is due: writes the op (TIMER_FIRE, TABLE_EXPIRE, STREAM_AGE) to propose next at or before now into w and returns true; nothing due: false.
 * The caller proposes it once and asks again after it was applied; the soonest deadline, UINT64_MAX when there is none. */
bool     stripe_due(const struct stripe *stripe, uint64_t now_wall_ns, struct wire_writer *w);
uint64_t stripe_next_due_ns(const struct stripe *stripe);
/* Calls each with every distinct timer owner. */
void stripe_owners(const struct stripe *stripe, void (*each)(void *ctx, uint64_t owner), void *ctx);

struct stripe_stream {
    uint64_t start_offset; /* first one kept */
    uint64_t next_offset;
    uint64_t epoch;
    uint8_t  flags; /* enum stream_flags */
};

/* ERR_NOT_FOUND */
MUST_CHECK int stripe_stream(const struct stripe *stripe, uint64_t stream_id, struct stripe_stream *out);
/* Where offsets from `from` on lie: fills positions[0..max) for consecutive offsets that exist, returns how many; an offset below the start begins at the start
 * (*out_first). An acknowledged offset ahead of the cursor's position has no position any more: UINT64_MAX. Of a stream that keeps the newest record of each
 * topic: from the first offset that is left (*out_first), as long as they follow one another. */
int stripe_positions(const struct stripe *stripe, uint64_t stream_id, uint64_t from, uint64_t *positions, int max,
                     uint64_t *out_first);

/* Competing consumers, volatile: leases are forgotten with the process. Fills offsets that are neither done nor leased. ERR_NOT_FOUND, ERR_FENCED. */
int  stripe_take(struct stripe *stripe, uint64_t stream_id, uint32_t cursor, uint64_t consumer, uint64_t now_ns,
                 uint64_t lease_ns, uint64_t *offsets, uint32_t *deliveries, int max);
void stripe_release(struct stripe *stripe, uint64_t stream_id, uint32_t cursor, uint64_t consumer,
                    const uint64_t *offsets, int count);

struct stripe_item {
    struct bytes key; /* borrowed until the next change of the table */
    struct bytes value;
    uint64_t     version;
    uint64_t     expires_wall_ns;
};

/* A filter like +/+/x may find little among a million keys: how far a scan goes before it gives way to others. */
struct stripe_pace {
    uint32_t steps_left;
    /* steps_left 0: the last key looked at, to go on behind; borrowed until the next change of the table. */
    struct bytes at;
};

/* Walks a table in key order, behind `after` (empty: from the start), items that match; each returns false to stop. kind: enum rpc_scan_kind. A topic filter
 * follows MQTT 4.7 ('+', '#', and neither matches a first level that begins with '$'); subtrees that cannot match are skipped, not visited.
 * Expired items are not shown. pace bounds how many items are looked at, shown or not (NULL: as many as there are).
 * Returns true when the end was reached, false when each() or the pace ended it. */
bool stripe_scan(const struct stripe *stripe, uint32_t table, uint8_t kind, struct bytes pattern, struct bytes after,
                 uint64_t now_wall_ns, struct stripe_pace                      *pace,
                 bool (*each)(void *ctx, const struct stripe_item *item), void *ctx);

/* An image from another node: where is now what was at position `from` there? Asked of every position that stripe_live_positions would tell there; copies keep
 * the distances inside an entry. false: no such thing came along, and the image is ERR_MALFORMED. */
struct stripe_moved {
    bool (*position)(void *ctx, uint64_t from, uint64_t *to);
    void *ctx;
};

/* A checkpoint of this stripe: everything but leases, as of stripe_applied. save: at once, in an order that does not depend on how the state
 * came to be. The others in slices, so that a large stripe holds nobody up: from
 * begin to end no entry may be applied to it. more: writes about slice_bytes; false when that was the last slice. end accepts NULL.
 * load: all slices together, into a new stripe; moved: see below, NULL: its records lie where the image says. ERR_MALFORMED: then nobody was told of a
 * position. */
void stripe_save(const struct stripe *stripe, struct wire_writer *w);
struct stripe_saving;
struct stripe_saving *stripe_save_begin(const struct stripe *stripe);
/* Each slice tells of the positions that it holds, as stripe_live_positions would. */
void           stripe_save_tells(struct stripe_saving *saving, void (*each)(void *ctx, uint64_t position), void *ctx);
bool           stripe_save_more(struct stripe_saving *saving, struct wire_writer *w, size_t slice_bytes);
void           stripe_save_end(struct stripe_saving *saving);
MUST_CHECK int stripe_load(struct stripe *stripe, struct bytes image, const struct stripe_moved *moved);

/* load in slices, while the image arrives. more: data is what comes behind what was used so far; takes as much of it as makes about a slice, *out_used.
 * 1: call it again; 2: when more data is there; 0: all is loaded, and what is held was told; ERR_MALFORMED. end accepts NULL; after 1, 2 or an error the stripe is good for
 * stripe_free only, and nothing counts as held. The largest piece that is taken whole is a row of a table or a timer. */
struct stripe_loading;
struct stripe_loading *stripe_load_begin(struct stripe *stripe, const struct stripe_moved *moved);
MUST_CHECK int         stripe_load_more(struct stripe_loading *loading, struct bytes data, size_t slice_bytes,
                                        size_t *out_used);
void                   stripe_load_end(struct stripe_loading *loading);

/* Every position that the stripe holds, as observer.retained was told of it, in any order, one that is held twice twice. */
void stripe_live_positions(const struct stripe *stripe, void (*each)(void *ctx, uint64_t position), void *ctx);
/* The same in slices: begins with .stripe alone; false: that was all. From the first to the last no entry may be applied. */
struct stripe_live {
    const struct stripe *stripe;
    size_t               at;
    uint64_t             offset;
    bool                 inside; /* a stream */
    bool                 timers;
};
bool stripe_live_more(struct stripe_live *walk, size_t most, void (*each)(void *ctx, uint64_t position), void *ctx);

/* ---- records that are moved ----
 * Where a record lies is local to a node: no part of what replicas compare (stripe_hash, the chain), not in the log, and durable with the next image only. So
 * what is at the old place must stay there until a checkpoint that was begun after the move is on disk. */

/* Something that lies in the log and is held: a record of a stream, or the action of a timer, which is moved as a whole. */
struct stripe_held {
    uint64_t position;  /* of the target of the record (op.h), or of the first byte of the action */
    uint64_t stream_id; /* 0: a timer */
    uint64_t offset;    /* of the record; of a timer: a number that finds it again */
    uint32_t size;      /* of the action; 0: a record, which tells its size itself */
};

/* Where a walk over all that is held has come to; zeros at first. */
struct stripe_walk {
    size_t   at;
    uint64_t stream_id;
    uint64_t offset;
    bool     timers;
};

/* Goes on with a walk, about `steps` streams and records further; true: it came to its end. Entries may be applied between two calls: then some of what is held
 * may be told twice, or not at all. each changes nothing. */
bool stripe_walk(const struct stripe *stripe, struct stripe_walk *walk, uint32_t steps,
                 void (*each)(void *ctx, const struct stripe_held *held), void *ctx);

/* Is this still what is held, and there? */
bool stripe_holds(const struct stripe *stripe, const struct stripe_held *held);

/* The action of a timer (a stripe_held with stream_id 0), which is in memory, too: borrowed until the next entry. False: it is not there any more. */
bool stripe_action(const struct stripe *stripe, uint64_t number, uint64_t position, struct bytes *out);

/* The record at this offset of a stream lies at `to` from now on, where a copy of its target is, and of the record at the same distance behind that: tells
 * observer.retained of `to`, then observer.released of `from`. stream_id 0: the timer of that number, and the whole of its action, byte by byte.
 * False, and nothing happened: it is not held (trimmed, acknowledged, fired), or lies elsewhere already. Not between stripe_apply's own calls of observers. */
bool stripe_relocate(struct stripe *stripe, uint64_t stream_id, uint64_t offset, uint64_t from, uint64_t to);

#endif
