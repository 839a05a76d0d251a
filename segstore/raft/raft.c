/* raft.c - terms, elections, the clock.
 *
 *               timeout                   a majority would            a majority does, all saved
 *   FOLLOWER ───────────▶ PRECANDIDATE ───────────────▶ CANDIDATE ───────────────▶ LEADER
 *      ▲                      │  a leader, a higher term, a refusing majority, no quorum       │
 *      └──────────────────────┴────────────────────────────┴──────────────────────────────────┘ */
#include "segstore/raft/state.h"

#include <stdlib.h>

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

static void wait_for_leader(struct raft *r)
{
    r->election_ns = r->now_ns + r->options.election_ns + draw(r, r->options.election_ns);
}

/* Nothing of what is known of the leader's log in one term holds in another. */
static void begin_term(struct raft *r, uint64_t term)
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
    r->heard_ns = r->now_ns;
    r->forgot   = false;
    wait_for_leader(r);
}

/* ---- elections ---- */

static bool may_campaign(const struct raft *r)
{
    return !r->damaged && !r->shy && raft_members_voter(&r->members, r->options.self);
}

static void become_leader(struct raft *r)
{
    r->role           = RAFT_LEADER;
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

static void campaign(struct raft *r, bool pre)
{
    wait_for_leader(r);
    if (!may_campaign(r)) {
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

static void answer_vote(struct raft *r, const struct raft_message *m, bool granted)
{
    struct raft_message answer = {.kind     = RAFT_VOTE_ACK,
                                  .pre      = m->pre,
                                  .refused  = !granted,
                                  .index    = r->commit,
                                  .log_term = log_term(&r->log, r->commit),
                                  .term     = granted && m->pre ? m->term : r->term};
    send_message(r, &answer, m->from);
}

/* Who knows that it was removed does not campaign, and its log may be too long for those to win who do not know it yet: they hear of it here. */
static void hear_commit(struct raft *r, const struct raft_message *m)
{
    if (m->index > r->commit && m->log_term != 0 && log_term(&r->log, m->index) == m->log_term) {
        r->commit = m->index;
    }
}

static void receive_vote(struct raft *r, const struct raft_message *m)
{
    uint64_t last_term = log_term(&r->log, r->log.last);
    bool     current   = m->log_term > last_term || (m->log_term == last_term && m->index >= r->log.last);
    bool     free = m->pre ? m->term > r->term : r->vote == m->from || (r->vote == RAFT_NONE && r->leader == RAFT_NONE);
    if (r->damaged || !current || !free) {
        answer_vote(r, m, false);
    } else if (m->pre) {
        answer_vote(r, m, true);
    } else {
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

static void receive_vote_ack(struct raft *r, const struct raft_message *m)
{
    if (r->role == (m->pre ? RAFT_PRECANDIDATE : RAFT_CANDIDATE) && raft_members_voter(&r->members, m->from) &&
        (m->pre ? m->refused || m->term == r->term + 1 : r->saved)) {
        count_vote(r, m->from, !m->refused);
    }
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
        ask_for_votes(r, false);
        count_vote(r, r->options.self, true);
    } else if (r->grant_held) {
        struct raft_message answer = {.kind = RAFT_VOTE_ACK};
        r->grant_held              = false;
        send_message(r, &answer, r->vote);
    }
    heal(r);
}

/* ---- life ---- */

struct raft *raft_new(const struct raft_options *options, const struct raft_hooks *hooks)
{
    struct raft *r = calloc(1, sizeof *r);
    ASSERT(options->self != RAFT_NONE && options->election_ns > options->heartbeat_ns);
    if (r != NULL) {
        r->options = *options;
        r->hooks   = *hooks;
        r->random  = options->seed | 1;
        r->saved   = true;
        log_reset(&r->log, 0, 0);
    }
    return r;
}

void raft_free(struct raft *r)
{
    if (r != NULL) {
        log_fini(&r->log);
        free(r);
    }
}

static void look_alone(struct raft *r)
{
    r->alone = r->members.voter_count == 1 && r->members.outgoing_count == 0 && r->members.learner_count == 0 &&
               r->members.voters[0] == r->options.self;
}

void raft_restore(struct raft *r, const struct raft_stored *stored)
{
    ASSERT(!r->started);
    r->term    = stored->term;
    r->vote    = stored->vote;
    r->commit  = stored->applied;
    r->applied = stored->applied;
    r->members = stored->members;
    r->damaged = stored->damaged;
    log_reset(&r->log, stored->applied, stored->applied_term);
    look_alone(r);
    raft_restore_commit(r, stored->commit);
}

bool raft_restore_entry(struct raft *r, uint64_t index, uint64_t term)
{
    if (term < r->log.before_term) {
        return true; /* left behind by an image that replaced the log */
    }
    if (index < r->log.first) {
        log_truncate(&r->log, r->log.first); /* what comes behind it and is good comes again */
        return true;
    }
    if (index > r->log.last + 1) {
        return false;
    }
    log_truncate(&r->log, index);
    log_append(&r->log, term);
    r->log.stable = index;
    raft_restore_commit(r, 0);
    return true;
}

void raft_restore_state(struct raft *r, uint64_t term, uint16_t vote)
{
    if (term < r->term || (term == r->term && vote == RAFT_NONE)) {
        return; /* from before the checkpoint */
    }
    r->term = term;
    r->vote = vote;
}

void raft_restore_commit(struct raft *r, uint64_t commit)
{
    r->heard_commit = commit > r->heard_commit ? commit : r->heard_commit; /* entries up to there may still come */
    uint64_t known  = r->heard_commit < r->log.last ? r->heard_commit : r->log.last;
    r->commit       = known > r->commit ? known : r->commit;
}

void raft_start(struct raft *r, uint64_t now_ns)
{
    r->started      = true;
    r->now_ns       = now_ns;
    r->heard_commit = 0;
    r->start_ns     = now_ns;
    uint64_t last   = log_term(&r->log, r->log.last);
    if (last > r->term) { /* of a term that was not saved: damage */
        r->term = last;
        r->vote = RAFT_NONE;
        save(r);
    }
    /* It may have answered a leader a moment before it ended, and that leader counts on it. */
    r->forgot   = r->term > 0 && !r->alone;
    r->heard_ns = now_ns;
    wait_for_leader(r);
    if (!r->alone || r->damaged) {
        return;
    }
    if (r->vote == r->options.self && r->term > 0 && !r->was_joined) {
        become_leader(r);
    } else {
        campaign(r, false);
    }
}

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
    if (shy && r->started && !r->alone && r->role == RAFT_LEADER) {
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
    if (r->transferee != RAFT_NONE && now_ns >= r->transfer_ns) {
        give_up_transfer(r);
        return;
    }
    if (now_ns >= r->check_ns) {
        r->check_ns = now_ns + r->options.election_ns;
        if (!check_quorum(r)) {
            become_follower(r, r->term, RAFT_NONE);
            return;
        }
    }
    if (now_ns >= r->heartbeat_ns) {
        r->heartbeat_ns = now_ns + r->options.heartbeat_ns;
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
