/* forget.c - what is applied stays known for followers that lag: where its ops lie in the log. One budget for all stripes, of which the oldest go first,
 * as the stripes share their log: a node that was away finds of all of them what it missed, or an image of all.
 *
 *   log   .. file gone | file | file | file ..                   a stripe   .. forgotten | known, applied | not applied |
 *                             ^ what lies before is forgotten                     first
 *
 * No file is kept for it. A file goes when nothing in it is wanted any more, and then the image of its stripes is less than what was written. */
#include "segstore/node/state.h"

#include <stdlib.h>
#include <string.h>

uint8_t *ops_copy(struct bytes ops)
{
    uint8_t *copy = malloc(ops.size + 1);
    ASSERT_MEMORY(copy != NULL);
    if (ops.size > 0) {
        memcpy(copy, ops.data, ops.size);
    }
    return copy;
}

static void entry_forget(struct node_stripe *st, uint64_t index)
{
    struct log_slot *slot = entries_at(&st->entries, index);
    if (index > stripe_applied(st->stripe)) {
        st->unapplied_bytes -= slot->size;
    }
    if (slot->held) {
        segments_release(&st->node->storage->segments, slot->position);
    }
    if (slot->durable && slot->memory != NULL) {
        free((void *)slot->memory); /* a copy */
    }
}

void entry_drop_last(struct node_stripe *st)
{
    entry_forget(st, st->entries.end - 1);
    entries_pop_back(&st->entries);
}

void entry_drop_first(struct node_stripe *st)
{
    entry_forget(st, st->entries.first);
    entries_pop_front(&st->entries);
}

/* A follower that is there and gets them, or gets an image whose end they follow, has up to here: what comes behind must not have gone when it is done.
 * UINT64_MAX: nobody needs any. */
static uint64_t needed_behind(const struct node_stripe *st)
{
    const struct raft_members *m = raft_members(st->raft);
    uint16_t                   nodes[3 * RAFT_MEMBERS_MAX];
    size_t                     count = raft_role(st->raft) == RAFT_LEADER ? raft_members_list(m, nodes) : 0;
    uint64_t                   least = UINT64_MAX;
    for (size_t i = 0; i < count; i++) {
        struct raft_progress progress;
        if (raft_progress(st->raft, nodes[i], &progress) && progress.active) {
            uint64_t has = progress.snapshot ? progress.image : progress.match;
            least        = has != 0 && has + 1 >= st->entries.first && has < least ? has : least;
        }
    }
    return least;
}

/* Forgets the first entries of a stripe, up to `last` and to where in the log position lies. */
static uint64_t forget(struct node_stripe *st, uint64_t last, uint64_t position)
{
    uint64_t first   = st->entries.first;
    uint64_t applied = stripe_applied(st->stripe);
    last             = last < applied ? last : applied;
    while (st->entries.first <= last && entries_at(&st->entries, st->entries.first)->position <= position) {
        entry_drop_first(st);
    }
    if (st->entries.first != first) {
        raft_compact(st->raft, st->entries.first - 1);
    }
    return st->entries.first - first;
}

void entries_forget(struct node_stripe *st)
{
    if (replica_alone(st)) {
        (void)forget(st, UINT64_MAX, UINT64_MAX);
    }
}

/* ---- the budget of the shard ---- */

enum {
    LOOKS =
        64, /* it is looked at when so great a part of it may have come, and so great a part of the log is forgotten at once */
    KEPT_TIMES_FOR_ONE_THAT_IS_THERE = 4
};

static bool has_gone(const struct segments *segments, uint64_t position)
{
    const struct log_segment *segment = segments_find(segments, segments_number(segments, position));
    return segment == NULL || !segment->exists;
}

/* Where the oldest lies that may go, of those that are known; UINT64_MAX: there is none. *out_known: how many are. */
static uint64_t oldest(struct node *node, bool any, uint64_t *out_known)
{
    uint64_t least = UINT64_MAX;
    *out_known     = 0;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        const struct node_stripe *st    = &node->stripes[i];
        uint64_t                  first = st->entries.first;
        *out_known += st->entries.end - first;
        if (first < st->entries.end && first <= stripe_applied(st->stripe) && (any || first <= needed_behind(st))) {
            uint64_t position = entries_at(&st->entries, first)->position;
            least             = position < least ? position : least;
        }
    }
    return least;
}

/* Nobody can be given what lies in files that have gone. */
static void forget_gone(struct node *node, uint64_t end)
{
    const struct segments *segments = &node->storage->segments;
    uint64_t               written  = segments_number(segments, end);
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        struct node_stripe *st = &node->stripes[i];
        while (st->entries.first <= stripe_applied(st->stripe) && st->entries.first < st->entries.end) {
            uint64_t position = entries_at(&st->entries, st->entries.first)->position;
            uint64_t number   = segments_number(segments, position);
            if (number >= written || !has_gone(segments, position)) {
                break;
            }
            (void)forget(st, UINT64_MAX, segments_position(segments, number + 1) - 1);
        }
    }
}

void known_turn(struct node *node, uint64_t end)
{
    uint64_t budget = node->config->kept_entries / node->config->shards + 1;
    if (LIKELY(node->known_new <= budget / LOOKS)) {
        return;
    }
    node->known_new = 0;
    forget_gone(node, end);
    for (;;) {
        uint64_t known;
        (void)oldest(node, true, &known);
        bool     any   = known > KEPT_TIMES_FOR_ONE_THAT_IS_THERE * budget;
        uint64_t least = known > budget ? oldest(node, any, &known) : UINT64_MAX;
        if (least == UINT64_MAX) {
            return;
        }
        uint64_t until = least + (end > least ? end - least : 0) / LOOKS;
        for (uint32_t i = 0; i < node->stripe_count; i++) {
            (void)forget(&node->stripes[i], any ? UINT64_MAX : needed_behind(&node->stripes[i]), until);
        }
    }
}
