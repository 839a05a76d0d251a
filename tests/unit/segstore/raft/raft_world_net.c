/* raft_world_net.c - messages that are delayed, doubled and lost, and connections that break. */
#include "tests/unit/segstore/raft/raft_world_state.h"

#include <stdlib.h>

struct flight *world_flight_new(struct world *w)
{
    if (w->spare_count > 0) {
        return w->spare[--w->spare_count];
    }
    struct flight *f = malloc(sizeof *f);
    if (f == NULL) {
        world_fail(w, "out of memory");
    }
    return f;
}

void world_launch(struct world *w, struct flight *f)
{
    uint16_t from = f->message.from;
    uint16_t to   = f->message.to;
    if (w->flying_count == FLYING_MAX) {
        world_fail(w, "messages without end from %u to %u", from, to);
    }
    if (w->blocked[from][to] || !w->nodes[to].up || one_in(w, w->drop)) {
        w->spare[w->spare_count++] = f;
        return;
    }
    uint64_t at                  = w->step + 1 + rand_below(&w->r, w->trouble ? w->delay_max : 3);
    at                           = at > w->behind[from][to] ? at : w->behind[from][to];
    w->behind[from][to]          = at;
    f->at                        = at;
    f->connection                = w->connection[from][to];
    f->to_life                   = w->nodes[to].life;
    f->serial                    = w->serial++;
    w->flying[w->flying_count++] = f;
}

static void take_off(struct world *w, size_t i)
{
    w->spare[w->spare_count++] = w->flying[i];
    w->flying[i]               = w->flying[--w->flying_count];
}

/* The connection breaks and another one begins; what was under way is lost, or comes late, from the old one. */
void world_cut(struct world *w, uint16_t a, uint16_t b)
{
    bool late = one_in(w, 2);
    for (size_t i = 0; i < w->flying_count;) {
        struct flight *f = w->flying[i];
        bool ours        = (f->message.from == a && f->message.to == b) || (f->message.from == b && f->message.to == a);
        if (ours && !late) {
            take_off(w, i);
            continue;
        }
        if (ours && f->connection == w->connection[f->message.from][f->message.to]) {
            f->at += rand_below(&w->r, ELECTION_STEPS);
        }
        i++;
    }
    w->connection[a][b]++;
    w->connection[b][a]++;
    w->behind[a][b] = w->behind[b][a] = 0;
    if (w->nodes[a].up) {
        raft_peer_reset(w->nodes[a].raft, b);
        w->nodes[a].snap_until[b] = 0;
    }
    if (w->nodes[b].up) {
        raft_peer_reset(w->nodes[b].raft, a);
        w->nodes[b].snap_until[a] = 0;
    }
}

static void deliver(struct world *w, struct flight *f)
{
    struct node         *n = &w->nodes[f->message.to];
    struct raft_message *m = &f->message;
    uint64_t             t = now_of(n);
    if (!n->up || n->life != f->to_life) {
        return;
    }
    if (m->kind == SNAP) {
        world_take_image(w, n, f);
    } else if (m->kind != RAFT_APPEND) {
        raft_receive(n->raft, m, t);
    } else if (one_in(w, w->refuse)) {
        m->terms = f->terms;
        raft_append_refuse(n->raft, m, t);
    } else {
        m->terms                = f->terms;
        struct raft_taken taken = raft_append(n->raft, m, t);
        if (taken.take) {
            if (taken.skip >= m->count || m->index + 1 + taken.skip > n->last + 1) {
                world_fail(w, "%u takes %u of %u entries behind %llu", n->id, taken.skip, m->count, (ull)m->index);
            }
            for (uint32_t i = taken.skip; i < m->count; i++) {
                world_write_entry(n, m->index + 1 + i, &f->entries[i]);
            }
        }
    }
}

void world_deliver_due(struct world *w)
{
    for (;;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < w->flying_count; i++) {
            if (w->flying[i]->at <= w->step &&
                (best == SIZE_MAX || w->flying[i]->at < w->flying[best]->at ||
                 (w->flying[i]->at == w->flying[best]->at && w->flying[i]->serial < w->flying[best]->serial))) {
                best = i;
            }
        }
        if (best == SIZE_MAX) {
            return;
        }
        struct flight *f = w->flying[best];
        deliver(w, f);
        take_off(w, best);
        world_check(w);
    }
}
