/* start.c - what a member is when it starts: made, given back what its disk holds, and let go. */
#include "segstore/raft/state.h"

#include <stdlib.h>

struct raft *raft_new(const struct raft_options *options, const struct raft_hooks *hooks)
{
    struct raft *r = calloc(1, sizeof *r);
    ASSERT(options->self != RAFT_NONE && options->election_ns > options->heartbeat_ns &&
           options->lease_ns > options->heartbeat_ns && options->lease_ns <= options->election_ns);
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
    r->forgot       = r->term > 0 && !r->alone;
    r->heard_ns     = now_ns;
    r->lease_end_ns = r->forgot ? now_ns + r->options.lease_ns : 0;
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
