#include "shared/rpc/frame.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static void put_frame(struct wire_writer *w, uint16_t kind, uint64_t id, size_t size)
{
    size_t begun = frame_begin(w, kind, id);
    for (size_t i = 0; i < size; i++) {
        wire_put_u8(w, (uint8_t)(id + i));
    }
    cr_assert_eq(frame_end(w, begun), 0);
}

static bool body_is(const struct frame *frame, size_t size)
{
    bool same = frame->body.size == size;
    for (size_t i = 0; same && i < size; i++) {
        same = frame->body.data[i] == (uint8_t)(frame->id + i);
    }
    return same;
}

Test(rpc_frame, frames_survive_a_cut_at_every_byte)
{
    struct wire_writer w       = wire_writer_growing(1 << 20);
    const size_t       sizes[] = {0, 1, 100, 7, 0, 33};
    for (size_t i = 0; i < 6; i++) {
        put_frame(&w, (uint16_t)(RPC_TXN + i), i, sizes[i]);
    }
    for (size_t cut = 0; cut <= w.size; cut++) {
        struct frame_reader reader = {0};
        struct frame        frame;
        size_t              seen     = 0;
        const struct bytes  halves[] = {bytes_of(w.data, cut), bytes_of(w.data + cut, w.size - cut)};
        for (int h = 0; h < 2; h++) {
            frame_reader_feed(&reader, halves[h]);
            int got = 0;
            while ((got = frame_reader_next(&reader, &frame)) == 1) {
                cr_assert_eq(frame.id, seen);
                cr_assert_eq(frame.kind, RPC_TXN + seen);
                cr_assert(body_is(&frame, sizes[seen]));
                seen++;
            }
            cr_assert_eq(got, 0);
        }
        cr_assert_eq(seen, 6, "cut at %zu", cut);
        frame_reader_fini(&reader);
    }
    wire_writer_fini(&w);
}

Test(rpc_frame, frames_survive_any_split)
{
    struct rand        r;
    struct wire_writer w = wire_writer_growing(16 << 20);
    rand_init(&r, 1, 1);
    for (uint64_t i = 0; i < 200; i++) {
        put_frame(&w, RPC_TXN, i, (i * 37) % 5000);
    }
    struct frame_reader reader = {0};
    struct frame        frame;
    uint64_t            seen = 0;
    for (size_t at = 0; at < w.size;) {
        size_t size   = 1 + rand_below(&r, 3000);
        size          = size < w.size - at ? size : w.size - at;
        uint8_t *copy = malloc(size); /* so that a view kept too long is seen by the sanitizer */
        memcpy(copy, w.data + at, size);
        frame_reader_feed(&reader, bytes_of(copy, size));
        while (frame_reader_next(&reader, &frame) == 1) {
            cr_assert_eq(frame.id, seen);
            cr_assert(body_is(&frame, (seen * 37) % 5000));
            seen++;
        }
        free(copy);
        at += size;
    }
    cr_assert_eq(seen, 200);
    frame_reader_fini(&reader);
    wire_writer_fini(&w);
}

Test(rpc_frame, every_flipped_bit_is_found)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    put_frame(&w, RPC_TXN, 7, 40);
    for (size_t bit = 0; bit < w.size * 8; bit++) {
        w.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        struct frame_reader reader = {0};
        struct frame        frame;
        frame_reader_feed(&reader, wire_written(&w));
        cr_assert_neq(frame_reader_next(&reader, &frame), 1, "bit %zu", bit);
        frame_reader_fini(&reader);
        w.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    wire_writer_fini(&w);
}

Test(rpc_frame, a_body_over_the_limit_is_refused_on_both_sides)
{
    struct wire_writer w     = wire_writer_growing(RPC_BODY_MAX_BYTES + 1000);
    size_t             begun = frame_begin(&w, RPC_TXN, 1);
    cr_assert(wire_reserve(&w, RPC_BODY_MAX_BYTES + 1) != NULL);
    cr_assert_eq(frame_end(&w, begun), ERR_TOO_BIG);
    cr_assert_eq(w.size, begun);
    cr_assert(!w.bad);
    struct rpc_header   header = {.size = RPC_BODY_MAX_BYTES + 1};
    struct frame_reader reader = {0};
    struct frame        frame;
    frame_reader_feed(&reader, bytes_of(&header, sizeof header));
    cr_assert_eq(frame_reader_next(&reader, &frame), ERR_TOO_BIG);
    frame_reader_fini(&reader);
    wire_writer_fini(&w);
}
