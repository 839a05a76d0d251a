/* leader.c - who leads a stripe, and who is told when that changes. */
#include "segstore/node/state.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"

bool stripe_led(const struct node_stripe *st)
{
    return st->led;
}

bool stripe_reads(const struct node_stripe *st)
{
    return st->led && raft_lease(st->raft, io_now_ns(st->node->io)) && !BUGGIFY("leader: the lease is not certain", 30);
}

uint64_t stripe_term(const struct node_stripe *st)
{
    return raft_term(st->raft);
}

uint16_t stripe_leader(const struct node_stripe *st)
{
    uint16_t self   = st->node->config->node;
    uint16_t leader = raft_leader(st->raft);
    if (replica_alone(st)) {
        return self; /* one that is stopped, too: it is this node that says so */
    }
    return leader == self && !st->led ? RAFT_NONE : leader;
}

void leader_put(struct wire_writer *w, const struct node_stripe *st)
{
    wire_put_u16(w, st->id);
    wire_put_u16(w, stripe_leader(st));
    wire_put_u64(w, stripe_term(st));
}

static void end_subscriptions(struct node_stripe *st)
{
    while (!list_empty(&st->watchers)) {
        subscription_end(&CONTAINER_OF(st->watchers.next, struct watcher, of_stripe)->sub, ERR_NOT_LEADER);
    }
    while (!list_empty(&st->followers)) {
        subscription_end(&CONTAINER_OF(st->followers.next, struct follower, of_stripe)->sub, ERR_NOT_LEADER);
    }
    jobs_end(st->node, st->id, ERR_NOT_LEADER);
}

void leader_changed(struct node_stripe *st, bool lost)
{
    if (!list_linked(&st->led_link)) {
        list_push_back(&st->node->led, &st->led_link);
    }
    if (lost) {
        end_subscriptions(st);
    }
}

static void tell(struct session *s, uint16_t count)
{
    size_t begun = session_begin(s, RPC_LEADERS, 0);
    wire_put_u16(&s->out, count);
    LIST_EACH (&s->node->led, link) {
        leader_put(&s->out, CONTAINER_OF(link, struct node_stripe, led_link));
    }
    session_end(s, begun);
}

void leaders_turn(struct node *node)
{
    uint16_t count = 0;
    if (LIKELY(list_empty(&node->led))) {
        return;
    }
    LIST_EACH (&node->led, link) {
        count++;
    }
    LIST_EACH (&node->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        if (s->state == SESSION_OPEN && s->peer == 0) {
            tell(s, count);
        }
    }
    while (list_pop_front(&node->led) != NULL) {
    }
}
