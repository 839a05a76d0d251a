/* raft_desk - one replica on a desk: what it sends and saves lies there until the test looks at it or hands it on.
 * A millisecond is 1000000 ns; heartbeats every 20 ms, elections after 100 .. 200 ms.   Threads: one. */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_DESK_H
#define KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_DESK_H

#include "segstore/raft/raft.h"

enum { DESK_SENT_MAX = 256, DESK_BEAT_MS = 20, DESK_ELECTION_MS = 100 };

struct desk {
    struct raft        *raft;
    uint16_t            self;
    uint64_t            now_ns;
    struct raft_message sent[DESK_SENT_MAX];
    size_t              sent_count;
    uint64_t            save_term;
    uint16_t            save_vote;
    size_t              saves; /* not confirmed yet */
    bool                lead_wanted;
};

/* Nodes 1 .. voters vote, the next ones up to voters + learners learn. A log of these terms, ending with 0, is durable. */
struct raft_members desk_members(uint8_t voters, uint8_t learners);
void desk_open(struct desk *d, uint16_t self, const struct raft_members *members, const uint64_t *terms, uint64_t term,
               uint16_t vote);
void desk_start(struct desk *d);
void desk_close(struct desk *d);
/* The clock goes on, tick by tick of a millisecond. */
void desk_wait(struct desk *d, uint64_t ms);
/* Until it does something about an election. */
void desk_timeout(struct desk *d);
void desk_saved(struct desk *d); /* the newest save is durable */
void desk_clear(struct desk *d);
void desk_hear(struct desk *d, struct raft_message m);
/* The newest message of this kind to this node, NULL: none. */
const struct raft_message *desk_sent(const struct desk *d, enum raft_kind kind, uint16_t to);
size_t                     desk_count(const struct desk *d, enum raft_kind kind);
/* An APPEND of entries of these terms (ending with 0); what is taken is written. stable: .. and durable, and flushed. */
struct raft_taken desk_append(struct desk *d, uint16_t from, uint64_t term, uint64_t index, uint64_t log_term,
                              uint64_t commit, const uint64_t *terms, bool stable);
/* Elected by everybody; its empty entry is durable. */
void desk_elect(struct desk *d);
/* A leader's follower acknowledged up to there. */
void desk_acked(struct desk *d, uint16_t from, uint64_t index);
/* A proposal, durable here. */
uint64_t desk_propose(struct desk *d);
/* Asks what this node is to be sent and counts it as sent. False: nothing. */
bool desk_replicate(struct desk *d, uint16_t to, struct raft_want *out);
/* It answered the newest heartbeat. */
void desk_beat(struct desk *d, uint16_t from);

#endif
