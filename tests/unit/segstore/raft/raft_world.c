/* raft_world.c - one run: which faults it has, the trouble that they make, and what comes after. */
#include "tests/unit/segstore/raft/raft_world_state.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void world_fail(struct world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->out->failure, sizeof w->out->failure, format, args);
    va_end(args);
    longjmp(w->failed, 1);
}

/* A firewall between one and the others answers in its place: they are told that its process is gone, and it lives on. */
static void firewall(struct world *w)
{
    uint16_t v = (uint16_t)(1 + rand_below(&w->r, (uint64_t)w->first_voters));
    for (uint16_t i = 1; i <= NODES; i++) {
        if (i != v && rand_below(&w->r, 4) > 0) {
            world_cut(w, v, i);
            w->blocked[v][i] = true;
            w->blocked[i][v] = rand_below(&w->r, 4) > 0;
            if (w->nodes[i].up) {
                SAY(w, "%u is told that %u is gone", i, v);
                raft_peer_dead(w->nodes[i].raft, v, now_of(&w->nodes[i]));
            }
        }
    }
}

static void trouble(struct world *w)
{
    for (uint16_t i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (!n->up) {
            if (w->step >= n->back_at) {
                world_restart(w, n);
            }
        } else if (one_in(w, w->crash)) {
            world_crash(w, n);
            if (one_in(w, w->damage)) {
                world_damage(w, n);
            }
        } else if (one_in(w, w->stall)) {
            n->stall_until = w->step + rand_below(&w->r, 200);
        } else if (one_in(w, w->shy)) {
            raft_shy(n->raft, rand_chance(&w->r, 4));
        }
    }
    if (one_in(w, w->cut)) {
        uint16_t a = (uint16_t)(1 + rand_below(&w->r, NODES));
        uint16_t b = (uint16_t)(1 + rand_below(&w->r, NODES));
        if (a != b) {
            w->out->cuts++;
            world_cut(w, a, b);
        }
    }
    if (one_in(w, w->part)) {
        uint64_t sides = rand_below(&w->r, 3) == 0 ? 0 : rand_u64(&w->r);
        for (uint16_t a = 1; a <= NODES; a++) {
            for (uint16_t b = 1; b <= NODES; b++) {
                bool was         = w->blocked[a][b];
                w->blocked[a][b] = ((sides >> a) & 1) != ((sides >> b) & 1);
                if (was && !w->blocked[a][b] && one_in(w, 2)) {
                    world_cut(w, a, b);
                }
            }
        }
    }
    if (one_in(w, w->firewall)) {
        firewall(w);
    } else if (w->firewall != 0 && one_in(w, 2 * ELECTION_STEPS)) {
        memset(w->blocked, 0, sizeof w->blocked);
    }
    if (one_in(w, w->one_way)) { /* two do not hear each other, or one does not hear the other; all the rest do */
        uint64_t a       = 1 + rand_below(&w->r, (uint64_t)w->first_voters);
        uint64_t b       = 1 + rand_below(&w->r, (uint64_t)w->first_voters);
        w->blocked[a][b] = rand_below(&w->r, 3) > 0;
        w->blocked[b][a] = w->blocked[a][b] ? rand_below(&w->r, 3) > 0 : w->blocked[b][a];
    }
}

static void heal(struct world *w)
{
    w->trouble = false;
    memset(w->blocked, 0, sizeof w->blocked);
    for (uint16_t i = 1; i <= NODES; i++) {
        if (!w->nodes[i].up) {
            world_restart(w, &w->nodes[i]);
        }
        raft_shy(w->nodes[i].raft, false);
    }
    for (uint16_t a = 1; a <= NODES; a++) {
        for (uint16_t b = (uint16_t)(a + 1); b <= NODES; b++) {
            world_cut(w, a, b);
        }
    }
}

static uint64_t rate(struct world *w, uint64_t one_in_runs, uint64_t from, uint64_t to)
{
    return rand_chance(&w->r, one_in_runs) ? from + rand_below(&w->r, to - from) : 0;
}

/* Which faults this run has, and how often. */
static void draw_faults(struct world *w)
{
    w->delay_max  = rand_chance(&w->r, 3) ? 10 + rand_below(&w->r, 110) : 2 + rand_below(&w->r, 12);
    w->disk_max   = rand_chance(&w->r, 3) ? 10 + rand_below(&w->r, 150) : 2 + rand_below(&w->r, 8);
    w->drop       = rate(w, 3, 5, 200);
    w->twice      = rate(w, 3, 5, 100);
    w->crash      = rate(w, 2, 100, 2000);
    w->cut        = rate(w, 2, 10, 300);
    w->part       = rate(w, 2, 30, 400);
    w->one_way    = rate(w, 3, 20, 300);
    w->refuse     = rate(w, 4, 4, 100);
    w->transfer   = rate(w, 3, 20, 300);
    w->damage     = rate(w, 2, 1, 4);
    w->change     = rate(w, 4, 20, 300);
    w->compact    = rate(w, 2, 30, 500);
    w->propose    = 2 + rand_below(&w->r, 30);
    w->lazy_flush = rate(w, 3, 2, 10);
    w->stall      = rate(w, 3, 300, 3000);
    w->shy        = rate(w, 6, 200, 2000);
    w->firewall   = rate(w, 4, 50, 800);
    if (w->damage != 0) {
        w->change = 0; /* of another set of members the damaged one could be the majority */
        w->crash  = w->crash != 0 ? w->crash : 500;
        if (rand_chance(
                &w->r,
                2)) { /* .. again and again, with a network in which the old and the new leader do not hear each other */
            w->damage    = 1;
            w->crash     = 100 + rand_below(&w->r, 400);
            w->one_way   = 10 + rand_below(&w->r, 80);
            w->propose   = 2 + rand_below(&w->r, 4);
            w->delay_max = 2 + rand_below(&w->r, 6);
            w->disk_max  = 2 + rand_below(&w->r, 6);
            w->part      = 0;
            w->compact   = 0;
        }
    }
}

static void play(struct world *w, uint64_t steps)
{
    for (w->step = 1; w->step < steps; w->step++) {
        trouble(w);
        world_deliver_due(w);
        for (int i = 1; i <= NODES; i++) {
            if (w->nodes[i].up) {
                world_live(w, &w->nodes[i]);
            }
        }
        w->out->step = w->step;
    }
    heal(w);
    SAY(w, "all is healed");
    uint64_t than = w->commit;
    for (; w->step < steps + HEAL_STEPS; w->step++) {
        world_deliver_due(w);
        for (int i = 1; i <= NODES; i++) {
            world_live(w, &w->nodes[i]);
        }
        w->out->step = w->step;
        if (world_whole(w, than)) {
            w->out->steps_to_heal = w->step - steps;
            return;
        }
    }
    world_tell(w);
    world_fail(w, "ten election timeouts after everything was healed they are not whole");
}

void raft_world_run(const struct raft_world_options *options, struct raft_world_result *out)
{
    struct world *w = calloc(1, sizeof *w);
    *out            = (struct raft_world_result){.step = 0};
    if (w == NULL) {
        snprintf(out->failure, sizeof out->failure, "out of memory");
        return;
    }
    w->out          = out;
    w->trouble      = true;
    w->verbose      = options->verbose;
    w->config_count = 1;
    w->first_voters = options->nodes;
    w->lease_ns     = (uint64_t)ELECTION_STEPS * STEP_NS / (1 + options->seed % 2); /* as long as may be, or as it is */
    rand_init(&w->r, options->seed, 1);
    draw_faults(w);
    struct raft_members members = {.voter_count = (uint8_t)options->nodes};
    for (int i = 0; i < options->nodes; i++) {
        members.voters[i] = (uint16_t)(i + 1);
    }
    if (setjmp(w->failed) == 0) {
        for (uint32_t i = 1; i <= NODES; i++) {
            struct node *n   = &w->nodes[i];
            n->id            = i;
            n->world         = w;
            n->drift         = (int64_t)rand_below(&w->r, 7) - 3;
            n->image.members = members;
            n->image.hash    = 1;
        }
        for (uint32_t i = 1; i <= NODES; i++) {
            world_restart(w, &w->nodes[i]);
        }
        play(w, options->steps);
    }
    out->committed = w->commit;
    for (int i = 1; i <= NODES; i++) {
        raft_free(w->nodes[i].raft);
    }
    for (size_t i = 0; i < w->flying_count; i++) {
        free(w->flying[i]);
    }
    for (size_t i = 0; i < w->spare_count; i++) {
        free(w->spare[i]);
    }
    free(w);
}
