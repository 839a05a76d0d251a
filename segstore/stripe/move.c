/* move.c - what lies where, told in slices, and what is moved: one assignment, and those who keep files are told. */
#include "segstore/stripe/state.h"

struct walking {
    const struct stripe *s;
    struct stripe_walk  *walk;
    uint64_t             steps_left;
    uint64_t             id; /* of the stream whose turn it is */
    void (*each)(void *ctx, const struct stripe_held *held);
    void *ctx;
};

static void tell(struct walking *w, uint64_t offset, uint64_t position)
{
    w->steps_left--;
    w->walk->offset = offset + 1;
    if (position != UINT64_MAX) {
        w->each(w->ctx, &(struct stripe_held){.position = position, .stream_id = w->id, .offset = offset});
    }
}

static void walk_latest(struct walking *w, const struct stream *stream)
{
    const struct latest *latest = stream->keeping->latest;
    const struct slot   *slot   = latest_from(latest, w->walk->offset);
    for (; slot != NULL && w->steps_left > 0; slot = latest_after(latest, slot)) {
        tell(w, slot->offset, slot->position);
    }
    w->walk->stream_id = slot == NULL ? 0 : w->id;
}

static void walk_offsets(struct walking *w, const struct stream *stream)
{
    uint64_t offset = w->walk->offset > stream->start ? w->walk->offset : stream->start;
    for (; offset < stream->next && w->steps_left > 0; offset++) {
        tell(w, offset, *stream_slot(stream, offset));
    }
    w->walk->stream_id = offset >= stream->next ? 0 : w->id;
}

/* walk->stream_id: the one in which it stopped, at walk->offset; 0: it is through with the one before. */
static void walk_stream(struct walking *w, const struct stream *stream)
{
    w->id = stream_id(w->s, stream);
    if (w->walk->stream_id != w->id) { /* else it goes on in the middle */
        w->walk->offset = 0;
    }
    if ((stream->flags & STREAM_LATEST) != 0) {
        walk_latest(w, stream);
    } else {
        walk_offsets(w, stream);
    }
}

static void appends(void *ctx, uint64_t position)
{
    (void)position;
    *(bool *)ctx = true;
}

static void walk_timer(struct walking *w, const struct deadline *timer)
{
    bool any = false;
    deadline_positions(timer, appends, &any);
    if (any) {
        w->each(w->ctx, &(struct stripe_held){.position = timer->action_position,
                                              .offset   = deadline_number(timer),
                                              .size     = timer->action_size});
    }
}

bool stripe_walk(const struct stripe *s, struct stripe_walk *walk, uint32_t steps,
                 void (*each)(void *ctx, const struct stripe_held *held), void *ctx)
{
    struct walking w = {.s = s, .walk = walk, .steps_left = steps, .each = each, .ctx = ctx};
    for (; w.steps_left > 0 && !walk->timers; w.steps_left -= w.steps_left > 0) {
        const struct stream *stream =
            walk->at < map_walk_end(&s->streams_by_id) ? map_walk(&s->streams_by_id, walk->at) : NULL;
        if (stream != NULL) {
            walk_stream(&w, stream);
        } else {
            walk->stream_id = 0;
        }
        walk->at += walk->stream_id == 0;
        if (walk->at >= map_walk_end(&s->streams_by_id)) {
            *walk = (struct stripe_walk){.timers = true};
        }
    }
    for (; w.steps_left > 0 && walk->at < map_walk_end(&s->deadlines); w.steps_left--, walk->at++) {
        const struct deadline *timer = map_walk(&s->deadlines, walk->at);
        if (timer != NULL) {
            walk_timer(&w, timer);
        }
    }
    return walk->timers && walk->at >= map_walk_end(&s->deadlines);
}

/* Where it is said that the record lies; NULL: nothing is held there. */
static uint64_t *position_of(const struct stripe *s, uint64_t stream_id, uint64_t offset)
{
    struct stream *stream = stream_find(s, stream_id);
    if (stream == NULL || offset < stream->start || offset >= stream->next) {
        return NULL;
    }
    return (stream->flags & STREAM_LATEST) != 0 ? latest_position(stream->keeping->latest, offset)
                                                : stream_slot(stream, offset);
}

bool stripe_holds(const struct stripe *s, const struct stripe_held *held)
{
    if (held->stream_id == 0) {
        return deadline_at(s, held->offset, held->position) != NULL;
    }
    const uint64_t *position = position_of(s, held->stream_id, held->offset);
    return position != NULL && held->position != UINT64_MAX && *position == held->position;
}

bool stripe_action(const struct stripe *s, uint64_t number, uint64_t position, struct bytes *out)
{
    const struct deadline *timer = deadline_at(s, number, position);
    if (timer == NULL) {
        return false;
    }
    *out = deadline_action(timer);
    return true;
}

/* All that its action would append moves with it. */
static bool relocate_timer(struct stripe *s, struct deadline *timer, uint64_t from, uint64_t to)
{
    if (timer == NULL) {
        return false;
    }
    timer->action_position = to;
    deadline_positions(timer, s->observer.retained, s->observer.ctx);
    timer->action_position = from;
    deadline_positions(timer, s->observer.released, s->observer.ctx);
    timer->action_position = to;
    return true;
}

bool stripe_relocate(struct stripe *s, uint64_t stream_id, uint64_t offset, uint64_t from, uint64_t to)
{
    ASSERT(s->journal.count == 0 && to != UINT64_MAX);
    if (from == to) {
        return false;
    }
    if (stream_id == 0) {
        return relocate_timer(s, deadline_at(s, offset, from), from, to);
    }
    uint64_t *position = position_of(s, stream_id, offset);
    if (position == NULL || from == UINT64_MAX || *position != from) {
        return false;
    }
    *position = to;
    if (s->observer.retained != NULL) {
        s->observer.retained(s->observer.ctx, to);
    }
    if (s->observer.released != NULL) {
        s->observer.released(s->observer.ctx, from);
    }
    return true;
}
