/* fetch.c - target first, then the record it points ahead to. */
#include "segstore/disk/fetch.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

void fetch_init(struct fetch *f, const struct wal *wal, struct chunks *chunks)
{
    *f = (struct fetch){.wal = wal, .chunks = chunks, .scratch = malloc(BLOCK_MAX_BYTES)};
    if (f->scratch == NULL) {
        fatal(71, "out of memory at start");
    }
}

void fetch_fini(struct fetch *f)
{
    free(f->scratch);
    *f = (struct fetch){0};
}

static int corrupt(const struct fetch *f, uint64_t position, const char *what)
{
    const struct segments *segments = f->chunks->segments;
    uint64_t               number   = segments_number(segments, position);
    char                   name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    log_error("%s at offset %llu of %s/%s: the record there is not handed out; restore the file from a copy", what,
              (unsigned long long)(position - segments_position(segments, number)),
              segment_is_run(number) ? "runs" : "wal", name);
    return ERR_CORRUPT;
}

/* Views or gathers size bytes from position: begins all reads that are missing, 1 while there are any. */
static int gather(struct fetch *f, uint64_t position, size_t size, uint8_t *memory, struct bytes *out)
{
    uint64_t     durable = wal_durable_position(f->wal);
    struct bytes piece;
    int          result = chunk_view(f->chunks, position, durable, &piece);
    if (result == 0 && piece.size >= size) {
        *out = bytes_of(piece.data, size);
        return 0;
    }
    bool   waiting = false;
    size_t have    = 0;
    while (have < size) {
        uint64_t at   = position + have;
        uint64_t base = segments_position(f->chunks->segments, segments_number(f->chunks->segments, at));
        size_t   left = CHUNK_BYTES - (size_t)((at - base) % CHUNK_BYTES);
        result        = chunk_view(f->chunks, at, durable, &piece);
        if (result < 0) {
            return result;
        }
        left = left < size - have ? left : size - have;
        if (result == 1) {
            waiting = true;
        } else if (piece.size < left) {
            return ERR_CORRUPT;
        } else if (!waiting) {
            memcpy(memory + have, piece.data, left);
        }
        have += left;
    }
    *out = bytes_of(memory, size);
    return waiting ? 1 : 0;
}

/* ---- proof ---- */

static void take_block(struct fetch *f, const uint8_t *page, const struct block_header *header)
{
    f->block.header = *header;
    memset(f->block.good, 0, sizeof f->block.good);
    memcpy(f->block.table, page + BLOCK_HEADER_BYTES, 4 * (size_t)header->page_count);
    if (!block_table_good(page, header)) {
        f->block.header.length = 0;
    }
}

/* The header of the block that holds a position, backwards from there: 0; 1 while it is read; ERR_NOT_FOUND: it has changed. */
static int find_block(struct fetch *f, uint64_t position)
{
    const struct segments *segments = f->chunks->segments;
    struct fetch_block    *b        = &f->block;
    uint64_t               base     = segments_position(segments, segments_number(segments, position));
    uint64_t               page     = position - (position - base) % BLOCK_PAGE_BYTES;
    if (b->wanted != page) {
        b->wanted = page;
        b->passed = page + BLOCK_PAGE_BYTES;
    }
    while (b->passed > base && b->passed + BLOCK_MAX_BYTES > page) {
        struct bytes        view;
        struct block_header header;
        uint64_t            at     = b->passed - BLOCK_PAGE_BYTES;
        int                 result = chunk_view(f->chunks, at, wal_durable_position(f->wal), &view);
        if (result != 0) {
            return result;
        }
        if (view.size >= BLOCK_PAGE_BYTES &&
            block_header_at(bytes_of(view.data, base + segments->segment_bytes - at), &f->wal->id, at, &header)) {
            if (at + header.length <= position) {
                return ERR_NOT_FOUND;
            }
            take_block(f, view.data, &header);
            return b->header.length == 0 ? ERR_NOT_FOUND : 0;
        }
        b->passed = at;
    }
    return ERR_NOT_FOUND;
}

static int page_proved(struct fetch *f, uint64_t position)
{
    struct fetch_block *b    = &f->block;
    size_t              page = (size_t)(position - b->header.position) / BLOCK_PAGE_BYTES;
    struct bytes        view;
    if ((b->good[page / 64] >> page % 64 & 1) != 0) {
        return 0;
    }
    int result =
        chunk_view(f->chunks, b->header.position + page * BLOCK_PAGE_BYTES, wal_durable_position(f->wal), &view);
    if (result != 0) {
        return result;
    }
    if (view.size < BLOCK_PAGE_BYTES || !block_page_good(view.data, &b->header, b->table, page)) {
        return ERR_CORRUPT;
    }
    b->good[page / 64] |= 1ull << page % 64;
    return 0;
}

/* Are these bytes as they were written? 0, 1, ERR_CORRUPT. */
static int proved(struct fetch *f, uint64_t position, size_t size)
{
    const struct block_header *h = &f->block.header;
    if (position < h->position || position >= h->position + h->length) {
        int found = find_block(f, position);
        if (found == ERR_NOT_FOUND) {
            return f->strict ? ERR_CORRUPT : 0;
        }
        if (found != 0) {
            return found;
        }
    }
    if (position + size > h->position + h->length) {
        return ERR_CORRUPT;
    }
    int result = page_proved(f, position);
    return result != 0 ? result : page_proved(f, position + size - 1);
}

static int fetch_cold(struct fetch *f, uint64_t position, uint64_t stream_id, struct fetched *out)
{
    struct bytes head;
    uint8_t      small[OP_TARGET_HEADER_BYTES];
    int          result = gather(f, position, OP_TARGET_HEADER_BYTES, small, &head);
    if (result != 0) {
        return result;
    }
    struct wire_reader r        = wire_reader_of(head);
    uint64_t           target   = wire_get_u64(&r);
    uint32_t           ahead    = wire_get_u32(&r);
    uint8_t            tag_size = wire_get_u8(&r);
    if ((target != stream_id && target != OP_STREAM_LAST) || ahead < (uint32_t)OP_TARGET_HEADER_BYTES + tag_size ||
        ahead > RECORD_HEADER_BYTES + OP_TARGETS_MAX * (OP_TARGET_HEADER_BYTES + OP_TAG_MAX_BYTES)) {
        return corrupt(f, position, "another stream's bytes");
    }
    struct bytes tag;
    result = gather(f, position + OP_TARGET_HEADER_BYTES, tag_size, f->tag, &tag);
    if (result != 0) {
        return result;
    }
    if (tag_size > 0 && tag.data != f->tag) { /* its chunk may go when the record's is asked for */
        memcpy(f->tag, tag.data, tag_size);
    }
    result = proved(f, position, OP_TARGET_HEADER_BYTES + (size_t)tag_size);
    if (result != 0) {
        return result < 0 ? corrupt(f, position, "what points to a record") : result;
    }
    uint64_t     at = position + ahead;
    struct bytes begin;
    result = gather(f, at, 4, small, &begin);
    if (result != 0) {
        return result;
    }
    int64_t size = record_peek_size(begin);
    if (size < 0 || size > BLOCK_MAX_BYTES) {
        return corrupt(f, at, "no record");
    }
    result = gather(f, at, (size_t)size, f->scratch, &out->record);
    if (result != 0) {
        return result;
    }
    struct record record;
    if (record_decode(out->record, &record) != size) {
        return corrupt(f, at, "a record whose checksum does not match");
    }
    out->tag = bytes_of(f->tag, tag_size);
    return 0;
}

int fetch(struct fetch *f, uint64_t position, uint64_t stream_id, struct fetched *out)
{
    struct bytes view;
    if (!wal_view(f->wal, position, &view)) {
        return fetch_cold(f, position, stream_id, out);
    }
    struct op_target target;
    int64_t          size = op_target_at(view, &target, &out->record);
    if (size < 0 || (uint64_t)size > view.size) {
        return corrupt(f, position, "no target of a record");
    }
    out->tag = target.tag;
    return 0;
}

bool fetch_ahead(struct fetch *f, uint64_t position, size_t size)
{
    struct bytes unused;
    uint64_t     durable = wal_durable_position(f->wal);
    if (wal_view(f->wal, position, &unused)) {
        return false; /* from here on all is in memory */
    }
    for (uint64_t at = position; at < position + size; at += CHUNK_BYTES) {
        if (!chunk_ahead(f->chunks, at, durable)) {
            return false;
        }
    }
    return size == 0 || chunk_ahead(f->chunks, position + size - 1, durable);
}

int fetch_bytes(struct fetch *f, uint64_t position, size_t size, struct bytes *out)
{
    struct bytes view;
    if (wal_view(f->wal, position, &view) && view.size >= size) {
        *out = bytes_of(view.data, size);
        return 0;
    }
    return size > BLOCK_MAX_BYTES ? ERR_TOO_BIG : gather(f, position, size, f->scratch, out);
}
