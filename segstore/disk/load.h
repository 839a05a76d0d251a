/* load - a whole file, or its beginning, into memory: several large reads under way at once.
 * Threads: the shard.   Memory: page aligned, kept for the next file unless that is larger; bytes past the end of the file are zero. */
#ifndef KEEL_SEGSTORE_DISK_LOAD_H
#define KEEL_SEGSTORE_DISK_LOAD_H

#include "shared/loop/io.h"

/* A file of the log of 64 MiB is asked for at once: it is read while the one before is looked through, which is one turn of the loop. */
enum { LOAD_READS_MAX = 16, LOAD_SLICE_BYTES = 4 * 1024 * 1024 };

struct load {
    uint8_t        *memory;
    size_t          capacity_bytes;
    size_t          size_bytes;
    size_t          asked_bytes; /* how far reads were submitted */
    struct io_file *file;
    struct io_op    ops[LOAD_READS_MAX];
    struct {
        uint8_t *memory;
        size_t   size_bytes;
    } slices[LOAD_READS_MAX]; /* what each of them reads */
    uint32_t reading;
    int      result;
    bool     busy;
    void (*done)(void *ctx, struct load *load, int result); /* 0 or an error */
    void *ctx;
};

/* Reads file[0, size_bytes) and calls done once. One at a time per load. */
void load_begin(struct load *load, struct io_file *file, size_t size_bytes, void (*done)(void *, struct load *, int),
                void *ctx);
void load_fini(struct load *load);

#endif
