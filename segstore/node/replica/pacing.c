/* pacing.c - what others get so that they catch up keeps a pace that producers bear: how long their entries take is looked at now and then.
 * The stripes of a log lie in its files mingled, and go through them together, so that what is read serves all of them. */
#include "segstore/node/state.h"

enum { TOGETHER_BYTES = 4 * 1024 * 1024, TOGETHER_NS = 100000000, LOOK_NS = 1000000 };

void sample_begin(struct node_stripe *st, uint64_t index)
{
    if (!replica_alone(st)) {
        st->sample_index = index;
        st->sample_ns    = io_now_ns(st->node->io);
    }
}

void sample_end(struct node_stripe *st)
{
    strain_note(&st->node->strain, io_now_ns(st->node->io) - st->sample_ns);
    st->sample_index = 0;
}

/* How long the producer has waited that has waited longest. */
static uint64_t pending_ns(const struct node *node, uint64_t now_ns)
{
    uint64_t longest = 0;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        const struct node_stripe *st   = &node->stripes[i];
        uint64_t                  wait = st->sample_index == 0 ? 0 : now_ns - st->sample_ns;
        longest                        = wait > longest ? wait : longest;
    }
    return longest;
}

void pacing_wait(struct node_stripe *st)
{
    if (!list_linked(&st->sending.link)) {
        list_push_back(&st->node->paced, &st->sending.link);
    }
}

bool pacing_together(struct node_stripe *st, uint64_t position)
{
    const struct node *node   = st->node;
    uint64_t           now_ns = io_now_ns(node->io);
    uint64_t           last   = position;
    for (uint32_t i = 0; i < node->stripe_count; i++) {
        const struct node_stripe *other = &node->stripes[i];
        if (now_ns < other->cold_ns + TOGETHER_NS && other->cold_position < last) { /* else it waits for its follower */
            last = other->cold_position;
        }
    }
    st->cold_position = position;
    st->cold_ns       = now_ns;
    return position - last <= TOGETHER_BYTES;
}

void pacing_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    if (node->config->node_count > 1 && strain_due(&node->strain, now_ns)) {
        node->strained =
            strain_step(&node->strain, now_ns, pending_ns(node, now_ns), pace_quiet(node->transfer, now_ns));
        pace_tell(node->transfer, node->strained, now_ns);
    }
    if (list_empty(&node->paced) || pace_wait_ns(node->transfer, now_ns) > 0) {
        return;
    }
    for (struct list *link;
         (link = list_pop_front(&node->paced)) != NULL;) { /* in the order in which they came: all get on alike */
        list_push_back(&node->ready, link);
    }
}

uint64_t pacing_next_ns(const struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    uint64_t wait   = pace_wait_ns(node->transfer, now_ns);
    return list_empty(&node->paced) ? UINT64_MAX : now_ns + (wait > LOOK_NS ? wait : LOOK_NS);
}
