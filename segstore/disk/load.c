/* load.c - slices, up to 16 under way. */
#include "segstore/disk/load.h"

#include <stdlib.h>

static void slice_done(struct io_op *op, int result);

static void submit(struct load *load, struct io_op *op)
{
    size_t left  = load->size_bytes - load->asked_bytes;
    size_t size  = left < LOAD_SLICE_BYTES ? left : LOAD_SLICE_BYTES;
    size_t whole = (size + IO_ALIGN_BYTES - 1) / IO_ALIGN_BYTES * IO_ALIGN_BYTES;
    size_t i     = (size_t)(op - load->ops);
    *op          = (struct io_op){.done = slice_done, .ctx = load};
    load->reading++;
    load->slices[i].memory     = load->memory + load->asked_bytes;
    load->slices[i].size_bytes = whole;
    io_read(load->file, op, load->memory + load->asked_bytes, whole, load->asked_bytes);
    load->asked_bytes += size;
}

static void slice_done(struct io_op *op, int result)
{
    struct load *load = op->ctx;
    size_t       i    = (size_t)(op - load->ops);
    size_t       read = result < 0 ? 0 : (size_t)result;
    load->reading--;
    if (result < 0 && load->result == 0) {
        load->result = result;
    }
    if (read < load->slices[i].size_bytes) { /* past the end of the file */
        memset(load->slices[i].memory + read, 0, load->slices[i].size_bytes - read);
    }
    if (load->result == 0 && load->asked_bytes < load->size_bytes) {
        submit(load, op);
    }
    if (load->reading == 0) {
        load->busy = false;
        load->done(load->ctx, load, load->result);
    }
}

void load_begin(struct load *load, struct io_file *file, size_t size_bytes, void (*done)(void *, struct load *, int),
                void *ctx)
{
    ASSERT(!load->busy && size_bytes > 0);
    size_t needed = (size_bytes + IO_ALIGN_BYTES - 1) / IO_ALIGN_BYTES * IO_ALIGN_BYTES;
    if (needed > load->capacity_bytes) {
        free(load->memory);
        load->memory         = aligned_alloc(IO_ALIGN_BYTES, needed);
        load->capacity_bytes = needed;
        if (load->memory == NULL) {
            fatal(71, "out of memory: %zu bytes to read a file at start", needed);
        }
    }
    load->file        = file;
    load->size_bytes  = size_bytes;
    load->asked_bytes = 0;
    load->result      = 0;
    load->busy        = true;
    load->done        = done;
    load->ctx         = ctx;
    for (uint32_t i = 0; i < LOAD_READS_MAX && load->asked_bytes < size_bytes; i++) {
        submit(load, &load->ops[i]);
    }
}

void load_fini(struct load *load)
{
    free(load->memory);
    *load = (struct load){0};
}
