/* frame - one RPC message on the wire: header (schema.h), checksum, body.
 *
 *   writer:  frame_begin .. body written with wire.h .. frame_end          straight into the connection's output
 *   reader:  frame_reader_feed(bytes of any split) .. frame_reader_next    views; only a frame that is cut is copied
 *
 * Threads: those of the owner; pure.   Units: bytes. */
#ifndef KEEL_SHARED_RPC_FRAME_H
#define KEEL_SHARED_RPC_FRAME_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/wire.h"

struct frame {
    uint16_t     kind; /* enum rpc_kind, or one that is not known */
    uint16_t     flags;
    uint64_t     id;
    struct bytes body; /* borrowed until the next call of the reader */
};

/* Reserves a header; returns its place for frame_end. */
size_t frame_begin(struct wire_writer *w, uint16_t kind, uint64_t id);
/* Fills in size and checksum. 0, or ERR_TOO_BIG (the body is over RPC_BODY_MAX_BYTES or the writer turned bad): the frame is taken back and the writer
 * is good again. */
int frame_end(struct wire_writer *w, size_t begun);

/* A whole frame in memory was changed, but for its size: makes the checksum right again. */
void frame_seal(uint8_t *frame);

/* Of the header's first 16 bytes and the body behind it. */
uint64_t frame_checksum(const uint8_t *header, struct bytes body);

struct frame_reader {
    struct bytes input; /* given by feed and not yet read */
    uint8_t     *part;  /* a frame that began in an earlier feed; malloc'ed when needed, freed when whole */
    size_t       part_size;
    size_t       part_need; /* of the whole frame, 0 while its header is not whole */
    bool         part_out;  /* the part was handed out by the last next */
};

void frame_reader_fini(struct frame_reader *reader);
/* What is fed must have been read to its end (next returned 0) before more is fed, and must live until then. */
void frame_reader_feed(struct frame_reader *reader, struct bytes input);
/* 1 and the next frame, 0 when the input is used up, or
 *   ERR_TOO_BIG   a body over RPC_BODY_MAX_BYTES is announced
 *   ERR_CORRUPT   the checksum does not match
 * After an error the connection is of no more use. */
MUST_CHECK int frame_reader_next(struct frame_reader *reader, struct frame *out);

#endif
