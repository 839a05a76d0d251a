/* disk_op.c - operations take time, fail, and are cut short. */
#include "tests/sim/disk_state.h"
#include "tests/sim/trace.h"

#include <errno.h>
#include <stdlib.h>

enum { ZEROS_KNOWN_SECTORS = 4096 };

uint64_t disk_draw(struct disk *disk, uint64_t below)
{
    return rand_below(world_rand(disk->world, SALT_DISK), below);
}

static uint64_t hash_zeros(size_t size)
{
    uint8_t *zeros = calloc(1, size);
    ASSERT(zeros != NULL);
    uint64_t hash = hash_bytes(bytes_of(zeros, size));
    free(zeros);
    return hash;
}

/* The file of a log is prepared by megabytes of zeros: hashed once for each number of sectors that is written. */
static uint64_t hash_of_zeros(size_t size)
{
    /* A matter of the size alone, the same for every world; 0 is not known. */
    static uint64_t known[ZEROS_KNOWN_SECTORS];
    size_t          sectors = size / SECTOR_BYTES;
    if (size % SECTOR_BYTES != 0 || sectors >= ZEROS_KNOWN_SECTORS) {
        return hash_zeros(size);
    }
    if (known[sectors] == 0) {
        known[sectors] = hash_zeros(size);
    }
    return known[sectors];
}

static bool unchanged(const struct disk_op *op)
{
    struct bytes data = bytes_of(op->memory, op->size);
    return op->memory == NULL || (op->zeros ? bytes_zero(data) : hash_bytes(data) == op->checksum);
}

/* each_one: every sector arrives; otherwise each by lot. */
static void write_sectors(struct disk_op *op, bool each_one, bool durable)
{
    struct inode *inode = op->inode;
    struct disk  *disk  = op->disk;
    uint64_t      shift = 0;
    if (each_one && world_chance(disk->world, SALT_DISK, disk->faults.lost_one_in)) {
        world_trace(disk->world, "disk loses a write", disk->machine->name, op->offset, op->size);
        return;
    }
    if (each_one && world_chance(disk->world, SALT_DISK, disk->faults.misdirected_one_in)) {
        world_trace(disk->world, "disk misdirects", disk->machine->name, op->offset, op->size);
        shift = 1;
    }
    for (size_t done = 0; done < op->size;) {
        uint64_t at   = op->offset + done;
        size_t   skip = at % SECTOR_BYTES;
        size_t   part = SECTOR_BYTES - skip < op->size - done ? SECTOR_BYTES - skip : op->size - done;
        if (each_one || disk_coin(disk)) {
            disk_write_sector(inode, at / SECTOR_BYTES + shift, skip, op->zeros ? disk_zeros : op->memory + done, part);
            if (durable) {
                sector_save(sector_at(inode, at / SECTOR_BYTES + shift));
            }
            disk_grow(inode, at + part);
            if (durable && inode->size_durable < at + part) {
                inode->size_durable = at + part;
            }
        }
        done += part;
    }
}

static uint64_t sectors_wanted(const struct disk_op *op)
{
    uint64_t wanted = 0;
    for (uint64_t i = op->offset / SECTOR_BYTES; i * SECTOR_BYTES < op->offset + op->size; i++) {
        wanted += i >= op->inode->sector_count || op->inode->sectors[i].now == NULL;
    }
    return wanted;
}

/* Those that are written are counted one by one on a disk that is nearly full. */
static bool fits(const struct disk_op *op)
{
    const struct disk *disk  = op->disk;
    uint64_t           first = op->offset / SECTOR_BYTES;
    uint64_t           most  = (op->offset + op->size + SECTOR_BYTES - 1) / SECTOR_BYTES - first;
    return (disk->used_sectors + most) * SECTOR_BYTES <= disk->capacity_bytes ||
           (disk->used_sectors + sectors_wanted(op)) * SECTOR_BYTES <= disk->capacity_bytes;
}

static int do_write(struct disk_op *op, bool durable)
{
    struct disk *disk = op->disk;
    /* Memory that changes under a write is a bug of the caller, whatever the disk makes of it. */
    ASSERT(unchanged(op));
    if (!fits(op) && sectors_wanted(op) != 0) {
        return -ENOSPC;
    }
    if (world_chance(disk->world, SALT_DISK, disk->faults.write_error_one_in) ||
        (durable && world_chance(disk->world, SALT_DISK, disk->faults.sync_error_one_in))) {
        write_sectors(op, false, false);
        return -EIO;
    }
    write_sectors(op, true, durable);
    return (int)op->size;
}

/* The sector's content; NULL is zeros. */
static const uint8_t *version_at(const struct inode *inode, uint64_t index)
{
    const uint8_t *version = index < inode->content_end ? inode->sectors[index].now : NULL;
    return version == NULL || version_shared(version) ? NULL : version;
}

/* Where the zeros at offset end, no farther than end. */
static uint64_t zeros_end(const struct inode *inode, uint64_t offset, uint64_t end)
{
    uint64_t index = offset / SECTOR_BYTES;
    while (index < inode->content_end && version_at(inode, index) == NULL) {
        index++;
    }
    return index < inode->content_end && index * SECTOR_BYTES < end ? index * SECTOR_BYTES : end;
}

static int do_read(struct disk_op *op)
{
    struct inode *inode = op->inode;
    if (world_chance(op->disk->world, SALT_DISK, op->disk->faults.read_error_one_in)) {
        return -EIO;
    }
    uint64_t end  = op->offset + op->size < inode->size ? op->offset + op->size : inode->size;
    size_t   size = op->offset < end ? (size_t)(end - op->offset) : 0;
    for (size_t done = 0; done < size;) {
        uint64_t       at     = op->offset + done;
        size_t         skip   = at % SECTOR_BYTES;
        size_t         part   = SECTOR_BYTES - skip < size - done ? SECTOR_BYTES - skip : size - done;
        const uint8_t *stored = version_at(inode, at / SECTOR_BYTES);
        if (stored != NULL) {
            memcpy(op->memory + done, stored + skip, part);
        } else {
            part = (size_t)(zeros_end(inode, at, end) - at);
            memset(op->memory + done, 0, part);
        }
        done += part;
    }
    return (int)size;
}

static int do_sync(struct disk_op *op)
{
    struct inode *inode  = op->inode;
    bool          failed = world_chance(op->disk->world, SALT_DISK, op->disk->faults.sync_error_one_in);
    bool          clean  = true;
    for (uint32_t i = inode->dirty_first; i < inode->dirty_end; i++) {
        struct sector *sector = &inode->sectors[i];
        if (!sector->dirty || sector->change > op->change) {
            clean = clean && !sector->dirty;
            continue;
        }
        if (!failed || disk_coin(op->disk)) {
            sector_save(sector);
        }
        sector->dirty = false; /* after a failure too: that is what kernels do */
    }
    if (clean) {
        inode->dirty_first = inode->dirty_end = 0;
    }
    if (!failed && inode->size_change <= op->change) {
        inode->size_durable = inode->size;
    }
    return failed ? -EIO : 0;
}

static int do_rename(struct disk_op *op)
{
    struct disk  *disk = op->disk;
    struct inode *from = names_find(&disk->now, op->path);
    struct inode *to   = names_find(&disk->now, op->path_to);
    if (from == NULL || !disk_parent_exists(&disk->now, op->path_to)) {
        return -ENOENT;
    }
    ASSERT(!from->directory); /* the world renames files only */
    if (to != NULL && to->directory) {
        return -EISDIR;
    }
    if (from != to) {
        change_names(disk, op->path, op->path_to, from);
    }
    return 0;
}

static int do_unlink(struct disk_op *op)
{
    const struct inode *inode = names_find(&op->disk->now, op->path);
    if (inode == NULL) {
        return -ENOENT;
    }
    if (inode->directory) {
        return -EISDIR;
    }
    change_names(op->disk, op->path, NULL, NULL);
    return 0;
}

static int do_sync_directory(struct disk_op *op)
{
    const struct inode *directory = names_find(&op->disk->now, op->path);
    if (op->path[0] != '\0' && directory == NULL) {
        return -ENOENT;
    }
    if (directory != NULL && !directory->directory) {
        return -ENOTDIR;
    }
    if (world_chance(op->disk->world, SALT_DISK, op->disk->faults.sync_error_one_in)) {
        return -EIO;
    }
    disk_save_names(op->disk, op->path, op->change);
    return 0;
}

static void op_ended(struct disk_op *op)
{
    list_remove(&op->link);
    op->under_way = false;
    op->disk->busy--;
    if (op->inode != NULL) {
        if (op->verb == DISK_SYNC) {
            op->inode->syncing--;
        }
        op->inode->ops--;
        inode_release(op->inode);
    }
    free(op->path);
    free(op->path_to);
    op->path = op->path_to = NULL;
}

static void op_happens(struct event *event)
{
    struct disk_op *op = CONTAINER_OF(event, struct disk_op, event);
    switch (op->verb) {
    case DISK_READ:
        op->result = do_read(op);
        break;
    case DISK_WRITE:
        op->result = do_write(op, false);
        break;
    case DISK_WRITE_DURABLE:
        op->result = do_write(op, true);
        break;
    case DISK_SYNC:
        op->result = do_sync(op);
        break;
    case DISK_SYNC_DIRECTORY:
        op->result = do_sync_directory(op);
        break;
    case DISK_RENAME:
        op->result = do_rename(op);
        break;
    case DISK_UNLINK:
        op->result = do_unlink(op);
        break;
    }
    const struct machine *machine = op->disk->machine;
    trace_often(op->disk->world, "disk done", machine->name, machine->name_hash, op->verb, (uint64_t)op->result);
    op_ended(op);
    op->done(op);
}

static uint64_t duration_ns(const struct disk_op *op)
{
    struct disk               *disk   = op->disk;
    const struct world_faults *faults = &disk->world->faults;
    uint64_t                   base_ns;
    switch (op->verb) {
    case DISK_READ:
        base_ns = faults->disk_read_ns;
        break;
    case DISK_WRITE:
        base_ns = faults->disk_write_ns;
        break;
    default:
        base_ns = faults->disk_sync_ns;
        break;
    }
    base_ns += op->size / 2; /* 2 GB/s */
    base_ns *= disk->faults.slow_factor > 1 ? disk->faults.slow_factor : 1;
    uint64_t time_ns = base_ns / 2 + disk_draw(disk, base_ns + 1);
    if (world_chance(disk->world, SALT_DISK, disk->faults.stall_one_in)) {
        time_ns += disk_draw(disk, disk->faults.stall_ns + 1);
    }
    return disk_draw(disk, 100) == 0 ? time_ns * (2 + disk_draw(disk, 30)) : time_ns; /* disks have long tails */
}

void disk_begin(struct disk_op *op)
{
    struct disk *disk = op->disk;
    op->event.run     = op_happens;
    op->under_way     = true;
    op->change        = disk->change;
    disk->busy++;
    if (op->path != NULL) {
        char *clean = disk_clean_path(op->path);
        free(op->path);
        op->path = clean;
    }
    if (op->path_to != NULL) {
        char *clean = disk_clean_path(op->path_to);
        free(op->path_to);
        op->path_to = clean;
    }
    if (op->inode != NULL) {
        op->inode->ops++;
    }
    if (op->verb == DISK_WRITE || op->verb == DISK_WRITE_DURABLE) {
        struct bytes data = bytes_of(op->memory, op->size);
        op->zeros         = op->memory == NULL || bytes_zero(data);
        op->checksum      = op->zeros ? hash_of_zeros(data.size) : hash_bytes(data);
        world_trace_hash(disk->world, op->checksum);
    }
    if (op->verb == DISK_SYNC) {
        op->inode->syncing++;
        op->inode->sync_change = op->change;
    }
    trace_often(disk->world, "disk begins", disk->machine->name, disk->machine->name_hash, op->verb, op->offset);
    world_schedule(disk->world, &op->event, disk->world->now_ns + duration_ns(op));
}

void disk_op_crash(struct disk_op *op)
{
    struct disk *disk = op->disk;
    ASSERT(op->under_way);
    world_cancel(disk->world, &op->event);
    switch (op->verb) {
    case DISK_WRITE:
    case DISK_WRITE_DURABLE:
        if (fits(op)) {
            write_sectors(op, false, op->verb == DISK_WRITE_DURABLE && disk_coin(disk));
        }
        break;
    case DISK_RENAME:
        op->result = disk_coin(disk) ? do_rename(op) : 0;
        break;
    case DISK_UNLINK:
        op->result = disk_coin(disk) ? do_unlink(op) : 0;
        break;
    default:
        break;
    }
    op_ended(op);
}
