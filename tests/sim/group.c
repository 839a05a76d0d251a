/* group.c - nodes, accidents, and what must hold. */
#include "tests/sim/group.h"

#include "segstore/node/node.h"
#include "segstore/raft/raft.h"
#include "segstore/stripe/stripe.h"
#include "shared/loop/io.h"
#include "tests/sim/disk.h"

#include <stdio.h>
#include <string.h>

static const uint64_t WATCH_NS = 5 * SIM_MS;

/* ---- one node ---- */

static void on_ready(void *ctx, const char *address, uint16_t port)
{
    (void)address;
    (void)port;
    ((struct group_member *)ctx)->ready = true;
}

static void on_refused(void *ctx, int error, const char *why)
{
    struct group_member *m = ctx;
    snprintf(m->why, sizeof m->why, "%d: %s", error, why);
    sim_check(m->group->world, m->may_refuse, "%s refuses to start: %s", m->name, m->why);
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {
        .sockets_max = 32, .recv_buffers = 16, .recv_buffer_bytes = 8192, .cpu = -1};
    struct group_member    *m     = ctx;
    const struct node_hooks hooks = {.ctx = m, .ready = on_ready, .refused = on_refused};
    struct io              *io    = NULL;
    char                    why[128];
    struct core            *core   = core_new(process);
    int                     result = io_open(&config, &io, why, sizeof why);
    if (result < 0) {
        return result;
    }
    m->ready = false;
    memset(m->terms, 0, sizeof m->terms);
    memset(m->commits, 0, sizeof m->commits);
    m->node = node_new(io, &m->config, 0, NULL, NULL, &hooks);
    core_run(core, m->node, node_turn);
    return 0;
}

static void destroy(void *ctx)
{
    struct group_member *m = ctx;
    node_free(m->node);
    m->node  = NULL;
    m->ready = false;
}

static void died(struct process *process, void *ctx)
{
    struct group_member *m = ctx;
    (void)process;
    sim_check(m->group->world, m->may_refuse, "%s ended itself", m->name);
}

static void member_start(struct group *g, uint32_t i, uint32_t count)
{
    struct world        *world = g->world;
    struct group_member *m     = &g->members[i];
    m->group                   = g;
    snprintf(m->name, sizeof m->name, "store%u", i + 1);
    m->config                        = segstore_config_default();
    m->config.data_directory         = "/var/keel";
    m->config.listen_address         = "0.0.0.0";
    m->config.listen_port            = GROUP_PORT;
    m->config.stripes                = g->stripes;
    m->config.node                   = (uint16_t)(i + 1);
    m->config.cluster                = "sim";
    m->config.node_count             = i < g->founders ? g->founders : count; /* they are told of the others later */
    m->config.join                   = i >= g->founders;
    m->config.replicas               = 7;
    m->config.segment_bytes          = world_between(world, SALT_SCENARIO, 1, 3) << 20;
    m->config.checkpoint_bytes       = world_between(world, SALT_SCENARIO, 64 << 10, 2 << 20);
    m->config.checkpoint_ns          = world_between(world, SALT_SCENARIO, 1, 10) * SIM_S;
    m->config.log_bytes              = 0; /* files of which less than half is held are emptied soon */
    m->config.reclaim_ns             = 0;
    m->config.disk_reserve_bytes     = 0;
    m->config.tail_bytes             = 0;
    m->config.cold_chunks            = 8;
    m->config.wal_depth              = (uint32_t)world_between(world, SALT_SCENARIO, 1, 2);
    m->config.checkpoint_slice_bytes = world_chance(world, SALT_SCENARIO, 2) ? 1 : 2000;
    /* Nothing is refused, but queues count their bytes, and begin and end to do so as one or another leads. */
    m->config.stream_bytes_max =
        world_chance(world, SALT_LIMITS, 2) ? 0 : world_between(world, SALT_LIMITS, 1, 64) << 30;
    for (uint32_t n = 0; n < count; n++) {
        m->config.nodes[n] = (struct segstore_node){.id = (uint16_t)(n + 1), .port = GROUP_PORT};
        snprintf(m->config.nodes[n].address, sizeof m->config.nodes[n].address, "store%u", n + 1);
    }
    m->machine                     = machine_new(world, m->name, GROUP_DISK_BYTES);
    const struct process_spec spec = {m->name, start, destroy, died, m};
    m->process                     = process_new(m->machine, &spec);
    sim_check(world, process_start(m->process) == 0, "%s starts", m->name);
}

void group_start(struct group *g, struct world *world, uint32_t count, uint32_t stripes)
{
    group_start_some(g, world, count, count, stripes);
}

void group_start_some(struct group *g, struct world *world, uint32_t count, uint32_t founders, uint32_t stripes)
{
    ASSERT(count <= GROUP_MAX && stripes <= GROUP_STRIPES_MAX);
    *g = (struct group){.world = world, .count = count, .founders = founders, .stripes = stripes};
    for (uint32_t i = 0; i < count; i++) {
        member_start(g, i, count);
    }
}

void group_end(struct group *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (g->members[i].process->alive) {
            process_crash(g->members[i].process);
        }
    }
}

void group_crash(struct group *g, uint32_t i)
{
    process_crash(g->members[i].process);
}

void group_power_off(struct group *g, uint32_t i)
{
    machine_power_off(g->members[i].machine);
}

void group_new_disk(struct group *g, uint32_t member)
{
    struct group_member *m   = &g->members[member];
    m->config.data_directory = "/var/keel-new";
    memset(m->led, 0, sizeof m->led);
}

void group_restart(struct group *g, uint32_t i)
{
    struct group_member *m = &g->members[i];
    if (!m->machine->powered) {
        machine_power_on(m->machine);
    }
    if (!m->process->alive) {
        sim_check(g->world, process_start(m->process) == 0, "%s starts again", m->name);
    }
}

/* ---- what must hold ---- */

static void watch_member(struct group *g, uint32_t i, uint16_t stripe)
{
    struct group_member *m     = &g->members[i];
    const struct raft   *raft  = node_raft(m->node, stripe);
    uint64_t             term  = raft_term(raft);
    uint64_t             index = raft_commit(raft);
    sim_check(g->world, term >= m->terms[stripe], "%s: the term of stripe %u goes back from %llu to %llu", m->name,
              stripe, (unsigned long long)m->terms[stripe], (unsigned long long)term);
    if (raft_members(raft)->voter_count == 0 || (raft_is_damaged(raft) && node_counts(m->node).replicas_left > 0)) {
        /* it has left the stripe, and holds nothing of it any more; or is a learner again already */
        m->commits[stripe] = 0;
        m->left[stripe] =
            true; /* and counts as damaged, until it is a member again and has everything, and a checkpoint knows */
    }
    bool given_up = m->config.accept_damage && raft_is_damaged(raft); /* raft_cut */
    sim_check(g->world, index >= m->commits[stripe] || given_up,
              "%s: the commit index of stripe %u goes back from %llu to %llu", m->name, stripe,
              (unsigned long long)m->commits[stripe], (unsigned long long)index);
    sim_check(g->world, term >= m->led[stripe] || raft_is_damaged(raft),
              "%s led stripe %u in term %llu and is in term %llu now", m->name, stripe,
              (unsigned long long)m->led[stripe], (unsigned long long)term);
    m->terms[stripe]   = term;
    m->commits[stripe] = index;
    if (raft_role(raft) == RAFT_LEADER && term < GROUP_TERMS_MAX) {
        uint16_t *leader = &g->leaders[stripe][term];
        sim_check(g->world, *leader == 0 || *leader == i + 1, "stripe %u has two leaders in term %llu: %u and %u",
                  stripe, (unsigned long long)term, *leader, i + 1);
        *leader        = (uint16_t)(i + 1);
        m->led[stripe] = term;
    }
}

/* What the members hold of a stripe at one look: made once, however many it is compared with. */
struct look {
    bool     hashed[GROUP_MAX];
    uint64_t hash[GROUP_MAX];
};

static uint64_t look_hash(struct look *look, const struct group *g, uint32_t i, uint16_t stripe)
{
    if (!look->hashed[i]) {
        look->hashed[i] = true;
        look->hash[i]   = stripe_hash(node_stripe(g->members[i].node, stripe));
    }
    return look->hash[i];
}

static void watch_pair(struct group *g, struct look *look, uint32_t a, uint32_t b, uint16_t stripe)
{
    struct node *one   = g->members[a].node;
    struct node *other = g->members[b].node;
    uint64_t     low   = raft_commit(node_raft(one, stripe));
    uint64_t     high  = raft_commit(node_raft(other, stripe));
    uint64_t     index = low < high ? low : high;
    uint64_t     x;
    uint64_t     y;
    if (node_chain(one, stripe, index, &x) && node_chain(other, stripe, index, &y)) {
        sim_check(g->world, x == y, "stripe %u: entry %llu is committed with two histories, on %s and %s", stripe,
                  (unsigned long long)index, g->members[a].name, g->members[b].name);
    }
    uint64_t  applied  = stripe_applied(node_stripe(one, stripe));
    uint64_t *compared = &g->compared[a][b][stripe];
    if (applied == stripe_applied(node_stripe(other, stripe)) && applied != *compared) {
        *compared = applied;
        sim_check(g->world, look_hash(look, g, a, stripe) == look_hash(look, g, b, stripe),
                  "stripe %u: %s and %s differ after entry %llu", stripe, g->members[a].name, g->members[b].name,
                  (unsigned long long)applied);
    }
}

static void watch_whole(struct group *g, uint32_t i, uint16_t stripe)
{
    struct group_member *m = &g->members[i];
    sim_check(g->world,
              (!raft_is_damaged(node_raft(m->node, stripe)) || m->left[stripe]) && !node_repairs(m->node, stripe),
              "%s takes its part of stripe %u for damaged, and all of it is whole", m->name, stripe);
}

void group_watch(struct group *g)
{
    for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
        for (uint32_t i = 0; i < g->count; i++) {
            if (g->members[i].ready) {
                watch_member(g, i, stripe);
                if (!g->damaged) {
                    watch_whole(g, i, stripe);
                }
            }
        }
        struct look look = {0};
        for (uint32_t i = 0; i < g->count; i++) {
            for (uint32_t j = i + 1; j < g->count; j++) {
                if (g->members[i].ready && g->members[j].ready) {
                    watch_pair(g, &look, i, j, stripe);
                }
            }
        }
    }
}

void group_run_ns(struct group *g, uint64_t duration_ns)
{
    uint64_t end_ns = g->world->now_ns + duration_ns;
    while (g->world->now_ns < end_ns) {
        uint64_t left = end_ns - g->world->now_ns;
        world_run_ns(g->world, left < WATCH_NS ? left : WATCH_NS);
        group_watch(g);
    }
}

bool group_run_until(struct group *g, bool (*done)(void *ctx), void *ctx, uint64_t limit_ns)
{
    uint64_t end_ns = g->world->now_ns + limit_ns;
    while (g->world->now_ns < end_ns) {
        if (world_run_until(g->world, done, ctx, WATCH_NS)) {
            group_watch(g);
            return true;
        }
        group_watch(g);
    }
    return false;
}

int group_leader(const struct group *g, uint16_t stripe)
{
    uint64_t term   = 0;
    int      leader = -1;
    for (uint32_t i = 0; i < g->count; i++) {
        const struct raft *raft = g->members[i].ready ? node_raft(g->members[i].node, stripe) : NULL;
        if (raft != NULL && raft_role(raft) == RAFT_LEADER && raft_term(raft) >= term) {
            term   = raft_term(raft);
            leader = (int)i;
        }
    }
    return leader;
}

static bool all_equal(void *ctx)
{
    struct group *g = ctx;
    for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
        int leader = group_leader(g, stripe);
        if (leader < 0) {
            return false;
        }
        const struct raft *lead = node_raft(g->members[leader].node, stripe);
        uint64_t           last = raft_last(lead);
        for (uint32_t i = 0; i < g->count; i++) {
            if (!raft_members_any(raft_members(lead), (uint16_t)(i + 1))) {
                continue;
            }
            if (!g->members[i].ready || raft_is_damaged(node_raft(g->members[i].node, stripe)) ||
                node_repairs(g->members[i].node, stripe) ||
                stripe_applied(node_stripe(g->members[i].node, stripe)) != last) {
                return false;
            }
        }
    }
    return true;
}

/* For whoever looks into a failure. */
static void tell(const struct group *g)
{
    for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
        for (uint32_t i = 0; i < g->count; i++) {
            const struct group_member *m = &g->members[i];
            const struct raft         *r = m->ready ? node_raft(m->node, stripe) : NULL;
            if (r == NULL) {
                printf("stripe %u on %s: not up\n", stripe, m->name);
                continue;
            }
            printf(
                "stripe %u on %s: role %d leader %u term %llu last %llu stable %llu commit %llu applied %llu damaged "
                "%d repairs %d\n",
                stripe, m->name, (int)raft_role(r), raft_leader(r), (unsigned long long)raft_term(r),
                (unsigned long long)raft_last(r), (unsigned long long)raft_stable_index(r),
                (unsigned long long)raft_commit(r), (unsigned long long)stripe_applied(node_stripe(m->node, stripe)),
                raft_is_damaged(r), node_repairs(m->node, stripe));
        }
    }
}

void group_agree(struct group *g, uint64_t limit_ns)
{
    if (!group_run_until(g, all_equal, g, limit_ns)) {
        tell(g);
        sim_fail(g->world, "the replicas do not become equal");
    }
}

/* ---- who leads ---- */

struct lead {
    struct group *group;
    uint32_t      member;
};

static bool leads_all(void *ctx)
{
    const struct lead *l = ctx;
    for (uint16_t stripe = 0; stripe < l->group->stripes; stripe++) {
        if (group_leader(l->group, stripe) != (int)l->member) {
            return false;
        }
    }
    return true;
}

bool group_hand_over(struct group *g, uint16_t stripe, uint32_t member)
{
    int leader = group_leader(g, stripe);
    if (leader < 0 || leader == (int)member) {
        return false;
    }
    return raft_transfer((struct raft *)(uintptr_t)node_raft(g->members[leader].node, stripe), (uint16_t)(member + 1),
                         machine_monotonic_ns(g->members[leader].machine));
}

void group_lead(struct group *g, uint32_t member, uint64_t limit_ns)
{
    struct lead l      = {g, member};
    uint64_t    end_ns = g->world->now_ns + limit_ns;
    while (!group_run_until(g, leads_all, &l, 100 * SIM_MS)) {
        if (g->world->now_ns >= end_ns) {
            tell(g);
            sim_fail(g->world, "%s does not take the lead of all stripes", g->members[member].name);
        }
        for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
            (void)group_hand_over(g, stripe, member);
        }
    }
}

/* ---- members ---- */

struct plan {
    struct group   *group;
    const uint16_t *nodes;
    uint16_t        count;
};

static bool are_members(void *ctx)
{
    const struct plan *plan = ctx;
    for (uint16_t stripe = 0; stripe < plan->group->stripes; stripe++) {
        int leader = group_leader(plan->group, stripe);
        if (leader < 0) {
            return false;
        }
        const struct raft_members *m = raft_members(node_raft(plan->group->members[leader].node, stripe));
        bool all                     = m->voter_count == plan->count && m->outgoing_count == 0 && m->learner_count == 0;
        for (uint16_t i = 0; i < plan->count; i++) {
            all = all && raft_members_voter(m, plan->nodes[i]);
        }
        if (!all) {
            return false;
        }
    }
    return true;
}

bool group_members_are(struct group *g, const uint16_t *nodes, uint16_t count, uint64_t limit_ns)
{
    struct plan plan = {g, nodes, count};
    return group_run_until(g, are_members, &plan, limit_ns);
}
