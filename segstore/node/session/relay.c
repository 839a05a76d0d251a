/* relay.c - what broker shards tell each other passes through here: handed on or dropped, never kept. Who lost something sends it again (broker/kernel/channel.h). */
#include "segstore/node/state.h"

#include "shared/base/hash.h"

void relay_add(struct session *s)
{
    index_add(&s->node->relays, &s->by_owner, hash_u64(s->owner));
}

void relay_remove(struct session *s)
{
    index_remove(&s->node->relays, &s->by_owner);
}

/* Its newest connection: an older one may be dead and not known to be. */
static struct session *session_of(const struct node *node, uint64_t owner)
{
    struct session *newest = NULL;
    LIST_EACH (index_chain(&node->relays, hash_u64(owner)), link) {
        struct session *s = CONTAINER_OF(CONTAINER_OF(link, struct index_link, list), struct session, by_owner);
        if (s->owner == owner && (newest == NULL || s->serial > newest->serial)) {
            newest = s;
        }
    }
    return newest;
}

void relay(struct session *s, struct bytes body)
{
    struct node       *node   = s->node;
    struct wire_reader r      = wire_reader_of(body);
    uint64_t           to     = wire_get_u64(&r);
    uint64_t           from   = wire_get_u64(&r);
    struct session    *target = r.bad || from != s->owner ? NULL : session_of(node, to);
    if (target == NULL || !session_roomy(target)) {
        node->counts.relays_dropped++;
        return;
    }
    node->counts.relayed++;
    size_t begun = session_begin(target, RPC_RELAY, 0);
    wire_put_bytes(&target->out, body);
    session_end(target, begun);
}
