/* scenario_holes.c - all nodes die, and each has a hole in what it is about to replay: another one each, so that together they have everything although none of them has
 * a vote; or all the same one, so that the operator has to decide: as the log is read, or later. */
#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "segstore/stripe/stripe.h"
#include "tests/sim/disk.h"
#include "tests/sim/group.h"
#include "tests/sim/group_client.h"
#include "tests/sim/group_faults.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

enum { LIMIT_S = 120, PARTS = 4 };

struct story {
    struct group        group;
    struct group_client client;
    uint64_t            ends[PARTS][GROUP_MAX]; /* of the log of a node, when a part of the story had come to its end */
    bool                listed[GROUP_MAX];      /* it makes a checkpoint in the middle of it */
    uint64_t            saved[GROUP_MAX];       /* a checkpoint that is older than what is waited for */
    bool                behind[GROUP_MAX];      /* its checkpoint does not have what all have lost */
};

static uint64_t log_end(const struct story *s, uint32_t node)
{
    return s->group.members[node].node->storage->wal.last.position;
}

/* All nodes have what comes now, durable, and in blocks that hold nothing else. */
static void write_part(struct story *s, uint32_t part, uint64_t low, uint64_t high)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i,
                          s->client.stripes[i].answered + world_between(g->world, SALT_SCENARIO, low, high));
    }
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    if (world_chance(g->world, SALT_SCENARIO, 3)) { /* somebody else leads, and votes are in there */
        for (uint16_t stripe = 0; stripe < g->stripes; stripe++) {
            (void)group_hand_over(g, stripe, (uint32_t)world_between(g->world, SALT_SCENARIO, 0, g->count - 1));
        }
        group_run_ns(g, 2 * SIM_S);
        group_agree(g, LIMIT_S * SIM_S);
    }
    group_run_ns(g, 100 * SIM_MS);
    for (uint32_t i = 0; i < g->count; i++) {
        s->ends[part][i] = log_end(s, i);
    }
}

/* False: the file has gone, behind a checkpoint. */
static bool rot(struct story *s, uint32_t node, uint64_t position)
{
    const struct group_member *m = &s->group.members[node];
    char                       path[64];
    snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012llu",
             (unsigned long long)(position / m->config.segment_bytes));
    s->group.damaged = true;
    return disk_rot(m->machine->disk, path, position % m->config.segment_bytes);
}

/* Somewhere in what a node wrote in that part. */
static void rot_part(struct story *s, uint32_t node, uint32_t part)
{
    uint64_t file  = s->group.members[node].config.segment_bytes;
    uint64_t end   = s->ends[part][node];
    uint64_t begin = s->ends[part - 1][node];
    begin          = begin < (end - 1) / file * file ? (end - 1) / file * file : begin;
    (void)rot(s, node, world_between(s->group.world, SALT_SCENARIO, begin, end - 1));
}

static struct story *begin(struct world *world, uint32_t stripes_max)
{
    struct story *s = calloc(1, sizeof *s);
    struct group *g = &s->group;
    ASSERT(s != NULL);
    group_tame(world);
    group_start(g, world, 3, (uint32_t)world_between(world, SALT_SCENARIO, 1, stripes_max));
    for (uint32_t i = 0; i < g->count; i++) {
        g->members[i].config.checkpoint_ns    = 3600 * SIM_S;
        g->members[i].config.checkpoint_bytes = 1u << 30;
        g->members[i].config.log_bytes        = 1u << 30;
    }
    group_client_start(&s->client, g);
    return s;
}

static void all_die(struct story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        if (world_chance(s->group.world, SALT_SCENARIO, 2)) {
            group_power_off(&s->group, i);
        } else {
            group_crash(&s->group, i);
        }
    }
}

static void all_begin(struct story *s)
{
    uint32_t first = (uint32_t)world_between(s->group.world, SALT_SCENARIO, 0, 2);
    for (uint32_t i = 0; i < s->group.count; i++) {
        group_restart(&s->group, (first + i) % s->group.count);
        group_run_ns(&s->group, world_between(s->group.world, SALT_SCENARIO, 0, 1) *
                                    world_between(s->group.world, SALT_SCENARIO, 0, 5 * SIM_S));
    }
}

static void finish(struct story *s)
{
    group_client_end(&s->client);
    group_end(&s->group);
    free(s);
}

/* Nodes die in the middle of it, so often. */
static void holes(struct world *world, uint64_t least, uint64_t most)
{
    struct story *s     = begin(world, 2);
    struct group *g     = &s->group;
    uint32_t      first = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
    for (uint32_t i = 0; i < g->count; i++) { /* they are told above that nothing of their logs is left behind */
        group_crash(g, i);
        group_restart(g, i);
    }
    for (uint32_t part = 0; part < PARTS; part++) {
        write_part(s, part, 5, 40);
    }
    for (uint32_t i = 0; i < g->stripes; i++) { /* what stands behind all holes */
        group_client_want(&s->client, i, s->client.stripes[i].answered + world_between(world, SALT_SCENARIO, 1, 10));
    }
    sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    group_run_ns(g, 100 * SIM_MS);
    all_die(s);
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint64_t flips = world_between(world, SALT_SCENARIO, 1, 3); flips > 0; flips--) {
            rot_part(s, i, 1 + (first + i) % 3);
        }
    }
    all_begin(s);
    for (uint64_t kills = world_between(world, SALT_SCENARIO, least, most); kills > 0; kills--) {
        uint32_t victim = (uint32_t)world_between(world, SALT_SCENARIO, 0, 2);
        group_run_ns(g, world_between(world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
        group_crash(g, victim);
        group_restart(g, victim);
    }
    group_agree(g, LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i, s->client.stripes[i].answered + world_between(world, SALT_SCENARIO, 0, 10));
    }
    sim_check(world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    for (uint32_t i = 0; i < g->count; i++) {
        group_client_check_at(&s->client, g, i);
    }
    finish(s);
}

void scenario_group_holes(struct world *world)
{
    holes(world, 0, 2);
}

/* Leaders come and go before anybody is whole. */
void scenario_group_mending(struct world *world)
{
    holes(world, 3, 12);
}

/* ---- what nobody has ---- */

static bool led(void *ctx)
{
    const struct story *s = ctx;
    return group_leader(&s->group, 0) >= 0;
}

static uint64_t next_offset(struct story *s, uint32_t node)
{
    struct stripe_stream stream;
    int result = stripe_stream(node_stripe(s->group.members[node].node, 0), s->client.stripes[0].stream_id, &stream);
    return result == 0 ? stream.next_offset : 0; /* it was not made yet */
}

/* Each node has the record, there. */
static void find(struct story *s, uint64_t offset, uint64_t positions[GROUP_MAX])
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        uint64_t first;
        sim_check(s->group.world,
                  stripe_positions(node_stripe(s->group.members[i].node, 0), s->client.stripes[0].stream_id, offset,
                                   &positions[i], 1, &first) == 1 &&
                      first == offset,
                  "every node has the record");
    }
}

/* All die, it is lost on all, and they start again. */
static void lose(struct story *s, const uint64_t positions[GROUP_MAX])
{
    all_die(s);
    for (uint32_t i = 0; i < s->group.count; i++) {
        sim_check(s->group.world, rot(s, i, positions[i]), "it is on the disk");
    }
    all_begin(s);
    group_run_ns(&s->group, 500 * SIM_MS);
}

/* The operator's decision. */
static void accept_damage(struct story *s)
{
    for (uint32_t i = 0; i < s->group.count; i++) {
        group_crash(&s->group, i);
        s->group.members[i].config.accept_damage = true;
        group_restart(&s->group, i);
    }
}

static struct story *begin_given_up(struct world *world, uint32_t stripes_max)
{
    struct story *s = begin(world, stripes_max);
    for (uint32_t i = 0; i < s->group.count; i++) {
        group_crash(&s->group, i);
        group_restart(&s->group, i);
    }
    return s;
}

static void finish_given_up(struct story *s)
{
    group_end(&s->group);
    free(s);
}

void scenario_group_given_up(struct world *world)
{
    struct story *s = begin_given_up(world, 2);
    struct group *g = &s->group;
    uint64_t      positions[GROUP_MAX];
    for (uint32_t part = 0; part < 2; part++) {
        write_part(s, part, 5, 40);
    }
    uint64_t offset = world_between(world, SALT_SCENARIO, 5, next_offset(s, 0) - 1);
    find(s, offset, positions);
    group_client_end(&s->client);
    lose(s, positions);
    for (uint32_t i = 0; i < g->count; i++) {
        if (!raft_is_damaged(node_raft(g->members[i].node, 0))) { /* it had made a checkpoint behind it */
            finish_given_up(s);
            return;
        }
    }
    sim_check(world, !group_run_until(g, led, s, 20 * SIM_S), "nobody leads a stripe that all have lost an entry of");
    accept_damage(s);
    group_agree(g, LIMIT_S * SIM_S);
    /* What lay in front of it is there; it and what a node wrote in one block with it, and what lies behind, is not. */
    sim_check(world, next_offset(s, 0) <= offset, "what is lost is not made up");
    finish_given_up(s);
}

/* ---- what nobody has, and a checkpoint names ---- */

static uint64_t unapplied(const struct story *s, uint32_t node)
{
    const struct node *n = s->group.members[node].node;
    return raft_stable_index(node_raft((struct node *)(uintptr_t)n, 0)) -
           stripe_applied(node_stripe((struct node *)(uintptr_t)n, 0));
}

static bool all_unapplied(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        if (s->listed[i] && unapplied(s, i) < 2) {
            return false;
        }
    }
    return true;
}

/* A checkpoint was made when its node had applied what is lost, and the node takes its log for whole. */
static bool applied_somewhere(struct story *s, uint64_t offset)
{
    bool applied = false;
    for (uint32_t i = 0; i < s->group.count; i++) {
        s->behind[i] = next_offset(s, i) <= offset;
        applied = applied || (next_offset(s, i) > offset && !raft_is_damaged(node_raft(s->group.members[i].node, 0)));
    }
    return applied;
}

static bool is_withheld(void *ctx)
{
    const struct story *s      = ctx;
    int                 leader = group_leader(&s->group, 0);
    return leader >= 0 && s->group.members[leader].node->stripes[0].withheld_ns > 0;
}

/* Who leads has applied what is lost, and another node cannot: it needs an image, and does not get it as long as the operator has not accepted that. */
static void check_withheld(struct story *s, uint64_t offset)
{
    struct group *g      = &s->group;
    int           leader = group_leader(g, 0);
    uint32_t      count  = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        count += s->behind[i];
    }
    if (leader < 0 || s->behind[leader] || count == 0) {
        return;
    }
    sim_check(g->world, group_run_until(g, is_withheld, s, LIMIT_S * SIM_S),
              "an operator can see why no image is sent");
    group_run_ns(g, 5 * SIM_S);
    for (uint32_t i = 0; i < g->count; i++) {
        sim_check(g->world, next_offset(s, i) <= offset || !s->behind[i],
                  "damage that was not accepted is not passed on");
    }
}

static bool all_saved(void *ctx)
{
    const struct story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        struct save *save = &s->group.members[i].node->storage->save;
        if (save->newest.number <= s->saved[i]) {
            save->wanted = save->wanted || !save_busy(save);
            return false;
        }
    }
    return true;
}

/* It is a hole on all of them, if it is gone, and all else is there, whoever leads: without the setting, too, once their checkpoints say so. */
static void check_hole(struct story *s, uint64_t offset, bool gone)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->count; i++) {
        s->saved[i] = g->members[i].node->storage->save.newest.number + 1; /* not one that is being made */
    }
    sim_check(g->world, group_run_until(g, all_saved, s, LIMIT_S * SIM_S), "all make checkpoints");
    for (uint32_t i = 0; i < g->count; i++) {
        group_crash(g, i);
        g->members[i].config.accept_damage = false;
        group_restart(g, i);
        group_agree(g, LIMIT_S * SIM_S);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t told = s->client.stripes[0].lost_told;
        group_client_check_at(&s->client, g, i);
        sim_check(g->world, next_offset(s, i) > offset && (!gone || s->client.stripes[0].lost_told > told),
                  "it is told that the record is lost");
    }
}

/* Files of which little is held are emptied from now on. */
static void empty_files(struct story *s)
{
    struct group *g = &s->group;
    for (uint32_t i = 0; i < g->count; i++) {
        group_crash(g, i);
        g->members[i].config.log_bytes        = 0;
        g->members[i].config.checkpoint_bytes = world_between(g->world, SALT_SCENARIO, 64 << 10, 1 << 20);
        g->members[i].config.checkpoint_ns    = world_between(g->world, SALT_SCENARIO, 1, 5) * SIM_S;
        group_restart(g, i);
        group_agree(g, LIMIT_S * SIM_S);
    }
}

static void write_more(struct story *s)
{
    struct group *g = &s->group;
    group_client_want(&s->client, 0, s->client.stripes[0].answered + world_between(g->world, SALT_SCENARIO, 50, 150));
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    group_run_ns(g, world_between(g->world, SALT_SCENARIO, 1, 10) * SIM_S);
}

static bool all_mended(void *ctx)
{
    struct story *s = ctx;
    for (uint32_t i = 0; i < s->group.count; i++) {
        const struct segments *segments = &s->group.members[i].node->storage->segments;
        for (const struct log_segment *each = segments_next(segments, 0); each != NULL;
             each                           = segments_next(segments, each->number + 1)) {
            if (each->damaged) {
                return false;
            }
        }
    }
    return true;
}

/* What is held is found wherever it was moved to; the hole stays one, in its file, which counts as damaged for as long as the hole is held. */
static void check_emptied(struct story *s, uint64_t offset)
{
    struct group *g = &s->group;
    empty_files(s);
    group_client_trim(&s->client, 0, offset - world_between(g->world, SALT_SCENARIO, 0, offset < 20 ? offset : 20));
    for (uint32_t i = 1; i < g->stripes; i++) {
        group_client_trim(&s->client, i, s->client.stripes[i].answered);
    }
    for (uint64_t rounds = world_between(g->world, SALT_SCENARIO, 2, 8); rounds > 0; rounds--) {
        write_more(s);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        uint64_t told = s->client.stripes[0].lost_told;
        group_client_check_at(&s->client, g, i);
        sim_check(g->world, s->client.stripes[0].lost_told > told, "it is told that the record is lost");
    }
    group_client_trim(&s->client, 0, offset + 1);
    write_more(s);
    sim_check(g->world, group_run_until(g, all_mended, s, LIMIT_S * SIM_S), "files that hold no damage are let go of");
    s->client.stripes[0].lost = 0;
    for (uint32_t i = 0; i < g->count; i++) {
        group_client_check_at(&s->client, g, i);
    }
}

/* Nodes make a checkpoint while they have applied most of what is durable there. The first record behind that, of those that do: false, there is none. */
static bool make_listed(struct story *s, uint64_t *out_offset)
{
    struct group *g = &s->group;
    write_part(s, 0, 5, 40);
    s->listed[world_between(g->world, SALT_SCENARIO, 0, 2)] = true;
    for (uint32_t i = 0; i < g->count; i++) {
        s->listed[i] = s->listed[i] || world_chance(g->world, SALT_SCENARIO, 3);
    }
    for (uint32_t i = 0; i < g->stripes; i++) {
        group_client_want(&s->client, i,
                          s->client.stripes[i].answered + world_between(g->world, SALT_SCENARIO, 20, 200));
    }
    bool     found  = group_run_until(g, all_unapplied, s, 5 * SIM_S);
    uint64_t offset = 0;
    for (uint32_t i = 0; i < g->count && found; i++) {
        uint64_t next = next_offset(s, i);
        offset        = s->listed[i] && next > offset ? next : offset;
        g->members[i].node->storage->save.wanted |= s->listed[i];
    }
    sim_check(g->world, group_run_until(g, group_client_answered, &s->client, LIMIT_S * SIM_S), "all is acknowledged");
    group_agree(g, LIMIT_S * SIM_S);
    group_run_ns(g, 100 * SIM_MS);
    *out_offset = offset;
    return found && offset < next_offset(s, 0);
}

/* The operator accepts it, and nodes die meanwhile. */
static void go_on_without(struct story *s)
{
    struct group *g = &s->group;
    accept_damage(s);
    for (uint64_t kills = world_between(g->world, SALT_SCENARIO, 0, 3); kills > 0; kills--) {
        uint32_t victim = (uint32_t)world_between(g->world, SALT_SCENARIO, 0, 2);
        group_run_ns(g, world_between(g->world, SALT_SCENARIO, SIM_MS, 15 * SIM_S));
        group_crash(g, victim);
        group_restart(g, victim);
    }
    group_agree(g, LIMIT_S * SIM_S);
}

/* Some nodes make a checkpoint while it names entries by their places that are durable and not applied there yet: a restart does not read those, and hears of the damage when it
 * applies them. Or the checkpoint was made when it had applied that: then nobody else can, and an image has a hole there. */
void scenario_group_unreadable(struct world *world)
{
    struct story *s = begin_given_up(world, 2);
    struct group *g = &s->group;
    uint64_t      positions[GROUP_MAX];
    uint64_t      offset;
    if (!make_listed(s, &offset)) {
        finish(s);
        return;
    }
    find(s, offset, positions);
    s->client.stripes[0].lost = offset + 1;
    lose(s, positions);
    bool applied = applied_somewhere(s, offset);
    if (!applied) {
        group_client_end(&s->client); /* what comes behind it will go, too */
    }
    group_run_ns(g, 20 * SIM_S); /* some lead, and find that they cannot read it */
    check_withheld(s, offset);
    go_on_without(s);
    if (applied) {
        check_hole(s, offset, true);
        check_emptied(s, offset);
        group_client_end(&s->client);
    } else {
        sim_check(world, next_offset(s, 0) <= offset, "what is lost is not made up");
    }
    finish_given_up(s);
}

/* ---- what nobody has, and where it stood is not known either ---- */

enum { ENTRIES_MAX = 2000, HEAD_BYTES = BLOCK_ENTRY_BYTES };

/* An entry of the stripe as it lies in a file. */
struct lying {
    uint64_t index;
    uint64_t from; /* its head */
    uint64_t to;
    uint64_t block;
    uint64_t block_end;
};

struct damage {
    struct lying entries[ENTRIES_MAX];
    size_t       count;
    uint64_t     from; /* bytes that have changed .. */
    uint64_t     to;
    uint64_t     page_from; /* .. and the pages that they lie in */
    uint64_t     page_to;
    bool         record; /* what is lost is among them */
};

/* The file of a node that a position lies in, from its first block on, as it is on the disk. */
static void list_entries(struct story *s, uint32_t node, uint64_t position, struct damage *out)
{
    const struct group_member *m     = &s->group.members[node];
    uint64_t                   bytes = m->config.segment_bytes;
    uint64_t                   begin = position / bytes * bytes;
    uint8_t                   *image = calloc(1, bytes);
    struct block_header        header;
    char                       path[64];
    ASSERT(image != NULL);
    snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012llu", (unsigned long long)(position / bytes));
    (void)disk_peek_durable(m->machine->disk, path, image, bytes, 0);
    for (uint64_t at = 0; at + BLOCK_PAGE_BYTES <= bytes; at += header.length) {
        struct block_cursor cursor;
        struct log_entry    entry;
        if (!block_header_at(bytes_of(image + at, bytes - at), &m->node->storage->super.id, begin + at, &header)) {
            break;
        }
        block_entries(&cursor, image + at, &header);
        while (block_next(&cursor, &entry)) {
            if (entry.stripe == 0 && entry.kind == LOG_OPS && out->count < ENTRIES_MAX) {
                out->entries[out->count++] = (struct lying){.index     = entry.index,
                                                            .from      = entry.position - HEAD_BYTES,
                                                            .to        = entry.position + entry.ops.size,
                                                            .block     = begin + at,
                                                            .block_end = begin + at + header.length};
            }
        }
    }
    free(image);
}

static const struct lying *lying_at(const struct damage *d, uint64_t position)
{
    for (size_t i = 0; i < d->count; i++) {
        if (position >= d->entries[i].from && position < d->entries[i].to) {
            return &d->entries[i];
        }
    }
    return NULL;
}

/* A byte of the record, of the head of its entry, or all of the page that it begins in. */
static void plan_damage(struct story *s, uint32_t node, uint64_t position, struct damage *d)
{
    struct world *world = s->group.world;
    list_entries(s, node, position, d);
    const struct lying *entry = lying_at(d, position);
    sim_check(world, entry != NULL, "the record lies in an entry");
    switch (world_between(world, SALT_SCENARIO, 0, 2)) {
    case 0:
        d->from = position;
        d->to   = position + 1;
        break;
    case 1:
        d->from = entry->from + world_between(world, SALT_SCENARIO, 0, HEAD_BYTES - 1);
        d->to   = d->from + 1;
        break;
    default:
        d->from = position / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
        d->to   = d->from + BLOCK_PAGE_BYTES;
    }
    d->record    = position >= d->from && position < d->to;
    d->page_from = d->from / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
    d->page_to   = (d->to + BLOCK_PAGE_BYTES - 1) / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
}

static bool overlap(uint64_t a_from, uint64_t a_to, uint64_t b_from, uint64_t b_to)
{
    return a_from < b_to && b_from < a_to;
}

/* Can this node give the record at this offset to others, by what is left of its log? It has started again. */
static bool still_has(struct story *s, uint32_t node, const struct damage *d, uint64_t offset, uint64_t position)
{
    const struct node_stripe *st    = &s->group.members[node].node->stripes[0];
    const struct lying       *entry = lying_at(d, position);
    if (entry == NULL || !overlap(entry->block, entry->block_end, d->from, d->to)) {
        return true;
    }
    if (overlap(entry->block, entry->block + BLOCK_PAGE_BYTES, d->from, d->to)) {
        return false; /* its header, and what proves the other pages */
    }
    if (next_offset(s, node) > offset) {
        return !overlap(entry->from, entry->to, d->page_from, d->page_to);
    }
    return entry->index >= st->entries.first && entry->index < st->entries.end &&
           !overlap(entry->from, entry->to, d->from, d->to);
}

/* What a record is in, where that stood among the others, or both, goes on each node in another way. Who has applied it does not know any more which entry it was; who has not has
 * other entries that were there, and can read them. */
void scenario_group_unplaced(struct world *world)
{
    struct story  *s      = begin_given_up(world, 1);
    struct group  *g      = &s->group;
    struct damage *damage = calloc(GROUP_MAX, sizeof *damage);
    uint64_t       offset;
    bool           gone = true;
    ASSERT(damage != NULL);
    if (!make_listed(s, &offset)) {
        free(damage);
        finish(s);
        return;
    }
    uint64_t count                  = next_offset(s, 0);
    bool    *may_be                 = calloc(count, sizeof *may_be);
    uint64_t(*positions)[GROUP_MAX] = calloc(count, sizeof *positions);
    ASSERT(may_be != NULL && positions != NULL);
    for (uint64_t i = 0; i < count; i++) {
        find(s, i, positions[i]);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        plan_damage(s, i, positions[offset][i], &damage[i]);
        gone = gone && damage[i].record;
    }
    all_die(s);
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint64_t at = damage[i].from; at < damage[i].to; at++) {
            sim_check(world, rot(s, i, at), "it is on the disk");
        }
    }
    all_begin(s);
    group_run_ns(g, 500 * SIM_MS);
    bool applied = true;
    for (uint64_t i = 0; i < count; i++) {
        bool safe = applied_somewhere(s, i); /* else it is of no use to who gives up what it has behind a hole */
        may_be[i] = true;
        for (uint32_t k = 0; k < g->count; k++) {
            bool has  = still_has(s, k, &damage[k], i, positions[i][k]);
            may_be[i] = may_be[i] && !has;
            safe      = safe || (has && !raft_is_damaged(node_raft(g->members[k].node, 0)));
        }
        applied = applied && safe;
    }
    applied = applied_somewhere(s, offset) && applied;
    if (!applied) {
        group_client_end(&s->client); /* what comes behind it will go, too */
    }
    s->client.stripes[0].may_be_lost  = may_be;
    s->client.stripes[0].may_be_count = count;
    s->client.stripes[0].lost         = offset + 1;
    group_run_ns(g, 20 * SIM_S);
    go_on_without(s);
    if (applied) {
        check_hole(s, offset, gone);
        group_client_end(&s->client);
    }
    free(may_be);
    free(positions);
    free(damage);
    finish_given_up(s);
}
