/* frame.c - header, checksum, and frames out of bytes split anywhere. */
#include "shared/rpc/frame.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/rpc/next.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { CHECKSUM_AT = 16 };

/* Over the header before the checksum, and the body: the header's hash seeds the body's. */
uint64_t frame_checksum(const uint8_t *header, struct bytes body)
{
    return hash_bytes_seeded(body, hash_bytes(bytes_of(header, CHECKSUM_AT)));
}

size_t frame_begin(struct wire_writer *w, uint16_t kind, uint64_t id)
{
    const struct rpc_header header = {.kind = kind, .id = id};
    size_t                  begun  = w->size;
    wire_put(w, &header, sizeof header);
    return begun;
}

int frame_end(struct wire_writer *w, size_t begun)
{
    NEXT_FIELDS(w, begun);
    if (w->bad || w->size - begun - RPC_HEADER_BYTES > RPC_BODY_MAX_BYTES) {
        w->bad  = false;
        w->size = begun;
        return ERR_TOO_BIG;
    }
    uint32_t size = (uint32_t)(w->size - begun - RPC_HEADER_BYTES);
    memcpy(w->data + begun, &size, sizeof size);
    frame_seal(w->data + begun);
    return 0;
}

void frame_seal(uint8_t *frame)
{
    uint32_t size;
    memcpy(&size, frame, sizeof size);
    uint64_t checksum = frame_checksum(frame, bytes_of(frame + RPC_HEADER_BYTES, size));
    memcpy(frame + CHECKSUM_AT, &checksum, sizeof checksum);
}

void frame_reader_fini(struct frame_reader *reader)
{
    free(reader->part);
    *reader = (struct frame_reader){0};
}

void frame_reader_feed(struct frame_reader *reader, struct bytes input)
{
    ASSERT(reader->input.size == 0);
    reader->input = input;
}

static int frame_check(const uint8_t *data, struct frame *out)
{
    struct rpc_header header;
    memcpy(&header, data, sizeof header);
    struct bytes body = bytes_of(data + RPC_HEADER_BYTES, header.size);
    if (header.checksum != frame_checksum(data, body)) {
        return ERR_CORRUPT;
    }
    *out = (struct frame){.kind = header.kind, .flags = header.flags, .id = header.id, .body = body};
    return 1;
}

/* Bytes of the whole frame that starts here, or ERR_TOO_BIG. */
static int64_t frame_size(const uint8_t *header)
{
    uint32_t size = 0;
    memcpy(&size, header, sizeof size);
    return size > RPC_BODY_MAX_BYTES ? ERR_TOO_BIG : (int64_t)size + RPC_HEADER_BYTES;
}

static void take(struct frame_reader *reader, size_t want)
{
    size_t size = want < reader->input.size ? want : reader->input.size;
    memcpy(reader->part + reader->part_size, reader->input.data, size);
    reader->part_size += size;
    reader->input.data += size;
    reader->input.size -= size;
}

/* Goes on with a frame that was cut by the end of an earlier input. */
static int next_from_part(struct frame_reader *reader, struct frame *out)
{
    if (reader->part_need == 0) {
        take(reader, RPC_HEADER_BYTES - reader->part_size);
        if (reader->part_size < RPC_HEADER_BYTES) {
            return 0;
        }
        int64_t need = frame_size(reader->part);
        if (need < 0) {
            return (int)need;
        }
        uint8_t *grown = realloc(reader->part, (size_t)need);
        ASSERT(grown != NULL);
        reader->part      = grown;
        reader->part_need = (size_t)need;
    }
    take(reader, reader->part_need - reader->part_size);
    if (reader->part_size < reader->part_need) {
        return 0;
    }
    reader->part_out = true;
    return frame_check(reader->part, out);
}

int frame_reader_next(struct frame_reader *reader, struct frame *out)
{
    if (reader->part_out) {
        free(reader->part);
        reader->part      = NULL;
        reader->part_size = 0;
        reader->part_need = 0;
        reader->part_out  = false;
    }
    if (reader->part != NULL) {
        return next_from_part(reader, out);
    }
    struct bytes input = reader->input;
    if (input.size == 0) {
        return 0;
    }
    int64_t need = input.size < RPC_HEADER_BYTES ? 0 : frame_size(input.data);
    if (need < 0) {
        return (int)need;
    }
    if (need != 0 && input.size >= (size_t)need) {
        reader->input = bytes_of(input.data + need, input.size - (size_t)need);
        return frame_check(input.data, out);
    }
    reader->part = malloc(RPC_HEADER_BYTES);
    ASSERT(reader->part != NULL);
    return next_from_part(reader, out);
}
