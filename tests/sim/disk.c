/* disk.c - what is done at once, and what scenarios ask for. */
#include "tests/sim/disk_state.h"

#include "shared/loop/io.h"

#include <errno.h>
#include <stdlib.h>

bool disk_coin(struct disk *disk)
{
    return rand_chance(world_rand(disk->world, SALT_CRASH), 2);
}

struct disk *disk_new(struct machine *machine, uint64_t capacity_bytes)
{
    struct disk *disk = calloc(1, sizeof *disk);
    ASSERT(disk != NULL);
    disk->machine        = machine;
    disk->world          = machine->world;
    disk->capacity_bytes = capacity_bytes;
    list_init(&disk->inodes);
    list_init(&disk->journal);
    disk->commit.run  = names_commit;
    disk->commit.kind = EVENT_WORLD;
    return disk;
}

void disk_free(struct disk *disk)
{
    ASSERT(disk->busy == 0);
    world_cancel(disk->world, &disk->commit);
    LIST_EACH (&disk->journal, link) {
        change_free(CONTAINER_OF(link, struct change, link));
    }
    names_clear(&disk->now);
    names_clear(&disk->durable);
    ASSERT(list_empty(&disk->inodes)); /* else a file is still open */
    free(disk);
}

int disk_mkdir(struct disk *disk, const char *path)
{
    char *clean  = disk_clean_path(path);
    int   result = 0;
    for (char *slash = clean + 1; clean[0] != '\0' && result == 0; slash++) {
        bool last = *slash == '\0';
        if (!last && *slash != '/') {
            continue;
        }
        *slash                    = '\0';
        const struct inode *there = names_find(&disk->now, clean);
        if (there != NULL && !there->directory) {
            result = -ENOTDIR;
        } else if (there == NULL) {
            change_names(disk, NULL, clean, inode_new(disk, true));
        }
        if (last) {
            break;
        }
        *slash = '/';
    }
    free(clean);
    return result;
}

static int open_clean(struct disk *disk, const char *path, unsigned flags, struct inode **out)
{
    struct inode *inode = names_find(&disk->now, path);
    if (inode != NULL) {
        if (inode->directory) {
            return -EISDIR;
        }
        if ((flags & IO_OPEN_CREATE) != 0 && (flags & IO_OPEN_EXCLUSIVE) != 0) {
            return -EEXIST;
        }
    } else {
        if ((flags & IO_OPEN_CREATE) == 0 || !disk_parent_exists(&disk->now, path)) {
            return -ENOENT;
        }
        if (disk_free_bytes(disk) == 0) {
            return -ENOSPC;
        }
        inode = inode_new(disk, false);
        change_names(disk, NULL, path, inode);
    }
    inode->opens++;
    *out = inode;
    return 0;
}

int disk_open(struct disk *disk, const char *path, unsigned flags, struct inode **out)
{
    char *clean  = disk_clean_path(path);
    int   result = open_clean(disk, clean, flags, out);
    free(clean);
    return result;
}

void disk_close(struct disk *disk, struct inode *inode)
{
    ASSERT(inode->opens > 0 && inode->disk == disk);
    inode->opens--;
    inode_release(inode);
}

int64_t disk_size(const struct inode *inode)
{
    return (int64_t)inode->size;
}

int disk_lock(struct inode *inode, struct process *process)
{
    if (inode->locked_by != NULL) {
        return -EBUSY;
    }
    inode->locked_by = process;
    return 0;
}

void disk_unlock(struct disk *disk, struct process *process)
{
    LIST_EACH (&disk->inodes, link) {
        struct inode *inode = CONTAINER_OF(link, struct inode, link);
        inode->locked_by    = inode->locked_by == process ? NULL : inode->locked_by;
    }
}

int disk_list(struct disk *disk, const char *directory, void (*each)(void *ctx, const char *name), void *ctx)
{
    char               *clean = disk_clean_path(directory);
    const struct inode *inode = names_find(&disk->now, clean);
    int result = clean[0] == '\0' || (inode != NULL && inode->directory) ? 0 : inode == NULL ? -ENOENT : -ENOTDIR;
    for (uint32_t i = 0; result == 0 && i < disk->now.count; i++) {
        if (disk_entry_of(disk->now.entry[i].path, clean)) {
            each(ctx, strrchr(disk->now.entry[i].path, '/') + 1);
        }
    }
    free(clean);
    return result;
}

int64_t disk_free_bytes(const struct disk *disk)
{
    uint64_t used_bytes = disk_used_bytes(disk);
    return used_bytes >= disk->capacity_bytes ? 0 : (int64_t)(disk->capacity_bytes - used_bytes);
}

struct disk_faults *disk_faults(struct disk *disk)
{
    return &disk->faults;
}

void disk_faults_draw(struct disk *disk)
{
    struct rand *swarm = world_rand(disk->world, SALT_SWARM);
    disk->faults       = (struct disk_faults){
              .read_error_one_in = rand_chance(swarm, 3) ? (uint32_t)(50 + rand_below(swarm, 5000)) : 0,
              .sync_error_one_in = rand_chance(swarm, 3) ? (uint32_t)(200 + rand_below(swarm, 20000)) : 0,
              .slow_factor       = rand_chance(swarm, 3) ? (uint32_t)(2 + rand_below(swarm, 50)) : 1,
              .stall_one_in      = rand_chance(swarm, 3) ? (uint32_t)(20 + rand_below(swarm, 500)) : 0,
              .stall_ns          = SIM_MS + rand_below(swarm, 4 * SIM_S),
    };
}

void disk_set_capacity(struct disk *disk, uint64_t capacity_bytes)
{
    disk->capacity_bytes = capacity_bytes;
}

uint64_t disk_used_bytes(const struct disk *disk)
{
    return disk->used_sectors * SECTOR_BYTES;
}

uint32_t disk_busy_count(const struct disk *disk)
{
    return disk->busy;
}

bool disk_rot(struct disk *disk, const char *path, uint64_t offset)
{
    char         *clean = disk_clean_path(path);
    struct inode *inode = names_find(&disk->now, clean);
    free(clean);
    uint64_t index = offset / SECTOR_BYTES;
    if (inode == NULL || offset >= inode->size || index >= inode->sector_count || inode->sectors[index].now == NULL) {
        return false;
    }
    struct sector *sector = &inode->sectors[index];
    uint64_t       bit    = offset % SECTOR_BYTES * 8 + disk_draw(disk, 8);
    bool           saved  = sector->durable == sector->now;
    version_flip(&sector->now, bit);
    inode->content_end = index >= inode->content_end ? (uint32_t)index + 1 : inode->content_end;
    if (saved) {
        sector->durable = sector->now;
    } else if (sector->durable != NULL) {
        version_flip(&sector->durable, bit);
    }
    world_trace(disk->world, "disk rots", disk->machine->name, index, offset);
    return true;
}

int64_t disk_peek_durable(struct disk *disk, const char *path, void *memory, size_t size, uint64_t offset)
{
    char               *clean = disk_clean_path(path);
    const struct inode *inode = names_find(&disk->durable, clean);
    free(clean);
    if (inode == NULL || inode->directory) {
        return -ENOENT;
    }
    uint64_t left = inode->size_durable > offset ? inode->size_durable - offset : 0;
    size          = size < left ? size : (size_t)left;
    for (size_t done = 0; done < size;) {
        uint64_t       at   = offset + done;
        size_t         skip = at % SECTOR_BYTES;
        size_t         part = SECTOR_BYTES - skip < size - done ? SECTOR_BYTES - skip : size - done;
        const uint8_t *stored =
            at / SECTOR_BYTES < inode->sector_count ? inode->sectors[at / SECTOR_BYTES].durable : NULL;
        if (stored != NULL) {
            memcpy((uint8_t *)memory + done, stored + skip, part);
        } else {
            memset((uint8_t *)memory + done, 0, part);
        }
        done += part;
    }
    return (int64_t)size;
}
