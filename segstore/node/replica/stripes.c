/* stripes.c - the stripes of a shard: what they tell the node, how they are read from a checkpoint and written to one. */
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
    segments_add(&st->node->storage->segments, position);
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

static bool on_followed(void *ctx, uint64_t stream_id)
{
    const struct node_stripe *st = ctx;
    return follow_any(st->node, stream_id);
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

struct stripe *stripe_of(struct node_stripe *st)
{
    const struct stripe_observer observer = {.ctx      = st,
                                             .retained = on_retained,
                                             .released = on_released,
                                             .appended = on_appended,
                                             .followed = on_followed,
                                             .ended    = on_ended,
                                             .changed  = on_changed};
    struct stripe               *stripe   = stripe_new(st->id, &observer);
    ASSERT_MEMORY(stripe != NULL);
    return stripe;
}

void stripes_make(struct node *node)
{
    const struct segstore_config *c = node->config;
    node->stripe_count              = (c->stripes - node->shard + c->shards - 1) / c->shards;
    node->stripes                   = calloc(node->stripe_count, sizeof *node->stripes);
    ASSERT_MEMORY(node->stripes != NULL);
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        st->node               = node;
        st->id                 = (uint16_t)(i * c->shards + node->shard);
        st->next_due_ns        = UINT64_MAX;
        list_init(&st->watchers);
        list_init(&st->followers);
        st->stripe = stripe_of(st);
        replica_make(st);
    }
}

struct stripe *node_stripe(struct node *node, uint16_t stripe)
{
    struct node_stripe *st = stripe_slot(node, stripe);
    return st == NULL ? NULL : st->stripe;
}

const struct raft *node_raft(struct node *node, uint16_t stripe)
{
    struct node_stripe *st = stripe_slot(node, stripe);
    return st == NULL ? NULL : st->raft;
}

bool node_chain(struct node *node, uint16_t stripe, uint64_t index, uint64_t *out)
{
    const struct node_stripe *st = stripe_slot(node, stripe);
    if (st == NULL || index + 1 < st->entries.first || index >= st->entries.end) {
        return false;
    }
    *out = entries_chain(&st->entries, index);
    return true;
}

bool node_repairs(struct node *node, uint16_t stripe)
{
    const struct node_stripe *st = stripe_slot(node, stripe);
    return st != NULL && st->repairing;
}

int stripes_load(void *ctx, const struct checkpoint_section *section)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, section->stripe);
    if (st == NULL) {
        return ERR_MALFORMED;
    }
    int result = stripe_load(st->stripe, section->image, NULL);
    if (result == 0 && stripe_applied(st->stripe) != section->index) {
        result = ERR_MALFORMED;
    }
    return result < 0 ? result : replica_restore(st, section->replica, section->index, section->taken_seq);
}

size_t stripe_slice_bytes(const struct node_stripe *st)
{
    enum { WAITING_MAX_BYTES = 4 * 1024 * 1024 };
    return st->unapplied_bytes > WAITING_MAX_BYTES ? SIZE_MAX : st->node->config->checkpoint_slice_bytes;
}

/* From the first slice to the last the stripe stands still. */
bool stripes_image(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out)
{
    struct node        *node = ctx;
    struct node_stripe *st   = &node->stripes[nth];
    if (st->saving == NULL) {
        st->saving = stripe_save_begin(st->stripe);
        st->still++;
    }
    bool more = stripe_save_more(st->saving, w, stripe_slice_bytes(st));
    if (!more) {
        stripe_save_end(st->saving);
        st->saving = NULL;
        st->still--;
        size_t size = w->size;
        replica_put(st, w);
        *out = (struct checkpoint_section){
            .stripe = st->id, .index = stripe_applied(st->stripe), .replica_bytes = (uint32_t)(w->size - size)};
        replica_touch(st);
    }
    return more;
}
