/* load.c - an image becomes a stripe, when all of it is as save.c would write it. Piece by piece, as it comes. */
#include "segstore/stripe/loading.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

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
    if (l->part == LOADING_HEAD) {
        return load_head(l, r);
    }
    if (l->part == LOADING_SUM) {
        return load_sum(l, r);
    }
    if (l->part == LOADING_ENTERING) {
        return load_enter_timer(l);
    }
    return l->part < LOADING_WRITERS ? load_of_stream(l, r) : load_row(l, r);
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
    ASSERT_MEMORY(l != NULL);
    l->stripe   = s;
    l->is_moved = moved != NULL;
    l->moved    = moved != NULL ? *moved : (struct stripe_moved){0};
    l->sum      = XXH3_createState();
    ASSERT_MEMORY(l->sum != NULL);
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
        l->unpacked = 0;
        what        = step(l, &r);
        if (what == STEP_TAKEN) {
            done += data.size - wire_left(&r) - used + l->unpacked + (l->part == LOADING_ENTERING ? TIMER_BYTES : 1);
            all = r;
        }
    }
    *out_used = data.size - wire_left(&all);
    see(l, data, &seen, *out_used);
    if (what != STEP_TAKEN) {
        return what == STEP_SHORT ? 2 : ERR_MALFORMED;
    }
    if (l->part == LOADING_TELLING && done < slice_bytes) {
        bool tells = l->stripe->observer.retained != NULL;
        if (!tells || !stripe_live_more(&l->walk, (slice_bytes - done) / POSITION_BYTES + 1, tell, l)) {
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
