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

/* A damaged replica is whole again when it holds, durably, an entry of a leader's own term that the leader has committed: then it holds all that was
 * ever acknowledged. Whom it voted for in this term may be among what it lost: it counts as having voted for the leader that there is. */
void heal(struct raft *r)
{
    if (!r->damaged || !r->saved || r->role != RAFT_FOLLOWER || r->leader == RAFT_NONE || r->heard_commit == 0 ||
        promised(r) < r->heard_commit || log_term(&r->log, r->heard_commit) != r->term) {
        return;
    }
    r->damaged = false;
    if (r->vote != r->leader) {
        r->vote = r->leader;
        save(r);
    }
}

void receive_heartbeat(struct raft *r, const struct raft_message *m)
{
    heard_leader(r, m->from);
    raise_commit(r, m->commit);
    heal(r);
    if (r->saved) {
        struct raft_message answer = {.kind = RAFT_HEARTBEAT_ACK, .clock = m->clock};
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
    struct raft_message answer = {
        .kind = RAFT_APPEND_ACK, .refused = true, .index = m->index, .hint = hint, .log_term = log_term(&r->log, hint)};
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
        r->matched    = r->matched > r->commit ? r->matched : r->commit;
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
    struct raft_message answer = {.kind = RAFT_APPEND_ACK, .index = promised(r)};
    r->ack_wanted              = false;
    r->acked                   = answer.index;
    send_message(r, &answer, r->leader);
}

bool raft_install(struct raft *r, uint64_t index, uint64_t term, const struct raft_members *members)
{
    if (index < r->commit && !r->damaged) {
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
