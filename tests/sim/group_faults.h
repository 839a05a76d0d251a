/* group_faults - what happens to the nodes of a group.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_GROUP_FAULTS_H
#define KEEL_TESTS_SIM_GROUP_FAULTS_H

#include "tests/sim/group.h"

/* Not slower than what an election timeout is made for. */
void group_tame(struct world *world);
/* Something happens to one node: it dies, loses power, is cut off in one of several ways, stands still, has a slow or full disk. */
void group_accident(struct group *group, uint32_t victim);
/* All of that ends. */
void group_heal(struct group *group, uint32_t victim);
/* The same, but its connections with that other node stay cut. */
void group_heal_but(struct group *group, uint32_t victim, uint32_t other);
/* From the other nodes; brokers reach it. */
void group_cut_peers(struct group *group, uint32_t victim);
/* Flips a bit of an entry in its log: of the back-th block from the end that holds entries (0: the last). False: there are not so many. */
bool group_rot_block(struct group *group, uint32_t victim, uint64_t back);

#endif
