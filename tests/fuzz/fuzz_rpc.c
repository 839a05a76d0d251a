/* fuzz_rpc - any bytes, split anywhere, through the frame reader; and a record out of them.
 *   byte 0: how the rest is split   rest: what the peer sends */
#include "shared/record/record.h"
#include "shared/rpc/frame.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Frames whose checksum is right, so that what is behind it is reached: the input becomes the body. */
static void round_trip(struct bytes body)
{
    struct wire_writer  w      = wire_writer_growing(1 << 20);
    struct frame_reader reader = {0};
    struct frame        frame;
    size_t              begun = frame_begin(&w, 10, 7);
    wire_put_bytes(&w, body);
    ASSERT(frame_end(&w, begun) == 0);
    frame_reader_feed(&reader, wire_written(&w));
    ASSERT(frame_reader_next(&reader, &frame) == 1 && bytes_equal(frame.body, body));
    frame_reader_fini(&reader);
    wire_writer_fini(&w);
}

static void decode_record(struct bytes in)
{
    struct record record;
    int64_t       took = record_decode(in, &record);
    if (took <= 0) {
        return;
    }
    uint8_t *again = malloc((size_t)took);
    ASSERT(again != NULL && record_size(&record) == (size_t)took);
    record_encode(&record, again);
    ASSERT(record.qos == again[5]);
    free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    size_t              step   = 1 + data[0];
    struct bytes        in     = bytes_of(data + 1, size - 1);
    struct frame_reader reader = {0};
    int                 got    = 0;
    for (size_t at = 0; at < in.size && got >= 0; at += step) {
        size_t   part = step < in.size - at ? step : in.size - at;
        uint8_t *copy = malloc(part); /* a view that outlives its input is found */
        ASSERT(copy != NULL);
        memcpy(copy, in.data + at, part);
        struct frame frame;
        frame_reader_feed(&reader, bytes_of(copy, part));
        while ((got = frame_reader_next(&reader, &frame)) == 1) {
        }
        free(copy);
    }
    frame_reader_fini(&reader);
    round_trip(in);
    decode_record(in);
    return 0;
}
