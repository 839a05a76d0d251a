/* wal - group commit: entries gather in memory while the write before them is under way, then go out in one durable write.
 *
 *     append           submit              completed             in order
 *   entry -> OPEN ----------------> FLYING ----------> DURABLE ----------> DELIVERED -> (memory is used again)
 *              \-> CLOSED (a group is full) -/
 *
 * A write begins when fewer are under way than the depth allows. There is no timer: the time that writes take is the time that
 * gathers the next group. With a depth of 2 one block is written while the block before it is flushed: a device with a volatile
 * cache needs both, one after the other, for every durable write. Above 16 KiB (under load) one at a time is better: larger
 * groups cost less processor, which is what is short then. After 10 ms of rest a block without entries is written, whose
 * stable_seq says that the last one was durable (recover.h).
 *
 *   ring:  | DELIVERED .. DELIVERED | FLYING | CLOSED | OPEN .....  room for a group .. |       one piece of memory, tail_bytes
 *
 * Delivered blocks stay in the ring until their memory is needed: they are what readers near the end of a stream read.
 * Durable is not committed: between the two stands the consensus (segstore/raft).
 * A failed write is final: it is reported once and nothing more is written.
 * Threads: the shard.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_WAL_H
#define KEEL_SEGSTORE_DISK_WAL_H

#include "segstore/disk/prepare.h"
#include "segstore/log/block.h"

enum {
    WAL_DEPTH_MAX      = 2,
    WAL_TAIL_MIN_BYTES = 10 * 1024 * 1024 /* the largest entry, and what blocks waste beside it (wal_roomy) */
};

enum wal_block_state { WAL_OPEN, WAL_CLOSED, WAL_FLYING, WAL_DURABLE, WAL_DELIVERED };

/* A block in the ring. */
struct wal_block {
    struct block_header header; /* set when submitted */
    uint32_t            at;     /* where it lies in the ring */
    uint32_t            room;   /* bytes of the ring that it holds */
    uint8_t             state;  /* enum wal_block_state */
};

/* The end of the chain: what the next block hangs on, and where a replay would go on. */
struct wal_end {
    uint64_t seq;
    uint64_t checksum;
    uint64_t stripes;
    uint64_t position; /* behind the block */
};

struct wal_hooks {
    void *ctx;
    /* Durable, in order. entry->ops lies in the block, which stays for as long as the turn. */
    void (*durable)(void *ctx, const struct log_entry *entry);
    void (*failed)(void *ctx, const char *what, int error);
};

struct wal_flight {
    struct io_op op;
    struct wal  *wal;
    uint64_t     block;
    uint64_t     begun_ns;
    bool         busy;
};

struct wal_counts {
    uint64_t writes;
    uint64_t bytes;
    uint64_t entries;
};

struct wal {
    struct io          *io;
    struct prepare     *prepare;
    struct wal_hooks    hooks;
    struct wal_id       id;
    uint64_t            run_id;
    uint8_t            *ring;
    size_t              ring_bytes;
    size_t              head;   /* where the next block begins */
    struct wal_block   *blocks; /* blocks[i % capacity], i in [first, end) */
    uint64_t            capacity;
    uint64_t            first;
    uint64_t            deliver; /* first not handed on */
    uint64_t            submit;  /* first not submitted */
    uint64_t            end;
    struct block_writer writer; /* of blocks[end - 1] while that is OPEN */
    struct wal_flight   flights[WAL_DEPTH_MAX];
    uint32_t            flying;
    uint32_t            depth;
    uint64_t            segment_number; /* that is written now; 0: none yet */
    struct io_file     *segment_file;
    uint64_t            segment_used;
    struct wal_end      last;               /* submitted */
    struct wal_end      delivered;          /* handed on */
    uint64_t            stable_seq;         /* every block up to this one is durable */
    uint64_t            claimed_stable_seq; /* what the last submitted block says about it */
    uint64_t            data_seq;           /* last block with entries */
    uint64_t            rest_ns;            /* when the last write completed */
    bool                starving;           /* no segment is ready for what waits */
    bool                broken;
    struct wal_counts   counts;
};

/* tail_bytes: memory of the ring, at least WAL_TAIL_MIN_BYTES. end: where recovery stopped; stable_seq: what is known durable. */
void wal_init(struct wal *wal, struct io *io, struct prepare *prepare, const struct wal_hooks *hooks,
              const struct wal_id *id, uint64_t run_id, size_t tail_bytes, uint32_t depth);
void wal_start(struct wal *wal, const struct wal_end *end, uint64_t stable_seq);
void wal_fini(struct wal *wal);

/* Takes an entry (its ops are copied; *out_ops, when it is not NULL: the copy, there until the entry was delivered). ERR_FULL: no memory now, try again
 * when something has become durable; ERR_TOO_BIG. */
MUST_CHECK int wal_append(struct wal *wal, const struct log_entry *entry, const uint8_t **out_ops);
/* Are so many bytes of entries sure to be taken now? */
bool wal_roomy(const struct wal *wal, size_t bytes);
/* Hands on what has become durable, then submits what waits. Once per turn. */
void wal_turn(struct wal *wal, uint64_t now_ns);
/* When wal_turn wants to be called though nothing completes. */
uint64_t wal_next_ns(const struct wal *wal);
/* Nothing waits or flies. */
bool wal_idle(const struct wal *wal);
/* Of what was submitted: not handed on yet. */
uint64_t wal_flying_bytes(const struct wal *wal);
/* Bytes left in the segment that is written now, less what waits. */
uint64_t wal_segment_left(const struct wal *wal);

/* The bytes from position to the end of its block, when they are still in memory. */
bool wal_view(const struct wal *wal, uint64_t position, struct bytes *out);
/* The sequence number that the block has, or will have, which the last entry that was taken is in. */
uint64_t wal_taken_seq(const struct wal *wal);
/* Behind this nothing is durable yet. */
uint64_t wal_durable_position(const struct wal *wal);

#endif
