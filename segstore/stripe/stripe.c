/* stripe.c - one entry: its ops one by one, all or none. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

#include <stdlib.h>

struct stripe *stripe_new(uint16_t id, const struct stripe_observer *observer)
{
    struct stripe *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->id       = id;
    s->observer = observer != NULL ? *observer : (struct stripe_observer){0};
    s->counters = (struct counters){.next_local = 1};
    limits_take(s, &limits_at_first);
    streams_init(s);
    tables_init(s);
    deadlines_init(s);
    writers_init(s);
    return s;
}

static void clear_stream(struct stripe *s, void *entry)
{
    stream_clear(s, entry);
}

static void clear_plain(struct stripe *s, void *entry)
{
    (void)s;
    free(entry);
}

/* What the map points to, from where it was left. False: there is more. */
static bool clear(struct stripe *s, const struct map *map, size_t *most, void (*each)(struct stripe *s, void *entry))
{
    while ((s->cleared = map_walk_from(map, s->cleared)) < map_walk_end(map)) {
        void *entry = map_walk(map, s->cleared);
        if (entry != NULL && *most == 0) {
            return false;
        }
        if (entry != NULL) {
            each(s, entry);
            (*most)--;
        }
        s->cleared++;
    }
    return true;
}

bool stripe_clear(struct stripe *s, size_t most)
{
    const struct map *maps[] = {&s->streams_by_id, &s->deadlines, &s->owners, &s->writers};
    ASSERT(s->journal.count == 0);
    for (; s->clearing < sizeof maps / sizeof *maps; s->clearing++) {
        if (!clear(s, maps[s->clearing], &most, s->clearing == 0 ? clear_stream : clear_plain)) {
            return true;
        }
        s->cleared = 0;
    }
    return !tables_clear(s, &most);
}

void stripe_free(struct stripe *s)
{
    if (s == NULL) {
        return;
    }
    (void)stripe_clear(s, SIZE_MAX);
    streams_fini(s);
    tables_fini(s);
    deadlines_fini(s);
    writers_fini(s);
    journal_fini(&s->journal);
    free(s->merged);
    free(s);
}

static bool limits_are_good(struct bytes body)
{
    struct wire_reader   r = wire_reader_of(body);
    struct stripe_limits unused;
    return limits_read(&r, &unused);
}

static int record_is_good(struct bytes bytes, uint32_t record_max_bytes)
{
    struct record record;
    int64_t       size = record_decode(bytes, &record);
    return size < 0 ? (int)size : size > (int64_t)record_max_bytes ? ERR_TOO_BIG : 0;
}

static int run_is_good(const struct op *op, uint32_t record_max_bytes)
{
    struct wire_reader items = wire_reader_of(op->items);
    struct op_target   target;
    struct bytes       record;
    uint32_t           count = 0;
    int                got;
    while ((got = op_run_next(&items, &target, &record)) > 0) {
        got = record_is_good(record, record_max_bytes);
        if (got < 0) {
            return got;
        }
        count++;
    }
    return got < 0 || count != op->count ? ERR_MALFORMED : 0;
}

static int validate(struct bytes ops, uint32_t record_max_bytes, bool proposed_here)
{
    struct wire_reader r = wire_reader_of(ops);
    struct op          op;
    int                got;
    while ((got = op_next(&r, &op)) > 0) {
        if (op.kind == OP_TIMER_SET) {
            got = validate(op.value, record_max_bytes, proposed_here); /* as deep as op_next allows: once */
        } else if (op.kind == OP_OWNER_LOST || op.kind == OP_TIMER_FIRE || op.kind == OP_TABLE_EXPIRE ||
                   op.kind == OP_STREAM_AGE || op.kind == OP_LIMITS || op.kind == OP_STREAM_BYTES) {
            got = proposed_here ? 0 : ERR_DENIED;
            got = got == 0 && op.kind == OP_LIMITS && !limits_are_good(op.value) ? ERR_MALFORMED : got;
        } else if (op.kind == OP_APPEND) {
            got = record_is_good(op.record, record_max_bytes);
        } else if (op.kind == OP_APPEND_RUN) {
            got = run_is_good(&op, record_max_bytes);
        }
        if (got < 0) {
            break;
        }
    }
    return got;
}

int stripe_validate(struct bytes ops, uint32_t record_max_bytes, bool proposed_here)
{
    int status = validate(ops, record_max_bytes, proposed_here);
    return status < 0 ? status : 0;
}

static int apply_to_stream(struct stripe *s, const struct ops_context *context, const struct op *op,
                           struct wire_writer *results)
{
    uint64_t       id     = op->stream_id == OP_STREAM_LAST ? context->last_stream : op->stream_id;
    struct stream *stream = stream_find(s, id);
    if (stream == NULL) {
        return op->kind == OP_STREAM_AGE ? 0 : ERR_NOT_FOUND;
    }
    switch (op->kind) {
    case OP_STREAM_KEEP:
        return keep_set(s, stream, op);
    case OP_STREAM_STAT:
        keep_stat(stream, op, results);
        return 0;
    case OP_STREAM_AGE:
        keep_age(s, stream);
        return 0;
    case OP_FENCE:
        return stream_fence(s, stream, op, results);
    case OP_TRIM:
        stream_trim(s, stream, op->offset);
        return 0;
    case OP_CURSOR_MOVE:
        return cursor_move(s, stream, op, results);
    default:
        cursor_get(stream, op->cursor, results);
        return 0;
    }
}

static int apply_op(struct stripe *s, struct ops_context *context, const struct op *op, struct wire_writer *results)
{
    switch ((enum op_kind)op->kind) {
    case OP_CHECK:
        return table_check(s, op);
    case OP_STREAM_CREATE:
        return stream_create(s, context, op, results);
    case OP_STREAM_DELETE:
        return stream_delete(s, op);
    case OP_APPEND:
        return stream_append(s, context, op, results);
    case OP_APPEND_RUN:
        return stream_append_run(s, context, op, results);
    case OP_FENCE:
    case OP_TRIM:
    case OP_CURSOR_MOVE:
    case OP_CURSOR_GET:
    case OP_STREAM_KEEP:
    case OP_STREAM_STAT:
    case OP_STREAM_AGE:
        return apply_to_stream(s, context, op, results);
    case OP_TABLE_PUT:
        return table_put(s, op, results);
    case OP_TABLE_DELETE:
        table_delete(s, op, results);
        return 0;
    case OP_TABLE_DELETE_PREFIX:
        table_delete_prefix(s, op, results);
        return 0;
    case OP_TABLE_GET:
        table_get(s, op, results);
        return 0;
    case OP_TABLE_EXPIRE:
        table_expire(s, op);
        return 0;
    case OP_TIMER_SET:
        return deadline_set(s, context, op);
    case OP_TIMER_START:
        deadline_start(s, op, context->depth);
        return 0;
    case OP_TIMER_CANCEL:
        wire_put_u8(results, deadline_cancel(s, op->name));
        return 0;
    case OP_TIMER_RUN:
        wire_put_u8(results, deadline_run(s, op->name, context->depth));
        return 0;
    case OP_TIMER_TAKE_OVER:
        wire_put_u8(results, deadline_take_over(s, op, context->depth));
        return 0;
    case OP_OWNER_LOST:
        deadline_owner_lost(s, op->owner, context->depth);
        return 0;
    case OP_TIMER_FIRE:
        deadline_fire(s, op, context->depth);
        return 0;
    case OP_LIMITS:
        return limits_set(s, op);
    case OP_STREAM_BYTES:
        limits_set_stream_bytes(s, op);
        return 0;
    case OP_KIND_END:
        break;
    }
    return ERR_MALFORMED;
}

/* All ops of a list or none. What an enclosing list did before stays. */
static int apply_list(struct stripe *s, struct ops_context *context, struct wire_writer *results)
{
    size_t             mark     = s->journal.count;
    struct counters    counters = s->counters;
    size_t             written  = results->size;
    struct wire_reader r        = wire_reader_of(context->ops);
    struct op          op;
    int                status;
    while ((status = op_next(&r, &op)) > 0) {
        status = apply_op(s, context, &op, results);
        if (status < 0) {
            break;
        }
    }
    if (status < 0) {
        journal_undo(s, &s->journal, mark);
        s->counters   = counters;
        results->size = written;
    }
    return status;
}

void stripe_run_action(struct stripe *s, const struct deadline *timer, int depth)
{
    struct wire_writer unread  = wire_writer_fixed(NULL, 0);
    struct ops_context context = {.ops = deadline_action(timer), .position = timer->action_position, .depth = depth};
    if (depth > ACTION_DEPTH_MAX || apply_list(s, &context, &unread) < 0) {
        s->counters.actions_failed++;
    }
}

int stripe_apply(struct stripe *s, const struct stripe_entry *entry, bool live, struct wire_writer *results)
{
    ASSERT(entry->index == s->applied + 1);
    ASSERT(s->journal.count == 0);
    struct wire_writer unread  = wire_writer_fixed(NULL, 0);
    struct ops_context context = {.ops = entry->ops, .position = entry->position};
    s->live                    = live;
    s->time_ns                 = entry->wall_ns > s->time_ns ? entry->wall_ns : s->time_ns;
    int status                 = apply_list(s, &context, results != NULL ? results : &unread);
    s->applied                 = entry->index;
    journal_commit(s, &s->journal);
    if (s->trim_count != 0) {
        streams_settled(s);
    }
    return status;
}

uint64_t stripe_applied(const struct stripe *s)
{
    return s->applied;
}

uint64_t stripe_time_ns(const struct stripe *s)
{
    return s->time_ns;
}

uint64_t stripe_actions_failed(const struct stripe *s)
{
    return s->counters.actions_failed;
}

static uint64_t due_of(const struct heap_node *node)
{
    return node != NULL ? node->due_ns : UINT64_MAX;
}

uint64_t stripe_next_due_ns(const struct stripe *s)
{
    uint64_t timer  = due_of(heap_first(&s->due));
    uint64_t item   = due_of(heap_first(&s->expiries));
    uint64_t stream = due_of(heap_first(&s->aging));
    uint64_t due    = timer < item ? timer : item;
    return stream < due ? stream : due;
}

bool stripe_due(const struct stripe *s, uint64_t now_wall_ns, struct wire_writer *w)
{
    uint64_t due = stripe_next_due_ns(s);
    if (due == UINT64_MAX || due > now_wall_ns) {
        return false;
    }
    if (due_of(heap_first(&s->due)) == due) {
        const struct deadline *timer = CONTAINER_OF(heap_first(&s->due), struct deadline, node);
        op_encode(w, &(struct op){.kind = OP_TIMER_FIRE, .name = deadline_key(timer), .wall_ns = due});
        return true;
    }
    if (due_of(heap_first(&s->aging)) == due) {
        const struct keeping *keeping = CONTAINER_OF(heap_first(&s->aging), struct keeping, node);
        op_encode(w, &(struct op){.kind = OP_STREAM_AGE, .stream_id = stream_id(s, keeping->stream)});
        return true;
    }
    const struct item *item = CONTAINER_OF(heap_first(&s->expiries), struct item, node);
    op_encode(w, &(struct op){.kind    = OP_TABLE_EXPIRE,
                              .table   = item->table->id,
                              .name    = item_key(item),
                              .version = item->value->version});
    return true;
}
