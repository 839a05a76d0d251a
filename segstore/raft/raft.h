/* raft - the consensus of one stripe as a pure step: what came (a message, a durable write, the clock) goes in, what to do comes out
 * through hooks that only take note.
 *
 *            raft_propose          raft_receive, raft_tick, raft_stable, raft_saved
 *   edge ─────────────────▶ raft ◀──────────────────────────────────────────────── edge
 *        ◀── hooks: send(message), save(term, vote); read after each call: commit, role, leader
 *
 * The core knows of an entry its index, its term and whether it is durable here; bodies stay with the edge, which asks what a follower
 * wants next (raft_wants), sends it, and says so (raft_sent).
 *
 * Asynchronous storage: nothing that promises leaves before it is durable. A vote, the candidate's own one included, counts and leaves after
 * raft_saved; an append is acknowledged after raft_stable, once per raft_flush however many entries came; the leader's own copy
 * counts like that of a follower, so its write runs beside its sends.
 * Commit: a majority of durable indices (both halves of a joint configuration), and only entries of the leader's own term are counted.
 * Reads: a leader that a majority answered lately serves them alone (raft_lease). Whoever gives its vote says how long the leader that it heard of last may still believe
 * that, and the new one commits nothing before: so a vote may be given early, to someone who says that the old leader is dead, and be wrong about it.
 * Pre-vote, check-quorum, leader transfer, learners and joint consensus as in the Raft dissertation (Ongaro 2014: 3.10, 4.2.1, 4.3, 6.2, 9.6)
 * with the behaviour of etcd's raft.
 * A damaged replica (entries that it acknowledged and votes that it gave may be gone) neither campaigns nor votes, and takes entries without being
 * counted; it is whole again, and counts as having voted for the leader, when it durably holds what a leader has committed in its own term since it knows
 * of the damage and was confirmed by a majority of others. Until raft_is_damaged is false and the state saved since then is durable the edge must remember
 * that it is damaged, over restarts too.
 * raft.c takes what comes: messages, the clock, what was saved. Elections: election.c; a follower's side: append.c; a leader's: progress.c; who counts: members.c;
 * how a member starts: start.c; which term wrote what: log.c.
 * Threads: the shard of the stripe.   Units: ns of io_now_ns; indices count entries from 1. Nothing allocates after raft_new, but the runs of terms. */
#ifndef KEEL_SEGSTORE_RAFT_RAFT_H
#define KEEL_SEGSTORE_RAFT_RAFT_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RAFT_MEMBERS_MAX = 7, RAFT_NONE = 0 };

/* Who counts, by node number (1 ..). While outgoing is not empty the configuration is joint: both halves must agree. */
struct raft_members {
    uint16_t voters[RAFT_MEMBERS_MAX];
    uint16_t outgoing[RAFT_MEMBERS_MAX];
    /* Take entries, are not counted; those that leave a voter's place are in outgoing until the joint one ends. */
    uint16_t learners[RAFT_MEMBERS_MAX];
    uint8_t  voter_count;
    uint8_t  outgoing_count;
    uint8_t  learner_count;
};

enum raft_role { RAFT_FOLLOWER, RAFT_PRECANDIDATE, RAFT_CANDIDATE, RAFT_LEADER };

/* Numbers travel over RPC: never reused. */
enum raft_kind {
    RAFT_APPEND = 1, /* index, log_term: what the entries follow; count, terms: of the entries; commit */
    /* refused 0: index = durable and matching up to here. refused 1: index = that of the APPEND; hint, log_term: the last entry at or before it that may match,
     * and its term */
    RAFT_APPEND_ACK    = 2,
    RAFT_HEARTBEAT     = 3, /* commit (at most what the receiver is known to hold), clock: echoed */
    RAFT_HEARTBEAT_ACK = 4, /* clock */
    RAFT_VOTE = 5, /* index, log_term: the candidate's last entry; pre; transfer: the old leader asked for it */
    /* pre, refused; index, log_term: what the voter knows to be committed; hint: ns that a former leader's lease may go on. */
    RAFT_VOTE_ACK    = 6,
    RAFT_TIMEOUT_NOW = 7, /* leader -> the one that is to lead: campaign at once */
};

struct raft_message {
    uint8_t kind; /* enum raft_kind */
    bool    refused;
    bool    pre;
    bool    transfer;
    /* Of an answer: the sender is not to be counted. Of a HEARTBEAT: the leader knows that the receiver is; commit is all of its own,
     * hint is the clock of the newest heartbeat that a majority of others answered. */
    bool            damaged;
    uint16_t        from;
    uint16_t        to;
    uint32_t        count;
    uint64_t        term; /* of the sender; of a pre-vote: the one that it would campaign in */
    uint64_t        index;
    uint64_t        log_term;
    uint64_t        commit;
    uint64_t        hint;
    uint64_t        clock; /* ns of the leader's clock */
    const uint64_t *terms; /* of the entries, count of them; borrowed */
};

struct raft_hooks {
    void *ctx;
    /* Send it, or lose it. Never RAFT_APPEND: those are fetched by raft_wants. */
    void (*send)(void *ctx, const struct raft_message *message);
    /* Make term and vote durable, behind everything written before; then raft_saved(term, vote). */
    void (*save)(void *ctx, uint64_t term, uint16_t vote);
    /* The leader needs an entry of its own term (after an election): propose an empty one now. */
    void (*lead)(void *ctx);
};

struct raft_options {
    uint16_t self;
    uint64_t heartbeat_ns;
    uint64_t election_ns; /* a follower waits election_ns .. 2 * election_ns, drawn anew each time */
    /* At most election_ns: a leader trusts nine tenths of it from a heartbeat on that a majority answered; one that is elected sooner lets it run out
     * before it commits. */
    uint64_t lease_ns;
    uint32_t window_entries; /* under way to one follower that keeps up */
    uint64_t window_bytes;
    uint64_t seed; /* of its own random numbers */
};

/* What was durable. */
struct raft_stored {
    uint64_t            term;
    uint64_t            commit;  /* at least applied */
    uint64_t            applied; /* index of the last entry in the image: the log begins behind it */
    uint64_t            applied_term;
    struct raft_members members; /* as of applied */
    uint16_t            vote;
    bool                damaged;
};

struct raft;

struct raft *raft_new(const struct raft_options *options, const struct raft_hooks *hooks);
void         raft_free(struct raft *raft);

/* ---- start ---- */
/* Once, before anything else: what the checkpoint says (or nothing: term 0, members of a new cluster). */
void raft_restore(struct raft *raft, const struct raft_stored *stored);
/* Replay of the log, in its order: an entry (it and what it replaces, from its index on, counts as durable), or a saved term and vote. An entry at or below
 * the applied index is passed over; false: there is a hole before this one. */
bool raft_restore_entry(struct raft *raft, uint64_t index, uint64_t term);
void raft_restore_state(struct raft *raft, uint64_t term, uint16_t vote);
void raft_restore_commit(struct raft *raft, uint64_t commit);
/* The replay ended in damage: see above. Also later, when damage is found while it runs: a leader steps down. */
void raft_damaged(struct raft *raft);
/* Of a damaged replica, also while it runs, as long as it has taken nothing from a leader since: an entry that was lost and is back, or one that lies behind it.
 * It replaces what is there from its index on, nothing that is committed. */
void raft_refill(struct raft *raft, uint64_t index, uint64_t term);
/* It is certain that all is here that was acknowledged, and that no vote was given in this term or a later one that is not known: it counts again. */
void raft_mend(struct raft *raft, uint64_t term);
/* Of one that does not lead and whose log is durable: entry index, behind what is applied, cannot be had any more, and whoever decides has accepted that it is lost. It and what lies
 * behind it leave the log; the commit index goes back with the log, and nothing else takes it back: the replica is damaged from now on (raft_refill, raft_mend). */
void raft_cut(struct raft *raft, uint64_t index);
/* From now on the clock runs. A sole voter leads at once: in its stored term when that has its own vote, else in a new one (after raft_saved). */
void raft_start(struct raft *raft, uint64_t now_ns);

/* ---- events ---- */
void     raft_tick(struct raft *raft, uint64_t now_ns);
uint64_t raft_next_ns(const struct raft *raft);
/* Any message but RAFT_APPEND. Messages of nodes that are no members are answered as Raft demands (a removed node must not disturb, a new one
 * may know more than this). */
void raft_receive(struct raft *raft, const struct raft_message *message, uint64_t now_ns);

/* A RAFT_APPEND: what of it is new. The edge writes entries [skip, count) to the log (index message->index + 1 + skip ..), replacing everything from there on, and
 * calls raft_stable for each; the answer leaves by itself. take false: nothing to write. The entries count as written when this returns: an edge that
 * cannot take them must look before it asks (raft_append_refuse). */
struct raft_taken {
    bool     take;
    uint32_t skip;
};
struct raft_taken raft_append(struct raft *raft, const struct raft_message *message, uint64_t now_ns);
/* There is no room for it now: refused like one that does not match, so that the leader tries again with the next heartbeat. */
void raft_append_refuse(struct raft *raft, const struct raft_message *message, uint64_t now_ns);

/* Leader: the next entry, not durable yet. Its index, or 0: this is no leader, or it hands its lead over. */
uint64_t raft_propose(struct raft *raft);
/* The write of this entry is durable (entries that were replaced since are passed over). */
void raft_stable(struct raft *raft, uint64_t index, uint64_t term);
/* The write of this state is durable. */
void raft_saved(struct raft *raft, uint64_t term, uint16_t vote);
/* Applied up to here: a leader's change of members may begin only when the one before was applied. */
void raft_applied(struct raft *raft, uint64_t index);
/* The members are others now: an entry that changes them was appended (it counts from then on, committed or not), or replaced. A leader is among the voters of
 * what it proposes last. */
void raft_set_members(struct raft *raft, const struct raft_members *members);
/* Leader: may a change of members be proposed now? No: the former is not applied here. An edge that lets a change count only where it is applied must know,
 * beside this, that every member has applied the former and will not forget it over a restart: two sets of members that are two changes apart
 * need not share a majority. One that lets it count where it is appended need not (Raft, 4.3). */
bool raft_may_change(const struct raft *raft);
/* It was proposed as this entry. */
void raft_changing(struct raft *raft, uint64_t index);
/* Entries up to index (applied and durable here) are no longer at hand for followers that lag. */
void raft_compact(struct raft *raft, uint64_t index);
/* Follower: does what is here hold all of an image as of (index, term)? Then raft_install, at any time, only takes note of it. */
bool raft_holds(const struct raft *raft, uint64_t index, uint64_t term);
/* Follower: an image as of (index, term) is durable here and replaces everything. False: what is here holds it already, the log stays. Acknowledges either way. */
bool raft_install(struct raft *raft, uint64_t index, uint64_t term, const struct raft_members *members);
/* This node is no member any more, and that is committed: its log is given up. It counts as damaged until it is a member again that holds everything: an empty log would
 * vote for anybody. Not for a leader. */
void raft_leave(struct raft *raft);
/* A connection to this node broke, or began anew: what was under way to it is lost. */
void raft_peer_reset(struct raft *raft, uint16_t node);
/* This node's process seems to be gone (its machine answered for it): whoever followed it campaigns soon. A firewall may answer like that for one that lives: its lease is
 * waited for. */
void raft_peer_dead(struct raft *raft, uint16_t node, uint64_t now_ns);
/* Sends what was gathered: acknowledgements of appends. Once per turn of the loop. */
void raft_flush(struct raft *raft);
/* Leader: hand over to this voter. False: it is no voter that can. After an election timeout it ends by itself: the leader goes on, in a new term if the
 * other one was told to campaign already. */
bool raft_transfer(struct raft *raft, uint16_t node, uint64_t now_ns);
/* Nobody leads yet and this node should: it campaigns soon. */
void raft_hurry(struct raft *raft, uint64_t now_ns);
/* A node that should not lead (it is drained, its disk is slow): it does not campaign, and says no to a transfer; as a candidate or leader it steps
 * down. */
void raft_shy(struct raft *raft, bool shy);

/* ---- a leader's followers ---- */
struct raft_want {
    uint64_t first;     /* of the entries to send: one RAFT_APPEND whose index is first - 1 */
    uint64_t log_term;  /* of entry first - 1 */
    uint64_t last;      /* at most to here; first - 1: an empty APPEND, to find out where it stands */
    uint64_t bytes_max; /* of bodies, a first one may be larger */
    bool     snapshot;  /* entry first is not at hand any more: an image is wanted instead */
};
/* May something be sent to it now? */
bool raft_wants(const struct raft *raft, uint16_t node, struct raft_want *out);
/* It was sent entries [first, first + count). */
void raft_sent(struct raft *raft, uint16_t node, uint64_t first, uint32_t count, uint64_t bytes);
/* An image as of index is being sent; it arrived (the log goes on behind it), or did not. */
void raft_snapshot_begin(struct raft *raft, uint16_t node, uint64_t index);
void raft_snapshot_end(struct raft *raft, uint16_t node, bool arrived);

struct raft_progress {
    uint64_t match; /* durable there */
    uint64_t next;
    bool     active; /* heard of within an election timeout */
    bool     snapshot;
    uint64_t image;    /* snapshot: as of this entry */
    bool     keeps_up; /* replicates without probing */
    bool     damaged;  /* counts for nothing */
};
bool raft_progress(const struct raft *raft, uint16_t node, struct raft_progress *out);

/* ---- what is ---- */
enum raft_role raft_role(const struct raft *raft);
uint64_t       raft_term(const struct raft *raft);
uint16_t       raft_vote(const struct raft *raft);
uint16_t       raft_leader(const struct raft *raft); /* RAFT_NONE: not known */
uint64_t       raft_commit(const struct raft *raft);
uint64_t       raft_first(const struct raft *raft); /* of the log: the entry behind what was compacted */
uint64_t       raft_last(const struct raft *raft);
uint64_t       raft_stable_index(const struct raft *raft);            /* durable here without a hole */
uint64_t       raft_term_at(const struct raft *raft, uint64_t index); /* 0: not known (compacted, or behind the end) */
const struct raft_members *raft_members(const struct raft *raft);
bool                       raft_is_damaged(const struct raft *raft);
/* Leader: has an entry of its own term been committed, so that what is applied is all that was ever acknowledged? */
bool raft_is_settled(const struct raft *raft);
/* Leader: no other leader can have committed anything before this moment, so that reads of what is applied are current. */
bool raft_lease(const struct raft *raft, uint64_t now_ns);

/* members.c */
bool raft_members_voter(const struct raft_members *members, uint16_t node);
bool raft_members_any(const struct raft_members *members, uint16_t node);
/* Calls for every node once. */
size_t raft_members_list(const struct raft_members *members, uint16_t out[3 * RAFT_MEMBERS_MAX]);

#endif
