/* scenario_scrub.c - a store that reads its log again finds what has changed, and nothing else. */
#include "tests/sim/store_story.h"

#include <stdio.h>

/* Flips a bit where something was written, in one of the first files of the log. False: they are gone, nothing in them was needed any more. */
static bool rot_closed(struct story *s)
{
    static uint8_t page[SECTOR_BYTES];
    char           path[64];
    for (int i = 0; i < 20000; i++) {
        snprintf(path, sizeof path, "/var/keel/shard-00/wal/%012u", (unsigned)story_between(s, 1, 2));
        uint64_t offset = story_between(s, 0, s->config.segment_bytes / SECTOR_BYTES - 1) * SECTOR_BYTES;
        if (disk_peek_durable(s->machine->disk, path, page, sizeof page, offset) == SECTOR_BYTES &&
            (page[0] != 0 || memcmp(page, page + 1, sizeof page - 1) != 0) &&
            /* Not one that was deleted, and only a power failure would bring back. */
            disk_rot(s->machine->disk, path, offset + story_between(s, 0, SECTOR_BYTES - 1))) {
            return true;
        }
    }
    return false;
}

/* The disk says that it has written, and has not. */
static void lose_writes(struct story *s)
{
    disk_faults(s->machine->disk)->lost_one_in = 1;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + story_between(s, 1, 5));
    }
    story_wait_client(s, store_tester_answered, "what is lost is acknowledged all the same");
    disk_faults(s->machine->disk)->lost_one_in = 0;
    for (uint32_t i = 0; i < STRIPES; i++) {
        store_tester_want(&s->client, i, s->client.stripes[i].wanted + story_between(s, 1, 30));
    }
    story_wait_client(s, store_tester_answered, "the log goes on");
}

/* Has a file gone behind the one with that number? Then what is not whole may be the end of a part of the log whose next file was forgotten. */
static bool is_gap_behind(const struct story *s, uint64_t number)
{
    const struct segments *segments = &s->node->storage->segments;
    for (; number <= segments_number(segments, wal_durable_position(&s->node->storage->wal)); number++) {
        const struct log_segment *segment = segments_find(segments, number);
        if (segment == NULL || !segment->exists) {
            return true;
        }
    }
    return false;
}

/* Whatever crashes leave behind the ends of the log is no damage; a bit that flips in a closed file is, and so is a write that never came to the disk: found
 * though nobody reads them. */
void scenario_segstore_scrub(struct world *world)
{
    enum { FLIPPED, FLIPPED_AFTER_CRASHES, LOST, CASES };
    struct story *s        = story_new(world, 256u << 20, 0);
    uint64_t      what     = story_between(s, 0, CASES - 1);
    uint64_t      targets  = 0;
    s->config.scrub_ns     = story_between(s, 1, 20) * SIM_S;
    s->config.reclaim_rate = 0; /* the files that are to be damaged stay */
    s->client.large_one_in = (uint32_t)story_between(s, 2, 4);
    story_restart(s, false);
    story_wait_up(s);
    for (uint64_t round = story_between(s, 2, 3); round > 0; round--) {
        targets += story_between(s, 20, 40);
        for (uint32_t i = 0; i < STRIPES; i++) {
            store_tester_want(&s->client, i, targets);
        }
        for (uint64_t more = what == FLIPPED_AFTER_CRASHES ? story_between(s, 1, 4) : 0; more > 0; more--) {
            world_run_ns(world, story_between(s, SIM_US, 400 * SIM_MS));
            story_restart(s, story_between(s, 0, 1) == 0);
        }
        story_wait_client(s, store_tester_done, "all is answered and handed over");
    }
    story_wait_up(s);
    sim_check(world, story_scrub(s).scrub_damages == 0, "what is well is taken for damage");
    s->client.may_rot             = true;
    const struct storage *storage = s->node->storage;
    uint64_t              first   = segments_number(&storage->segments, wal_durable_position(&storage->wal));
    if (what == LOST) {
        lose_writes(s);
    } else {
        bool rotten = rot_closed(s);
        sim_check(world, rotten || what == FLIPPED_AFTER_CRASHES, "the log has a file that is closed");
    }
    /* What a crash left behind an end of the log may change and nobody cares. */
    bool found = story_scrub(s).scrub_damages > 0;
    sim_check(world, found || what == FLIPPED_AFTER_CRASHES || (what == LOST && is_gap_behind(s, first)),
              "damage is not found");
    story_end(s);
}
