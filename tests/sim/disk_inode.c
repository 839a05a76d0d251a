/* disk_inode.c - a file's sectors and their versions. */
#include "tests/sim/disk_state.h"

#include <stdlib.h>

struct inode *inode_new(struct disk *disk, bool directory)
{
    struct inode *inode = calloc(1, sizeof *inode);
    ASSERT(inode != NULL);
    inode->disk      = disk;
    inode->directory = directory;
    list_push_back(&disk->inodes, &inode->link);
    return inode;
}

const uint8_t disk_zeros[SECTOR_BYTES];

bool version_shared(const uint8_t *version)
{
    return version == disk_zeros;
}

void version_free(uint8_t *version)
{
    if (!version_shared(version)) {
        free(version);
    }
}

/* Much of what is written is zeros, by programs that prepare their files: that is kept once, and nobody writes to it. */
static uint8_t *version_of(const uint8_t *before, size_t at, const uint8_t *data, size_t size)
{
    if (size == SECTOR_BYTES && (data == disk_zeros || bytes_zero(bytes_of(data, size)))) {
        return (uint8_t *)(uintptr_t)disk_zeros;
    }
    uint8_t *version = malloc(SECTOR_BYTES);
    ASSERT(version != NULL && at + size <= SECTOR_BYTES);
    if (size < SECTOR_BYTES) {
        memcpy(version, before != NULL ? before : disk_zeros, SECTOR_BYTES);
    }
    memcpy(version + at, data, size);
    return version;
}

void version_flip(uint8_t **version, uint64_t bit)
{
    if (version_shared(*version)) {
        *version = calloc(1, SECTOR_BYTES);
        ASSERT(*version != NULL);
    }
    (*version)[bit / 8] ^= (uint8_t)(1u << (bit % 8));
}

static void sector_free(struct sector *sector)
{
    if (sector->durable != sector->now) {
        version_free(sector->durable);
    }
    version_free(sector->now);
    version_free(sector->between);
    *sector = (struct sector){0};
}

void disk_sectors_drop(struct inode *inode, uint32_t first)
{
    for (uint32_t i = first; i < inode->sector_count; i++) {
        if (inode->sectors[i].now != NULL) {
            inode->disk->used_sectors--;
        }
        sector_free(&inode->sectors[i]);
    }
    inode->sector_count = first < inode->sector_count ? first : inode->sector_count;
    inode->content_end  = inode->content_end < inode->sector_count ? inode->content_end : inode->sector_count;
    inode->dirty_end    = inode->dirty_end < inode->sector_count ? inode->dirty_end : inode->sector_count;
    inode->dirty_first  = inode->dirty_first < inode->dirty_end ? inode->dirty_first : inode->dirty_end;
}

static void inode_free(struct inode *inode)
{
    disk_sectors_drop(inode, 0);
    free(inode->sectors);
    list_remove(&inode->link);
    free(inode);
}

void inode_release(struct inode *inode)
{
    if (inode->names == 0 && inode->opens == 0 && inode->ops == 0) {
        inode_free(inode);
    }
}

struct sector *sector_at(struct inode *inode, uint64_t index)
{
    ASSERT(index < UINT32_MAX / 2);
    if (index >= inode->sector_count) {
        uint32_t count = (uint32_t)index + 1;
        if (count > inode->sector_room) {
            inode->sector_room = count * 2;
            inode->sectors     = realloc(inode->sectors, inode->sector_room * sizeof *inode->sectors);
            ASSERT(inode->sectors != NULL);
        }
        memset(&inode->sectors[inode->sector_count], 0, (count - inode->sector_count) * sizeof *inode->sectors);
        inode->sector_count = count;
    }
    return &inode->sectors[index];
}

void sector_save(struct sector *sector)
{
    if (sector->durable != sector->now) {
        version_free(sector->durable);
    }
    version_free(sector->between);
    sector->durable     = sector->now;
    sector->between     = NULL;
    sector->overwritten = 0;
    sector->dirty       = false;
}

/* now becomes one of the lost versions. Any one of them may turn up after a power failure: one is kept by lot. */
static void sector_overwrite(struct disk *disk, struct sector *sector)
{
    if (sector->now == sector->durable) {
        return;
    }
    sector->overwritten++;
    if (rand_chance(world_rand(disk->world, SALT_DISK), sector->overwritten)) {
        version_free(sector->between);
        sector->between = sector->now;
    } else {
        version_free(sector->now);
    }
    sector->now = NULL;
}

void disk_write_sector(struct inode *inode, uint64_t index, size_t at, const uint8_t *data, size_t size)
{
    struct disk   *disk   = inode->disk;
    struct sector *sector = sector_at(inode, index);
    uint8_t       *next   = version_of(sector->now, at, data, size);
    if (next == disk_zeros &&
        sector->now ==
            disk_zeros) { /* as a file that has its room is filled: whichever version is left, it is the same */
        return;
    }
    disk->used_sectors += sector->now == NULL;
    if (world_chance(disk->world, SALT_DISK, disk->faults.rot_one_in)) {
        uint64_t bit = disk_draw(disk, SECTOR_BYTES * 8);
        version_flip(&next, bit);
        world_trace(disk->world, "disk rots", disk->machine->name, index, bit);
    }
    /* A sync under way has promised the version that it found; having it early is allowed. */
    if (inode->syncing != 0 && sector->dirty && sector->change <= inode->sync_change) {
        sector_save(sector);
    }
    sector_overwrite(disk, sector);
    if (!version_shared(next) && index >= inode->content_end) {
        inode->content_end = (uint32_t)index + 1;
    }
    sector->now    = next;
    sector->dirty  = true;
    sector->change = ++disk->change;
    if (inode->dirty_first == inode->dirty_end) {
        inode->dirty_first = inode->dirty_end = (uint32_t)index;
    }
    inode->dirty_first = index < inode->dirty_first ? (uint32_t)index : inode->dirty_first;
    inode->dirty_end   = index >= inode->dirty_end ? (uint32_t)index + 1 : inode->dirty_end;
}

void disk_grow(struct inode *inode, uint64_t size)
{
    if (size <= inode->size) {
        return;
    }
    if (inode->syncing != 0 && inode->size_change <= inode->sync_change) {
        inode->size_durable = inode->size;
    }
    inode->size        = size;
    inode->size_change = inode->disk->change;
}
