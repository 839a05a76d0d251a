/* scenario_unplaced.c - all nodes die and have lost the same, and where that stood in their logs is not known either. */
#include "segstore/node/node.h"
#include "segstore/node/state.h"
#include "segstore/raft/raft.h"
#include "tests/sim/disk.h"
#include "tests/sim/group_client.h"
#include "tests/sim/hole_story.h"
#include "tests/sim/scenarios.h"

#include <stdio.h>
#include <stdlib.h>

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
static void list_entries(struct hole_story *s, uint32_t node, uint64_t position, struct damage *out)
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
static void plan_damage(struct hole_story *s, uint32_t node, uint64_t position, struct damage *d)
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
static bool still_has(struct hole_story *s, uint32_t node, const struct damage *d, uint64_t offset, uint64_t position)
{
    const struct node_stripe *st    = &s->group.members[node].node->stripes[0];
    const struct lying       *entry = lying_at(d, position);
    if (entry == NULL || !overlap(entry->block, entry->block_end, d->from, d->to)) {
        return true;
    }
    if (overlap(entry->block, entry->block + BLOCK_PAGE_BYTES, d->from, d->to)) {
        return false; /* its header, and what proves the other pages */
    }
    if (hole_story_next_offset(s, node) > offset) {
        return !overlap(entry->from, entry->to, d->page_from, d->page_to);
    }
    return entry->index >= st->entries.first && entry->index < st->entries.end &&
           !overlap(entry->from, entry->to, d->from, d->to);
}

/* What a record is in, where that stood among the others, or both, goes on each node in another way. Who has applied it does not know any more which entry it was; who has not has
 * other entries that were there, and can read them. */
void scenario_group_unplaced(struct world *world)
{
    struct hole_story *s      = hole_story_begin(world, 1);
    struct group      *g      = &s->group;
    struct damage     *damage = calloc(GROUP_MAX, sizeof *damage);
    uint64_t           offset;
    bool               gone = true;
    ASSERT(damage != NULL);
    if (!hole_story_make_listed(s, &offset)) {
        free(damage);
        group_client_end(&s->client);
        hole_story_end(s);
        return;
    }
    uint64_t count                  = hole_story_next_offset(s, 0);
    bool    *may_be                 = calloc(count, sizeof *may_be);
    uint64_t(*positions)[GROUP_MAX] = calloc(count, sizeof *positions);
    ASSERT(may_be != NULL && positions != NULL);
    for (uint64_t i = 0; i < count; i++) {
        hole_story_find(s, i, positions[i]);
    }
    for (uint32_t i = 0; i < g->count; i++) {
        plan_damage(s, i, positions[offset][i], &damage[i]);
        gone = gone && damage[i].record;
    }
    hole_story_all_die(s);
    for (uint32_t i = 0; i < g->count; i++) {
        for (uint64_t at = damage[i].from; at < damage[i].to; at++) {
            sim_check(world, hole_story_rot(s, i, at), "it is on the disk");
        }
    }
    hole_story_all_begin(s);
    group_run_ns(g, 500 * SIM_MS);
    bool applied = true;
    for (uint64_t i = 0; i < count; i++) {
        /* What a node has behind a hole it gives up, and is not asked for it any more. */
        bool safe = false;
        may_be[i] = true;
        for (uint32_t k = 0; k < g->count; k++) {
            bool has  = still_has(s, k, &damage[k], i, positions[i][k]);
            bool keep = hole_story_next_offset(s, k) > i || !raft_is_damaged(node_raft(g->members[k].node, 0));
            may_be[i] = may_be[i] && !has;
            safe      = safe || (has && keep);
        }
        applied = applied && (safe || (may_be[i] && hole_story_applied_somewhere(s, i)));
    }
    applied = hole_story_applied_somewhere(s, offset) && applied;
    if (!applied) {
        group_client_end(&s->client); /* what comes behind it will go, too */
    }
    s->client.stripes[0].may_be_lost  = may_be;
    s->client.stripes[0].may_be_count = count;
    s->client.stripes[0].lost         = offset + 1;
    group_run_ns(g, 20 * SIM_S);
    hole_story_go_on_without(s);
    if (applied) {
        hole_story_check_hole(s, offset, gone);
        group_client_end(&s->client);
    }
    free(may_be);
    free(positions);
    free(damage);
    hole_story_end(s);
}
