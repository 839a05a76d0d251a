/* moves.c - what reclaim (disk/reclaim.h) asks of a shard's stripes: what is held where, and that it lies elsewhere now. */
#include "segstore/node/state.h"

struct telling {
    void (*each)(void *ctx, const struct survivor *survivor);
    void    *ctx;
    uint16_t stripe;
};

static void tell(void *ctx, const struct stripe_held *held)
{
    const struct telling *t = ctx;
    t->each(t->ctx, &(struct survivor){.position  = held->position,
                                       .stream_id = held->stream_id,
                                       .offset    = held->offset,
                                       .size      = held->size,
                                       .stripe    = t->stripe});
}

bool moves_walk(void *ctx, bool begin, uint32_t steps, void (*each)(void *ctx, const struct survivor *survivor),
                void *each_ctx)
{
    struct node *node = ctx;
    if (begin) {
        node->walk_stripe = 0;
        node->walk        = (struct stripe_walk){0};
    }
    if (node->walk_stripe == node->stripe_count) {
        return true;
    }
    struct node_stripe *st = &node->stripes[node->walk_stripe];
    struct telling      t  = {.each = each, .ctx = each_ctx, .stripe = st->id};
    if (stripe_walk(st->stripe, &node->walk, steps, tell, &t)) {
        node->walk_stripe++;
        node->walk = (struct stripe_walk){0};
    }
    return node->walk_stripe == node->stripe_count;
}

bool moves_holds(void *ctx, const struct survivor *s)
{
    const struct node_stripe *st   = stripe_slot(ctx, s->stripe);
    const struct stripe_held  held = {
         .position = s->position, .stream_id = s->stream_id, .offset = s->offset, .size = s->size};
    return stripe_holds(st->stripe, &held);
}

bool moves_move(void *ctx, const struct survivor *s, uint64_t to)
{
    return stripe_relocate(stripe_slot(ctx, s->stripe)->stripe, s->stream_id, s->offset, s->position, to);
}
