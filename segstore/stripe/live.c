/* live.c - the positions that a stripe holds: its records and the actions of its timers. */
#include "segstore/stripe/state.h"

static void live_in_stream(const struct stream *stream, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    if ((stream->flags & STREAM_LATEST) != 0) {
        const struct latest *latest = stream->keeping->latest;
        for (const struct slot *slot = latest_from(latest, 0); slot != NULL; slot = latest_after(latest, slot)) {
            each(ctx, slot->position);
        }
        return;
    }
    for (uint64_t offset = stream->start; offset < stream->next; offset++) {
        uint64_t position = *offsets_slot(&stream->offsets, offset);
        if (position != UINT64_MAX) {
            each(ctx, position);
        }
    }
}

void stripe_live_positions(const struct stripe *s, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    MAP_EACH(&s->streams_by_id, struct stream, stream)
    {
        live_in_stream(stream, each, ctx);
    }
    MAP_EACH(&s->deadlines, struct deadline, timer)
    {
        deadline_positions(timer, each, ctx);
    }
}

void stripe_forget(struct stripe *s)
{
    ASSERT(s->journal.count == 0);
    if (s->observer.released != NULL) {
        stripe_live_positions(s, s->observer.released, s->observer.ctx);
    }
}
