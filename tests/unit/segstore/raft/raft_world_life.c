/* raft_world_life.c - a node's disk and what it makes of it: crashes, restarts, damage, images. */
#include "tests/unit/segstore/raft/raft_world_state.h"

#include <string.h>

void world_disk_entry(struct node *n, const struct record *r)
{
    n->disk_log[r->index] = r->entry;
    n->disk_last          = r->index;
}

static void disk_replay(struct node *n)
{
    n->disk_last = n->disk_term = n->disk_vote = 0;
    for (size_t i = 0; i < n->complete; i++) {
        const struct record *r = &n->journal[i];
        if (r->kind == RECORD_ENTRY) {
            world_disk_entry(n, r);
        } else {
            n->disk_term = r->term;
            n->disk_vote = r->vote;
        }
    }
    if (n->disk_term < n->image.state_term || (n->disk_term == n->image.state_term && n->disk_vote == 0)) {
        n->disk_term = n->image.state_term;
        n->disk_vote = n->image.state_vote;
    }
}

void world_crash(struct world *w, struct node *n)
{
    SAY(w, "%u crashes", n->id);
    w->out->crashes++;
    raft_free(n->raft);
    n->raft    = NULL;
    n->up      = false;
    n->back_at = w->step + 1 + rand_below(&w->r, 3) * rand_below(&w->r, 3 * ELECTION_STEPS);
    n->written = n->complete;
    bool told  = one_in(w, 2);
    for (uint16_t i = 1; i <= NODES; i++) {
        if (i != n->id) {
            world_cut(w, (uint16_t)n->id, i);
            if (told && w->nodes[i].up) {
                raft_peer_dead(w->nodes[i].raft, (uint16_t)n->id, now_of(&w->nodes[i]));
            }
        }
    }
}

void world_restart(struct world *w, struct node *n)
{
    struct raft_options options = {.self           = (uint16_t)n->id,
                                   .heartbeat_ns   = (uint64_t)BEAT_STEPS * STEP_NS,
                                   .election_ns    = (uint64_t)ELECTION_STEPS * STEP_NS,
                                   .lease_ns       = w->lease_ns,
                                   .window_entries = 24,
                                   .window_bytes   = 400,
                                   .seed           = rand_u64(&w->r)};
    struct raft_hooks   hooks   = {.ctx = n, .send = world_on_send, .save = world_on_save, .lead = world_on_lead};
    n->raft                     = raft_new(&options, &hooks);
    n->life++;
    n->led_term        = 0;
    n->lead_wanted     = false;
    n->coming_at       = 0;
    n->last_disk_at    = 0;
    n->changed         = 0;
    n->changed_durable = 0;
    memset(n->snap_until, 0, sizeof n->snap_until);
    memset(n->copy, 0, sizeof n->copy);
    disk_replay(n);
    struct raft_stored stored = {.term         = n->image.state_term,
                                 .vote         = n->image.state_vote,
                                 .commit       = n->image.index,
                                 .applied      = n->image.index,
                                 .applied_term = n->image.term,
                                 .members      = n->image.members,
                                 .damaged      = n->marked_damaged};
    raft_restore(n->raft, &stored);
    n->last                 = n->image.index;
    n->log[n->last]         = (struct entry){.term = n->image.term, .hash = n->image.hash};
    uint64_t commit_durable = n->image.index;
    bool     noted          = w->change != 0 || one_in(w, 2); /* does the log note what is committed? */
    for (size_t i = one_in(w, 2) ? 0 : n->image.replay_from; i < n->complete; i++) {
        const struct record *r = &n->journal[i];
        if (r->kind == RECORD_STATE) {
            raft_restore_state(n->raft, r->term, r->vote);
        } else {
            if (!raft_restore_entry(n->raft, r->index, r->term) && !n->marked_damaged) {
                world_fail(w, "%u finds a hole before entry %llu of term %llu", n->id, (ull)r->index, (ull)r->term);
            }
            if (raft_last(n->raft) == r->index && raft_term_at(n->raft, r->index) == r->term &&
                r->index > n->image.index) {
                n->log[r->index] = r->entry;
            }
        }
        if (noted) {
            raft_restore_commit(n->raft, r->commit);
            commit_durable = r->commit > commit_durable ? r->commit : commit_durable;
        }
    }
    n->last    = raft_last(n->raft);
    n->applied = n->image.index;
    n->changed = n->changed_durable = n->image.changed;
    n->up                           = true;
    for (uint64_t i = n->applied + 1; i <= n->last; i++) {
        if (n->disk_log[i].hash != n->log[i].hash || n->disk_last < i) {
            world_fail(w, "%u restores entry %llu, which was replaced", n->id, (ull)i);
        }
        world_check_entry(w, n, i);
    }
    if (n->disk_last > n->last && n->disk_log[n->disk_last].term >= n->image.term) {
        world_fail(w, "%u restores entries to %llu of %llu", n->id, (ull)n->last, (ull)n->disk_last);
    }
    n->commit_seen = n->image.index;
    if (raft_commit(n->raft) < (commit_durable < n->last ? commit_durable : n->last)) {
        world_fail(w, "%u comes back with %llu committed, it knew of %llu", n->id, (ull)raft_commit(n->raft),
                   (ull)commit_durable);
    }
    if (raft_term(n->raft) != n->disk_term || raft_vote(n->raft) != n->disk_vote) {
        world_fail(w, "%u comes back in term %llu with vote %u, on its disk is %u in term %llu", n->id,
                   (ull)raft_term(n->raft), raft_vote(n->raft), n->disk_vote, (ull)n->disk_term);
    }
    SAY(w, "%u is back: log %llu .. %llu, term %llu%s", n->id, (ull)raft_first(n->raft), (ull)n->last,
        (ull)raft_term(n->raft), n->marked_damaged ? ", damaged" : "");
    world_apply(n);
    raft_start(n->raft, now_of(n));
}

/* A suffix of what was durable is gone; of one node only, until it is whole again. */
void world_damage(struct world *w, struct node *n)
{
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].marked_damaged) {
            return;
        }
    }
    size_t most = n->complete < 60 ? n->complete : 60;
    if (most == 0) {
        return;
    }
    size_t lost =
        1 + rand_below(&w->r, rand_chance(&w->r, 2) && most > 4 ? 4 : most); /* the last vote, perhaps, or more */
    n->complete -= lost;
    n->written        = n->complete;
    n->marked_damaged = true;
    if (n->image.replay_from > n->complete) {
        n->image.replay_from = n->complete;
    }
    w->out->damages++;
    SAY(w, "%u loses %zu records", n->id, lost);
}

/* ---- images ---- */

struct image world_image_now(const struct node *n)
{
    struct image image = {.index       = n->applied,
                          .term        = raft_term_at(n->raft, n->applied),
                          .hash        = n->log[n->applied].hash,
                          .members     = *raft_members(n->raft),
                          .changed     = n->changed,
                          .state_term  = n->disk_term,
                          .state_vote  = n->disk_vote,
                          .replay_from = n->complete};
    /* The replay begins where the first entry behind the image was written. */
    for (size_t i = n->complete; i > 0; i--) {
        if (n->journal[i - 1].kind == RECORD_ENTRY && n->journal[i - 1].index == n->applied + 1) {
            image.replay_from = i - 1;
            break;
        }
    }
    return image;
}

void world_compact(struct node *n)
{
    uint64_t stable = raft_stable_index(n->raft);
    if (n->applied == 0 || n->applied > stable || n->image.index == n->applied || n->coming_at != 0) {
        return;
    }
    n->image      = world_image_now(n);
    uint64_t keep = rand_below(&n->world->r, 10);
    if (n->applied > keep) {
        raft_compact(n->raft, n->applied - keep);
    }
    SAY(n->world, "%u keeps an image of %llu", n->id, (ull)n->applied);
}

void world_take_image(struct world *w, struct node *n, const struct flight *f)
{
    if (n->coming_at == 0) {
        n->coming       = f->image;
        n->coming_at    = w->step + 1 + rand_below(&w->r, 20);
        n->coming_at    = n->coming_at > n->last_disk_at ? n->coming_at : n->last_disk_at + 1;
        n->last_disk_at = n->coming_at;
    }
}

void world_image_done(struct world *w, struct node *n)
{
    struct image *image = &n->coming;
    n->coming_at        = 0;
    if (raft_install(n->raft, image->index, image->term, &image->members)) {
        SAY(w, "%u installs an image of %llu", n->id, (ull)image->index);
        w->out->installs++;
        image->state_term  = n->disk_term;
        image->state_vote  = n->disk_vote;
        image->replay_from = n->complete;
        n->image           = *image;
        n->changed = n->changed_durable = image->changed;
        for (uint64_t i = 0; i <= n->last || i <= image->index; i++) {
            n->copy[i]++;
        }
        n->last = n->applied = image->index;
        n->log[n->last]      = (struct entry){.term = image->term, .hash = image->hash};
        n->disk_last         = n->disk_last < n->last ? n->disk_last : n->last;
        if (n->commit_seen < n->applied || n->marked_damaged) {
            n->commit_seen = n->applied;
        }
        if (image->index > w->commit || (image->index > 0 && w->committed[image->index].hash != image->hash)) {
            world_fail(w, "%u installs an image of %llu that was not committed so", n->id, (ull)image->index);
        }
    }
}
