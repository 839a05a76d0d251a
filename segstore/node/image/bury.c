/* bury.c - a stripe that nobody needs any more goes in slices: first it lets go of what it holds, then its memory is given back. */
#include "segstore/node/image/image.h"

#include <stdlib.h>

enum { POSITIONS_PER_TURN = 20000, PIECES_PER_TURN = 1000 }; /* some hundred microseconds */

struct burial {
    struct list        link; /* node->burials */
    struct stripe     *stripe;
    struct stripe_live live;
    struct node       *node;
    bool               releases;
};

static void on_live(void *ctx, uint64_t position)
{
    struct burial *b = ctx;
    segments_release(&b->node->storage->segments, position);
}

void bury(struct node *node, struct stripe *stripe, bool releases)
{
    struct burial *b = calloc(1, sizeof *b);
    ASSERT_MEMORY(b != NULL);
    *b = (struct burial){.stripe = stripe, .live = {.stripe = stripe}, .node = node, .releases = releases};
    list_push_back(&node->burials, &b->link);
}

static void done(struct burial *b)
{
    list_remove(&b->link);
    stripe_free(b->stripe);
    free(b);
}

bool burials_turn(struct node *node)
{
    if (LIKELY(list_empty(&node->burials))) {
        return false;
    }
    struct burial *b = CONTAINER_OF(node->burials.next, struct burial, link);
    if (b->releases) {
        b->releases = stripe_live_more(&b->live, POSITIONS_PER_TURN, on_live, b);
    } else if (!stripe_clear(b->stripe, PIECES_PER_TURN)) {
        done(b);
    }
    return !list_empty(&node->burials);
}

void burials_free(struct node *node)
{
    while (!list_empty(&node->burials)) {
        done(CONTAINER_OF(node->burials.next, struct burial, link));
    }
}
