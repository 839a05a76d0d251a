/* clock - what time it is in the entries of stripes: what this machine says, unless the other nodes agree that it is wrong.
 *
 *   off by, seen from here:   itself 0   node 2 -3600 s   node 3 -3600 s        the middle one counts; of an even number the earlier of the two
 *
 * Sessions, messages and timers end by the times of entries, and a machine whose clock is an hour ahead must not end them; an earlier time only keeps
 * them for longer. Up to CLOCK_TOLERANCE_NS nothing is corrected. Each node says its time in PEER_WELCOME and PONG; what one said last counts, also when
 * it is away now.
 * Threads: any; pure.   Units: ns. */
#ifndef KEEL_SEGSTORE_NODE_PEERS_CLOCK_H
#define KEEL_SEGSTORE_NODE_PEERS_CLOCK_H

#include <stddef.h>
#include <stdint.h>

enum { CLOCK_NODES_MAX = 64 };
static const int64_t CLOCK_TOLERANCE_NS = 2000000000;
/* An answer that took longer says nothing of the time. */
static const uint64_t CLOCK_ANSWER_NS = 1000000000;

/* What has to be added to the own clock. others: how far those of the other nodes are ahead of it (count at most CLOCK_NODES_MAX). */
int64_t clock_correction(const int64_t *others, size_t count);

#endif
