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

int fetch_bytes(struct fetch *f, uint64_t position, size_t size, struct bytes *out)
{
    struct bytes view;
    if (wal_view(f->wal, position, &view) && view.size >= size) {
        *out = bytes_of(view.data, size);
        return 0;
    }
    return size > BLOCK_MAX_BYTES ? ERR_TOO_BIG : gather(f, position, size, f->scratch, out);
}
