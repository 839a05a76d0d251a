/* state - what the files of this room share. Nobody else includes it.
 * Threads: the shard of the stripe. */
#ifndef KEEL_SEGSTORE_RAFT_STATE_H
#define KEEL_SEGSTORE_RAFT_STATE_H

#include "segstore/raft/log.h"
#include "segstore/raft/raft.h"

enum { FLIGHTS_MAX = 64, FOLLOWERS_MAX = 3 * RAFT_MEMBERS_MAX };

/* PROBE: one message, then an answer or the next heartbeat's. REPLICATE: it keeps up. SNAPSHOT: an image is on its way. */
enum follower_state { PROBE, REPLICATE, SNAPSHOT };

struct flight {
    uint64_t last; /* entry */
    uint64_t bytes;
};

/* What a leader knows of another member. */
struct follower {
    uint16_t      node;
    uint8_t       state;      /* enum follower_state */
    bool          probed;     /* the one message is out */
    bool          active;     /* heard of since the last check */
    bool          damaged;    /* counts for nothing */
    uint64_t      damaged_ns; /* since then */
    uint64_t      match;
    uint64_t      next;
    uint64_t      image;    /* SNAPSHOT: as of this entry */
    uint64_t      clock_ns; /* newest of this leader's heartbeats that it answered */
    uint64_t      heard_ns;
    uint64_t      moved_ns;             /* match rose, or all was acknowledged */
    struct flight flights[FLIGHTS_MAX]; /* ring */
    uint32_t      flight_first;
    uint32_t      flight_count;
    uint64_t      flight_bytes;
};

struct raft {
    struct raft_options options;
    struct raft_hooks   hooks;
    struct raft_members members;
    struct raft_log     log;
    uint64_t            random;
    uint64_t            term;
    uint64_t            commit;
    uint64_t            applied;
    uint64_t            changing;    /* entry of the last change of members */
    uint64_t            now_ns;      /* of the last event */
    uint64_t            election_ns; /* when this node campaigns */
    uint64_t            heard_ns;    /* of the leader */
    uint64_t        lease_end_ns; /* of whom this node heard last: until then it may believe that nobody else commits */
    uint64_t        quiet_ns;     /* candidate, leader: the leases of all who led before end; 0: they have */
    uint64_t        heartbeat_ns; /* leader: the next one */
    uint64_t        check_ns;     /* leader: is there still a quorum? */
    uint64_t        transfer_ns;  /* when the transfer is given up */
    uint64_t        lead_first;   /* of this lead */
    uint64_t        matched;      /* follower: equal to the leader's log up to here */
    uint64_t        acked;        /* follower: told the leader */
    uint64_t        heard_commit; /* follower: the leader's, in this term */
    uint64_t        start_ns;     /* of the clock, or of the damage */
    uint64_t        heal_clock;   /* damaged: the leader's, when it knew; 0: it does not yet */
    uint64_t        heal_commit;  /* damaged: what makes it whole; 0: not known */
    uint16_t        vote;
    uint16_t        leader;
    uint16_t        transferee;
    uint8_t         role;
    bool            started;
    bool            alone;
    bool            saved; /* term and vote are durable */
    bool            ack_wanted;
    bool            grant_held; /* to `vote`, until it is durable */
    bool            damaged;
    bool            shy;
    bool            forgot;         /* whom it heard of before it started */
    bool            was_joined;     /* the replay changed the members */
    bool            transfer_asked; /* in this lead somebody was told to campaign */
    bool            by_transfer;    /* this campaign: the old leader asked for it */
    uint16_t        granted[FOLLOWERS_MAX];
    uint16_t        denied[FOLLOWERS_MAX];
    uint8_t         granted_count;
    uint8_t         denied_count;
    struct follower followers[FOLLOWERS_MAX];
    uint8_t         follower_count;
};

enum tally { TALLY_OPEN, TALLY_WON, TALLY_LOST };

/* members.c */
uint64_t   quorum_value(const struct raft *r, uint64_t (*value)(const struct raft *, uint16_t));
enum tally tally(const struct raft *r);

/* raft.c */
/* Forgets what holds in one term alone. */
void begin_term(struct raft *r, uint64_t term);
/* For an election timeout at least. */
void wait_for_leader(struct raft *r);
/* Is it the only member? */
void look_alone(struct raft *r);
void become_follower(struct raft *r, uint64_t term, uint16_t leader);
void send_message(struct raft *r, struct raft_message *m, uint16_t to);
/* term and vote have changed. */
void save(struct raft *r);
/* Follows the term of a message, or answers and drops it. False: it is dealt with. */
bool receive_term(struct raft *r, const struct raft_message *m);
void heard_leader(struct raft *r, uint16_t leader);
/* ns that the lease of whom it heard last may go on. */
uint64_t lease_left(const struct raft *r);

/* election.c */
bool may_campaign(const struct raft *r);
/* pre: asks whether it would be elected, and goes on by itself when a majority would. */
void campaign(struct raft *r, bool pre);
/* The term of the vote is durable: the others are asked, and the own vote counts. */
void ask_and_count(struct raft *r);
void become_leader(struct raft *r);
void answer_vote(struct raft *r, const struct raft_message *m, bool granted);
void hear_commit(struct raft *r, const struct raft_message *m);
void receive_vote(struct raft *r, const struct raft_message *m);
void receive_vote_ack(struct raft *r, const struct raft_message *m);

/* append.c */
void heal(struct raft *r);
void receive_heartbeat(struct raft *r, const struct raft_message *m);

/* progress.c */
void followers_reset(struct raft *r);
void followers_members(struct raft *r);
void receive_append_ack(struct raft *r, const struct raft_message *m);
void receive_heartbeat_ack(struct raft *r, const struct raft_message *m);
void send_heartbeats(struct raft *r);
/* The leader's commit index, as far as it may rise. */
void maybe_commit(struct raft *r);
/* Has a majority been heard of since the last check? Begins the next one. */
bool check_quorum(struct raft *r);

#endif
