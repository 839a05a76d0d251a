/* members - who the replicas of a stripe are, as bytes: ops of a LOG_MEMBERS entry, and in a checkpoint.
 *
 *   version u8 (1) | voters u8 | outgoing u8 | learners u8 | node u16 x all of them, in that order
 *
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_NODE_REPLICA_MEMBERS_H
#define KEEL_SEGSTORE_NODE_REPLICA_MEMBERS_H

#include "segstore/raft/raft.h"
#include "shared/base/wire.h"

void members_put(struct wire_writer *w, const struct raft_members *members);
/* False: malformed, or nobody votes. */
bool members_get(struct bytes bytes, struct raft_members *out);
/* Of a node that no cluster has taken in yet nobody votes. */
bool members_read(struct wire_reader *r, struct raft_members *out);

#endif
