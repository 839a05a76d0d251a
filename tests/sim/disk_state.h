/* disk_state - what the files of the simulated disk share; nobody else includes this.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_DISK_STATE_H
#define KEEL_TESTS_SIM_DISK_STATE_H

#include "tests/sim/disk.h"

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
    uint32_t        content_end; /* at most sector_count; from here on all versions are zeros or holes */
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

/* disk_names.c */
/* Without "./", doubled and trailing slashes: a path has one spelling. */
char         *disk_clean_path(const char *path);
struct inode *names_find(const struct names *names, const char *path);
void          names_remove(struct names *names, const char *path);
void          names_set(struct names *names, const char *path, struct inode *inode);
void          names_clear(struct names *names);
bool          disk_parent_exists(const struct names *names, const char *path);
/* Is path an entry of directory, not deeper? */
bool disk_entry_of(const char *path, const char *directory);
void names_apply(struct names *names, const struct change *change);
void change_free(struct change *change);
/* The file system saves all changes of names that were not saved yet. */
void names_commit(struct event *event);
void change_names(struct disk *disk, const char *from, const char *to, struct inode *inode);
void disk_save_names(struct disk *disk, const char *directory, uint64_t up_to);

/* disk_inode.c */
struct inode  *inode_new(struct disk *disk, bool directory);
void           disk_sectors_drop(struct inode *inode, uint32_t first);
void           inode_release(struct inode *inode);
struct sector *sector_at(struct inode *inode, uint64_t index);
/* What a version of zeros is. */
extern const uint8_t disk_zeros[SECTOR_BYTES];
/* A version of a sector: freed, or a bit of it flipped. One that is shared is not written to. */
bool version_shared(const uint8_t *version);
void version_free(uint8_t *version);
void version_flip(uint8_t **version, uint64_t bit);
void sector_save(struct sector *sector);
void disk_write_sector(struct inode *inode, uint64_t index, size_t at, const uint8_t *data, size_t size);
void disk_grow(struct inode *inode, uint64_t size);

/* disk_op.c */
uint64_t disk_draw(struct disk *disk, uint64_t below);

/* disk.c */
bool disk_coin(struct disk *disk);

#endif
