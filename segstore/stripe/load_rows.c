/* load_rows.c - what an image has beside streams: writers, rows of tables, timers. */
#include "segstore/stripe/loading.h"

#include <stdlib.h>

/* ---- writers, tables ---- */

static enum step load_count(struct stripe_loading *l, struct wire_reader *r, bool is_short, uint8_t part)
{
    uint64_t count = is_short ? wire_get_u32(r) : wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    l->left = count;
    l->part = part;
    return STEP_TAKEN;
}

static enum step load_writer(struct stripe_loading *l, struct wire_reader *r)
{
    if (l->left == 0) {
        l->part = LOADING_ITEMS;
        return STEP_TAKEN;
    }
    struct writer writer = {.id = wire_get_u64(r)};
    writer.epoch         = wire_get_u64(r);
    writer.sequence      = wire_get_u64(r);
    writer.offset        = wire_get_u64(r);
    if (r->bad || writer_is_known(l->stripe, writer.id)) {
        return step_of(r, false);
    }
    struct writer *made = writer_make(writer.id);
    made->epoch         = writer.epoch;
    made->sequence      = writer.sequence;
    made->offset        = writer.offset;
    writer_insert_last(l->stripe, made);
    l->left--;
    return STEP_TAKEN;
}

static enum step load_item(struct stripe_loading *l, struct wire_reader *r)
{
    const struct item *last = l->item;
    if (l->left == 0) {
        l->part = LOADING_TIMERS;
        return STEP_TAKEN;
    }
    uint32_t     table   = wire_get_u32(r);
    struct bytes key     = wire_get_blob(r);
    struct bytes value   = wire_get_blob(r);
    uint64_t     version = wire_get_u64(r);
    uint64_t     expires = wire_get_u64(r);
    bool         behind =
        last == NULL || table > last->table->id || (table == last->table->id && bytes_compare(key, item_key(last)) > 0);
    if (r->bad || !behind || version == 0 || version > l->stripe->counters.version) {
        return step_of(r, false);
    }
    l->item = table_load_item(l->stripe, table, key, value, version, expires);
    l->left--;
    return STEP_TAKEN;
}

/* ---- timers ---- */

static bool action_is_ops(struct bytes action)
{
    struct wire_reader r = wire_reader_of(action);
    struct op          op;
    int                got;
    while ((got = op_next(&r, &op)) > 0) {
        if (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE || op.kind == OP_LIMITS || op.kind == OP_STREAM_BYTES) {
            return false;
        }
    }
    return got == 0;
}

/* What an action appends lies in one entry, and so do their copies: all are moved by the same distance, and with them the action. */
struct moving {
    const struct stripe_moved *moved;
    uint64_t                   by;
    bool                       any;
    bool                       is;
};

static void move_one(void *ctx, uint64_t position)
{
    struct moving *moving = ctx;
    uint64_t       to;
    if (!moving->moved->position(moving->moved->ctx, position, &to) || (moving->any && to - position != moving->by)) {
        moving->is = false;
        return;
    }
    moving->by  = to - position;
    moving->any = true;
}

static bool move_action(struct deadline *timer, const struct stripe_moved *moved)
{
    struct moving moving = {.moved = moved, .is = true};
    deadline_positions(timer, move_one, &moving);
    timer->action_position =
        moving.any ? timer->action_position + moving.by : 0; /* one that appends nothing lies nowhere */
    return moving.is;
}

static void timer_push(struct stripe_loading *l, struct deadline *timer)
{
    if (l->timer_count == l->timer_capacity) {
        l->timer_capacity = l->timer_capacity == 0 ? 64 : l->timer_capacity * 2;
        l->timers         = realloc(l->timers, l->timer_capacity * sizeof(void *));
        ASSERT_MEMORY(l->timers != NULL);
    }
    size_t at = l->timer_count++;
    for (; at > 0 && l->timers[(at - 1) / 2]->node.order > timer->node.order; at = (at - 1) / 2) {
        l->timers[at] = l->timers[(at - 1) / 2];
    }
    l->timers[at] = timer;
}

static struct deadline *timer_pop(struct stripe_loading *l)
{
    struct deadline *first = l->timers[0];
    struct deadline *last  = l->timers[--l->timer_count];
    size_t           at    = 0;
    for (size_t child; (child = 2 * at + 1) < l->timer_count; at = child) {
        child += child + 1 < l->timer_count && l->timers[child + 1]->node.order < l->timers[child]->node.order;
        if (l->timers[child]->node.order >= last->node.order) {
            break;
        }
        l->timers[at] = l->timers[child];
    }
    l->timers[at] = last;
    return first;
}

static enum step load_timer(struct stripe_loading *l, struct wire_reader *r)
{
    if (l->left == 0) {
        l->part = LOADING_SUM;
        return STEP_TAKEN;
    }
    uint64_t     order    = wire_get_u64(r);
    struct bytes key      = wire_get_blob(r);
    uint64_t     owner    = wire_get_u64(r);
    uint64_t     delay    = wire_get_u64(r);
    uint64_t     due      = wire_get_u64(r);
    struct bytes action   = wire_get_blob(r);
    uint64_t     position = wire_get_u64(r);
    bool         is       = !r->bad && order != 0 && order <= l->stripe->counters.version && (owner == 0 || due == 0) &&
              due != UINT64_MAX && action_is_ops(action);
    if (!is) {
        return step_of(r, false);
    }
    struct deadline *timer = deadline_make(key, action);
    timer->node.order      = order;
    timer->node.due_ns     = due;
    timer->owner           = owner;
    timer->delay_ns        = delay;
    timer->action_position = position;
    timer_push(l, timer);
    l->left--;
    return !l->is_moved || move_action(timer, &l->moved) ? STEP_TAKEN : STEP_BAD;
}

enum step load_enter_timer(struct stripe_loading *l)
{
    if (l->timer_count == 0) {
        l->part = LOADING_TELLING;
        l->walk = (struct stripe_live){.stripe = l->stripe};
        return STEP_TAKEN;
    }
    struct deadline *timer = timer_pop(l);
    if (timer->node.order <= l->order || deadline_find(l->stripe, deadline_key(timer)) != NULL) {
        free(timer);
        return STEP_BAD;
    }
    l->order = timer->node.order;
    deadline_insert(l->stripe, timer);
    return STEP_TAKEN;
}

enum step load_row(struct stripe_loading *l, struct wire_reader *r)
{
    switch ((enum loading_part)l->part) {
    case LOADING_WRITERS:
        return load_count(l, r, true, LOADING_WRITER);
    case LOADING_WRITER:
        return load_writer(l, r);
    case LOADING_ITEMS:
        return load_count(l, r, false, LOADING_ITEM);
    case LOADING_ITEM:
        return load_item(l, r);
    case LOADING_TIMERS:
        return load_count(l, r, false, LOADING_TIMER);
    case LOADING_TIMER:
        return load_timer(l, r);
    default:
        return STEP_BAD;
    }
}
