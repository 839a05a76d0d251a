/* raft.c - terms, messages, the clock, members: what one event does to a member. Elections: election.c. The log: append.c, progress.c. */
#include "segstore/raft/state.h"

/* A number below `below`. */
static uint64_t draw(struct raft *r, uint64_t below)
{
    r->random ^= r->random << 13;
    r->random ^= r->random >> 7;
    r->random ^= r->random << 17;
    return below == 0 ? 0 : r->random % below;
}

void send_message(struct raft *r, struct raft_message *m, uint16_t to)
{
    m->from = r->options.self;
    m->to   = to;
    m->term = m->term != 0 ? m->term : r->term;
    r->hooks.send(r->hooks.ctx, m);
}

void save(struct raft *r)
{
    r->saved = false;
    r->hooks.save(r->hooks.ctx, r->term, r->vote);
}

void wait_for_leader(struct raft *r)
{
    r->election_ns = r->now_ns + r->options.election_ns + draw(r, r->options.election_ns);
}

/* Nothing of what is known of the leader's log in one term holds in another. */
void begin_term(struct raft *r, uint64_t term)
{
    r->term         = term;
    r->vote         = RAFT_NONE;
    r->grant_held   = false;
    r->matched      = 0;
    r->acked        = 0;
    r->heard_commit = 0;
    r->ack_wanted   = false;
    r->heal_clock   = 0;
    r->heal_commit  = 0;
}

void become_follower(struct raft *r, uint64_t term, uint16_t leader)
{
    ASSERT(term >= r->term);
    if (term != r->term) {
        begin_term(r, term);
        save(r);
    }
    if (r->role != RAFT_FOLLOWER) {
        wait_for_leader(r);
    }
    r->role       = RAFT_FOLLOWER;
    r->leader     = leader;
    r->transferee = RAFT_NONE;
}

void heard_leader(struct raft *r, uint16_t leader)
{
    if (r->role != RAFT_FOLLOWER || r->leader != leader) {
        become_follower(r, r->term, leader);
    }
    r->heard_ns     = r->now_ns;
    r->lease_end_ns = r->now_ns + r->options.lease_ns;
    r->forgot       = false;
    wait_for_leader(r);
}

uint64_t lease_left(const struct raft *r)
{
    return r->lease_end_ns > r->now_ns ? r->lease_end_ns - r->now_ns : 0;
}

/* ---- messages ---- */

/* A leader that was heard of lately is not to be disturbed by one that hears nothing. */
static bool in_lease(const struct raft *r)
{
    return r->role == RAFT_LEADER ||
           ((r->leader != RAFT_NONE || r->forgot) && r->now_ns < r->heard_ns + r->options.election_ns);
}

bool receive_term(struct raft *r, const struct raft_message *m)
{
    if (m->term > r->term) {
        if (m->kind == RAFT_VOTE && !m->transfer && in_lease(r)) {
            return false;
        }
        bool promise = m->pre && (m->kind == RAFT_VOTE || (m->kind == RAFT_VOTE_ACK && !m->refused));
        if (!promise) {
            become_follower(r, m->term, RAFT_NONE);
        }
        return true;
    }
    if (m->term < r->term) {
        if (m->kind == RAFT_APPEND || m->kind == RAFT_HEARTBEAT) { /* a leader that has been deposed hears of it */
            struct raft_message answer = {.kind = RAFT_APPEND_ACK, .refused = true};
            send_message(r, &answer, m->from);
        } else if (m->kind == RAFT_VOTE) {
            answer_vote(r, m, false);
        }
        return false;
    }
    return true;
}

void raft_receive(struct raft *r, const struct raft_message *m, uint64_t now_ns)
{
    r->now_ns = now_ns;
    if (!r->started || m->from == RAFT_NONE || m->from == r->options.self || m->term == 0 || !receive_term(r, m)) {
        return;
    }
    switch ((enum raft_kind)m->kind) {
    case RAFT_VOTE:
        receive_vote(r, m);
        return;
    case RAFT_VOTE_ACK:
        if (r->role != RAFT_LEADER) {
            hear_commit(r, m);
        }
        receive_vote_ack(r, m);
        return;
    case RAFT_HEARTBEAT:
        if (r->role != RAFT_LEADER) {
            receive_heartbeat(r, m);
        }
        return;
    case RAFT_HEARTBEAT_ACK:
        if (r->role == RAFT_LEADER) {
            receive_heartbeat_ack(r, m);
        }
        return;
    case RAFT_APPEND_ACK:
        if (r->role == RAFT_LEADER) {
            receive_append_ack(r, m);
        }
        return;
    case RAFT_TIMEOUT_NOW:
        if (r->role == RAFT_FOLLOWER && r->leader == m->from && may_campaign(r)) {
            r->by_transfer = true;
            campaign(r, false);
        }
        return;
    case RAFT_APPEND: /* raft_append */
        return;
    }
}

void raft_saved(struct raft *r, uint64_t term, uint16_t vote)
{
    if (r->saved || term != r->term || vote != r->vote) {
        return;
    }
    r->saved = true;
    if (r->role == RAFT_CANDIDATE) {
        ask_and_count(r);
    } else if (r->grant_held) {
        struct raft_message answer = {.kind = RAFT_VOTE_ACK, .hint = lease_left(r)};
        r->grant_held              = false;
        send_message(r, &answer, r->vote);
    }
    heal(r);
}

/* ---- what others find out about it ---- */

void raft_damaged(struct raft *r)
{
    r->damaged     = true;
    r->grant_held  = false;
    r->heal_clock  = 0;
    r->heal_commit = 0;
    r->start_ns    = r->now_ns;
    if (r->started && r->role != RAFT_FOLLOWER) {
        become_follower(r, r->term, RAFT_NONE);
    }
}

void raft_shy(struct raft *r, bool shy)
{
    r->shy = shy;
    if (shy && r->started && !r->alone && r->role != RAFT_FOLLOWER) {
        become_follower(r, r->term, RAFT_NONE);
    }
}

void raft_hurry(struct raft *r, uint64_t now_ns)
{
    r->now_ns = now_ns;
    if (r->role == RAFT_FOLLOWER && r->leader == RAFT_NONE) {
        r->election_ns = now_ns + draw(r, r->options.heartbeat_ns);
    }
}

/* ---- the clock ---- */

/* A moment that all stripes have in common, so that their heartbeats leave together. */
static uint64_t beat_after(const struct raft *r, uint64_t now_ns)
{
    return now_ns - now_ns % r->options.heartbeat_ns + r->options.heartbeat_ns;
}

/* It was told to campaign and still may, however late, and those who vote do not wait for this lead to run out. Only a new term ends that; nobody
 * may be left to trust this one. */
static void give_up_transfer(struct raft *r)
{
    bool asked    = r->transfer_asked;
    r->transferee = RAFT_NONE;
    if (asked) {
        become_follower(r, r->term, RAFT_NONE);
        r->by_transfer = true;
        campaign(r, false);
    }
}

void raft_tick(struct raft *r, uint64_t now_ns)
{
    r->now_ns = now_ns;
    if (!r->started || (r->alone && r->role == RAFT_LEADER)) {
        return;
    }
    if (r->role != RAFT_LEADER) {
        if (now_ns >= r->election_ns) {
            r->by_transfer = false;
            campaign(r, true);
        }
        return;
    }
    if (r->quiet_ns != 0 && now_ns >= r->quiet_ns) {
        r->quiet_ns = 0;
        maybe_commit(r);
    }
    if (r->transferee != RAFT_NONE && now_ns >= r->transfer_ns) {
        give_up_transfer(r);
        return;
    }
    if (now_ns >= r->check_ns) {
        r->check_ns = beat_after(r, now_ns + r->options.election_ns);
        if (!check_quorum(r)) {
            become_follower(r, r->term, RAFT_NONE);
            return;
        }
    }
    if (now_ns >= r->heartbeat_ns) {
        r->heartbeat_ns = beat_after(r, now_ns);
        send_heartbeats(r);
    }
}

uint64_t raft_next_ns(const struct raft *r)
{
    if (!r->started || (r->alone && r->role == RAFT_LEADER)) {
        return UINT64_MAX;
    }
    if (r->role != RAFT_LEADER) {
        return r->election_ns;
    }
    uint64_t next = r->heartbeat_ns < r->check_ns ? r->heartbeat_ns : r->check_ns;
    next          = r->quiet_ns != 0 && r->quiet_ns < next ? r->quiet_ns : next;
    return r->transferee != RAFT_NONE && r->transfer_ns < next ? r->transfer_ns : next;
}

void raft_peer_dead(struct raft *r, uint16_t node, uint64_t now_ns)
{
    r->now_ns = now_ns;
    if (r->started && r->role == RAFT_FOLLOWER && r->leader == node) {
        become_follower(r, r->term, RAFT_NONE);
        r->election_ns = now_ns + draw(r, r->options.heartbeat_ns);
    }
}

/* ---- members ---- */

void look_alone(struct raft *r)
{
    r->alone = r->members.voter_count == 1 && r->members.outgoing_count == 0 && r->members.learner_count == 0 &&
               r->members.voters[0] == r->options.self;
}

void raft_applied(struct raft *r, uint64_t index)
{
    r->applied = index;
}

void raft_set_members(struct raft *r, const struct raft_members *members)
{
    bool was_alone = r->alone;
    r->members     = *members;
    look_alone(r);
    if (!r->started) {
        r->was_joined = true;
        return;
    }
    if (r->alone && !was_alone && r->role == RAFT_LEADER) {
        /* Others may hold entries of this term that are not durable here; a sole voter resumes in its term. */
        become_follower(r, r->term, RAFT_NONE);
        campaign(r, false);
        return;
    }
    bool voter = raft_members_voter(members, r->options.self);
    if (r->role == RAFT_LEADER && !voter) {
        send_heartbeats(r); /* the others hear of it */
        become_follower(r, r->term, RAFT_NONE);
    } else if (r->role == RAFT_LEADER) {
        followers_members(r);
        maybe_commit(r);
    } else if (!voter && r->role != RAFT_FOLLOWER) {
        become_follower(r, r->term, RAFT_NONE);
    }
}

bool raft_may_change(const struct raft *r)
{
    return r->role == RAFT_LEADER && r->transferee == RAFT_NONE && r->changing <= r->applied;
}

void raft_changing(struct raft *r, uint64_t index)
{
    r->changing = index;
}

void raft_compact(struct raft *r, uint64_t index)
{
    ASSERT(index <= r->applied && index <= r->log.stable);
    log_compact(&r->log, index);
}

/* ---- what is ---- */

enum raft_role raft_role(const struct raft *r)
{
    return (enum raft_role)r->role;
}
uint64_t raft_term(const struct raft *r)
{
    return r->term;
}
uint16_t raft_vote(const struct raft *r)
{
    return r->vote;
}
uint16_t raft_leader(const struct raft *r)
{
    return r->leader;
}
uint64_t raft_commit(const struct raft *r)
{
    return r->commit;
}
uint64_t raft_first(const struct raft *r)
{
    return r->log.first;
}
uint64_t raft_last(const struct raft *r)
{
    return r->log.last;
}
uint64_t raft_stable_index(const struct raft *r)
{
    return r->log.stable;
}
uint64_t raft_term_at(const struct raft *r, uint64_t index)
{
    return log_term(&r->log, index);
}
const struct raft_members *raft_members(const struct raft *r)
{
    return &r->members;
}
bool raft_is_damaged(const struct raft *r)
{
    return r->damaged;
}
bool raft_is_settled(const struct raft *r)
{
    return r->role == RAFT_LEADER && (r->alone || r->commit >= r->lead_first);
}
