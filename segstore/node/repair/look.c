/* look.c - what really lies at a place of the own log, and how sure that is: a piece of its segment is read around it, past all caches, until the block is in it. */
#include "segstore/node/repair/repair.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"

#include <stdlib.h>

enum { REACH_FIRST = 64 * 1024 };
static const uint64_t FORGET_NS = 100000000; /* what was read is looked at again within that */

/* What stands where a target is (how far it points ahead, the tag), whatever became of the bytes around it; 0: no target can be there. */
static uint64_t target_hash(struct bytes data)
{
    enum { STREAM_BYTES = 8 };
    struct wire_reader r = wire_reader_of(data);
    (void)wire_get(&r, STREAM_BYTES);
    struct bytes rest = bytes_of(r.at, wire_left(&r));
    (void)wire_get_u32(&r);
    (void)wire_get(&r, wire_get_u8(&r));
    return r.bad ? 0 : hash_bytes(bytes_of(rest.data, rest.size - wire_left(&r))) | 1;
}

size_t record_at(struct bytes data, uint64_t stream_id, struct op_target *out, struct record *out_record)
{
    struct bytes bytes = {0};
    int64_t      size  = op_target_at(data, out, &bytes);
    if (size < 0 || (uint64_t)size > data.size || (out->stream_id != stream_id && out->stream_id != OP_STREAM_LAST)) {
        return 0;
    }
    return record_decode(bytes, out_record) == (int64_t)bytes.size ? (size_t)size : 0;
}

static void forget(struct look *look)
{
    free(look->memory);
    look->memory   = NULL;
    look->capacity = 0;
    look->size     = 0;
}

void look_fini(struct look *look)
{
    forget(look);
    wire_writer_fini(&look->ops);
}

/* ---- judging ---- */

/* An APPEND to this stream alone. */
static void put_alone(struct repairs *r, uint64_t stream_id, struct bytes tag, const struct record *record,
                      struct found *out)
{
    struct wire_writer *w = &r->look.ops;
    if (w->limit == 0) {
        *w = wire_writer_growing(RPC_BODY_MAX_BYTES);
    }
    w->size      = 0;
    w->bad       = false;
    size_t begun = op_append_begin(w, 0, 0, 0);
    size_t at    = w->size;
    op_append_target(w, stream_id, tag);
    op_append_end(w, begun, 1, record);
    out->entry = (struct log_entry){.kind = LOG_OPS, .ops = wire_written(w)};
    out->at    = at;
}

static struct found judge(struct repairs *r, struct bytes left, enum evidence_kind evidence,
                          const struct log_entry *entry)
{
    const struct look *look   = &r->look;
    struct found       found  = {.kind = REPAIR_NONE};
    struct record      record = {0};
    struct op_target   target;
    size_t             size = record_at(left, look->held.stream_id, &target, &record);
    found.target            = target_hash(left);
    if (size == 0) {
        return found;
    }
    if (evidence == EVIDENCE_ENTRY) {
        found.kind  = REPAIR_ENTRY;
        found.entry = *entry;
        found.at    = look->held.position - entry->position;
        return found;
    }
    put_alone(r, look->held.stream_id, target.tag, &record, &found);
    found.kind        = r->look.ops.bad ? REPAIR_NONE : evidence == EVIDENCE_PAGES ? REPAIR_PAGES : REPAIR_DOUBT;
    found.entry.index = found.kind == REPAIR_DOUBT ? found.target : 0;
    return found;
}

static void tell(struct repairs *r, const struct found *found)
{
    struct look   *look = &r->look;
    struct missed *m;
    look->busy = false;
    if (look->asker != 0) {
        repair_answer(r, look->asker, look->st, &look->held, found);
    } else if ((m = missed_find(r, look->st, look->held.stream_id, look->held.offset)) != NULL &&
               m->state == REPAIR_LOOKING) {
        missed_looked(r, m, found);
    }
}

/* What is in memory. False: more of the segment is needed. */
static bool judge_piece(struct repairs *r)
{
    struct look           *look     = &r->look;
    const struct storage  *storage  = r->node->storage;
    const struct segments *segments = &storage->segments;
    uint64_t               number   = segments_number(segments, look->held.position);
    uint64_t durable             = segments_durable(segments, look->held.position, wal_durable_position(&storage->wal));
    uint64_t begin               = segments_position(segments, number);
    uint64_t end                 = begin + segments->segment_bytes;
    const struct evidence e      = {.image        = bytes_of(look->memory, look->size),
                                    .position     = look->position,
                                    .begin        = begin,
                                    .end          = durable < end ? durable : end,
                                    .id           = &storage->super.id,
                                    .sector_bytes = storage->config.sector_bytes};
    struct block_header   header = {0};
    int                   found  = evidence_block(&e, look->held.position, &header);
    size_t                skip   = (size_t)(look->held.position - look->position);
    struct bytes          left   = bytes_of(look->memory + skip, look->size - skip);
    struct op_target      target;
    struct record         record;
    struct log_entry      entry    = {0};
    enum evidence_kind    evidence = EVIDENCE_NONE;
    if (look->reach < BLOCK_MAX_BYTES &&
        (found == 1 || (found < 0 && record_at(left, look->held.stream_id, &target, &record) == 0))) {
        return false;
    }
    if (found == 0) {
        size_t size = record_at(left, look->held.stream_id, &target, &record);
        evidence    = size == 0 ? EVIDENCE_NONE : evidence_of(&e, &header, look->held.position, size, &entry);
    }
    struct evidence_place place = {0};
    if (evidence == EVIDENCE_NONE) {
        bool proved = evidence_place(&e, look->st->id, look->held.position, &place);
        bool known  = place.low != 0 && place.high != 0;
        if (look->asker == 0 && !known && !segment_is_run(number) && look->reach < BLOCK_MAX_BYTES) {
            return false;
        }
        evidence = proved ? EVIDENCE_PAGES : EVIDENCE_NONE;
    }
    struct found result = judge(r, left, evidence, &entry);
    result.place        = place;
    tell(r, &result);
    return true;
}

/* ---- reading ---- */

static void read_piece(struct repairs *r);

static void go_on(struct repairs *r)
{
    struct look *look = &r->look;
    if (!judge_piece(r)) {
        look->reach = look->reach == 0                    ? REACH_FIRST
                      : look->reach < BLOCK_MAX_BYTES / 8 ? look->reach * 8
                                                          : BLOCK_MAX_BYTES;
        read_piece(r);
    }
}

static void nothing(struct repairs *r)
{
    const struct found none = {.kind = REPAIR_NONE};
    r->look.size            = 0;
    tell(r, &none);
}

static void read_done(struct io_op *op, int result)
{
    struct repairs *r    = op->ctx;
    struct look    *look = &r->look;
    look->reading        = false;
    segments_release(&r->node->storage->segments, look->position);
    r->next_ns = 0;
    if (result < 0) {
        nothing(r);
        return;
    }
    look->size    = (size_t)result / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
    look->used_ns = io_now_ns(r->node->io);
    if (look->held.position >= look->position + look->size) {
        nothing(r);
        return;
    }
    go_on(r);
}

static void read_piece(struct repairs *r)
{
    struct look        *look     = &r->look;
    struct storage     *storage  = r->node->storage;
    struct segments    *segments = &storage->segments;
    uint64_t            number   = segments_number(segments, look->held.position);
    struct log_segment *segment  = segments_find(segments, number);
    uint64_t            begin    = segments_position(segments, number);
    uint64_t            end      = begin + segments->segment_bytes;
    uint64_t            durable  = segments_durable(segments, look->held.position, wal_durable_position(&storage->wal));
    uint64_t            page     = look->held.position - (look->held.position - begin) % BLOCK_PAGE_BYTES;
    end                          = durable < end ? durable : end;
    uint64_t from                = page - begin > look->reach ? page - look->reach : begin;
    uint64_t to                  = end > page && end - page > look->reach ? page + look->reach : end;
    look->size                   = 0;
    if (segment == NULL || !segment->exists || to <= page || storage_segment_open(storage, segment) < 0) {
        nothing(r);
        return;
    }
    if (look->capacity < to - from) {
        free(look->memory);
        look->capacity = (size_t)(to - from);
        look->memory   = aligned_alloc(IO_ALIGN_BYTES, look->capacity);
        ASSERT_MEMORY(look->memory != NULL);
    }
    look->position = from;
    look->reading  = true;
    look->op       = (struct io_op){.done = read_done, .ctx = r};
    segments_retain(segments, from); /* its file stays open */
    io_read(segment->file, &look->op, look->memory, (size_t)(to - from), from - begin);
}

void look_begin(struct repairs *r, struct node_stripe *st, const struct stripe_held *held, uint16_t asker)
{
    struct look *look = &r->look;
    struct node *node = r->node;
    struct bytes view;
    uint64_t     now     = io_now_ns(node->io);
    bool         at_hand = look->size > 0 && now < look->used_ns + FORGET_NS && held->position >= look->position &&
                   held->position < look->position + look->size;
    look->busy  = true;
    look->st    = st;
    look->held  = *held;
    look->asker = asker;
    if (wal_view(&node->storage->wal, held->position, &view)) { /* not read from disk at all */
        const struct found found = judge(r, view, EVIDENCE_PAGES, NULL);
        tell(r, &found);
        return;
    }
    look->reach = at_hand ? 0 : REACH_FIRST;
    if (at_hand) {
        go_on(r);
    } else {
        read_piece(r);
    }
}

uint64_t look_rest(struct repairs *r, uint64_t now_ns)
{
    struct look *look = &r->look;
    if (look->busy || look->memory == NULL) {
        return UINT64_MAX;
    }
    if (now_ns < look->used_ns + FORGET_NS) {
        return look->used_ns + FORGET_NS;
    }
    forget(look);
    return UINT64_MAX;
}
