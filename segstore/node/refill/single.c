/* single.c - a committed entry that this node's log holds and cannot read is given back by another node: one entry instead of an image of the stripe, and a leader that
 * misses a record that only this entry's replica has can send no image. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"

#include <stdlib.h>

static const uint64_t ANSWER_NS   = 300000000;  /* until another node is asked */
static const uint64_t AGAIN_NS    = 20000000;   /* it has to be read there first, or there is no room here */
static const uint64_t NO_NS       = 5000000000; /* all said no: until they are asked once more */
static const uint64_t PATIENCE_NS = 1000000000; /* then an image is asked for as well */

/* The entry that is asked for. */
struct single {
    uint64_t       index;
    const uint8_t *memory;   /* on its way to the disk; NULL: it is not */
    uint64_t       since_ns; /* it is asked for; 0: not yet */
    uint64_t       next_ns;
    uint64_t       said_no;  /* a bit per node->peers[] */
    uint64_t       answered; /* likewise, ever */
    uint64_t       led_ns;   /* when a leader was known last, or when it began */
    uint64_t       told_ns;
    uint32_t       turn;
    bool           nobody; /* all have said no */
};

void single_drop(struct node_stripe *st)
{
    free(st->single);
    st->single = NULL;
}

/* NULL: no such entry is waited for. */
static struct single *single_of(struct node_stripe *st)
{
    uint64_t index = st->unreadable;
    if (!st->repairing || index <= stripe_applied(st->stripe) || st->installing || index >= st->entries.end ||
        !entries_at(&st->entries, index)->durable) {
        single_drop(st);
        return NULL;
    }
    if (st->single == NULL) {
        st->single = calloc(1, sizeof *st->single);
        ASSERT_MEMORY(st->single != NULL);
    }
    if (st->single->index != index) {
        uint64_t now_ns = io_now_ns(st->node->io);
        *st->single     = (struct single){.index = index, .led_ns = now_ns, .told_ns = now_ns};
        if (BUGGIFY("an entry that cannot be read: only an image", 2)) {
            st->single->nobody   = true;
            st->single->since_ns = 1;
            st->single->next_ns  = UINT64_MAX;
        }
    }
    return st->single;
}

/* The next one of those who have not said no. False: there is none. */
static bool ask_next(struct node_stripe *st, struct single *single, uint64_t now_ns)
{
    const struct node *node  = st->node;
    bool               there = false;
    single->next_ns          = now_ns + AGAIN_NS;
    for (uint32_t i = 0; i < node->peer_count; i++) {
        uint32_t     n    = (single->turn + i) % node->peer_count;
        struct peer *peer = &node->peers[n];
        if ((single->said_no & 1ull << n) != 0 || !raft_members_any(raft_members(st->raft), peer->spec->id)) {
            continue;
        }
        there = true;
        if (peer_roomy(peer)) {
            refill_ask(st, peer, single->index, REFILL_LED_OR_NOT);
            single->turn    = n + 1;
            single->next_ns = now_ns + ANSWER_NS;
            return true;
        }
    }
    return there;
}

/* Nobody leads, and this node is not to. True: it does not wait for that entry any more. */
static bool standstill(struct node_stripe *st, struct single *single)
{
    struct bytes ops;
    refill_tell(st, single->index - 1, single->answered, single->led_ns, &single->told_ns);
    if (!single->nobody || !st->node->config->accept_damage) {
        return false;
    }
    int result = entry_ops(st, single->index, &ops);
    if (result == 0) {
        replica_readable(st);
    }
    return result == 0 || (result < 0 && refill_cut(st, single->index));
}

bool single_ask(struct node_stripe *st)
{
    uint64_t       now_ns = io_now_ns(st->node->io);
    struct single *single = single_of(st);
    if (single == NULL) {
        return false;
    }
    single->since_ns = single->since_ns == 0 ? now_ns : single->since_ns;
    if (single->memory == NULL && now_ns >= single->next_ns && !ask_next(st, single, now_ns)) {
        single->said_no  = 0;
        single->since_ns = 1; /* long ago */
        single->next_ns  = now_ns + NO_NS;
        single->nobody   = true;
    }
    if (raft_leader(st->raft) != RAFT_NONE || single->memory != NULL) {
        single->led_ns = now_ns;
    } else if (now_ns >= single->led_ns + REFILL_ACCEPT_NS && standstill(st, single)) {
        return true;
    }
    return now_ns < single->since_ns + PATIENCE_NS;
}

void single_answered(struct node_stripe *st, uint32_t peer, uint8_t kind, uint64_t index, struct wire_reader *reader)
{
    struct single   *single = st->single == NULL ? NULL : single_of(st);
    uint64_t         now_ns = io_now_ns(st->node->io);
    struct log_entry entry;
    if (single == NULL || single->index != index || single->memory != NULL) {
        return;
    }
    single->answered |= 1ull << peer;
    single->next_ns = kind == REFILL_LATER ? now_ns + AGAIN_NS : now_ns;
    if (kind == REFILL_LATER) {
        return;
    }
    if (kind != REFILL_ENTRIES || !refill_entry_read(st, reader, index, &entry) ||
        log_chain(entries_chain(&st->entries, index - 1), &entry) != entries_at(&st->entries, index)->chain) {
        single->said_no |= 1ull << peer;
    } else if (!refill_fits(st->node->storage, entry.ops)) {
        single->next_ns = now_ns + AGAIN_NS;
    } else {
        refill_write(st, entry.ops, &single->memory);
    }
    replica_touch(st);
}

void single_body_durable(struct node_stripe *st, const struct log_entry *body)
{
    struct single *single = st->single;
    if (single == NULL || single->memory != body->ops.data || single_of(st) != single || single->memory == NULL) {
        return;
    }
    struct log_slot *slot     = entries_at(&st->entries, single->index);
    struct segments *segments = &st->node->storage->segments;
    segments_retain(segments, body->position);
    if (slot->held) {
        segments_release(segments, slot->position);
    }
    free((void *)slot->memory);
    slot->memory   = NULL;
    slot->position = body->position;
    slot->held     = true;
    log_info("stripe %u: entry %llu, that could not be read here, is back from another node", st->id,
             (unsigned long long)single->index);
    replica_readable(st);
    replica_touch(st);
}
