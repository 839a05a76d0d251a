/* tell.c - no leader, and nobody has what is missing: the operator hears of it, and what can be done. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/base/log.h"

#include <stdio.h>

static const uint64_t TELL_NS = 60000000000; /* until it is said once more, where nobody led in between */

void refill_tell(const struct node_stripe *st, uint64_t last, uint64_t answered, uint64_t led_ns, uint64_t *told_ns)
{
    const struct node *node     = st->node;
    uint64_t           now_ns   = io_now_ns(node->io);
    char               who[160] = "";
    size_t             size     = 0;
    if (now_ns < *told_ns + REFILL_ACCEPT_NS || (now_ns<*told_ns + TELL_NS && * told_ns> led_ns)) {
        return;
    }
    *told_ns = now_ns;
    for (uint32_t i = 0; i < node->peer_count && size < sizeof who - 16; i++) {
        uint16_t id = node->peers[i].spec->id;
        if (raft_members_voter(raft_members(st->raft), id) && (answered & 1ull << i) == 0) {
            size += (size_t)snprintf(who + size, sizeof who - size, "%s%u", size == 0 ? " (node " : ", ", id);
        }
    }
    if (size > 0) {
        (void)snprintf(who + size, sizeof who - size, " did not answer yet)");
    }
    log_error("stripe %u has no leader, and what lies behind its entry %llu is damaged here and on the other nodes%s. "
              "Restore the damaged log file of one of them from a copy and start it again; or start all nodes with "
              "segstore.accept_damage=yes, and the stripe goes on without what no node has in one piece with what "
              "lies before it",
              st->id, (unsigned long long)last, who);
}
