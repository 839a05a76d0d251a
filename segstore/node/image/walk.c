/* walk.c - a window of twice the largest block; what was passed is given back in large pieces, so that a byte is moved twice at most. */
#include "segstore/node/image/walk.h"

#include "shared/base/err.h"

#include <stdlib.h>
#include <string.h>

enum { WINDOW_BYTES = 8 * 1024 * 1024, READ_BYTES = 1024 * 1024, PASSED_BYTES = 3 * 1024 * 1024 };
_Static_assert(WINDOW_BYTES >= BLOCK_MAX_BYTES + READ_BYTES + PASSED_BYTES,
               "a window without room for a read either holds a whole block or has so much passed");

void walk_begin(struct walk *w, struct io_file *file, uint64_t base, size_t end)
{
    ASSERT(!w->busy);
    if (w->window == NULL) {
        w->window = aligned_alloc(IO_ALIGN_BYTES, WINDOW_BYTES);
        ASSERT_MEMORY(w->window != NULL);
    }
    w->file   = file;
    w->base   = base;
    w->end    = end;
    w->at     = 0;
    w->bytes  = 0;
    w->offset = 0;
    w->error  = 0;
}

void walk_fini(struct walk *w)
{
    ASSERT(!w->busy);
    free(w->window);
    w->window = NULL;
}

static void read_done(struct io_op *op, int result)
{
    struct walk *w = op->ctx;
    w->busy        = false;
    if (result <= 0) {
        w->error = result < 0 ? result : ERR_NOT_FOUND; /* the file is shorter */
    } else {
        w->bytes += (size_t)result;
    }
    w->done(w->ctx);
}

static void read_ahead(struct walk *w)
{
    size_t from = w->offset + (w->bytes - w->at);
    if (w->busy || w->error != 0 || from >= w->end) {
        return;
    }
    if (WINDOW_BYTES - w->bytes < READ_BYTES &&
        w->at >= PASSED_BYTES) { /* not with every block: of small ones a full window holds thousands */
        w->moved += w->bytes - w->at;
        memmove(w->window, w->window + w->at, w->bytes - w->at);
        w->bytes -= w->at;
        w->at = 0;
    }
    size_t left = (w->end - from + IO_ALIGN_BYTES - 1) / IO_ALIGN_BYTES * IO_ALIGN_BYTES;
    if (WINDOW_BYTES - w->bytes >= READ_BYTES) {
        w->busy = true;
        w->op   = (struct io_op){.done = read_done, .ctx = w};
        io_read(w->file, &w->op, w->window + w->bytes, left < READ_BYTES ? left : READ_BYTES, from);
    }
}

static void skip(struct walk *w, size_t bytes)
{
    w->at += bytes;
    w->offset += bytes;
}

int walk_next(struct walk *w, const struct wal_id *id, uint32_t sector_bytes, struct block_header *out,
              const uint8_t **image)
{
    for (;;) {
        read_ahead(w);
        size_t have = w->bytes - w->at;
        if (w->offset + BLOCK_PAGE_BYTES > w->end) {
            return ERR_NOT_FOUND;
        }
        struct bytes rest = bytes_of(w->window + w->at, w->end - w->offset);
        bool         good = have >= BLOCK_PAGE_BYTES && block_header_at(rest, id, w->base + w->offset, out);
        if (have < BLOCK_PAGE_BYTES || (good && out->length > have)) {
            return w->busy ? 0 : w->error;
        }
        const uint8_t *block = w->window + w->at;
        if (good &&
            block_check(bytes_of(block, out->length), id, w->base + w->offset, sector_bytes, out) == BLOCK_VALID) {
            skip(w, out->length);
            *image = block;
            return 1;
        }
        skip(w, BLOCK_PAGE_BYTES);
    }
}
