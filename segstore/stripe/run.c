/* run.c - the records that a producer has gathered: most of them go to one stream, one behind the other, and are noted together. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"

/* Records that follow one another in the op and in their stream: one change. */
struct stretch {
    struct stream *stream; /* NULL: none is begun */
    const uint8_t *from;
    const uint8_t *to;
    uint64_t       offset;
    uint64_t       held; /* of the stream */
};

/* Offsets on their way into the results. */
struct ranges {
    struct wire_writer *results;
    size_t              count_at;
    uint32_t            count;
    uint64_t            offset;
    uint32_t            records; /* 0: none is begun */
};

static void ranges_put(struct ranges *r)
{
    if (r->records > 0) {
        wire_put_u64(r->results, r->offset);
        wire_put_u32(r->results, r->records);
        r->count++;
    }
}

static void ranges_add(struct ranges *r, uint64_t offset)
{
    uint64_t next = r->offset == OP_OFFSET_NONE ? OP_OFFSET_NONE : r->offset + r->records;
    if (r->records == 0 || offset != next) {
        ranges_put(r);
        r->offset  = offset;
        r->records = 0;
    }
    r->records++;
}

static void ranges_end(struct ranges *r)
{
    ranges_put(r);
    if (!r->results->bad) {
        memcpy(r->results->data + r->count_at, &r->count, sizeof r->count);
    }
}

static void undo_stretch(struct stripe *s, const struct change *change)
{
    (void)s;
    ((struct stream *)change->subject)->next = change->x;
}

/* Followers get each record from the op; who keeps files is told what the stream has noted. */
static void commit_stretch(struct stripe *s, const struct change *change)
{
    const struct stripe_observer *o      = &s->observer;
    const struct stream          *stream = change->subject;
    for (uint64_t i = 0; i < change->y && o->retained != NULL; i++) {
        o->retained(o->ctx, *stream_slot(stream, change->x + i));
    }
    if (!s->live || o->appended == NULL || (o->followed != NULL && !o->followed(o->ctx, stream_id(s, stream)))) {
        return;
    }
    struct wire_reader items = wire_reader_of(bytes_of(change->other, change->z));
    struct op_target   target;
    struct bytes       record;
    for (uint64_t offset = change->x; op_run_next(&items, &target, &record) > 0; offset++) {
        o->appended(o->ctx, stream_id(s, stream), offset, target.tag, record);
    }
}

static void stretch_end(struct stripe *s, struct stretch *stretch)
{
    if (stretch->stream != NULL) {
        *journal_add(&s->journal) = (struct change){.undo    = undo_stretch,
                                                    .commit  = commit_stretch,
                                                    .subject = stretch->stream,
                                                    .other   = (void *)(uintptr_t)stretch->from,
                                                    .x       = stretch->offset,
                                                    .y       = stretch->stream->next - stretch->offset,
                                                    .z       = (uint64_t)(stretch->to - stretch->from)};
        stretch->stream           = NULL;
    }
}

/* One record. False: its stream is full. */
static bool put_one(struct stripe *s, const struct ops_context *context, struct stretch *stretch, struct stream *stream,
                    const struct op_target *target, struct bytes record)
{
    if (UNLIKELY(stream->next - stream->start >= s->room_below) || UNLIKELY(stream->keeps)) {
        stretch_end(s, stretch);
        return stream_put(s, stream, record, target, context_position(context, target->at));
    }
    if (UNLIKELY(stretch->stream != stream)) {
        stretch_end(s, stretch);
        *stretch = (struct stretch){.stream = stream,
                                    .from   = target->at,
                                    .to     = target->at,
                                    .offset = stream->next,
                                    .held   = stream_held(s, stream)};
    }
    ASSERT(stretch->to == target->at);
    stream_put_position(stream, stretch->held, context_position(context, target->at));
    stream->next++;
    stretch->to = record.data + record.size;
    return true;
}

static int put_all(struct stripe *s, const struct ops_context *context, const struct op *op, uint32_t duplicates,
                   struct ranges *ranges)
{
    struct wire_reader items   = wire_reader_of(op->items);
    struct stretch     stretch = {0};
    struct stream     *stream  = NULL;
    uint64_t           id      = 0; /* of the stream that was looked up last; no stream has it */
    struct op_target   target;
    struct bytes       record;
    int                got;
    int                status = 0;
    for (uint32_t i = 0; status == 0 && (got = op_run_next(&items, &target, &record)) != 0; i++) {
        if (got < 0) { /* it was looked at before it was logged */
            status = got;
            break;
        }
        uint64_t wanted = target.stream_id == OP_STREAM_LAST ? context->last_stream : target.stream_id;
        if (wanted != id) {
            stream = stream_find(s, wanted);
            id     = wanted;
        }
        if (i < duplicates || stream == NULL) {
            stretch_end(s, &stretch);
            ranges_add(ranges, OP_OFFSET_NONE);
        } else if (put_one(s, context, &stretch, stream, &target, record)) {
            ranges_add(ranges, stream->next - 1);
        } else {
            status = ERR_QUOTA;
        }
    }
    stretch_end(s, &stretch);
    return status;
}

int stream_append_run(struct stripe *s, const struct ops_context *context, const struct op *op,
                      struct wire_writer *results)
{
    struct writer *writer     = NULL;
    int64_t        duplicates = op->writer_id != 0 ? writer_admit_run(s, op, &writer) : 0;
    if (duplicates < 0) {
        return (int)duplicates;
    }
    wire_put_u32(results, (uint32_t)duplicates);
    struct ranges ranges = {.results = results, .count_at = results->size};
    wire_put_u32(results, 0);
    int status = put_all(s, context, op, (uint32_t)duplicates, &ranges);
    ranges_end(&ranges);
    if (writer != NULL) { /* of the last record: its stream may be absent */
        writer->offset = ranges.offset == OP_OFFSET_NONE ? OP_OFFSET_NONE : ranges.offset + ranges.records - 1;
    }
    return status;
}
