/* image_load.c - the follower's side: what came of the image becomes a stripe, a slice a turn. */
#include "segstore/node/image/image.h"

#include "shared/base/err.h"

static bool own_position(void *ctx, uint64_t from, uint64_t *to)
{
    return bodies_find(ctx, from, to);
}

/* Forgets what is loaded, now and then. */
static void trim(struct image_in *in)
{
    if (in->image_at == in->image.size) {
        in->image.size = 0;
        in->image_at   = 0;
    } else if (in->image_at > LOAD_AHEAD_BYTES / 4) {
        memmove(in->image.data, in->image.data + in->image_at, in->image.size - in->image_at);
        in->image.size -= in->image_at;
        in->image_at = 0;
    }
}

int image_load(struct node_stripe *st)
{
    struct image_in *in = st->image_in;
    size_t           used;
    if (in->waiting_first < in->waiting_end) {
        return 2; /* it is not known yet where they will lie */
    }
    if (in->fresh == NULL) {
        const struct stripe_moved moved = {.position = own_position, .ctx = &in->bodies};
        in->fresh                       = stripe_of(st);
        in->loading                     = stripe_load_begin(in->fresh, &moved);
    }
    if (in->loading == NULL) {
        return in->image.size > in->image_at ? ERR_MALFORMED : 0;
    }
    struct bytes left   = bytes_of(in->image.data + in->image_at, in->image.size - in->image_at);
    int          result = stripe_load_more(in->loading, left, st->node->config->checkpoint_slice_bytes, &used);
    in->image_at += used;
    if (result == 2 && (in->ended || left.size - used >= LOAD_AHEAD_BYTES / 2)) {
        return ERR_MALFORMED; /* nothing more will come; no piece is that large */
    }
    trim(in);
    if (result == 0) {
        stripe_load_end(in->loading);
        in->loading = NULL;
    }
    return result;
}
