/* placement.c - ranks, then corrections. Places are told apart by their keys, in whatever order the plan lists them. */
#include "segstore/placement/placement.h"

#include "shared/base/hash.h"

#include <stdlib.h>

enum { NOBODY = 0xff };

/* While it is computed: places by their rank among the keys. */
struct board {
    struct plan_place at[PLAN_NODES_MAX]; /* by key, ascending */
    uint32_t          count;
    uint32_t          replicas;
    uint32_t          stripes;
    uint32_t          shards;
    uint8_t (*sets)[PLAN_REPLICAS_MAX]; /* of each stripe: places */
    uint8_t *leads;
    uint32_t load[PLAN_NODES_MAX];
    bool     stuck[PLAN_NODES_MAX][PLAN_NODES_MAX]; /* no stripe can go from the one to the other */
};

static uint64_t liking(uint32_t stripe, const struct plan_place *place)
{
    return hash_u64((uint64_t)stripe << 16 | place->key);
}

static int by_key(const void *a, const void *b)
{
    return ((const struct plan_place *)a)->key - ((const struct plan_place *)b)->key;
}

static bool same_rack(const struct board *b, uint32_t one, uint32_t other)
{
    return one == other || (b->at[one].rack != 0 && b->at[one].rack == b->at[other].rack);
}

/* Replicas of the stripe in the rack of place, but for the one on `except`. */
static uint32_t in_rack(const struct board *b, uint32_t stripe, uint32_t taken, uint32_t place, uint32_t except)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < taken; i++) {
        uint32_t other = b->sets[stripe][i];
        count += other != except && same_rack(b, other, place);
    }
    return count;
}

static bool holds(const struct board *b, uint32_t stripe, uint32_t taken, uint32_t place)
{
    for (uint32_t i = 0; i < taken; i++) {
        if (b->sets[stripe][i] == place) {
            return true;
        }
    }
    return false;
}

/* ---- replicas ---- */

static void choose(struct board *b, uint32_t stripe)
{
    for (uint32_t taken = 0; taken < b->replicas; taken++) {
        uint32_t best = NOBODY;
        for (uint32_t p = 0; p < b->count; p++) {
            if (holds(b, stripe, taken, p)) {
                continue;
            }
            uint32_t mine = in_rack(b, stripe, taken, p, NOBODY);
            uint32_t his  = best == NOBODY ? 0 : in_rack(b, stripe, taken, best, NOBODY);
            if (best == NOBODY || mine < his ||
                (mine == his && liking(stripe, &b->at[p]) > liking(stripe, &b->at[best]))) {
                best = p;
            }
        }
        b->sets[stripe][taken] = (uint8_t)best;
        b->load[best]++;
    }
}

/* Could the stripe go from one place to the other? */
static bool may_shift(const struct board *b, uint32_t s, uint32_t from, uint32_t to)
{
    return holds(b, s, b->replicas, from) && !holds(b, s, b->replicas, to) &&
           in_rack(b, s, b->replicas, to, from) <= in_rack(b, s, b->replicas, from, from);
}

/* This stripe, and no other one, lies elsewhere now: what was stuck may not be stuck any more because of it. */
static void unstick(struct board *b, uint32_t stripe)
{
    for (uint32_t f = 0; f < b->count; f++) {
        for (uint32_t t = 0; t < b->count; t++) {
            b->stuck[f][t] = b->stuck[f][t] && !may_shift(b, stripe, f, t);
        }
    }
}

/* The stripe that likes it best goes from one place to the other. */
static bool shift(struct board *b, uint32_t from, uint32_t to)
{
    uint32_t best  = b->stripes;
    uint64_t likes = 0;
    for (uint32_t s = 0; s < b->stripes; s++) {
        if (!may_shift(b, s, from, to)) {
            continue;
        }
        uint64_t l = liking(s, &b->at[to]) / 2 - liking(s, &b->at[from]) / 2 + UINT64_MAX / 2;
        if (best == b->stripes || l > likes) {
            best  = s;
            likes = l;
        }
    }
    if (best == b->stripes) {
        b->stuck[from][to] = true;
        return false;
    }
    for (uint32_t i = 0; i < b->replicas; i++) {
        if (b->sets[best][i] == from) {
            b->sets[best][i] = (uint8_t)to;
        }
    }
    b->load[from]--;
    b->load[to]++;
    unstick(b, best);
    return true;
}

/* From the fullest to the emptiest; where racks forbid that, the next pair. Pairs that were found to be stuck are not tried for each move anew: with a few nodes in
 * racks of their own that took seconds. */
static bool even_one(struct board *b)
{
    for (;;) {
        uint32_t from = NOBODY, to = NOBODY;
        for (uint32_t f = 0; f < b->count; f++) {
            for (uint32_t t = 0; t < b->count; t++) {
                bool more = from == NOBODY || (int64_t)b->load[f] - b->load[t] > (int64_t)b->load[from] - b->load[to];
                if (!b->stuck[f][t] && b->load[f] >= b->load[t] + 2 && more) {
                    from = f;
                    to   = t;
                }
            }
        }
        if (from == NOBODY) {
            return false;
        }
        if (shift(b, from, to)) {
            return true;
        }
    }
}

/* ---- leads ---- */

/* Leads of one shard, and of all. */
struct leads {
    uint32_t here[PLAN_NODES_MAX];
    uint32_t all[PLAN_NODES_MAX];
    uint32_t held[PLAN_NODES_MAX][PLAN_NODES_MAX]; /* stripes of the shard that the one leads and the other holds */
};

/* by: 1 or -1u. */
static void count_held(const struct board *b, struct leads *n, uint32_t s, uint32_t by)
{
    for (uint32_t i = 0; i < b->replicas && b->leads[s] != NOBODY; i++) {
        n->held[b->leads[s]][b->sets[s][i]] += by;
    }
}

/* A stripe of the shard that `from` leads and `to` holds, too. */
static uint32_t lent(const struct board *b, uint32_t shard, uint32_t from, uint32_t to)
{
    for (uint32_t s = shard; s < b->stripes; s += b->shards) {
        if (b->leads[s] == from && holds(b, s, b->replicas, to)) {
            return s;
        }
    }
    return b->stripes;
}

static bool better(const struct leads *n, uint32_t from, uint32_t to)
{
    return n->here[from] >= n->here[to] + 2 || (n->here[from] == n->here[to] + 1 && n->all[from] >= n->all[to] + 2);
}

/* One lead fewer for `first`, one more for somebody who has fewer, by a chain of stripes that change hands. */
static bool lend(struct board *b, struct leads *n, uint32_t shard, uint32_t first)
{
    uint8_t  before[PLAN_NODES_MAX], queue[PLAN_NODES_MAX];
    uint32_t ahead = 0, count = 0;
    memset(before, NOBODY, sizeof before);
    queue[count++] = (uint8_t)first;
    before[first]  = (uint8_t)first;
    while (ahead < count) {
        uint32_t at = queue[ahead++];
        for (uint32_t to = 0; to < b->count; to++) {
            if (before[to] != NOBODY || b->at[to].drained || n->held[at][to] == 0) {
                continue;
            }
            before[to]     = (uint8_t)at;
            queue[count++] = (uint8_t)to;
            if (!better(n, first, to)) {
                continue;
            }
            n->here[to]++;
            n->all[to]++;
            n->here[first]--;
            n->all[first]--;
            for (uint32_t t = to; t != first; t = before[t]) {
                uint32_t s = lent(b, shard, before[t], t);
                count_held(b, n, s, -1u);
                b->leads[s] = (uint8_t)t;
                count_held(b, n, s, 1);
            }
            return true;
        }
    }
    return false;
}

static void lead(struct board *b)
{
    struct leads n = {0};
    for (uint32_t s = 0; s < b->stripes; s++) {
        b->leads[s] = NOBODY;
        for (uint32_t i = 0; i < b->replicas; i++) {
            const struct plan_place *place = &b->at[b->sets[s][i]];
            uint32_t                 best  = b->leads[s];
            /* another hash than that of the places, or the nodes that everybody likes would lead as well */
            if (!place->drained && (best == NOBODY || hash_u64(liking(s, place)) > hash_u64(liking(s, &b->at[best])))) {
                b->leads[s] = b->sets[s][i];
            }
        }
        n.all[b->leads[s] == NOBODY ? 0 : b->leads[s]] += b->leads[s] != NOBODY;
    }
    for (uint32_t shard = 0; shard < b->shards; shard++) {
        memset(n.here, 0, sizeof n.here);
        memset(n.held, 0, sizeof n.held);
        for (uint32_t s = shard; s < b->stripes; s += b->shards) {
            count_held(b, &n, s, 1);
            n.here[b->leads[s] == NOBODY ? 0 : b->leads[s]] += b->leads[s] != NOBODY;
        }
        for (bool again = true; again;) {
            again = false;
            for (uint32_t first = 0; first < b->count && !again; first++) {
                again = lend(b, &n, shard, first);
            }
        }
    }
}

void placement_make(const struct plan *plan, uint32_t stripes, uint32_t shards, struct placement *out)
{
    struct board b = {.count    = plan->count,
                      .replicas = plan->replicas < plan->count ? plan->replicas : plan->count,
                      .stripes  = stripes,
                      .shards   = shards};
    b.sets         = calloc(stripes, sizeof *b.sets);
    b.leads        = calloc(stripes, sizeof *b.leads);
    ASSERT_MEMORY(b.sets != NULL && b.leads != NULL);
    memcpy(b.at, plan->at, plan->count * sizeof b.at[0]);
    qsort(b.at, b.count, sizeof b.at[0], by_key);
    for (uint32_t s = 0; s < stripes; s++) {
        choose(&b, s);
    }
    for (uint32_t left = stripes * b.replicas; left > 0 && even_one(&b); left--) {
    }
    lead(&b);
    for (uint32_t s = 0; s < stripes; s++) {
        out[s] =
            (struct placement){.count = (uint8_t)b.replicas, .lead = b.leads[s] == NOBODY ? 0 : b.at[b.leads[s]].node};
        for (uint32_t i = 0; i < b.replicas; i++) {
            out[s].nodes[i] = b.at[b.sets[s][i]].node;
        }
    }
    free(b.sets);
    free(b.leads);
}
