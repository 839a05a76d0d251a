/* live.c - the positions that a stripe holds: its records and the actions of its timers. */
#include "segstore/stripe/state.h"

/* Of one whose records lie one behind the other, at most `most`. */
static size_t walk_records(struct stripe_live *walk, const struct stream *stream, size_t most,
                           void (*each)(void *ctx, uint64_t position), void *ctx)
{
    size_t told = 0;
    for (; walk->offset < stream->next && told < most; walk->offset++) {
        uint64_t position = *stream_slot(stream, walk->offset);
        if (position != UINT64_MAX) {
            each(ctx, position);
        }
        told++;
    }
    return told;
}

static size_t walk_latest(struct stripe_live *walk, const struct stream *stream, size_t most,
                          void (*each)(void *ctx, uint64_t position), void *ctx)
{
    const struct latest *latest = stream->keeping->latest;
    const struct slot   *slot   = latest_from(latest, walk->offset);
    size_t               told   = 0;
    for (; slot != NULL && told < most; slot = latest_after(latest, slot)) {
        each(ctx, slot->position);
        walk->offset = slot->offset + 1;
        told++;
    }
    walk->offset = slot == NULL ? stream->next : walk->offset;
    return told;
}

/* False: that was the last stream. */
static bool walk_streams(struct stripe_live *walk, size_t most, size_t *told,
                         void (*each)(void *ctx, uint64_t position), void *ctx)
{
    const struct map *streams = &walk->stripe->streams_by_id;
    while ((walk->at = map_walk_from(streams, walk->at)) < map_walk_end(streams)) {
        const struct stream *stream = map_walk(streams, walk->at);
        if (stream != NULL) {
            walk->offset = walk->inside ? walk->offset : stream->start;
            walk->inside = true;
            *told += (stream->flags & STREAM_LATEST) != 0 ? walk_latest(walk, stream, most - *told, each, ctx)
                                                          : walk_records(walk, stream, most - *told, each, ctx);
            if (walk->offset < stream->next || *told >= most) {
                return true;
            }
        }
        walk->inside = false;
        walk->at++;
    }
    return false;
}

bool stripe_live_more(struct stripe_live *walk, size_t most, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    const struct map *timers = &walk->stripe->deadlines;
    size_t            told   = 0;
    if (!walk->timers) {
        if (walk_streams(walk, most, &told, each, ctx)) {
            return true;
        }
        walk->timers = true;
        walk->at     = 0;
    }
    for (; (walk->at = map_walk_from(timers, walk->at)) < map_walk_end(timers); walk->at++) {
        const struct deadline *timer = map_walk(timers, walk->at);
        if (told >= most) {
            return true;
        }
        if (timer != NULL) {
            deadline_positions(timer, each, ctx);
            told++;
        }
    }
    return false;
}

void stripe_live_positions(const struct stripe *s, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    struct stripe_live walk = {.stripe = s};
    (void)stripe_live_more(&walk, SIZE_MAX, each, ctx);
}
