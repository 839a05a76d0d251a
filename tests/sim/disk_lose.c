/* disk_lose.c - what a power failure keeps. */
#include "tests/sim/disk_state.h"

#include <stdlib.h>

static void sector_lose(struct disk *disk, struct sector *sector)
{
    uint64_t choice = rand_below(world_rand(disk->world, SALT_CRASH), sector->between != NULL ? 3 : 2);
    uint8_t *kept   = choice == 0 ? sector->durable : choice == 1 ? sector->now : sector->between;
    if (kept == NULL) {
        disk->used_sectors--;
    }
    for (int i = 0; i < 3; i++) {
        uint8_t *version = i == 0 ? sector->durable : i == 1 ? sector->now : sector->between;
        if (version != kept) {
            version_free(version);
        }
    }
    *sector = (struct sector){.now = kept, .durable = kept};
}

static void inode_lose(struct disk *disk, struct inode *inode)
{
    inode->dirty_first = inode->dirty_end = 0;
    for (uint32_t i = 0; i < inode->sector_count; i++) {
        if (inode->sectors[i].now != inode->sectors[i].durable) {
            sector_lose(disk, &inode->sectors[i]);
        }
    }
    if (inode->size > inode->size_durable) {
        /* File systems disk_grow a file when pages reach the disk: to its newest size, or to the end of a page before it. */
        uint64_t cut = rand_below(world_rand(disk->world, SALT_CRASH), 3);
        uint64_t page =
            inode->size_durable + rand_below(world_rand(disk->world, SALT_CRASH), inode->size - inode->size_durable) /
                                      SECTOR_BYTES * SECTOR_BYTES;
        page -= page > inode->size_durable ? page % SECTOR_BYTES : 0;
        inode->size = cut == 0 ? inode->size : cut == 1 ? inode->size_durable : page;
    }
    inode->size_durable = inode->size;
    uint64_t sectors    = (inode->size + SECTOR_BYTES - 1) / SECTOR_BYTES;
    if (sectors < inode->sector_count) {
        disk_sectors_drop(inode, (uint32_t)sectors);
    }
    size_t tail = inode->size % SECTOR_BYTES;
    if (tail != 0 && sectors == inode->sector_count && inode->sectors[sectors - 1].now != NULL &&
        !version_shared(inode->sectors[sectors - 1].now)) {
        memset(inode->sectors[sectors - 1].now + tail, 0, SECTOR_BYTES - tail);
    }
}

static void names_lose(struct disk *disk)
{
    bool any_subset = rand_chance(world_rand(disk->world, SALT_CRASH), 3);
    bool prefix     = true;
    LIST_EACH (&disk->journal, link) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        prefix                = prefix && !rand_chance(world_rand(disk->world, SALT_CRASH), 4);
        if (any_subset ? disk_coin(disk) : prefix) {
            names_apply(&disk->durable, change);
        }
        change_free(change);
    }
    for (uint32_t i = 0; i < disk->durable.count;) { /* sorted: a directory comes before what is in it */
        if (disk_parent_exists(&disk->durable, disk->durable.entry[i].path)) {
            i++;
        } else {
            names_remove(&disk->durable, disk->durable.entry[i].path);
        }
    }
    names_clear(&disk->now);
    for (uint32_t i = 0; i < disk->durable.count; i++) {
        names_set(&disk->now, disk->durable.entry[i].path, disk->durable.entry[i].inode);
    }
}

void disk_power_failure(struct disk *disk)
{
    ASSERT(disk->busy == 0);
    world_cancel(disk->world, &disk->commit);
    names_lose(disk);
    LIST_EACH (&disk->inodes, link) {
        inode_lose(disk, CONTAINER_OF(link, struct inode, link));
    }
    world_trace(disk->world, "disk lost power", disk->machine->name, disk->now.count, disk->used_sectors);
}
