/* election.c - how a member becomes the leader.
 *
 *               timeout                   a majority would            a majority does, all saved
 *   FOLLOWER ───────────▶ PRECANDIDATE ───────────────▶ CANDIDATE ───────────────▶ LEADER
 *      ▲                      │  a leader, a higher term, a refusing majority, no quorum       │
 *      └──────────────────────┴────────────────────────────┴──────────────────────────────────┘ */
#include "segstore/raft/state.h"

bool may_campaign(const struct raft *r)
{
    return !r->damaged && !r->shy && raft_members_voter(&r->members, r->options.self);
}

void become_leader(struct raft *r)
{
    r->role           = RAFT_LEADER;
    r->quiet_ns       = r->quiet_ns > r->now_ns ? r->quiet_ns : 0;
    r->leader         = r->options.self;
    r->transferee     = RAFT_NONE;
    r->transfer_asked = false;
    r->lead_first     = r->log.last + 1;
    r->changing       = r->log.last; /* one of these may be a change that is not applied */
    r->heartbeat_ns   = r->now_ns;
    r->check_ns       = r->now_ns + r->options.election_ns;
    followers_reset(r);
    if (r->alone) {
        r->commit = r->log.stable > r->commit ? r->log.stable : r->commit;
    } else {
        send_heartbeats(r);
        r->hooks.lead(r->hooks.ctx);
    }
}

/* A leader that has asked another one to campaign serves no reads in that term any more, and it let the leases before its own run out. */
static void leases_over(struct raft *r)
{
    r->lease_end_ns = 0;
}

static void ask_for_votes(struct raft *r, bool pre)
{
    uint16_t nodes[FOLLOWERS_MAX];
    size_t   count = raft_members_list(&r->members, nodes);
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] != r->options.self && raft_members_voter(&r->members, nodes[i])) {
            struct raft_message m = {.kind     = RAFT_VOTE,
                                     .pre      = pre,
                                     .transfer = r->by_transfer,
                                     .term     = pre ? r->term + 1 : r->term,
                                     .index    = r->log.last,
                                     .log_term = log_term(&r->log, r->log.last)};
            send_message(r, &m, nodes[i]);
        }
    }
}

static void count_vote(struct raft *r, uint16_t node, bool granted);

void campaign(struct raft *r, bool pre)
{
    wait_for_leader(r);
    if (!may_campaign(r)) {
        r->leader = RAFT_NONE; /* it has been silent: others, and what heals without a leader, are not to wait for it */
        return;
    }
    r->leader        = RAFT_NONE;
    r->granted_count = 0;
    r->denied_count  = 0;
    if (pre) {
        r->role = RAFT_PRECANDIDATE;
        ask_for_votes(r, true);
        count_vote(r, r->options.self, true);
        return;
    }
    r->role = RAFT_CANDIDATE;
    if (r->by_transfer) {
        leases_over(r);
    }
    r->quiet_ns = r->now_ns + lease_left(r);
    begin_term(r, r->term + 1);
    r->vote = r->options.self;
    save(r); /* then it counts, and the others are asked */
}

static void count_vote(struct raft *r, uint16_t node, bool granted)
{
    for (uint8_t i = 0; i < r->granted_count; i++) {
        if (r->granted[i] == node) {
            return;
        }
    }
    for (uint8_t i = 0; i < r->denied_count; i++) {
        if (r->denied[i] == node) {
            return;
        }
    }
    if (granted && r->granted_count < FOLLOWERS_MAX) {
        r->granted[r->granted_count++] = node;
    } else if (!granted && r->denied_count < FOLLOWERS_MAX) {
        r->denied[r->denied_count++] = node;
    }
    switch (tally(r)) {
    case TALLY_WON:
        if (r->role == RAFT_PRECANDIDATE) {
            campaign(r, false);
        } else {
            become_leader(r);
        }
        return;
    case TALLY_LOST:
        become_follower(r, r->term, RAFT_NONE);
        return;
    case TALLY_OPEN:
        return;
    }
}

void ask_and_count(struct raft *r)
{
    ask_for_votes(r, false);
    count_vote(r, r->options.self, true);
}

void answer_vote(struct raft *r, const struct raft_message *m, bool granted)
{
    struct raft_message answer = {.kind     = RAFT_VOTE_ACK,
                                  .pre      = m->pre,
                                  .refused  = !granted,
                                  .index    = r->commit,
                                  .log_term = log_term(&r->log, r->commit),
                                  .hint     = granted ? lease_left(r) : 0,
                                  .term     = granted && m->pre ? m->term : r->term};
    send_message(r, &answer, m->from);
}

/* Who knows that it was removed does not campaign, and its log may be too long for those to win who do not know it yet: they hear of it here. */
void hear_commit(struct raft *r, const struct raft_message *m)
{
    if (m->index > r->commit && m->log_term != 0 && log_term(&r->log, m->index) == m->log_term) {
        r->commit = m->index;
    }
}

void receive_vote(struct raft *r, const struct raft_message *m)
{
    uint64_t last_term = log_term(&r->log, r->log.last);
    bool     current   = m->log_term > last_term || (m->log_term == last_term && m->index >= r->log.last);
    bool     free = m->pre ? m->term > r->term : r->vote == m->from || (r->vote == RAFT_NONE && r->leader == RAFT_NONE);
    if (r->damaged || !current || !free) {
        answer_vote(r, m, false);
    } else if (m->pre) {
        answer_vote(r, m, true);
    } else {
        if (m->transfer) {
            leases_over(r);
        }
        if (r->vote != m->from) {
            r->vote = m->from;
            save(r);
        }
        wait_for_leader(r);
        if (r->saved) {
            answer_vote(r, m, true);
        } else {
            r->grant_held = true;
        }
    }
}

void receive_vote_ack(struct raft *r, const struct raft_message *m)
{
    if (r->role == (m->pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) && raft_members_voter(&r->members, m->from) &&
        (m->pre ? m->refused || m->term == r->term + 1 : r->saved)) {
        uint64_t left = m->hint < r->options.lease_ns ? m->hint : r->options.lease_ns;
        if (!m->pre && !m->refused && r->now_ns + left > r->quiet_ns) {
            r->quiet_ns = r->now_ns + left;
        }
        count_vote(r, m->from, !m->refused);
    }
}
