/* limits.c - how much a stripe may hold, as its own log says. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"

const struct stripe_limits limits_at_first = {
    .table_bytes_max = UINT64_MAX, .streams_max = UINT64_MAX, .writers_max = STRIPE_WRITERS_AT_FIRST};

void limits_write(const struct stripe_limits *l, struct wire_writer *w)
{
    wire_put_u64(w, l->table_bytes_max);
    wire_put_u64(w, l->streams_max);
    wire_put_u64(w, l->stream_records_max);
    wire_put_u64(w, l->delays_max);
    wire_put_u32(w, l->bounded_table);
    wire_put_u64(w, l->bounded_rows_max);
    wire_put_u64(w, l->bounded_bytes_max);
    wire_put_u32(w, l->writers_max);
}

bool limits_read(struct wire_reader *r, struct stripe_limits *out)
{
    struct stripe_limits l = {.table_bytes_max = wire_get_u64(r)};
    l.streams_max          = wire_get_u64(r);
    l.stream_records_max   = wire_get_u64(r);
    l.delays_max           = wire_get_u64(r);
    l.bounded_table        = wire_get_u32(r);
    l.bounded_rows_max     = wire_get_u64(r);
    l.bounded_bytes_max    = wire_get_u64(r);
    l.writers_max          = wire_get_u32(r);
    if (r->bad || l.writers_max == 0) {
        return false;
    }
    *out = l;
    return true;
}

void limits_take(struct stripe *s, const struct stripe_limits *limits)
{
    s->limits     = *limits;
    s->room_below = limits->stream_bytes_max != 0     ? 0
                    : limits->stream_records_max != 0 ? limits->stream_records_max
                                                      : UINT64_MAX;
}

static void undo_limits(struct stripe *s, const struct change *change)
{
    struct stripe_limits limits;
    memcpy(&limits, s->journal.saved + change->x, sizeof limits);
    limits_take(s, &limits);
}

/* What nobody limits is not counted: an image has no place for it. */
static void commit_stream_bytes(struct stripe *s, const struct change *change)
{
    (void)change;
    if (s->limits.stream_bytes_max == 0) {
        keep_count_none(s);
    }
}

static void change_limits(struct stripe *s, const struct stripe_limits *limits,
                          void (*commit)(struct stripe *s, const struct change *change))
{
    size_t saved              = journal_save(&s->journal, &s->limits, sizeof s->limits);
    *journal_add(&s->journal) = (struct change){.undo = undo_limits, .commit = commit, .x = saved};
    limits_take(s, limits);
}

int limits_set(struct stripe *s, const struct op *op)
{
    struct wire_reader   r = wire_reader_of(op->value);
    struct stripe_limits limits;
    if (!limits_read(&r, &limits)) {
        return ERR_MALFORMED;
    }
    limits.stream_bytes_max = s->limits.stream_bytes_max;
    change_limits(s, &limits, NULL);
    writers_forget(s, limits.writers_max);
    return 0;
}

void limits_set_stream_bytes(struct stripe *s, const struct op *op)
{
    struct stripe_limits limits = s->limits;
    limits.stream_bytes_max     = op->max_bytes;
    change_limits(s, &limits, commit_stream_bytes);
}

bool stripe_limits_are(const struct stripe *s, const struct stripe_limits *l)
{
    const struct stripe_limits *is = &s->limits;
    return is->table_bytes_max == l->table_bytes_max && is->streams_max == l->streams_max &&
           is->stream_records_max == l->stream_records_max && is->stream_bytes_max == l->stream_bytes_max &&
           is->delays_max == l->delays_max && is->bounded_table == l->bounded_table &&
           is->bounded_rows_max == l->bounded_rows_max && is->bounded_bytes_max == l->bounded_bytes_max &&
           is->writers_max == l->writers_max;
}

void stripe_limits_op(const struct stripe *s, const struct stripe_limits *limits, struct wire_writer *w)
{
    uint8_t            memory[OP_LIMITS_BYTES];
    struct wire_writer body = wire_writer_fixed(memory, sizeof memory);
    limits_write(limits, &body);
    ASSERT(body.size == OP_LIMITS_BYTES);
    op_encode(w, &(struct op){.kind = OP_LIMITS, .value = wire_written(&body)});
    if (limits->stream_bytes_max != (s != NULL ? s->limits.stream_bytes_max : 0)) {
        op_encode(w, &(struct op){.kind = OP_STREAM_BYTES, .max_bytes = limits->stream_bytes_max});
    }
}
