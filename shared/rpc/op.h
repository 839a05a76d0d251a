/* op - what one transaction may do to a stripe. A TXN request carries a list of ops for one stripe; the same bytes are
 * the body of one entry of the write-ahead log; applying that entry, all ops in order, gives the results that the reply
 * carries. Either every op takes effect or none (the first that fails ends it: its error is the reply's status and
 * what the ops before it did is undone: CHECK, limits and fences are therefore looked at before anything changes).
 *
 *   op:  | kind u8 | flags u8 | zero u16 | size u32 | body, size bytes |      little-endian, see wire.h
 *
 * Each body below is listed field by field in the order it is written; `blob` is u32 length + bytes.
 * Results are written in the order of the ops; an op with "result: -" writes nothing.
 * Threads: any; pure. */
#ifndef KEEL_SHARED_RPC_OP_H
#define KEEL_SHARED_RPC_OP_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/wire.h"

enum op_kind {
    /* CHECK table u32, key blob, version u64.  Ends the transaction with ERR_CONFLICT unless the key has this version (0: is absent). result: - */
    OP_CHECK = 1,
    /* STREAM_CREATE flags, name blob, owner u64.  Makes it when absent. owner: any number that tells who made it, 0 nobody.
     * result: stream_id u64, created u8 (also when this owner has made it: the transaction is repeated), start_offset u64, next_offset u64, epoch u64 */
    OP_STREAM_CREATE = 2,
    /* STREAM_DELETE name blob.  Absent is no error. Its cursors go with it; followers are told. result: - */
    OP_STREAM_DELETE = 3,
    /* FENCE stream_id u64, epoch u64.  Raises the epoch of the stream; epoch 0 raises it by one. ERR_FENCED when it is higher already.
     * Followers with a lower epoch are told and dropped. result: epoch u64 */
    OP_FENCE = 4,
    /* APPEND writer_id u64, writer_epoch u64, sequence u64, count u32, then count targets, then record (record.h).
     *   target: stream_id u64, ahead u32 (bytes from the start of this target to the record), tag_size u8, tag.
     * Puts the one record at the end of every target stream that exists (absent ones are skipped, result offset UINT64_MAX).
     * writer_id 0: not idempotent. Else a (writer_epoch, sequence) at or below the writer's last one in this stripe is a
     * duplicate: nothing is appended; a lower writer_epoch gets ERR_FENCED; a higher one starts the sequence anew.
     * A duplicate of the writer's last APPEND that had one target is answered with its offset; offsets of older ones, or of
     * several targets, are not remembered (UINT64_MAX).
     * A stream at its backlog limit, of records or of bytes: skipped (UINT64_MAX) when another target took the record, ERR_QUOTA when none did and one was full.
     * count is 1 to OP_TARGETS_MAX. A stream listed twice gets the record twice.
     * result: duplicate u8, count u32, count x offset u64 (UINT64_MAX: unknown, refused, or the stream is absent) */
    OP_APPEND = 5,
    /* TRIM stream_id u64, offset u64.  Forgets everything below offset. result: - */
    OP_TRIM = 6,
    /* CURSOR_MOVE stream_id u64, cursor u32, epoch u64, sent u64, count u32, count x { first u64, last u64, mark u8 }.
     * Marks offsets as received (QoS 2: PUBREC arrived) or done. All below the lowest not-done offset is forgotten and, when the stream has
     * the flag STREAM_QUEUE, trimmed. sent: everything below was handed to the consumer (never goes back). Makes the cursor when absent.
     * ERR_FENCED when epoch is below the stream's. result: position u64 */
    OP_CURSOR_MOVE = 7,
    /* CURSOR_GET stream_id u64, cursor u32.  result: position u64, sent u64, next_offset u64, count u32, count x { first u64, last u64, mark u8 } */
    OP_CURSOR_GET = 8,
    /* TABLE_PUT table u32, key blob, value blob, expires_wall_ns u64 (0 never).  result: version u64 (of this put; grows with every change of the stripe) */
    OP_TABLE_PUT = 9,
    /* TABLE_DELETE table u32, key blob.  Absent is no error. result: existed u8 */
    OP_TABLE_DELETE = 10,
    /* TABLE_DELETE_PREFIX table u32, prefix blob.  result: count u64 */
    OP_TABLE_DELETE_PREFIX = 11,
    /* TABLE_GET table u32, key blob.  result: version u64 (0: absent), value blob */
    OP_TABLE_GET = 12,
    /* TIMER_SET key blob, owner u64, delay_ns u64, action blob (a list of ops).
     * owner 0: due delay_ns after this entry's time. Else dormant until the owner lets go of it (TIMER_START) or is lost
     * (OWNER_LOST), due delay_ns after that. Replaces a timer of the same key. With owner 0: ERR_QUOTA when
     * there are too many that were set so, or they and the tables take too much memory. When due, the action's ops are applied as one transaction. result: - */
    OP_TIMER_SET = 13,
    /* TIMER_START key blob, owner u64.  Lets go: the delay begins now (0: the action is applied at once). Absent or another owner: no effect. result: - */
    OP_TIMER_START = 14,
    /* TIMER_CANCEL key blob.  result: existed u8 */
    OP_TIMER_CANCEL = 15,
    /* TIMER_RUN key blob.  Applies the action now, if the timer is there, and removes it. result: existed u8 */
    OP_TIMER_RUN = 16,
    /* TIMER_TAKE_OVER flags, key blob, owner u64.  A new owner resumes what the timer watched, or with TIMER_ENDED begins it anew: a timer of
     * delay 0 that is still dormant, or with TIMER_ENDED any, is run, any other is cancelled. One that is dormant for this owner stays as it is: it
     * was set by this very transaction, which is repeated. result: existed u8 */
    OP_TIMER_TAKE_OVER = 17,
    /* OWNER_LOST owner u64.  As TIMER_START for every timer of that owner. Proposed by the segment store itself. result: - */
    OP_OWNER_LOST = 18,
    /* TIMER_FIRE key blob, due_wall_ns u64.  As TIMER_RUN if the timer is still due at that time. Proposed by the segment store. result: - */
    OP_TIMER_FIRE = 19,
    /* TABLE_EXPIRE table u32, key blob, version u64.  Deletes the key if it still has this version. Proposed by the segment store. result: - */
    OP_TABLE_EXPIRE = 20,
    /* STREAM_KEEP stream_id u64, max_age_ns u64, max_bytes u64, max_count u64.  What the stream keeps (0: no limit of that kind): from then on its oldest
     * records go when it holds more. Such a stream is never full. Ages are told by the times of entries. Not for a STREAM_QUEUE: ERR_DENIED. result: - */
    OP_STREAM_KEEP = 21,
    /* STREAM_STAT stream_id u64, wall_ns u64.  result: start u64, next u64, count u64 (records kept), bytes u64 (of them; rounded up to a part of the stream),
     * first_ns u64, last_ns u64 (when the oldest and the newest part kept began and ended; 0: nothing is kept or STREAM_KEEP was never done),
     * found u64 (no record before this offset was appended at or after wall_ns) */
    OP_STREAM_STAT = 22,
    /* STREAM_AGE stream_id u64.  Forgets what is too old. Absent is no error. Proposed by the segment store. result: - */
    OP_STREAM_AGE = 23,
    /* LIMITS table_bytes_max u64, streams_max u64, stream_records_max u64, delays_max u64, bounded_table u32, bounded_rows_max u64, bounded_bytes_max u64,
     * writers_max u32 (not 0).  What the stripe may hold from now on (struct stripe_limits). What is over a lower limit stays, but for writers: those that
     * were not used for longest are forgotten. Proposed by the segment store itself. result: - */
    OP_LIMITS = 24,
    /* APPEND_RUN writer_id u64, writer_epoch u64, sequence u64, count u32, then count x { target, record }.
     * What a producer has gathered: the same as count APPENDs of one target each, with sequence, sequence + 1 .., under one head. `ahead` of each target leads to
     * the record right behind it. Not in the action of a timer. count is 1 to OP_RUN_MAX.
     * result: duplicates u32 (the first so many records were there already), count u32, count x { offset u64, records u32 }: the offsets, in the order of
     * the records, shortened: records whose offsets follow one another, or (UINT64_MAX) are not known, duplicates among them, or whose stream is absent */
    OP_APPEND_RUN = 25,
    /* STREAM_BYTES max_bytes u64.  How many bytes of records may wait in one STREAM_QUEUE from now on (struct stripe_limits, stream_bytes_max; 0: any number). Apart
     * from LIMITS, so that programs that do not know it never meet it where nobody limits bytes. Proposed by the segment store itself. result: - */
    OP_STREAM_BYTES = 26,
    OP_KIND_END
};

enum stream_flags {
    STREAM_QUEUE  = 1, /* trimmed by its cursors */
    STREAM_LATEST = 2, /* keeps the newest record of each topic only; not together with STREAM_QUEUE */
};
enum take_over_flags { TIMER_ENDED = 1 };
enum cursor_mark { CURSOR_RECEIVED = 1, CURSOR_DONE = 2 };

enum {
    OP_HEADER_BYTES        = 8,
    OP_TARGET_HEADER_BYTES = 13,
    OP_LIMITS_BYTES        = 56, /* its body */
    OP_TARGETS_MAX         = 4096,
    OP_RUN_MAX             = 65536,
    OP_TAG_MAX_BYTES       = 255
};

/* In place of a stream_id: the stream of the last STREAM_CREATE in the same transaction. */
#define OP_STREAM_LAST UINT64_MAX
#define OP_OFFSET_NONE UINT64_MAX

/* stream_id = stripe:16 | local:48; local is never 0. */
static inline uint16_t stream_id_stripe(uint64_t stream_id)
{
    return (uint16_t)(stream_id >> 48);
}

struct op_range {
    uint64_t first;
    uint64_t last; /* included */
    uint8_t  mark; /* enum cursor_mark */
};

/* One decoded op: views into the input. Only the fields that its kind lists are set. */
struct op {
    uint8_t      kind;
    uint8_t      flags;
    uint8_t      mark;
    uint32_t     table;
    uint32_t     cursor;
    uint32_t     count; /* of targets, ranges, or the records of a run */
    uint64_t     stream_id;
    uint64_t     offset;
    uint64_t     epoch; /* also writer_epoch */
    uint64_t     sent;
    uint64_t     writer_id;
    uint64_t     sequence;
    uint64_t     version;
    uint64_t     owner;
    uint64_t     delay_ns;
    uint64_t     wall_ns; /* expires, due, looked for */
    uint64_t     max_age_ns;
    uint64_t     max_bytes;
    uint64_t     max_count;
    struct bytes name;   /* also key, prefix */
    struct bytes value;  /* also action, the whole body of LIMITS */
    struct bytes items;  /* encoded: op_target_next, op_range_next, op_run_next */
    struct bytes record; /* whole, checksum not looked at */
};

struct op_target {
    uint64_t       stream_id;
    struct bytes   tag;
    const uint8_t *at; /* where it starts: a record's position in the log is the position of this byte */
};

/* Appends one op: header and body, for every kind but APPEND and APPEND_RUN. CURSOR_MOVE: items holds the count ranges, written with op_range_append. */
void op_encode(struct wire_writer *w, const struct op *op);
/* One range of a CURSOR_MOVE, into the writer whose bytes become op.items. */
void op_range_append(struct wire_writer *w, struct op_range range);
/* APPEND in three steps, so that targets are written as they are found: begin, op_append_target for each, end. begin
 * returns a handle for end, which fills in count, sizes and each target's `ahead`. The record is encoded in place by end. */
struct record;
size_t op_append_begin(struct wire_writer *w, uint64_t writer_id, uint64_t writer_epoch, uint64_t sequence);
void   op_append_target(struct wire_writer *w, uint64_t stream_id, struct bytes tag);
void   op_append_end(struct wire_writer *w, size_t begun, uint32_t count, const struct record *record);
/* APPEND_RUN likewise: begin, op_run_add for each record, end. */
size_t op_run_begin(struct wire_writer *w, uint64_t writer_id, uint64_t writer_epoch, uint64_t sequence);
void   op_run_add(struct wire_writer *w, uint64_t stream_id, struct bytes tag, const struct record *record);
void   op_run_end(struct wire_writer *w, size_t begun, uint32_t count);

/* The next op of a list: 1 and *out, 0 at the end, ERR_MALFORMED (unknown kind or flag, sizes that do not fit or leave bytes over, targets
 * whose `ahead` is not the record, a range that ends before it starts or has no mark, an action with TIMER_SET, TIMER_FIRE,
 * LIMITS or STREAM_BYTES in it);
 * after that the reader stays bad. *out is good with 1 only. */
MUST_CHECK int op_next(struct wire_reader *r, struct op *out);
/* Walks op->items; false at the end. Cannot fail on an op that op_next returned. */
bool op_target_next(struct wire_reader *r, struct op_target *out);
bool op_range_next(struct wire_reader *r, struct op_range *out);
/* Walks the op->items of a run: 1, 0 at the end, ERR_MALFORMED: op_next looks at its head only. */
MUST_CHECK int op_run_next(struct wire_reader *r, struct op_target *out, struct bytes *out_record);
/* The target and record that lie at data (a position handed out by the index): views, tag and record; the record's
 * checksum is not looked at. Returns how many bytes from data are needed: at most data.size means that *out and *out_record are
 * set and the record ends there; more means read that many and ask again (the answer may grow twice, until the record's size is
 * seen). ERR_MALFORMED: no target lies here. */
MUST_CHECK int64_t op_target_at(struct bytes data, struct op_target *out, struct bytes *out_record);

#endif
