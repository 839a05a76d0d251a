/* prepare - keeps log segments ready before they are needed, and knows when the disk is full.
 *
 *   idle -> allocating (the room of wal/NNNN.tmp) -> filling (slices of zeros) -> syncing -> renaming -> syncing the directory -> ready, idle
 *     any step without space, or less free than the reserve: the file goes away, full, tried again after a second
 *     starving (not even a trim finds a place, as after a restart on a full disk): half of the reserve may be used
 *
 * A file that has its room but was never written can be used, and reads as zeros; each commit changes metadata then, which costs as much again as a small write, and
 * little beside a large one. So a segment is filled with zeros, but only as well as the log can spare it (spare.h): small slices, one under way at a time, paid
 * with what the log writes meanwhile, none while its writes take longer than usual. The filling is cut short when
 *     no other one is ready and the log has begun with its last one; the disk was full; its writes are large; the store stops; it is the log's first, and takes long.
 * Where the file system has no unwritten room all of it is filled, as fast as it goes.
 * Full: the store keeps what is ready as a reserve for entries that only make room (trims, deletes, cursors).
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_PREPARE_H
#define KEEL_SEGSTORE_DISK_PREPARE_H

#include "segstore/disk/spare.h"
#include "segstore/log/segment.h"
#include "shared/loop/io.h"

enum { PREPARE_READY_MAX = 8, PREPARE_SLICE_BYTES = 256 * 1024, PREPARE_PATH_BYTES = 512 };

enum prepare_state {
    PREPARE_IDLE,
    PREPARE_ALLOCATING,
    PREPARE_FILLING,
    PREPARE_SYNCING,
    PREPARE_RENAMING,
    PREPARE_SYNCING_DIRECTORY,
    PREPARE_DROPPING
};

struct prepare {
    struct io           *io;
    struct segments     *segments;
    struct spare        *spare;
    const char          *directory;     /* of the segments, outlives this */
    uint64_t             reserve_bytes; /* less than this free besides a new segment: full */
    uint64_t             next_number;
    uint64_t             ready[PREPARE_READY_MAX]; /* numbers, in order */
    uint32_t             ready_count;
    uint32_t             ready_wanted;
    bool                 full;
    bool                 starving;     /* told by the owner before each turn: nothing at all can be written */
    bool                 from_reserve; /* the segment under way: the disk is full with it */
    bool                 stopping;     /* no new segment is begun */
    uint8_t              state;        /* enum prepare_state */
    uint64_t             retry_ns;
    uint64_t             filled_bytes;
    uint64_t             begun_ns; /* of the file under way */
    uint64_t             next_ns;  /* filling, no slice is under way: when to go on */
    bool                 writing;  /* a slice is under way */
    bool                 begun;    /* told by the owner before each turn: the log has a file that it writes */
    bool                 hungry;   /* told likewise: it waits for one */
    struct spare_account account;
    bool                 unable; /* the file system knows no room that was not written */
    struct io_file      *file;
    struct io_op         op;
    uint8_t             *zeros;
    /* A failure other than a full disk: final. */
    void (*failed)(void *ctx, const char *what, int error);
    void *ctx;
};

void prepare_init(struct prepare *p, struct io *io, struct segments *segments, struct spare *spare,
                  const char *directory, uint32_t ready_wanted, uint64_t reserve_bytes);
void prepare_fini(struct prepare *p);
/* A segment found at start that holds nothing but zeros; in order of number. False: enough are ready, delete it. */
bool prepare_adopt(struct prepare *p, uint64_t number, struct io_file *file);
/* Goes on with what is to do. */
void prepare_turn(struct prepare *p);
/* When prepare_turn wants to be called again, though nothing completes; UINT64_MAX: never. */
uint64_t prepare_next_ns(const struct prepare *p);
/* Takes the next ready segment: its slot's file is open. NULL when none is ready. */
struct log_segment *prepare_take(struct prepare *p);
bool                prepare_busy(const struct prepare *p);

#endif
