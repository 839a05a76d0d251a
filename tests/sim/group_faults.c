/* group_faults.c - accidents of nodes, and damage where it hurts. */
#include "tests/sim/group_faults.h"

#include "segstore/log/block.h"
#include "tests/sim/disk.h"
#include "tests/sim/net.h"

#include <stdio.h>
#include <stdlib.h>

void group_tame(struct world *world)
{
    world->faults.latency_ns       = world->faults.latency_ns < SIM_MS ? world->faults.latency_ns : SIM_MS;
    world->faults.jitter_ns        = world->faults.jitter_ns < SIM_MS ? world->faults.jitter_ns : SIM_MS;
    world->faults.bytes_per_second = 0;
    world->faults.window_bytes     = world->faults.window_bytes < 65536 ? 65536 : world->faults.window_bytes;
    world->faults.reset_one_in     = world->faults.reset_one_in == 0 ? 0 : 5000;
}

void group_cut_peers(struct group *g, uint32_t victim)
{
    for (uint32_t i = 0; i < g->count; i++) {
        if (i != victim) {
            net_cut(g->members[victim].machine, g->members[i].machine, true);
        }
    }
}

void group_accident(struct group *g, uint32_t victim)
{
    struct world *world = g->world;
    switch (world_between(world, SALT_SCENARIO, 0, 9)) {
    case 0:
        group_crash(g, victim);
        break;
    case 1:
        group_power_off(g, victim);
        break;
    case 2:
        net_isolate(g->members[victim].machine, true);
        break;
    case 3: /* one way: it hears nobody, or nobody hears it */
        for (uint32_t i = 0; i < g->count; i++) {
            bool deaf = world_chance(world, SALT_SCENARIO, 2);
            if (i != victim) {
                struct machine *a = g->members[victim].machine;
                struct machine *b = g->members[i].machine;
                net_link(deaf ? b : a, deaf ? a : b)->cut = true;
            }
        }
        break;
    case 4: /* from one other only */
        net_cut(g->members[victim].machine, g->members[(victim + 1) % g->count].machine, true);
        break;
    case 5: /* a slow disk that stands still at times */
        disk_faults(g->members[victim].machine->disk)->slow_factor  = 20;
        disk_faults(g->members[victim].machine->disk)->stall_one_in = 20;
        disk_faults(g->members[victim].machine->disk)->stall_ns     = 2 * SIM_S;
        break;
    case 6: /* nothing more fits */
        if (!g->members[victim].ready) {
            break;
        }
        disk_set_capacity(g->members[victim].machine->disk, disk_used_bytes(g->members[victim].machine->disk));
        break;
    case 7: /* the clock on the wall is set, an hour off at most; those who are not killed go on */
        g->members[victim].machine->wall_offset_ns +=
            (int64_t)world_between(world, SALT_SCENARIO, 0, 7200 * SIM_S) - (int64_t)(3600 * SIM_S);
        break;
    case 8: /* from the other nodes; who asks it finds it */
        group_cut_peers(g, victim);
        break;
    default:
        process_pause(g->members[victim].process, world_between(world, SALT_SCENARIO, SIM_MS, 5 * SIM_S));
    }
}

void group_heal(struct group *g, uint32_t victim)
{
    net_isolate(g->members[victim].machine, false);
    *disk_faults(g->members[victim].machine->disk) = (struct disk_faults){0};
    disk_set_capacity(g->members[victim].machine->disk, GROUP_DISK_BYTES);
    group_restart(g, victim);
}

void group_heal_but(struct group *g, uint32_t victim, uint32_t other)
{
    group_heal(g, victim);
    net_cut(g->members[victim].machine, g->members[other].machine, true);
}

/* ---- damage ---- */

enum { PLACES_MAX = 4096 };

/* A block that holds entries. */
struct place {
    uint64_t number; /* of the segment */
    uint64_t offset; /* of its entries there */
    uint32_t size;
    uint64_t seq;
};

struct places {
    uint64_t     numbers[PLACES_MAX];
    size_t       number_count;
    struct place blocks[PLACES_MAX];
    size_t       block_count;
};

static void note_file(void *ctx, const char *name)
{
    struct places *p      = ctx;
    char          *end    = NULL;
    uint64_t       number = strtoull(name, &end, 10);
    if (number != 0 && *end == '\0' && p->number_count < PLACES_MAX) {
        p->numbers[p->number_count++] = number;
    }
}

static void note_blocks(struct places *p, uint64_t number, const uint8_t *image, size_t size)
{
    for (size_t at = 0; at + BLOCK_PAGE_BYTES <= size; at += BLOCK_PAGE_BYTES) {
        uint16_t body_offset;
        uint32_t entries;
        uint32_t bytes;
        uint64_t seq;
        if (memcmp(image + at, "KWAL", 4) != 0) {
            continue;
        }
        memcpy(&body_offset, image + at + 6, sizeof body_offset);
        memcpy(&seq, image + at + 32, sizeof seq);
        memcpy(&entries, image + at + 64, sizeof entries);
        memcpy(&bytes, image + at + 68, sizeof bytes);
        if (entries > 0 && p->block_count < PLACES_MAX) {
            p->blocks[p->block_count++] =
                (struct place){.number = number, .offset = at + body_offset, .size = bytes, .seq = seq};
        }
    }
}

static int by_seq(const void *a, const void *b)
{
    const struct place *x = a;
    const struct place *y = b;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static void wal_path(char path[96], const struct group_member *m, uint64_t number)
{
    snprintf(path, 96, "%s/shard-00/wal/%012llu", m->config.data_directory, (unsigned long long)number);
}

bool group_rot_block(struct group *g, uint32_t victim, uint64_t back)
{
    struct group_member *m     = &g->members[victim];
    struct places       *p     = calloc(1, sizeof *p);
    uint8_t             *image = malloc(m->config.segment_bytes);
    char                 path[96];
    bool                 done = false;
    ASSERT(p != NULL && image != NULL);
    snprintf(path, sizeof path, "%s/shard-00/wal", m->config.data_directory);
    (void)disk_list(m->machine->disk, path, note_file, p);
    for (size_t i = 0; i < p->number_count; i++) {
        wal_path(path, m, p->numbers[i]);
        int64_t size = disk_peek_durable(m->machine->disk, path, image, m->config.segment_bytes, 0);
        note_blocks(p, p->numbers[i], image, size > 0 ? (size_t)size : 0);
    }
    qsort(p->blocks, p->block_count, sizeof *p->blocks, by_seq);
    if (back < p->block_count) {
        const struct place *b = &p->blocks[p->block_count - 1 - back];
        wal_path(path, m, b->number);
        g->damaged = true;
        done = disk_rot(m->machine->disk, path, b->offset + world_between(g->world, SALT_SCENARIO, 0, b->size - 1));
    }
    free(image);
    free(p);
    return done;
}
