/* owner.c - broker shards that timers depend on: attached, gone for a while, lost.
 *
 *   connected ── last connection gone ──▶ away (owner_lease_ns) ── in time ──▶ connected
 *                                           └── too late, or its heir came (same place) ──▶ OWNER_LOST to each stripe that knows it
 *
 * Two processes at one place are one after the other: when the heir is let in the connections of the former end, and it is not let in again while the heir
 * is there. A HELLO tells no age: that of a process that has died may be read behind its heir's. So while one of them is there the other one is asked whether
 * it lives (session.c), and let in when it says so:
 *
 *   HELLO of the heir ─read─▶ let in ──▶ HELLO of the dead one ─read─▶ PING ──▶ nothing: the heir's connections stay
 *   HELLO of the former ─read─▶ let in ──▶ HELLO of its heir ─read─▶ PING ─▶ PONG: it is let in, the former's connections end
 *
 * An answer counts that was asked for after the HELLO of whoever is there was read: the heir had begun by then, so the other one was dead or is the heir. */
#include "segstore/node/state.h"

#include "shared/rpc/op.h"

#include <stdlib.h>

static struct owner *find(const struct node *node, uint64_t owner)
{
    LIST_EACH (&node->owners, link) {
        struct owner *o = CONTAINER_OF(link, struct owner, link);
        if (o->owner == owner) {
            return o;
        }
    }
    return NULL;
}

static struct owner *add(struct node *node, uint64_t owner)
{
    struct owner *o = calloc(1, sizeof *o);
    ASSERT_MEMORY(o != NULL);
    o->owner   = owner;
    o->lost_ns = UINT64_MAX;
    list_push_back(&node->owners, &o->link);
    return o;
}

/* Its place in node->replaced, or NODE_REPLACED_MAX. */
static uint32_t replaced_find(const struct node *node, uint64_t instance)
{
    uint32_t at = 0;
    while (at < NODE_REPLACED_MAX && (instance == 0 || node->replaced[at].instance != instance)) {
        at++;
    }
    return at;
}

/* Connected, or away for less than the lease. */
static bool is_there(const struct node *node, const struct owner *o)
{
    return !o->losing && (o->connections > 0 || o->lost_ns > io_now_ns(node->io));
}

static bool instance_is_there(const struct node *node, uint64_t instance)
{
    LIST_EACH (&node->owners, link) {
        const struct owner *o = CONTAINER_OF(link, struct owner, link);
        if (o->instance == instance && is_there(node, o)) {
            return true;
        }
    }
    return false;
}

bool owner_replaced(const struct node *node, uint64_t instance)
{
    uint32_t at = replaced_find(node, instance);
    return at < NODE_REPLACED_MAX && instance_is_there(node, node->replaced[at].heir);
}

bool owner_contested(const struct node *node, uint64_t instance, uint64_t place, uint64_t asked)
{
    LIST_EACH (&node->owners, link) {
        const struct owner *o     = CONTAINER_OF(link, struct owner, link);
        bool                other = o->instance != 0 && o->instance != instance && o->place == place;
        if (place != 0 && other && o->since > asked && is_there(node, o)) {
            return true;
        }
    }
    return false;
}

static void remember(struct node *node, uint64_t instance, uint64_t heir)
{
    uint32_t at = replaced_find(node, instance);
    if (at == NODE_REPLACED_MAX) {
        at                  = node->replaced_next;
        node->replaced_next = (node->replaced_next + 1) % NODE_REPLACED_MAX;
    }
    node->replaced[at] = (struct replaced){instance, heir};
}

/* What is still on its way from the process that ran at this place before is not done any more, over this connection or another. */
static void replace(struct node *node, uint64_t instance, uint64_t place)
{
    LIST_EACH (&node->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        if (s->state != SESSION_OPEN || s->peer != 0 || s->place != place || s->instance == instance) {
            continue;
        }
        session_close(s); /* its owner has no connection now, and is remembered */
    }
}

void owner_hello(struct node *node, uint64_t instance, uint64_t owner, uint64_t place)
{
    if (place != 0) {
        replace(node, instance, place);
    }
    LIST_EACH (&node->owners, link) {
        struct owner *o     = CONTAINER_OF(link, struct owner, link);
        bool          other = o->instance != 0 && o->instance != instance && o->connections == 0;
        if (other && o->place == place && place != 0) { /* that process has been replaced */
            remember(node, o->instance, instance);
            o->lost_ns = o->losing ? o->lost_ns : 0;
        }
    }
    struct owner *o = find(node, owner);
    o               = o == NULL ? add(node, owner) : o;
    o->losing       = false; /* stripes that were told already have let go; the others never hear of it */
    o->instance     = instance;
    o->place        = place;
    o->since        = ++node->greetings;
    o->lost_ns      = UINT64_MAX;
    o->connections++;
}

void owner_gone(struct node *node, uint64_t instance, uint64_t owner)
{
    struct owner *o = find(node, owner);
    if (o == NULL || o->instance != instance || o->connections == 0) {
        return;
    }
    if (--o->connections == 0) {
        o->lost_ns = io_now_ns(node->io) + node->config->owner_lease_ns;
    }
}

static void found(void *ctx, uint64_t owner)
{
    struct node *node = ctx;
    if (owner != 0 && find(node, owner) == NULL) {
        add(node, owner)->lost_ns = io_now_ns(node->io) + node->config->owner_grace_ns;
    }
}

void owners_found(struct node_stripe *st)
{
    stripe_owners(st->stripe, found, st->node);
}

struct asking {
    uint64_t owner;
    bool     known;
};

static void ask(void *ctx, uint64_t owner)
{
    struct asking *asking = ctx;
    asking->known         = asking->known || asking->owner == owner;
}

/* Tells the stripes that know it and are led here; false: the log is full, later. Who leads another one will find its owners there, and not hear of this one. A timer that is set in an entry on its way is applied before. */
static bool lose(struct node *node, struct owner *o)
{
    for (; o->propose_slot < node->stripe_count; o->propose_slot++) {
        struct node_stripe *st     = &node->stripes[o->propose_slot];
        struct asking       asking = {.owner = o->owner, .known = raft_last(st->raft) != stripe_applied(st->stripe)};
        stripe_owners(st->stripe, ask, &asking);
        if (!st->led || !asking.known) {
            continue;
        }
        struct op op       = {.kind = OP_OWNER_LOST, .owner = o->owner};
        node->scratch.size = 0;
        op_encode(&node->scratch, &op);
        struct proposal origin = {0};
        if (propose(node, st, wire_written(&node->scratch), &origin) < 0) {
            return false;
        }
    }
    return true;
}

void owners_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    LIST_EACH (&node->owners, link) {
        struct owner *o = CONTAINER_OF(link, struct owner, link);
        if (o->lost_ns > now_ns) {
            continue;
        }
        if (!o->losing) {
            o->losing       = true;
            o->propose_slot = 0;
            log_info("a broker shard is lost: its timers begin");
        }
        if (!lose(node, o)) {
            o->lost_ns = now_ns + 10000000;
            continue;
        }
        list_remove(&o->link);
        free(o);
    }
}

uint64_t owners_next_ns(const struct node *node)
{
    uint64_t next = UINT64_MAX;
    LIST_EACH (&node->owners, link) {
        const struct owner *o = CONTAINER_OF(link, struct owner, link);
        next                  = o->lost_ns < next ? o->lost_ns : next;
    }
    return next;
}

void owners_free(struct node *node)
{
    for (struct list *link; (link = list_pop_front(&node->owners)) != NULL;) {
        free(CONTAINER_OF(link, struct owner, link));
    }
}
