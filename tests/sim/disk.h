/* disk - the file system of one simulated machine, and what of it survives.
 *
 *                    completed write        io_sync / durable write
 *   memory ─────────▶ now (page cache) ───────────────────────────▶ durable
 *            kill -9 keeps this           a power failure keeps this, and of what lies between any mixture:
 *                                         each 4 KiB sector is the durable one, the newest one or one between them
 *
 * An operation under way at a crash or power failure leaves any subset of its sectors in the page cache.
 * Names (create, rename, unlink, mkdir) are volatile until the directory is synced, or until the file system saves them by itself within half
 * a minute: a power failure keeps a prefix of the unsynced changes, or any subset of them. A failed sync leaves what it should have written in the page cache, where reads
 * still see it, and forgets that it is dirty: a later sync that succeeds does not save it.
 * A file exists while it has a name or is open. Its size is volatile like its sectors.
 * Threads: one.   Errors: -errno. */
#ifndef KEEL_TESTS_SIM_DISK_H
#define KEEL_TESTS_SIM_DISK_H

#include "tests/sim/process.h"

enum { SECTOR_BYTES = 4096 };

/* All zero: a disk that works. one_in: 0 is never. */
struct disk_faults {
    uint32_t read_error_one_in;  /* -EIO */
    uint32_t write_error_one_in; /* -EIO; any subset of the sectors was written */
    uint32_t sync_error_one_in;  /* -EIO of sync and durable write */
    uint32_t rot_one_in;         /* written sectors of which a bit flips */
    uint32_t lost_one_in;        /* writes that succeed and do nothing */
    uint32_t misdirected_one_in; /* writes that land one sector too far */
    uint32_t slow_factor;        /* 0 and 1: as fast as the world's disks are */
    uint32_t stall_one_in;       /* operations that take up to stall_ns longer */
    uint64_t stall_ns;
};

struct inode;
struct disk_op;

struct disk *disk_new(struct machine *machine, uint64_t capacity_bytes);
void         disk_free(struct disk *disk);

/* ---- for scenarios ---- */

struct disk_faults *disk_faults(struct disk *disk);
/* Faults of this seed for one disk: some or none of those that a correct program survives on its own (errors, slowness). */
void disk_faults_draw(struct disk *disk);
/* Less than what is used is allowed: then nothing new fits. */
void     disk_set_capacity(struct disk *disk, uint64_t capacity_bytes);
uint64_t disk_used_bytes(const struct disk *disk);
/* Flips a bit of what is stored at offset, for good. False when nothing is stored there. */
bool disk_rot(struct disk *disk, const char *path, uint64_t offset);
/* What a power failure would surely keep: bytes of the durable image, or an error. For oracles; costs no time. */
int64_t disk_peek_durable(struct disk *disk, const char *path, void *memory, size_t size, uint64_t offset);
/* Operations under way. */
uint32_t disk_busy_count(const struct disk *disk);

/* ---- for process.c and io_files.c ---- */

void disk_power_failure(struct disk *disk);
void disk_unlock(struct disk *disk, struct process *process);

int     disk_mkdir(struct disk *disk, const char *path);
int     disk_open(struct disk *disk, const char *path, unsigned flags, struct inode **out);
void    disk_close(struct disk *disk, struct inode *inode);
int64_t disk_size(const struct inode *inode);
int     disk_lock(struct inode *inode, struct process *process);
int     disk_list(struct disk *disk, const char *directory, void (*each)(void *ctx, const char *name), void *ctx);
int64_t disk_free_bytes(const struct disk *disk);

enum disk_verb { DISK_READ, DISK_WRITE, DISK_WRITE_DURABLE, DISK_SYNC, DISK_SYNC_DIRECTORY, DISK_RENAME, DISK_UNLINK };

/* One operation under way: made by io_files.c, told by done() when it has happened, or cut short by disk_op_crash. */
struct disk_op {
    struct disk   *disk;
    enum disk_verb verb;
    struct inode  *inode;
    uint8_t       *memory; /* of a write: not written to; NULL for a write of zeros */
    size_t         size;
    uint64_t       offset;
    char          *path; /* owned by it */
    char          *path_to;
    uint64_t       checksum; /* of the memory of a write, when it began */
    bool           zeros;    /* it was nothing else */
    uint64_t       change;   /* what was written before a sync began */
    uint32_t       dirty_before;
    struct list    link;
    struct event   event;
    bool           under_way;
    int            result;
    void (*done)(struct disk_op *op);
    void *owner;
};

void disk_begin(struct disk_op *op);
/* The process or the power is gone: any subset of the sectors of a write has arrived, any other operation has happened or not. */
void disk_op_crash(struct disk_op *op);

#endif
