/* raft_world_check.c - what must hold after every step, and in the end. */
#include "tests/unit/segstore/raft/raft_world_state.h"

static bool holds(const struct raft_members *m, uint64_t held)
{
    int in = 0, out = 0;
    for (int i = 0; i < m->voter_count; i++) {
        in += (int)(held >> m->voters[i] & 1);
    }
    for (int i = 0; i < m->outgoing_count; i++) {
        out += (int)(held >> m->outgoing[i] & 1);
    }
    return in > m->voter_count / 2 && (m->outgoing_count == 0 || out > m->outgoing_count / 2);
}

static bool durably_holds(const struct node *n, uint64_t index, uint64_t hash)
{
    return n->image.index >= index || (n->disk_last >= index && n->disk_log[index].hash == hash);
}

static void check_leader(struct world *w, struct node *n)
{
    uint64_t term = raft_term(n->raft);
    if (term >= TERM_MAX) {
        world_fail(w, "terms without end");
    }
    if (n->led_term != term) {
        n->led_term = term;
        w->out->elections++;
        SAY(w, "%u leads in term %llu, log to %llu", n->id, (ull)term, (ull)raft_last(n->raft));
        if (w->leader_of[term] != 0) {
            world_fail(w, "term %llu is led by %u and by %u (or by it in another life)", (ull)term, w->leader_of[term],
                       n->id);
        }
        w->leader_of[term]   = (uint16_t)n->id;
        w->leader_life[term] = n->life;
        if (n->disk_term != term || n->disk_vote != n->id) {
            world_fail(w, "%u leads in term %llu and has not saved it", n->id, (ull)term);
        }
        if (raft_is_damaged(n->raft)) {
            world_fail(w, "%u leads and is damaged", n->id);
        }
        for (uint64_t i = n->applied + 1; i <= w->commit; i++) {
            if (w->committed_in[i] < term && (i > n->last || n->log[i].hash != w->committed[i].hash)) {
                world_fail(w, "%u leads in term %llu and lacks the committed entry %llu", n->id, (ull)term, (ull)i);
            }
        }
    } else if (w->leader_of[term] != n->id || w->leader_life[term] != n->life) {
        world_fail(w, "term %llu is led by %u and by %u", (ull)term, w->leader_of[term], n->id);
    }
}

static void check_commit(struct world *w, struct node *n)
{
    uint64_t commit = raft_commit(n->raft);
    uint64_t term   = raft_term(n->raft);
    if (commit < n->commit_seen) {
        world_fail(w, "commit of %u went back from %llu to %llu", n->id, (ull)n->commit_seen, (ull)commit);
    }
    if (commit > raft_last(n->raft) || raft_last(n->raft) != n->last) {
        world_fail(w, "%u has %llu, committed %llu, and its log ends at %llu", n->id, (ull)raft_last(n->raft),
                   (ull)commit, (ull)n->last);
    }
    bool counted = commit > w->commit; /* else it may have heard of it from those who voted for it, in the same step */
    for (uint64_t i = n->commit_seen + 1; i <= commit; i++) {
        if (i > w->commit) {
            w->committed[i]    = n->log[i];
            w->committed_in[i] = term;
            w->commit          = i;
        } else if (w->committed[i].hash != n->log[i].hash) {
            world_fail(w, "entry %llu was committed in two ways, at %u in the second", (ull)i, n->id);
        }
    }
    if (commit > n->commit_seen && raft_role(n->raft) == RAFT_LEADER) {
        uint64_t held = 0;
        for (int i = 1; i <= NODES; i++) {
            struct node *o = &w->nodes[i];
            if (o->marked_damaged || durably_holds(o, commit, n->log[commit].hash)) {
                held |= 1ull << i;
            }
        }
        if (!holds(raft_members(n->raft), held)) {
            world_fail(w, "%u committed entry %llu, which a majority does not hold", n->id, (ull)commit);
        }
        if (counted && n->log[commit].term != term) {
            world_fail(w, "%u committed entry %llu of term %llu by counting in term %llu", n->id, (ull)commit,
                       (ull)n->log[commit].term, (ull)term);
        }
    }
    n->commit_seen = commit;
}

void world_check_entry(struct world *w, const struct node *n, uint64_t index)
{
    const struct entry *e = &n->log[index];
    if (index >= INDEX_MAX - 1 || e->term >= TERM_MAX) {
        world_fail(w, "a log without end");
    }
    uint64_t *hash = &w->hash_of[index][e->term];
    if (*hash != 0 && *hash != e->hash) {
        world_fail(w, "entry %llu of term %llu is not the same in two logs (seen at %u)", (ull)index, (ull)e->term,
                   n->id);
    }
    *hash = e->hash;
    if (raft_term_at(n->raft, index) != e->term) {
        world_fail(w, "%u takes entry %llu for one of term %llu, it is of %llu", n->id, (ull)index,
                   (ull)raft_term_at(n->raft, index), (ull)e->term);
    }
}

void world_check_sent(struct world *w, const struct raft_message *m)
{
    struct node *n = &w->nodes[m->from];
    if (m->term >= TERM_MAX) {
        world_fail(w, "terms without end");
    }
    bool grant = m->kind == RAFT_VOTE_ACK && !m->pre && !m->refused;
    if (grant || (m->kind == RAFT_VOTE && !m->pre)) {
        uint16_t to = grant ? m->to : m->from;
        if (n->disk_term != m->term || n->disk_vote != to) {
            world_fail(w, "%u votes for %u in term %llu; on its disk is %u in term %llu", m->from, to, (ull)m->term,
                       n->disk_vote, (ull)n->disk_term);
        }
        if (n->votes[m->term] != 0 && n->votes[m->term] != to) {
            world_fail(w, "%u votes for %u and for %u in term %llu", m->from, n->votes[m->term], to, (ull)m->term);
        }
        n->votes[m->term] = to;
        if (raft_is_damaged(n->raft)) {
            world_fail(w, "%u votes and is damaged", m->from);
        }
    }
    if (m->kind == RAFT_APPEND_ACK && !m->refused) {
        if (n->disk_term < m->term) {
            world_fail(w, "%u acknowledges in term %llu and has not saved it", m->from, (ull)m->term);
        }
        if (m->index > n->image.index &&
            (m->index > n->disk_last || m->index > n->last || n->disk_log[m->index].hash != n->log[m->index].hash)) {
            world_fail(w, "%u acknowledges entry %llu, which its disk does not hold", m->from, (ull)m->index);
        }
    }
}

static void check_lease(struct world *w, const struct node *n)
{
    if (!raft_lease(n->raft, now_of(n))) {
        return;
    }
    w->out->leases++;
    if (raft_is_settled(n->raft) && raft_commit(n->raft) < w->commit) {
        world_fail(w, "%u has the lease, is settled at %llu, and %llu is committed", n->id, (ull)raft_commit(n->raft),
                   (ull)w->commit);
    }
}

void world_check(struct world *w)
{
    for (int i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (!n->up) {
            continue;
        }
        if (raft_role(n->raft) == RAFT_LEADER) {
            check_leader(w, n);
        }
        check_commit(w, n);
    }
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].up && raft_role(w->nodes[i].raft) == RAFT_LEADER) {
            check_lease(w, &w->nodes[i]);
        }
    }
}

/* One leads, everybody has what it has committed since all was healed. */
bool world_whole(struct world *w, uint64_t than)
{
    struct node *leader = NULL;
    for (int i = 1; i <= NODES; i++) {
        if (raft_role(w->nodes[i].raft) == RAFT_LEADER) {
            if (leader != NULL) {
                return false;
            }
            leader = &w->nodes[i];
        }
    }
    if (leader == NULL || raft_commit(leader->raft) <= than || raft_members(leader->raft)->outgoing_count > 0) {
        return false;
    }
    for (uint16_t i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (raft_members_any(raft_members(leader->raft), i) &&
            (n->marked_damaged || raft_is_damaged(n->raft) || raft_leader(n->raft) != leader->id ||
             raft_commit(n->raft) <= than || raft_commit(n->raft) + 20 < raft_commit(leader->raft) ||
             n->log[n->applied].hash != w->committed[n->applied].hash)) {
            return false;
        }
    }
    return raft_lease(leader->raft, now_of(leader)) && raft_is_settled(leader->raft);
}

void world_tell(const struct world *w)
{
    for (int i = 1; w->verbose && i <= NODES; i++) {
        const struct node         *n = &w->nodes[i];
        const struct raft_members *m = raft_members(n->raft);
        printf("%d: role %d term %llu vote %u leader %u log %llu .. %llu durable %llu committed %llu%s%s voters", i,
               (int)raft_role(n->raft), (ull)raft_term(n->raft), raft_vote(n->raft), raft_leader(n->raft),
               (ull)raft_first(n->raft), (ull)n->last, (ull)raft_stable_index(n->raft), (ull)raft_commit(n->raft),
               raft_is_damaged(n->raft) ? " damaged" : "", n->marked_damaged ? " marked" : "");
        for (int j = 0; j < m->voter_count; j++) {
            printf(" %u", m->voters[j]);
        }
        printf(" outgoing");
        for (int j = 0; j < m->outgoing_count; j++) {
            printf(" %u", m->outgoing[j]);
        }
        for (uint16_t j = 1; j <= NODES; j++) {
            struct raft_progress p;
            if (raft_progress(n->raft, j, &p)) {
                printf(" [%u: match %llu next %llu %s]", j, (ull)p.match, (ull)p.next,
                       p.snapshot   ? "image"
                       : p.keeps_up ? "keeps up"
                                    : "probe");
            }
        }
        printf("\n");
    }
}
