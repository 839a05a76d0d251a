/* Where records lie, packed and unpacked again. */
#include "segstore/stripe/packing.h"

#include "segstore/stripe/image.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { COUNT = 5000 };

static struct wire_writer packed(const uint64_t *positions, size_t count)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    struct packing     p = {0};
    for (size_t i = 0; i < count; i++) {
        packing_put(&p, &w, positions[i]);
    }
    packing_flush(&p, &w);
    cr_assert(!w.bad);
    return w;
}

static void is_unpacked(const struct wire_writer *w, const uint64_t *positions, size_t count)
{
    struct wire_reader r = wire_reader_of(wire_written(w));
    struct packing     p = {0};
    for (size_t i = 0; i < count; i++) {
        cr_assert(p.count > 0 || packing_token(&p, &r) == 0);
        cr_assert_eq(packing_next(&p), positions[i], "position %zu of %zu", i, count);
    }
    cr_assert_eq(p.count, 0);
    cr_assert_eq(wire_left(&r), 0);
}

/* Some at a time, some one by one: the same bytes. */
static void is_packed_alike(const struct wire_writer *w, const uint64_t *positions, size_t count)
{
    struct wire_writer all = wire_writer_growing(1 << 20);
    struct packing     p   = {0};
    struct rand        r;
    rand_init(&r, count, 1);
    for (size_t i = 0, part; i < count; i += part) {
        part = 1 + (size_t)rand_below(&r, rand_chance(&r, 2) ? 40 : 3000);
        part = part < count - i ? part : count - i;
        if (rand_chance(&r, 4)) {
            part = 1;
            packing_put(&p, &all, positions[i]);
        } else {
            packing_put_all(&p, &all, positions + i, part);
        }
    }
    packing_flush(&p, &all);
    cr_assert(bytes_equal(wire_written(&all), wire_written(w)));
    wire_writer_fini(&all);
}

static size_t packed_bytes(const uint64_t *positions, size_t count)
{
    struct wire_writer w     = packed(positions, count);
    size_t             bytes = w.size;
    is_unpacked(&w, positions, count);
    is_packed_alike(&w, positions, count);
    wire_writer_fini(&w);
    return bytes;
}

Test(stripe_packing, any_positions_are_the_same_again)
{
    static uint64_t positions[COUNT];
    for (uint64_t seed = 1; seed <= 200; seed++) {
        struct rand r;
        rand_init(&r, seed, 0);
        uint64_t at   = rand_u64(&r);
        uint64_t step = rand_below(&r, 5000);
        size_t   some = 1 + (size_t)rand_below(&r, COUNT);
        for (size_t i = 0; i < some; i++) {
            switch (rand_below(&r, 40)) {
            case 0:
                step = rand_below(&r, 100000);
                break;
            case 1:
                step = 0 - rand_below(&r, 100000);
                break;
            case 2:
                at = rand_u64(&r);
                break;
            case 3:
                at = rand_below(&r, 3) - 1;
                break;
            default:
                break;
            }
            at += step;
            positions[i] = rand_chance(&r, 10) ? UINT64_MAX : at;
        }
        (void)packed_bytes(positions, some);
    }
}

Test(stripe_packing, records_of_batches_take_a_fraction_of_a_byte_and_others_less_than_four)
{
    static uint64_t positions[COUNT];
    struct rand     r;
    rand_init(&r, 3, 0);
    for (size_t i = 0; i < COUNT; i++) {
        positions[i] = 1000000000 + i / 64 * 70000 + i % 64 * 1080;
    }
    cr_assert_lt(packed_bytes(positions, COUNT), COUNT / 5);
    for (size_t i = 0; i < COUNT; i++) {
        positions[i] = UINT64_MAX;
    }
    cr_assert_lt(packed_bytes(positions, COUNT), 20);
    for (size_t i = 0; i < COUNT; i++) { /* the one in the middle is none */
        positions[i] = UINT64_MAX - 70 * (COUNT / 2) + 70 * i;
    }
    cr_assert_lt(packed_bytes(positions, COUNT), 40);
    positions[0] = 0;
    for (size_t i = 1; i < COUNT; i++) {
        positions[i] = positions[i - 1] + 50 + rand_below(&r, 3000);
    }
    cr_assert_lt(packed_bytes(positions, COUNT), 4 * COUNT);
}

Test(stripe_packing, what_no_writer_writes_is_malformed)
{
    static const struct {
        uint8_t bytes[12];
        size_t  size;
        int     result;
    } cases[] = {
        {{0}, 0, 1},                                                           /* nothing is there */
        {{0x80}, 1, 1},                                                        /* nor all of a number */
        {{3, 1, 2, 3, 4, 5, 6, 7}, 8, 1},                                      /* nor of a position */
        {{1}, 1, ERR_MALFORMED},                                               /* again, no times */
        {{2}, 1, ERR_MALFORMED},                                               /* none, no times */
        {{0x85, 0x20}, 2, ERR_MALFORMED},                                      /* again, 1025 times */
        {{0x84, 0}, 2, ERR_MALFORMED},                                         /* a number longer than it must be */
        {{7, 0, 0, 0, 0, 0, 0, 0, 0}, 9, ERR_MALFORMED},                       /* a position, and a number */
        {{255, 255, 255, 255, 255, 255, 255, 255, 255, 2}, 10, ERR_MALFORMED}, /* more than 64 bits */
        {{0x81, 0x20}, 2, 0},                                                  /* again, 1024 times */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct wire_reader r = wire_reader_of(bytes_of(cases[i].bytes, cases[i].size));
        struct packing     p = {0};
        cr_assert_eq(packing_token(&p, &r), cases[i].result, "case %zu", i);
    }
}

/* ---- in images ---- */

/* A stripe with a stream of three records, the second one not needed any more, as versions of the past wrote it. */
static struct wire_writer image_of_version(uint16_t version)
{
    struct wire_writer w = wire_writer_growing(1 << 16);
    wire_put_u32(&w, IMAGE_MAGIC);
    wire_put_u16(&w, version);
    wire_put_u16(&w, 1);
    wire_put_u64(&w, 4); /* applied */
    wire_put_u64(&w, 5); /* time */
    wire_put_u64(&w, 2); /* next id */
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    if (version >= IMAGE_VERSION_LIMITS) {
        struct stripe *s = stripe_new(1, NULL);
        limits_write(&s->limits, &w);
        stripe_free(s);
    }
    wire_put_u64(&w, 1); /* streams */
    wire_put_u64(&w, 1ull << 48 | 1);
    wire_put_u8(&w, STREAM_QUEUE);
    wire_put_u64(&w, 7);  /* start */
    wire_put_u64(&w, 10); /* next */
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 0);
    wire_put_blob(&w, bytes_str("q"));
    wire_put_u64(&w, 111000);
    wire_put_u64(&w, UINT64_MAX);
    wire_put_u64(&w, 333000);
    if (version >= IMAGE_VERSION_KEEPS) {
        wire_put_u8(&w, 0);
    }
    wire_put_u32(&w, 0); /* cursors */
    wire_put_u32(&w, 0); /* writers */
    wire_put_u64(&w, 0); /* items */
    wire_put_u64(&w, 0); /* timers */
    wire_put_u64(&w, hash_bytes(wire_written(&w)));
    return w;
}

static void hold(void *ctx, uint64_t position)
{
    *(uint64_t *)ctx = *(uint64_t *)ctx * 1000003 + position;
}

Test(stripe_packing, an_image_of_each_version_says_where_the_records_lie)
{
    for (uint16_t version = IMAGE_VERSION_SORTED; version < IMAGE_VERSION_PACKED; version++) {
        struct wire_writer old  = image_of_version(version);
        struct wire_writer now  = wire_writer_growing(1 << 16);
        struct stripe     *s    = stripe_new(1, NULL);
        struct stripe     *next = stripe_new(1, NULL);
        uint64_t           held = 0;
        cr_assert_eq(stripe_load(s, wire_written(&old), NULL), 0, "version %u", version);
        stripe_live_positions(s, hold, &held);
        cr_assert_eq(held, 111000ull * 1000003 + 333000);
        stripe_save(s, &now);
        cr_assert_eq(stripe_load(next, wire_written(&now), NULL), 0);
        cr_assert_eq(stripe_hash(next), stripe_hash(s));
        stripe_free(next);
        stripe_free(s);
        wire_writer_fini(&now);
        wire_writer_fini(&old);
    }
}
