/* disk.c - sectors, names and the ways to lose them. */
#include "tests/sim/disk.h"

#include "shared/base/hash.h"
#include "shared/loop/io.h"

#include <errno.h>
#include <stdlib.h>

#define COMMIT_FIRST_NS SIM_S
#define COMMIT_LAST_NS  (30 * SIM_S)

/* The versions of a sector. durable may be now (nothing to lose); NULL is a hole of zeros. */
struct sector {
    uint8_t *now;
    uint8_t *durable;
    uint8_t *between;     /* one of the versions after durable and before now, each as likely; or NULL */
    uint32_t overwritten; /* how many there were */
    uint64_t change;      /* disk->change when now was written */
    bool     dirty;       /* a sync will save it */
};

struct inode {
    struct disk    *disk;
    struct list     link; /* in disk->inodes */
    bool            directory;
    uint32_t        names; /* in both tables and in the journal */
    uint32_t        opens;
    uint32_t        ops;
    struct process *locked_by;
    struct sector  *sectors;
    uint32_t        sector_count;
    uint32_t        sector_room;
    uint32_t        dirty_first; /* all dirty sectors lie in [dirty_first, dirty_end) */
    uint32_t        dirty_end;
    uint64_t        size;
    uint64_t        size_durable;
    uint64_t        size_change;
    uint32_t        syncing;     /* syncs under way */
    uint64_t        sync_change; /* what the last of them covers */
};

struct name {
    char         *path;
    struct inode *inode;
};

/* Sorted by path. */
struct names {
    struct name *entry;
    uint32_t     count;
    uint32_t     room;
};

/* A change of names that no directory sync has saved yet: from loses its entry, to gets inode. Either may be NULL. */
struct change {
    struct list   link;
    uint64_t      number;
    char         *from;
    char         *to;
    struct inode *inode;
};

struct disk {
    struct machine    *machine;
    struct world      *world;
    struct disk_faults faults;
    uint64_t           capacity_bytes;
    uint64_t           used_sectors;
    uint64_t           change; /* counts writes and changes of names */
    uint32_t           busy;
    struct list        inodes;
    struct names       now;
    struct names       durable;
    struct list        journal;
    struct event       commit; /* the file system saves names by itself, some seconds later */
};

static uint64_t draw(struct disk *disk, uint64_t below)
{
    return rand_below(world_rand(disk->world, SALT_DISK), below);
}

static bool coin(struct disk *disk)
{
    return rand_chance(world_rand(disk->world, SALT_CRASH), 2);
}

static char *copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    ASSERT(text == NULL || copy != NULL);
    return copy;
}

/* Without "./", doubled and trailing slashes: a path has one spelling. */
static char *clean_path(const char *path)
{
    char  *clean = malloc(strlen(path) + 2);
    size_t used  = 0;
    ASSERT(clean != NULL);
    while (*path != '\0') {
        while (*path == '/' || (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))) {
            path++;
        }
        size_t part = strcspn(path, "/");
        if (part != 0) {
            clean[used++] = '/';
            memcpy(clean + used, path, part);
            used += part;
            path += part;
        }
    }
    clean[used] = '\0';
    return clean;
}

/* ---- inodes ---- */

static struct inode *inode_new(struct disk *disk, bool directory)
{
    struct inode *inode = calloc(1, sizeof *inode);
    ASSERT(inode != NULL);
    inode->disk      = disk;
    inode->directory = directory;
    list_push_back(&disk->inodes, &inode->link);
    return inode;
}

static void sector_free(struct sector *sector)
{
    if (sector->durable != sector->now) {
        free(sector->durable);
    }
    free(sector->now);
    free(sector->between);
    *sector = (struct sector){0};
}

static void sectors_drop(struct inode *inode, uint32_t first)
{
    for (uint32_t i = first; i < inode->sector_count; i++) {
        if (inode->sectors[i].now != NULL) {
            inode->disk->used_sectors--;
        }
        sector_free(&inode->sectors[i]);
    }
    inode->sector_count = first < inode->sector_count ? first : inode->sector_count;
    inode->dirty_end    = inode->dirty_end < inode->sector_count ? inode->dirty_end : inode->sector_count;
    inode->dirty_first  = inode->dirty_first < inode->dirty_end ? inode->dirty_first : inode->dirty_end;
}

static void inode_free(struct inode *inode)
{
    sectors_drop(inode, 0);
    free(inode->sectors);
    list_remove(&inode->link);
    free(inode);
}

static void inode_release(struct inode *inode)
{
    if (inode->names == 0 && inode->opens == 0 && inode->ops == 0) {
        inode_free(inode);
    }
}

/* ---- names ---- */

static uint32_t names_place(const struct names *names, const char *path)
{
    uint32_t low = 0, high = names->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (strcmp(names->entry[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static struct inode *names_find(const struct names *names, const char *path)
{
    uint32_t place = names_place(names, path);
    return place < names->count && strcmp(names->entry[place].path, path) == 0 ? names->entry[place].inode : NULL;
}

static void names_remove(struct names *names, const char *path)
{
    uint32_t place = names_place(names, path);
    if (place == names->count || strcmp(names->entry[place].path, path) != 0) {
        return;
    }
    struct name gone = names->entry[place];
    names->count--;
    memmove(&names->entry[place], &names->entry[place + 1], (names->count - place) * sizeof *names->entry);
    free(gone.path);
    gone.inode->names--;
    inode_release(gone.inode);
}

static void names_set(struct names *names, const char *path, struct inode *inode)
{
    inode->names++;
    names_remove(names, path);
    if (names->count == names->room) {
        names->room  = names->room == 0 ? 16 : names->room * 2;
        names->entry = realloc(names->entry, names->room * sizeof *names->entry);
        ASSERT(names->entry != NULL);
    }
    uint32_t place = names_place(names, path);
    memmove(&names->entry[place + 1], &names->entry[place], (names->count - place) * sizeof *names->entry);
    names->entry[place] = (struct name){.path = copy_text(path), .inode = inode};
    names->count++;
}

static void names_clear(struct names *names)
{
    while (names->count != 0) {
        names_remove(names, names->entry[names->count - 1].path);
    }
    free(names->entry);
    *names = (struct names){0};
}

static bool parent_exists(const struct names *names, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return true; /* the root is always there */
    }
    char *parent = strndup(path, (size_t)(slash - path));
    ASSERT(parent != NULL);
    const struct inode *inode = names_find(names, parent);
    free(parent);
    return inode != NULL && inode->directory;
}

/* Is path an entry of directory, not deeper? */
static bool entry_of(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return path != NULL && strncmp(path, directory, size) == 0 && path[size] == '/' &&
           strchr(path + size + 1, '/') == NULL;
}

static void names_apply(struct names *names, const struct change *change)
{
    if (change->to != NULL) {
        names_set(names, change->to, change->inode);
    }
    if (change->from != NULL) {
        names_remove(names, change->from);
    }
}

static void change_free(struct change *change)
{
    list_remove(&change->link);
    if (change->inode != NULL) {
        change->inode->names--;
        inode_release(change->inode);
    }
    free(change->from);
    free(change->to);
    free(change);
}

static void change_names(struct disk *disk, const char *from, const char *to, struct inode *inode)
{
    struct change *change = calloc(1, sizeof *change);
    ASSERT(change != NULL);
    change->number = ++disk->change;
    change->from   = copy_text(from);
    change->to     = copy_text(to);
    change->inode  = to != NULL ? inode : NULL;
    if (change->inode != NULL) {
        inode->names++;
    }
    list_push_back(&disk->journal, &change->link);
    names_apply(&disk->now, change);
    if (!event_scheduled(&disk->commit)) {
        uint64_t delay_ns = world_between(disk->world, SALT_DISK, COMMIT_FIRST_NS, COMMIT_LAST_NS);
        world_schedule(disk->world, &disk->commit, disk->world->now_ns + delay_ns);
    }
}

/* All in their order: the space of what was deleted is free from now on. */
static void commit_names(struct event *event)
{
    struct disk *disk = CONTAINER_OF(event, struct disk, commit);
    LIST_EACH (&disk->journal, link) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        names_apply(&disk->durable, change);
        change_free(change);
    }
}

static void save_names(struct disk *disk, const char *directory, uint64_t up_to)
{
    LIST_EACH (&disk->journal, link) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        bool           here   = entry_of(change->to != NULL ? change->to : change->from, directory);
        if (here && change->number <= up_to) {
            names_apply(&disk->durable, change);
            change_free(change);
        }
    }
}

/* ---- sectors ---- */

static struct sector *sector_at(struct inode *inode, uint64_t index)
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

static void sector_save(struct sector *sector)
{
    if (sector->durable != sector->now) {
        free(sector->durable);
    }
    free(sector->between);
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
        free(sector->between);
        sector->between = sector->now;
    } else {
        free(sector->now);
    }
    sector->now = NULL;
}

static void write_sector(struct inode *inode, uint64_t index, size_t at, const uint8_t *data, size_t size)
{
    struct disk   *disk   = inode->disk;
    struct sector *sector = sector_at(inode, index);
    uint8_t       *next   = malloc(SECTOR_BYTES);
    ASSERT(next != NULL && at + size <= SECTOR_BYTES);
    if (sector->now != NULL) {
        memcpy(next, sector->now, SECTOR_BYTES);
    } else {
        memset(next, 0, SECTOR_BYTES);
        disk->used_sectors++;
    }
    memcpy(next + at, data, size);
    if (world_chance(disk->world, SALT_DISK, disk->faults.rot_one_in)) {
        uint64_t bit = draw(disk, SECTOR_BYTES * 8);
        next[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        world_trace(disk->world, "disk rots", disk->machine->name, index, bit);
    }
    /* A sync under way has promised the version that it found; having it early is allowed. */
    if (inode->syncing != 0 && sector->dirty && sector->change <= inode->sync_change) {
        sector_save(sector);
    }
    sector_overwrite(disk, sector);
    sector->now    = next;
    sector->dirty  = true;
    sector->change = ++disk->change;
    if (inode->dirty_first == inode->dirty_end) {
        inode->dirty_first = inode->dirty_end = (uint32_t)index;
    }
    inode->dirty_first = index < inode->dirty_first ? (uint32_t)index : inode->dirty_first;
    inode->dirty_end   = index >= inode->dirty_end ? (uint32_t)index + 1 : inode->dirty_end;
}

static void grow(struct inode *inode, uint64_t size)
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
        if (each_one || coin(disk)) {
            write_sector(inode, at / SECTOR_BYTES + shift, skip, op->memory + done, part);
            if (durable) {
                sector_save(sector_at(inode, at / SECTOR_BYTES + shift));
            }
            grow(inode, at + part);
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

static int do_write(struct disk_op *op, bool durable)
{
    struct disk *disk = op->disk;
    /* Memory that changes under a write is a bug of the caller, whatever the disk makes of it. */
    ASSERT(hash_bytes(bytes_of(op->memory, op->size)) == op->checksum);
    if ((disk->used_sectors + sectors_wanted(op)) * SECTOR_BYTES > disk->capacity_bytes && sectors_wanted(op) != 0) {
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
        const uint8_t *stored = at / SECTOR_BYTES < inode->sector_count ? inode->sectors[at / SECTOR_BYTES].now : NULL;
        if (stored != NULL) {
            memcpy(op->memory + done, stored + skip, part);
        } else {
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
        if (!failed || coin(op->disk)) {
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
    if (from == NULL || !parent_exists(&disk->now, op->path_to)) {
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
    save_names(op->disk, op->path, op->change);
    return 0;
}

/* ---- operations take time ---- */

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
    world_trace(op->disk->world, "disk done", op->disk->machine->name, op->verb, (uint64_t)op->result);
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
    uint64_t time_ns = base_ns / 2 + draw(disk, base_ns + 1);
    if (world_chance(disk->world, SALT_DISK, disk->faults.stall_one_in)) {
        time_ns += draw(disk, disk->faults.stall_ns + 1);
    }
    return draw(disk, 100) == 0 ? time_ns * (2 + draw(disk, 30)) : time_ns; /* disks have long tails */
}

void disk_begin(struct disk_op *op)
{
    struct disk *disk = op->disk;
    op->event.run     = op_happens;
    op->under_way     = true;
    op->change        = disk->change;
    disk->busy++;
    if (op->path != NULL) {
        char *clean = clean_path(op->path);
        free(op->path);
        op->path = clean;
    }
    if (op->path_to != NULL) {
        char *clean = clean_path(op->path_to);
        free(op->path_to);
        op->path_to = clean;
    }
    if (op->inode != NULL) {
        op->inode->ops++;
    }
    if (op->verb == DISK_WRITE || op->verb == DISK_WRITE_DURABLE) {
        struct bytes data = bytes_of(op->memory, op->size);
        op->checksum      = hash_bytes(data);
        world_trace_bytes(disk->world, data);
    }
    if (op->verb == DISK_SYNC) {
        op->inode->syncing++;
        op->inode->sync_change = op->change;
    }
    world_trace(disk->world, "disk begins", disk->machine->name, op->verb, op->offset);
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
        if ((disk->used_sectors + sectors_wanted(op)) * SECTOR_BYTES <= disk->capacity_bytes) {
            write_sectors(op, false, op->verb == DISK_WRITE_DURABLE && coin(disk));
        }
        break;
    case DISK_RENAME:
        op->result = coin(disk) ? do_rename(op) : 0;
        break;
    case DISK_UNLINK:
        op->result = coin(disk) ? do_unlink(op) : 0;
        break;
    default:
        break;
    }
    op_ended(op);
}

/* ---- what a power failure keeps ---- */

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
            free(version);
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
        /* File systems grow a file when pages reach the disk: to its newest size, or to the end of a page before it. */
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
        sectors_drop(inode, (uint32_t)sectors);
    }
    size_t tail = inode->size % SECTOR_BYTES;
    if (tail != 0 && sectors == inode->sector_count && inode->sectors[sectors - 1].now != NULL) {
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
        if (any_subset ? coin(disk) : prefix) {
            names_apply(&disk->durable, change);
        }
        change_free(change);
    }
    for (uint32_t i = 0; i < disk->durable.count;) { /* sorted: a directory comes before what is in it */
        if (parent_exists(&disk->durable, disk->durable.entry[i].path)) {
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

/* ---- synchronous verbs ---- */

struct disk *disk_new(struct machine *machine, uint64_t capacity_bytes)
{
    struct disk *disk = calloc(1, sizeof *disk);
    ASSERT(disk != NULL);
    disk->machine        = machine;
    disk->world          = machine->world;
    disk->capacity_bytes = capacity_bytes;
    list_init(&disk->inodes);
    list_init(&disk->journal);
    disk->commit.run  = commit_names;
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
    char *clean  = clean_path(path);
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
        if ((flags & IO_OPEN_CREATE) == 0 || !parent_exists(&disk->now, path)) {
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
    char *clean  = clean_path(path);
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
    char               *clean = clean_path(directory);
    const struct inode *inode = names_find(&disk->now, clean);
    int result = clean[0] == '\0' || (inode != NULL && inode->directory) ? 0 : inode == NULL ? -ENOENT : -ENOTDIR;
    for (uint32_t i = 0; result == 0 && i < disk->now.count; i++) {
        if (entry_of(disk->now.entry[i].path, clean)) {
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

/* ---- for scenarios ---- */

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
    char         *clean = clean_path(path);
    struct inode *inode = names_find(&disk->now, clean);
    free(clean);
    uint64_t index = offset / SECTOR_BYTES;
    if (inode == NULL || offset >= inode->size || index >= inode->sector_count || inode->sectors[index].now == NULL) {
        return false;
    }
    struct sector *sector = &inode->sectors[index];
    uint8_t        flip   = (uint8_t)(1u << draw(disk, 8));
    sector->now[offset % SECTOR_BYTES] ^= flip;
    if (sector->durable != sector->now && sector->durable != NULL) {
        sector->durable[offset % SECTOR_BYTES] ^= flip;
    }
    world_trace(disk->world, "disk rots", disk->machine->name, index, offset);
    return true;
}

int64_t disk_peek_durable(struct disk *disk, const char *path, void *memory, size_t size, uint64_t offset)
{
    char               *clean = clean_path(path);
    const struct inode *inode = names_find(&disk->durable, clean);
    free(clean);
    if (inode == NULL || inode->directory) {
        return -ENOENT;
    }
    uint8_t *out = memory;
    size_t   i   = 0;
    for (; i < size && offset + i < inode->size_durable; i++) {
        uint64_t       at = offset + i;
        const uint8_t *stored =
            at / SECTOR_BYTES < inode->sector_count ? inode->sectors[at / SECTOR_BYTES].durable : NULL;
        out[i] = stored != NULL ? stored[at % SECTOR_BYTES] : 0;
    }
    return (int64_t)i;
}
