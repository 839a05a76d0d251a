/* stripes.c - the stripes of a shard: what they tell the node, how they are read from a checkpoint and the log, and written to a checkpoint. */
#include "segstore/node/state.h"

#include "shared/base/err.h"

#include <stdlib.h>

struct node_stripe *stripe_slot(struct node *node, uint16_t stripe)
{
    uint32_t slot = stripe / node->config->shards;
    return stripe % node->config->shards == node->shard && slot < node->stripe_count ? &node->stripes[slot] : NULL;
}

static void on_retained(void *ctx, uint64_t position)
{
    struct node_stripe *st = ctx;
    segments_retain(&st->node->storage->segments, position);
}

static void on_released(void *ctx, uint64_t position)
{
    struct node_stripe *st = ctx;
    segments_release(&st->node->storage->segments, position);
}

static void on_appended(void *ctx, uint64_t stream_id, uint64_t offset, struct bytes tag, struct bytes record)
{
    struct node_stripe *st = ctx;
    follow_appended(st->node, stream_id, offset, tag, record);
}

static void on_ended(void *ctx, uint64_t stream_id, uint64_t below_epoch, int status)
{
    struct node_stripe *st = ctx;
    follow_ended(st->node, stream_id, below_epoch, status);
}

static void on_changed(void *ctx, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                       uint64_t expires_wall_ns, bool deleted)
{
    struct node_stripe *st = ctx;
    watch_changed(st, table, key, value, version, expires_wall_ns, deleted);
}

void stripes_make(struct node *node)
{
    const struct segstore_config *c = node->config;
    node->stripe_count              = (c->stripes - node->shard + c->shards - 1) / c->shards;
    node->stripes                   = calloc(node->stripe_count, sizeof *node->stripes);
    ASSERT(node->stripes != NULL); /* out of memory */
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe    *st       = &node->stripes[i];
        struct stripe_observer observer = {.ctx      = st,
                                           .retained = on_retained,
                                           .released = on_released,
                                           .appended = on_appended,
                                           .ended    = on_ended,
                                           .changed  = on_changed};
        st->node                        = node;
        st->id                          = (uint16_t)(i * c->shards + node->shard);
        st->next_due_ns                 = UINT64_MAX;
        list_init(&st->waiting);
        list_init(&st->watchers);
        list_init(&st->followers);
        st->stripe = stripe_new(st->id, &observer);
        ASSERT(st->stripe != NULL); /* out of memory */
    }
}

struct stripe *node_stripe(struct node *node, uint16_t stripe)
{
    struct node_stripe *st = stripe_slot(node, stripe);
    return st == NULL ? NULL : st->stripe;
}

int stripes_load(void *ctx, const struct checkpoint_section *section)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, section->stripe);
    if (st == NULL) {
        return ERR_MALFORMED;
    }
    int result = stripe_load(st->stripe, section->image, NULL);
    return result < 0 ? result : stripe_applied(st->stripe) == section->index ? 0 : ERR_MALFORMED;
}

static void stripe_stop(struct node_stripe *st)
{
    if (!st->stopped) {
        st->stopped = true;
        log_error("stripe %u is stopped after entry %llu: entries may be missing from the damaged log", st->id,
                  (unsigned long long)stripe_applied(st->stripe));
    }
}

void stripes_replay(void *ctx, const struct log_entry *entry)
{
    struct node        *node   = ctx;
    struct node_stripe *st     = stripe_slot(node, entry->stripe);
    bool                accept = node->config->accept_damage;
    if (st == NULL || st->stopped || entry->index <= stripe_applied(st->stripe)) {
        return;
    }
    struct stripe_entry e = {
        .index = entry->index, .wall_ns = entry->wall_ns, .ops = entry->ops, .position = entry->position};
    if (entry->index != stripe_applied(st->stripe) + 1) {
        if (!accept) {
            stripe_stop(st);
            return;
        }
        e.index = stripe_applied(st->stripe) + 1; /* a checkpoint is made before anything else is logged */
    }
    node->results.size = 0;
    (void)stripe_apply(st->stripe, &e, false,
                       &node->results); /* an entry that failed once fails again, in the same way */
}

void stripes_damaged(void *ctx, uint64_t stripes)
{
    struct node *node = ctx;
    for (uint32_t i = 0; i < node->stripe_count && !node->config->accept_damage; i++) {
        if ((stripes & BLOCK_STRIPE_BIT(node->stripes[i].id)) != 0) {
            stripe_stop(&node->stripes[i]);
        }
    }
}

/* From the first slice to the last the stripe stands still; if too much waits for it meanwhile, the rest is taken at once. */
bool stripes_image(void *ctx, uint32_t nth, struct wire_writer *w, uint16_t *out_stripe, uint64_t *out_index)
{
    enum { WAITING_MAX_BYTES = 4 * 1024 * 1024 };
    struct node        *node = ctx;
    struct node_stripe *st   = &node->stripes[nth];
    if (st->saving == NULL) {
        ASSERT(st->waiting_count == 0); /* what was delivered before the checkpoint began is in the image */
        st->saving = stripe_save_begin(st->stripe);
    }
    *out_stripe = st->id;
    *out_index  = stripe_applied(st->stripe);
    bool more   = stripe_save_more(
          st->saving, w, st->waiting_bytes > WAITING_MAX_BYTES ? SIZE_MAX : node->config->checkpoint_slice_bytes);
    if (!more) {
        stripe_save_end(st->saving);
        st->saving = NULL;
    }
    return more;
}
