/* append.c - a follower's side: what of the leader's log is here, and what of that is durable. */
#include "segstore/raft/state.h"

static uint64_t promised(const struct raft *r)
{
    return r->matched < r->log.stable ? r->matched : r->log.stable;
}

static void raise_commit(struct raft *r, uint64_t commit)
{
    r->heard_commit = commit > r->heard_commit ? commit : r->heard_commit;
    uint64_t known  = r->heard_commit < r->matched ? r->heard_commit : r->matched;
    r->commit       = known > r->commit ? known : r->commit;
}

/* A damaged replica may have lost entries that it acknowledged and votes that it gave. It counts for nothing, and the leader knows it. It is whole again
 * when it durably holds what a leader had committed in its own term after that leader
 *   - knew that this one is not to be counted, so that nothing is committed any more on the strength of what is gone, and
 *   - was confirmed by a majority without this one, so that no newer leader got in by a vote that is forgotten;
 * and when whoever holds a vote of before has given up. It counts as having voted for the leader that there is. */
static void hear_of_heal(struct raft *r, const struct raft_message *m)
{
    if (!r->damaged || !m->damaged) {
        return;
    }
    if (r->heal_clock == 0) {
        r->heal_clock = m->clock;
    }
    if (m->hint >= r->heal_clock) {
        r->heal_commit = m->commit;
    }
}

void heal(struct raft *r)
{
    if (!r->damaged || !r->saved || r->role != RAFT_FOLLOWER || r->leader == RAFT_NONE || r->heal_commit == 0 ||
        promised(r) < r->heal_commit || log_term(&r->log, r->heal_commit) != r->term ||
        r->now_ns < r->start_ns + 3 * r->options.election_ns) {
        return;
    }
    r->damaged = false;
    if (r->vote ==
        RAFT_NONE) { /* whom it voted for in this term may be forgotten; that it did not vote for the leader may be known */
        r->vote = r->leader;
        save(r);
    }
}

void receive_heartbeat(struct raft *r, const struct raft_message *m)
{
    heard_leader(r, m->from);
    raise_commit(r, m->commit);
    hear_of_heal(r, m);
    heal(r);
    if (r->saved) {
        struct raft_message answer = {.kind = RAFT_HEARTBEAT_ACK, .clock = m->clock, .damaged = r->damaged};
        send_message(r, &answer, m->from);
    }
}

static bool well_formed(const struct raft *r, const struct raft_message *m)
{
    uint64_t term = m->log_term;
    for (uint32_t i = 0; i < m->count; i++) {
        if (m->terms[i] < term || m->terms[i] > m->term) {
            return false;
        }
        term = m->terms[i];
    }
    return r->started && m->kind == RAFT_APPEND && m->from != RAFT_NONE && m->from != r->options.self && m->term != 0 &&
           m->log_term <= m->term && m->index < UINT64_MAX - m->count && (m->count == 0 || m->terms[0] != 0);
}

static void refuse(struct raft *r, const struct raft_message *m, uint64_t hint)
{
    struct raft_message answer = {.kind     = RAFT_APPEND_ACK,
                                  .refused  = true,
                                  .damaged  = r->damaged,
                                  .index    = m->index,
                                  .hint     = hint,
                                  .log_term = log_term(&r->log, hint)};
    send_message(r, &answer, m->from);
}

static struct raft_taken take(struct raft *r, const struct raft_message *m)
{
    struct raft_taken taken = {.skip = 0};
    for (; taken.skip < m->count; taken.skip++) {
        uint64_t index = m->index + 1 + taken.skip;
        if (index > r->log.last || log_term(&r->log, index) != m->terms[taken.skip]) {
            break;
        }
    }
    taken.take = taken.skip < m->count;
    if (taken.take) {
        uint64_t first = m->index + 1 + taken.skip;
        ASSERT(first > r->commit); /* what is committed is in the log of every leader */
        log_truncate(&r->log, first);
        for (uint32_t i = taken.skip; i < m->count; i++) {
            log_append(&r->log, m->terms[i]);
        }
    }
    return taken;
}

struct raft_taken raft_append(struct raft *r, const struct raft_message *m, uint64_t now_ns)
{
    struct raft_taken nothing = {0};
    r->now_ns                 = now_ns;
    if (!well_formed(r, m) || !receive_term(r, m) || r->role == RAFT_LEADER) {
        return nothing;
    }
    heard_leader(r, m->from);
    if (m->index < r->commit) { /* late: everything up to commit is the same in every log */
        r->matched = r->matched > r->commit ? r->matched : r->commit;
        raise_commit(r, m->commit);
        r->ack_wanted = true;
        return nothing;
    }
    if (m->index > r->log.last || log_term(&r->log, m->index) != m->log_term) {
        refuse(r, m, log_conflict(&r->log, m->index, m->log_term));
        return nothing;
    }
    struct raft_taken taken = take(r, m);
    uint64_t          end   = m->index + m->count;
    r->matched              = end > r->matched ? end : r->matched;
    r->ack_wanted           = r->ack_wanted || !taken.take;
    raise_commit(r, m->commit);
    heal(r);
    return taken;
}

void raft_append_refuse(struct raft *r, const struct raft_message *m, uint64_t now_ns)
{
    r->now_ns = now_ns;
    if (!r->started || m->from == RAFT_NONE || !receive_term(r, m) || r->role == RAFT_LEADER) {
        return;
    }
    heard_leader(r, m->from);
    if (m->index <= r->log.last && log_term(&r->log, m->index) == m->log_term) {
        refuse(r, m, m->index); /* it does match: that says that there is no room */
    } else {
        refuse(r, m, log_conflict(&r->log, m->index, m->log_term));
    }
}

void raft_refill(struct raft *r, uint64_t index, uint64_t term)
{
    ASSERT(r->damaged && r->role == RAFT_FOLLOWER && index > r->commit && index <= r->log.last + 1);
    log_truncate(&r->log, index);
    log_append(&r->log, term);
    r->log.stable = index;
}

void raft_cut(struct raft *r, uint64_t index)
{
    ASSERT(r->started && r->role == RAFT_FOLLOWER && index > r->applied && index <= r->log.last &&
           r->log.stable == r->log.last);
    raft_damaged(r);
    log_truncate(&r->log, index);
    r->commit       = r->commit < index ? r->commit : index - 1;
    r->matched      = r->matched < index ? r->matched : index - 1;
    r->acked        = 0;
    r->heard_commit = 0;
    r->ack_wanted   = false;
}

void raft_mend(struct raft *r, uint64_t term)
{
    uint64_t last = log_term(&r->log, r->log.last);
    ASSERT(r->damaged && r->role == RAFT_FOLLOWER && r->log.stable == r->log.last);
    term       = term > last ? term : last;
    r->damaged = false;
    if (term > r->term) {
        become_follower(r, term, RAFT_NONE);
    }
    wait_for_leader(r);
}

void raft_stable(struct raft *r, uint64_t index, uint64_t term)
{
    if (index != r->log.stable + 1 || log_term(&r->log, index) != term) {
        return; /* replaced since */
    }
    r->log.stable = index;
    if (r->alone) {
        r->commit = r->role == RAFT_LEADER ? index : r->commit;
    } else if (r->role == RAFT_LEADER) {
        maybe_commit(r);
    } else {
        r->ack_wanted = r->ack_wanted || promised(r) > r->acked;
        heal(r);
    }
}

void raft_flush(struct raft *r)
{
    if (!r->ack_wanted || !r->saved || r->role != RAFT_FOLLOWER || r->leader == RAFT_NONE) {
        return;
    }
    struct raft_message answer = {.kind = RAFT_APPEND_ACK, .index = promised(r), .damaged = r->damaged};
    r->ack_wanted              = false;
    r->acked                   = answer.index;
    send_message(r, &answer, r->leader);
}

bool raft_holds(const struct raft *r, uint64_t index, uint64_t term)
{
    bool here = log_term(&r->log, index) == term && (!r->damaged || promised(r) >= index);
    return here || (index < r->commit && !r->damaged);
}

void raft_leave(struct raft *r)
{
    ASSERT(r->role != RAFT_LEADER);
    raft_damaged(r);
    log_reset(&r->log, 0, 0);
    r->commit       = 0;
    r->applied      = 0;
    r->matched      = 0;
    r->acked        = 0;
    r->heard_commit = 0;
    r->changing     = 0;
    r->ack_wanted   = false;
    raft_set_members(r, &(struct raft_members){0});
    become_follower(r, r->term, RAFT_NONE);
}

bool raft_install(struct raft *r, uint64_t index, uint64_t term, const struct raft_members *members)
{
    if (raft_holds(r, index, term)) {
        /* It is here, and what follows it may have been acknowledged. The leader does not know that, or there would be no image. */
        r->commit     = index > r->commit ? index : r->commit;
        r->matched    = r->matched > r->commit ? r->matched : r->commit;
        r->ack_wanted = true;
        return false;
    }
    log_reset(&r->log, index, term);
    r->commit  = index;
    r->applied = index;
    r->matched = index;
    raft_set_members(r, members);
    r->ack_wanted = true;
    return true;
}
