/* load.c - an image becomes a stripe, when all of it is as save.c would write it. Piece by piece, as it comes: a step reads one piece whole, or nothing of it. */
#include "segstore/stripe/image.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum loading_part {
    LOADING_HEAD,
    LOADING_STREAM,
    LOADING_POSITIONS,
    LOADING_LATEST,
    LOADING_TOPICS,
    LOADING_KEEPING,
    LOADING_MARKS,
    LOADING_CURSORS,
    LOADING_CURSOR,
    LOADING_RANGES,
    LOADING_WRITERS,
    LOADING_WRITER,
    LOADING_ITEMS,
    LOADING_ITEM,
    LOADING_TIMERS,
    LOADING_TIMER,
    LOADING_SUM,
    LOADING_ENTERING, /* all is read: timers, in their order */
    LOADING_TELLING,  /* all is known to be well: the log learns what it must keep */
    LOADING_DONE
};

/* What becomes of a piece. */
enum step { STEP_TAKEN, STEP_SHORT, STEP_BAD };

struct stripe_loading {
    struct stripe      *stripe;
    struct stripe_moved moved;
    bool                is_moved;
    uint8_t             part;
    uint16_t            version;
    uint64_t            left;  /* of what is counted: streams until all are there, then writers, items, timers */
    uint64_t            inner; /* of what is counted inside a stream: topics, marks, cursors */
    struct stream      *stream;
    uint64_t            next;    /* of the stream; its own grows with what is there */
    struct mark         mark;    /* the last one */
    bool                first;   /* cursor, mark, item */
    uint32_t            last_id; /* cursor */
    struct cursor      *cursor;
    uint32_t            ranges;
    const struct item  *item;
    struct deadline     *
        *timers; /* a heap by order: they are entered in the order they were set, and timers of one owner keep it */
    size_t   timer_count;
    size_t   timer_capacity;
    uint64_t order; /* of the last one that was entered */
    struct stripe_walk walk;
    uint64_t           told;
    XXH3_state_t      *sum;
};

static enum step step_of(const struct wire_reader *r, bool is)
{
    return r->bad ? STEP_SHORT : is ? STEP_TAKEN : STEP_BAD;
}

/* ---- streams ---- */

static enum step load_head(struct stripe_loading *l, struct wire_reader *r)
{
    struct stripe       *s      = l->stripe;
    uint32_t             magic  = wire_get_u32(r);
    struct stripe_limits limits = s->limits;
    l->version                  = wire_get_u16(r);
    uint16_t id                 = wire_get_u16(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (magic != IMAGE_MAGIC || l->version < IMAGE_VERSION_SORTED || l->version > IMAGE_VERSION || id != s->id) {
        return STEP_BAD;
    }
    uint64_t        applied  = wire_get_u64(r);
    uint64_t        time_ns  = wire_get_u64(r);
    struct counters counters = {.next_local = wire_get_u64(r)};
    counters.version         = wire_get_u64(r);
    counters.actions_failed  = wire_get_u64(r);
    bool is                  = l->version < IMAGE_VERSION || limits_read(r, &limits);
    l->left                  = wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    s->applied  = applied;
    s->time_ns  = time_ns;
    s->counters = counters;
    s->limits   = limits;
    l->part     = LOADING_STREAM;
    return is && counters.next_local != 0 ? STEP_TAKEN : STEP_BAD;
}

static enum step load_stream(struct stripe_loading *l, struct wire_reader *r)
{
    struct stripe *s = l->stripe;
    if (l->left == 0) {
        l->part = LOADING_WRITERS;
        return STEP_TAKEN;
    }
    uint64_t     id    = wire_get_u64(r);
    uint8_t      flags = wire_get_u8(r);
    uint64_t     start = wire_get_u64(r);
    uint64_t     next  = wire_get_u64(r);
    uint64_t     epoch = wire_get_u64(r);
    uint64_t     owner = wire_get_u64(r);
    struct bytes name  = wire_get_blob(r);
    uint64_t     local = id & 0xffffffffffffu;
    bool         is    = !r->bad && stream_find(s, id) == NULL && stream_id_stripe(id) == s->id && local != 0 &&
              local < s->counters.next_local &&
              flags <= (l->version < IMAGE_VERSION_KEEPS ? STREAM_QUEUE : STREAM_LATEST) && start <= next &&
              next != UINT64_MAX && name.size <= STRIPE_NAME_MAX_BYTES && stream_find_name(s, name) == NULL;
    if (!is) {
        return step_of(r, false);
    }
    struct stream *stream = stream_make(id, flags, name);
    stream->start         = start;
    stream->held          = start;
    stream->next          = start;
    stream->epoch         = epoch;
    stream->owner         = owner;
    stream_insert(s, stream);
    l->stream = stream;
    l->next   = next;
    l->part   = LOADING_POSITIONS;
    if ((flags & STREAM_LATEST) != 0) {
        stream->next = next;
        l->part      = LOADING_LATEST;
    }
    return STEP_TAKEN;
}

/* Of a record that is held: where it lies on this node. */
static bool position_here(const struct stripe_loading *l, uint64_t from, uint64_t *out)
{
    *out = from;
    return from != UINT64_MAX && (!l->is_moved || (l->moved.position(l->moved.ctx, from, out) && *out != UINT64_MAX));
}

static enum step load_position(struct stripe_loading *l, struct wire_reader *r)
{
    struct stream *stream = l->stream;
    if (stream->next == l->next) {
        l->part = l->version >= IMAGE_VERSION_KEEPS ? LOADING_KEEPING : LOADING_CURSORS;
        return STEP_TAKEN;
    }
    uint64_t position = wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (position != UINT64_MAX && !position_here(l, position, &position)) {
        return STEP_BAD;
    }
    if (!offsets_fits(&stream->offsets, stream->start, stream->next)) {
        offsets_grow(&stream->offsets, stream->start, stream->next);
    }
    *offsets_slot(&stream->offsets, stream->next) = position;
    stream->next++;
    return STEP_TAKEN;
}

static enum step load_latest(struct stripe_loading *l, struct wire_reader *r)
{
    l->inner = wire_get_u64(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    l->next = l->stream->start; /* from here on: behind the last slot */
    l->part = LOADING_TOPICS;
    return STEP_TAKEN;
}

static enum step load_topic(struct stripe_loading *l, struct wire_reader *r)
{
    struct stream *stream = l->stream;
    if (l->inner == 0) {
        l->part = LOADING_KEEPING;
        return STEP_TAKEN;
    }
    uint64_t     offset   = wire_get_u64(r);
    uint64_t     position = wire_get_u64(r);
    uint64_t     time_ns  = wire_get_u64(r);
    uint32_t     bytes    = wire_get_u32(r);
    struct bytes topic    = wire_get_blob(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (!position_here(l, position, &position) || offset < l->next || offset >= stream->next ||
        !latest_load(stream->keeping->latest, topic, offset, position, time_ns, bytes)) {
        return STEP_BAD;
    }
    l->next = offset + 1;
    l->inner--;
    return STEP_TAKEN;
}

static enum step keeping_loaded(struct stripe_loading *l)
{
    const struct stream *stream = l->stream;
    if (stream->keeping->latest == NULL && l->first != (stream->start == stream->next)) {
        return STEP_BAD;
    }
    keep_schedule(l->stripe, l->stream);
    l->part = LOADING_CURSORS;
    return STEP_TAKEN;
}

static enum step load_keeping(struct stripe_loading *l, struct wire_reader *r)
{
    struct stream *stream = l->stream;
    uint8_t        kept   = wire_get_u8(r);
    if (r->bad || kept > 1 || (kept == 1 && (stream->flags & STREAM_QUEUE) != 0) ||
        (kept == 0 && (stream->flags & STREAM_LATEST) != 0)) {
        return step_of(r, false);
    }
    if (kept == 0) {
        l->part = LOADING_CURSORS;
        return STEP_TAKEN;
    }
    struct keep_limits limits = {.max_age_ns = wire_get_u64(r)};
    limits.max_bytes          = wire_get_u64(r);
    limits.max_count          = wire_get_u64(r);
    uint64_t bytes            = wire_get_u64(r);
    l->inner                  = wire_get_u32(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    if (stream->keeping == NULL) {
        stream->keeping = keeping_new(stream, false);
    }
    stream->keeping->limits = limits;
    stream->keeping->bytes  = bytes;
    l->mark                 = (struct mark){0};
    l->first                = true;
    l->part                 = LOADING_MARKS;
    return STEP_TAKEN;
}

static enum step load_mark(struct stripe_loading *l, struct wire_reader *r)
{
    const struct stream *stream = l->stream;
    struct keeping      *k      = stream->keeping;
    if (l->inner == 0) {
        return keeping_loaded(l);
    }
    struct mark mark = {.offset = wire_get_u64(r)};
    mark.first_ns    = wire_get_u64(r);
    mark.last_ns     = wire_get_u64(r);
    mark.bytes       = wire_get_u64(r);
    bool in_order    = l->first ? mark.offset <= stream->start : mark.offset > l->mark.offset;
    if (r->bad || !in_order || mark.offset >= stream->next || mark.first_ns < l->mark.last_ns ||
        mark.last_ns < mark.first_ns || mark.bytes < l->mark.bytes || mark.bytes > k->bytes || k->latest != NULL) {
        return step_of(r, false);
    }
    keep_load_mark(k, mark);
    l->mark  = mark;
    l->first = false;
    l->inner--;
    return STEP_TAKEN;
}

static enum step load_cursors(struct stripe_loading *l, struct wire_reader *r)
{
    uint32_t count = wire_get_u32(r);
    if (r->bad) {
        return STEP_SHORT;
    }
    l->inner = count;
    l->first = true;
    l->part  = LOADING_CURSOR;
    return STEP_TAKEN;
}

static enum step load_cursor(struct stripe_loading *l, struct wire_reader *r)
{
    const struct stream *stream = l->stream;
    if (l->inner == 0) {
        l->left--;
        l->part = LOADING_STREAM;
        return STEP_TAKEN;
    }
    uint32_t id       = wire_get_u32(r);
    uint64_t position = wire_get_u64(r);
    uint64_t sent     = wire_get_u64(r);
    uint32_t ranges   = wire_get_u32(r);
    bool is = (l->first || id > l->last_id) && position >= stream->start && position <= sent && sent <= stream->next &&
              ranges <= stream->next - position;
    if (r->bad || !is) {
        return step_of(r, false);
    }
    l->cursor       = cursor_make(id, position);
    l->cursor->sent = sent;
    l->ranges       = ranges;
    l->part         = LOADING_RANGES;
    return STEP_TAKEN;
}

/* Laid down as they are, but only what cursor.c leaves behind. */
static enum step load_range(struct stripe_loading *l, struct wire_reader *r)
{
    struct cursor *cursor = l->cursor;
    if (cursor->range_count == l->ranges) {
        cursor_insert(l->stream, cursor);
        l->cursor  = NULL;
        l->last_id = cursor->id;
        l->first   = false;
        l->inner--;
        l->part = LOADING_CURSOR;
        return STEP_TAKEN;
    }
    const struct op_range *last  = cursor->range_count == 0 ? NULL : &cursor->ranges[cursor->range_count - 1];
    uint64_t               from  = last == NULL ? cursor->position : last->last + 1;
    uint8_t                mark  = last == NULL
                                       ? CURSOR_DONE
                                       : last->mark; /* a done range that begins where the last one ended would have been one with it */
    struct op_range        range = {0};
    if (!op_range_next(r, &range)) {
        r->bad = true;
        return STEP_SHORT;
    }
    bool is = range.first <= range.last && range.first >= from && range.last < l->stream->next &&
              (range.mark == CURSOR_RECEIVED || range.mark == CURSOR_DONE) &&
              !(range.first == from && range.mark == mark);
    if (!is) {
        return STEP_BAD;
    }
    if (cursor->range_count == cursor->range_capacity) {
        uint32_t twice         = cursor->range_capacity == 0 ? 4 : cursor->range_capacity * 2;
        cursor->range_capacity = twice < l->ranges ? twice : l->ranges;
        cursor->ranges         = realloc(cursor->ranges, cursor->range_capacity * sizeof *cursor->ranges);
        ASSERT(cursor->ranges != NULL); /* out of memory */
    }
    cursor->ranges[cursor->range_count++] = range;
    return STEP_TAKEN;
}

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
        if (op.kind == OP_TIMER_SET || op.kind == OP_TIMER_FIRE || op.kind == OP_LIMITS) {
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
        ASSERT(l->timers != NULL); /* out of memory */
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

static enum step enter_timer(struct stripe_loading *l)
{
    if (l->timer_count == 0) {
        l->part = LOADING_TELLING;
        l->walk = (struct stripe_walk){.stripe = l->stripe};
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

/* ---- all of it ---- */

static enum step load_sum(struct stripe_loading *l, struct wire_reader *r)
{
    uint64_t sum = wire_get_u64(r);
    if (r->bad || sum != XXH3_64bits_digest(l->sum)) {
        return step_of(r, false);
    }
    l->part = LOADING_ENTERING;
    return STEP_TAKEN;
}

static enum step step(struct stripe_loading *l, struct wire_reader *r)
{
    switch ((enum loading_part)l->part) {
    case LOADING_HEAD:
        return load_head(l, r);
    case LOADING_STREAM:
        return load_stream(l, r);
    case LOADING_POSITIONS:
        return load_position(l, r);
    case LOADING_LATEST:
        return load_latest(l, r);
    case LOADING_TOPICS:
        return load_topic(l, r);
    case LOADING_KEEPING:
        return load_keeping(l, r);
    case LOADING_MARKS:
        return load_mark(l, r);
    case LOADING_CURSORS:
        return load_cursors(l, r);
    case LOADING_CURSOR:
        return load_cursor(l, r);
    case LOADING_RANGES:
        return load_range(l, r);
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
    case LOADING_SUM:
        return load_sum(l, r);
    case LOADING_ENTERING:
        return enter_timer(l);
    case LOADING_TELLING:
    case LOADING_DONE:
        break;
    }
    return STEP_BAD;
}

static void tell(void *ctx, uint64_t position)
{
    struct stripe_loading        *l        = ctx;
    const struct stripe_observer *observer = &l->stripe->observer;
    observer->retained(observer->ctx, position);
    l->told++;
}

/* Of what was told only. */
static void take_back(void *ctx, uint64_t position)
{
    struct stripe_loading        *l        = ctx;
    const struct stripe_observer *observer = &l->stripe->observer;
    if (l->told > 0) {
        observer->released(observer->ctx, position);
        l->told--;
    }
}

struct stripe_loading *stripe_load_begin(struct stripe *s, const struct stripe_moved *moved)
{
    ASSERT(s->applied == 0 && s->streams_by_id.count == 0 && s->items.count == 0);
    struct stripe_loading *l = calloc(1, sizeof *l);
    ASSERT(l != NULL); /* out of memory */
    l->stripe   = s;
    l->is_moved = moved != NULL;
    l->moved    = moved != NULL ? *moved : (struct stripe_moved){0};
    l->sum      = XXH3_createState();
    ASSERT(l->sum != NULL); /* out of memory */
    XXH3_64bits_reset(l->sum);
    return l;
}

static void see(struct stripe_loading *l, struct bytes data, size_t *seen, size_t until)
{
    if (until > *seen) {
        XXH3_64bits_update(l->sum, data.data + *seen, until - *seen);
        *seen = until;
    }
}

int stripe_load_more(struct stripe_loading *l, struct bytes data, size_t slice_bytes, size_t *out_used)
{
    enum { TIMER_BYTES = 128, POSITION_BYTES = 8 }; /* what they count for when nothing is read any more */
    struct wire_reader all  = wire_reader_of(data);
    size_t             done = 0;
    size_t             seen = 0; /* by the sum */
    enum step          what = STEP_TAKEN;
    while (what == STEP_TAKEN && l->part < LOADING_TELLING && done < slice_bytes) {
        struct wire_reader r    = all;
        size_t             used = data.size - wire_left(&all);
        if (l->part == LOADING_SUM) {
            see(l, data, &seen, used);
        }
        what = step(l, &r);
        if (what == STEP_TAKEN) {
            done += data.size - wire_left(&r) - used + (l->part == LOADING_ENTERING ? TIMER_BYTES : 1);
            all = r;
        }
    }
    *out_used = data.size - wire_left(&all);
    see(l, data, &seen, *out_used);
    if (what != STEP_TAKEN) {
        return what == STEP_SHORT ? 1 : ERR_MALFORMED;
    }
    if (l->part == LOADING_TELLING && done < slice_bytes) {
        bool tells = l->stripe->observer.retained != NULL;
        if (!tells || !stripe_walk(&l->walk, (slice_bytes - done) / POSITION_BYTES + 1, tell, l)) {
            l->part = LOADING_DONE;
        }
    }
    return l->part == LOADING_DONE ? 0 : 1;
}

void stripe_load_end(struct stripe_loading *l)
{
    if (l == NULL) {
        return;
    }
    if (l->part == LOADING_TELLING && l->told > 0 && l->stripe->observer.released != NULL) {
        stripe_live_positions(l->stripe, take_back, l);
    }
    for (size_t i = 0; i < l->timer_count; i++) {
        free(l->timers[i]);
    }
    if (l->cursor != NULL) {
        cursor_free(l->cursor);
    }
    free(l->timers);
    XXH3_freeState(l->sum);
    free(l);
}

int stripe_load(struct stripe *s, struct bytes image, const struct stripe_moved *moved)
{
    struct stripe_loading *loading = stripe_load_begin(s, moved);
    size_t                 used;
    int                    result = stripe_load_more(loading, image, SIZE_MAX, &used);
    stripe_load_end(loading);
    return result == 0 && used == image.size ? 0 : ERR_MALFORMED;
}
