/* raft_world_node.c - the edge of a replica, as a node plays it: what it sends, writes and applies in a step. */
#include "tests/unit/segstore/raft/raft_world_state.h"

#include <string.h>

/* ---- hooks ---- */

void world_on_send(void *ctx, const struct raft_message *m)
{
    struct node  *n = ctx;
    struct world *w = n->world;
    if (m->to < 1 || m->to > NODES || m->to == n->id || m->from != n->id || m->kind == RAFT_APPEND) {
        world_fail(w, "%u sends a message that makes no sense", n->id);
    }
    world_check_sent(w, m);
    for (int copies = one_in(w, w->twice) ? 2 : 1; copies > 0; copies--) {
        struct flight *f = world_flight_new(w);
        f->message       = *m;
        world_launch(w, f);
    }
}

struct record *world_write_record(struct node *n, uint8_t kind)
{
    struct world *w = n->world;
    if (n->written == JOURNAL_MAX) {
        world_fail(w, "writes without end at %u", n->id);
    }
    uint64_t at      = w->step + 1 + rand_below(&w->r, w->trouble ? w->disk_max : 2);
    at               = at > n->stall_until || !w->trouble ? at : n->stall_until;
    n->last_disk_at  = at > n->last_disk_at ? at : n->last_disk_at;
    struct record *r = &n->journal[n->written++];
    *r = (struct record){.kind = kind, .done_at = n->last_disk_at, .commit = n->raft ? raft_commit(n->raft) : 0};
    return r;
}

void world_on_save(void *ctx, uint64_t term, uint16_t vote)
{
    struct record *r = world_write_record(ctx, RECORD_STATE);
    r->term          = term;
    r->vote          = vote;
}

void world_on_lead(void *ctx)
{
    ((struct node *)ctx)->lead_wanted = true;
}

void world_write_entry(struct node *n, uint64_t index, const struct entry *e)
{
    if (index >= INDEX_MAX - 1) {
        world_fail(n->world, "a log without end");
    }
    for (uint64_t i = index; i <= n->last; i++) {
        n->copy[i]++; /* what is still being written of these is void */
    }
    n->log[index]    = *e;
    n->last          = index;
    struct record *r = world_write_record(n, RECORD_ENTRY);
    r->index         = index;
    r->term          = e->term;
    r->entry         = *e;
    r->copy          = ++n->copy[index];
    world_check_entry(n->world, n, index);
}

void world_apply(struct node *n)
{
    struct world *w = n->world;
    while (n->applied < raft_commit(n->raft)) {
        const struct entry *e = &n->log[n->applied + 1];
        n->applied++;
        if (e->config != 0) {
            SAY(w, "%u applies configuration %u at %llu", n->id, e->config, (ull)n->applied);
            raft_set_members(n->raft, &w->configs[e->config]);
            n->changed = n->applied;
        }
        raft_applied(n->raft, n->applied);
    }
}

/* What the log held of the image is in its hash. */
uint64_t world_hash_at(const struct node *n, uint64_t index)
{
    return index == 0 ? 1 : n->log[index].hash;
}

void world_propose(struct node *n, uint16_t config)
{
    struct world *w     = n->world;
    uint64_t      index = raft_propose(n->raft);
    if (index == 0) {
        return;
    }
    if (index != n->last + 1) {
        world_fail(w, "%u proposes %llu behind %llu", n->id, (ull)index, (ull)n->last);
    }
    uint64_t     term = raft_term(n->raft);
    struct entry e = {.term = term, .hash = mix(mix(world_hash_at(n, index - 1), term), ++w->value), .config = config};
    world_write_entry(n, index, &e);
    if (config != 0) {
        raft_changing(n->raft, index);
        w->out->changes++;
    }
}

static void finish_writes(struct world *w, struct node *n)
{
    while (n->up && n->complete < n->written && n->journal[n->complete].done_at <= w->step) {
        const struct record *r = &n->journal[n->complete++];
        if (r->kind == RECORD_STATE) {
            n->disk_term = r->term;
            n->disk_vote = r->vote;
            raft_saved(n->raft, r->term, r->vote);
            n->changed_durable = n->changed <= r->commit ? n->changed : n->changed_durable;
        } else {
            world_disk_entry(n, r);
            n->changed_durable = n->changed <= r->commit ? n->changed : n->changed_durable;
            if (r->copy == n->copy[r->index]) {
                raft_stable(n->raft, r->index, r->term);
            }
        }
        world_check(w);
    }
    if (n->up && n->coming_at != 0 && n->coming_at <= w->step) {
        world_image_done(w, n);
        world_check(w);
    }
}

static void send_append(struct world *w, struct node *n, uint16_t to, const struct raft_want *want)
{
    struct flight *f = world_flight_new(w);
    f->message       = (struct raft_message){.kind     = RAFT_APPEND,
                                             .from     = (uint16_t)n->id,
                                             .to       = to,
                                             .term     = raft_term(n->raft),
                                             .index    = want->first - 1,
                                             .log_term = want->log_term,
                                             .commit   = raft_commit(n->raft)};
    uint64_t most    = 1 + rand_below(&w->r, ENTRIES_MAX);
    for (uint64_t i = want->first; i <= want->last && f->message.count < most; i++) {
        if (i > n->last || i < raft_first(n->raft)) {
            world_fail(w, "%u is asked for entry %llu for %u, it has none", n->id, (ull)i, to);
        }
        f->terms[f->message.count]     = n->log[i].term;
        f->entries[f->message.count++] = n->log[i];
    }
    raft_sent(n->raft, to, want->first, f->message.count, f->message.count * 10);
    world_launch(w, f);
}

static void replicate(struct world *w, struct node *n)
{
    for (uint16_t to = 1; to <= NODES; to++) {
        struct raft_want want;
        int              rounds = 0;
        if (n->snap_until[to] != 0 && n->snap_until[to] <= w->step) {
            n->snap_until[to] = 0;
            raft_snapshot_end(n->raft, to, one_in(w, 2)); /* that it arrived may not be known */
        }
        while (to != n->id && raft_wants(n->raft, to, &want)) {
            if (++rounds > 70) {
                world_fail(w, "%u wants to send to %u without end", n->id, to);
            }
            if (!want.snapshot) {
                send_append(w, n, to, &want);
                continue;
            }
            struct flight *f  = world_flight_new(w);
            f->message        = (struct raft_message){.kind = SNAP, .from = (uint16_t)n->id, .to = to};
            f->image          = world_image_now(n);
            n->snap_until[to] = w->step + 60;
            raft_snapshot_begin(n->raft, to, f->image.index);
            world_launch(w, f);
        }
    }
}

/* The next members: out of a joint configuration, or into one. */
static void change_members(struct world *w, struct node *n)
{
    const struct raft_members *now = raft_members(n->raft);
    if (!raft_may_change(n->raft) || w->config_count == CONFIGS_MAX) {
        return;
    }
    for (uint16_t i = 1; i <= NODES; i++) { /* every member has applied the former, for good */
        if (raft_members_any(now, i) && (!w->nodes[i].up || w->nodes[i].changed_durable < n->changed)) {
            return;
        }
    }
    struct raft_members next = {0};
    if (now->outgoing_count > 0) {
        next                = *now;
        next.outgoing_count = 0;
    } else {
        memcpy(next.outgoing, now->voters, sizeof next.outgoing);
        next.outgoing_count = now->voter_count;
        for (uint16_t i = 1; i <= NODES; i++) {
            uint64_t lot = rand_below(&w->r, 8);
            if (lot < 5) {
                next.voters[next.voter_count++] = i;
            } else if (lot < 7 && !raft_members_voter(now, i)) {
                next.learners[next.learner_count++] = i;
            }
        }
        if (next.voter_count < 3) {
            return;
        }
    }
    w->configs[w->config_count] = next;
    world_propose(n, w->config_count++);
}

void world_live(struct world *w, struct node *n)
{
    uint64_t t = now_of(n);
    if (n->up) {
        finish_writes(w, n);
    }
    if (raft_next_ns(n->raft) <= t) {
        raft_tick(n->raft, t);
        world_check(w);
    }
    if (n->lead_wanted) {
        n->lead_wanted = false;
        world_propose(n, 0);
    }
    world_apply(n);
    if (raft_role(n->raft) == RAFT_LEADER) {
        if (w->trouble ? one_in(w, w->propose) : w->step % 10 == 0) {
            for (uint64_t many = w->trouble ? 1 + rand_below(&w->r, 4) : 1;
                 many > 0 && n->last < (uint64_t)(w->trouble ? INDEX_MAX - 500 : INDEX_MAX - 100); many--) {
                world_propose(n, 0);
            }
        }
        if (one_in(w, w->change) || (w->change != 0 && raft_members(n->raft)->outgoing_count > 0 && w->step % 8 == 0)) {
            change_members(w, n);
        }
        if (one_in(w, w->transfer) && raft_transfer(n->raft, (uint16_t)(1 + rand_below(&w->r, NODES)), t)) {
            w->out->transfers++;
        }
        replicate(w, n);
    }
    if (!one_in(w, w->lazy_flush)) {
        raft_flush(n->raft);
    }
    if (one_in(w, w->compact)) {
        world_compact(n);
    }
    if (n->marked_damaged && !raft_is_damaged(n->raft) && n->disk_term == raft_term(n->raft) &&
        n->disk_vote == raft_vote(n->raft)) {
        SAY(w, "%u is whole again", n->id);
        n->marked_damaged = false;
        w->out->healed++;
    }
    world_check(w);
}
