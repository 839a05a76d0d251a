/* The hash of a stripe: the same wherever its entries lie in a log, another one for every other state. */
#include "segstore/stripe/stripe.h"

#include "tests/unit/segstore/stripe/stripe_bench.h"

static const struct stripe_limits limits = {.table_bytes_max = 1000, .streams_max = 10, .writers_max = 3};

static int append_as(struct bench *b, uint64_t stream, const char *topic, const char *payload, const char *tag)
{
    struct record record = {.topic = bytes_str(topic), .payload = bytes_str(payload)};
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, bytes_str(tag));
    op_append_end(&b->ops, begun, 1, &record);
    return go(b);
}

struct ids {
    uint64_t log, queue, latest, kept;
};

/* Something of everything. */
static struct ids build(struct bench *b, uint64_t moved_by)
{
    struct wire_writer action = wire_writer_growing(1000);
    setup_limited(b, limits);
    b->moved_by    = moved_by;
    b->wall        = 5;
    struct ids ids = {.log    = create(b, "log", 0),
                      .queue  = create(b, "queue", STREAM_QUEUE),
                      .latest = create(b, "latest", STREAM_LATEST),
                      .kept   = create(b, "kept", 0)};
    cr_assert_eq(one(b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = ids.kept, .max_count = 5, .max_age_ns = 900}),
                 0);
    for (int i = 0; i < 6; i++) {
        put_append(&b->ops, ids.log, ids.queue, 1, 1, (uint64_t)i);
        put_append(&b->ops, ids.kept, 0, 2, 1, (uint64_t)i);
        cr_assert_eq(go(b), 0);
        cr_assert_eq(append_as(b, ids.latest, i % 2 == 0 ? "a" : "b", "p", ""), 0);
    }
    cr_assert_eq(mark(b, ids.queue, 1, 3, 4, CURSOR_DONE), 0);
    cr_assert_eq(mark(b, ids.queue, 1, 0, 0, CURSOR_DONE), 0);
    cr_assert_eq(mark(b, ids.log, 1, 1, 1, CURSOR_RECEIVED), 0);
    cr_assert_eq(one(b, (struct op){.kind = OP_TABLE_PUT, .table = 1, .name = S("k"), .value = S("v")}), 0);
    put_append(&action, ids.queue, ids.log, 0, 0, 0);
    set_timer(b, "will", 7, 30, &action);
    set_timer(b, "delay", 0, 40, &action);
    wire_writer_fini(&action);
    return ids;
}

Test(stripe_save, the_same_entries_elsewhere_in_a_log_have_the_same_hash)
{
    uint64_t           hashes[3];
    struct wire_writer images[3];
    for (int i = 0; i < 3; i++) {
        struct bench b;
        (void)build(&b, i < 2 ? 0 : 4321);
        images[i] = wire_writer_growing(1 << 20);
        stripe_save(b.s, &images[i]);
        hashes[i] = stripe_hash(b.s);
        teardown(&b);
    }
    cr_assert(bytes_equal(wire_written(&images[0]), wire_written(&images[1])));
    cr_assert(!bytes_equal(wire_written(&images[0]), wire_written(&images[2])));
    cr_assert_eq(hashes[0], hashes[1]);
    cr_assert_eq(hashes[0], hashes[2]);
    for (int i = 0; i < 3; i++) {
        wire_writer_fini(&images[i]);
    }
}

static struct wire_writer image_in_slices(const struct stripe *s, size_t slice_bytes)
{
    struct wire_writer    w      = wire_writer_growing(1 << 20);
    struct stripe_saving *saving = stripe_save_begin(s);
    while (stripe_save_more(saving, &w, slice_bytes)) {
    }
    stripe_save_end(saving);
    return w;
}

Test(stripe_save, an_image_in_slices_has_the_same_bytes_as_one_in_one_piece)
{
    struct bench b;
    (void)build(&b, 0);
    struct wire_writer whole = image_in_slices(b.s, SIZE_MAX);
    for (size_t slice = 1; slice < 400; slice++) {
        struct wire_writer sliced = image_in_slices(b.s, slice);
        cr_assert(bytes_equal(wire_written(&sliced), wire_written(&whole)), "slices of %zu", slice);
        wire_writer_fini(&sliced);
    }
    wire_writer_fini(&whole);
    teardown(&b);
}

/* What one more entry may be. Each must lead to a state of its own. */
static int variant(struct bench *b, struct ids ids, int which)
{
    struct wire_writer   action = wire_writer_growing(1000);
    struct stripe_limits other  = limits;
    int                  status = 0;
    put_append(&action, ids.queue, 0, 0, 0, 0);
    other.delays_max = 77;
    struct op timer  = {.kind = OP_TIMER_SET, .name = S("t"), .delay_ns = 9, .value = wire_written(&action)};
    struct op row    = {.kind = OP_TABLE_PUT, .table = 1, .name = S("n"), .value = S("v")};
    struct op move   = {.kind = OP_CURSOR_MOVE, .stream_id = ids.queue, .cursor = 1, .sent = 6};
    switch (which) {
    case 0: /* fails: nothing but its index */
        status = one(b, (struct op){.kind = OP_CHECK, .name = S("k"), .version = 99});
        cr_assert_eq(status, ERR_CONFLICT);
        status = 0;
        break;
    case 1:
        b->wall++;
        status = one(b, (struct op){.kind = OP_CHECK, .name = S("none")});
        break;
    case 2:
        (void)create(b, "new", 0);
        break;
    case 3:
        (void)create(b, "newer", 0);
        break;
    case 4:
        (void)create(b, "new", STREAM_QUEUE);
        break;
    case 5:
        status = one(b, (struct op){.kind = OP_STREAM_CREATE, .name = S("new"), .owner = 4});
        break;
    case 6:
        status = one(b, (struct op){.kind = OP_STREAM_DELETE, .name = S("log")});
        break;
    case 7:
        status = one(b, (struct op){.kind = OP_FENCE, .stream_id = ids.log, .epoch = 4});
        break;
    case 8:
        status = one(b, (struct op){.kind = OP_FENCE, .stream_id = ids.log, .epoch = 5});
        break;
    case 9:
        status = append(b, ids.log, 0, 0, 0);
        break;
    case 10:
        status = append(b, ids.queue, 0, 0, 0);
        break;
    case 11:
        status = append(b, ids.log, 1, 1, 50);
        break;
    case 12:
        status = append(b, ids.log, 1, 2, 50);
        break;
    case 13:
        status = append(b, ids.log, 2, 1, 50);
        break;
    case 14:
        status = append(b, ids.log, 3, 1, 50);
        break;
    case 15:
        status = append(b, ids.log, 1, 1, 0); /* an old one: only that it was used */
        break;
    case 16:
        status = one(b, (struct op){.kind = OP_TRIM, .stream_id = ids.log, .offset = 1});
        break;
    case 17:
        status = one(b, (struct op){.kind = OP_TRIM, .stream_id = ids.kept, .offset = 3});
        break;
    case 18:
        status = mark(b, ids.queue, 1, 2, 2, CURSOR_RECEIVED);
        break;
    case 19:
        status = mark(b, ids.queue, 1, 2, 2, CURSOR_DONE);
        break;
    case 20:
        status = mark(b, ids.queue, 1, 1, 1, CURSOR_DONE);
        break;
    case 21:
        status = mark(b, ids.queue, 2, 1, 1, CURSOR_DONE);
        break;
    case 22:
        status = one(b, move);
        break;
    case 23:
        move.cursor = 9;
        status      = one(b, move);
        break;
    case 24:
        status = one(b, row);
        break;
    case 25:
        row.name = S("m");
        status   = one(b, row);
        break;
    case 26:
        row.table = 2;
        status    = one(b, row);
        break;
    case 27:
        row.value = S("w");
        status    = one(b, row);
        break;
    case 28:
        row.wall_ns = 8;
        status      = one(b, row);
        break;
    case 29:
        status = one(b, (struct op){.kind = OP_TABLE_DELETE, .table = 1, .name = S("k")});
        break;
    case 30:
        status = one(b, timer);
        break;
    case 31:
        timer.name = S("u");
        status     = one(b, timer);
        break;
    case 32:
        timer.owner = 7;
        status      = one(b, timer);
        break;
    case 33:
        timer.owner = 8;
        status      = one(b, timer);
        break;
    case 34:
        timer.delay_ns = 10;
        status         = one(b, timer);
        break;
    case 35:
        timer.value.size = 0;
        status           = one(b, timer);
        break;
    case 36:
        status = one(b, (struct op){.kind = OP_TIMER_CANCEL, .name = S("delay")});
        break;
    case 37:
        status = one(b, (struct op){.kind = OP_TIMER_START, .name = S("will"), .owner = 7});
        break;
    case 38:
        status = append_as(b, ids.latest, "a", "p", "");
        break;
    case 39:
        status = append_as(b, ids.latest, "b", "p", "");
        break;
    case 40:
        status = append_as(b, ids.latest, "c", "p", "");
        break;
    case 41:
        status = append_as(b, ids.latest, "c", "longer", "");
        break;
    case 42:
        status = append_as(b, ids.kept, "c", "p", "");
        break;
    case 43:
        status = append_as(b, ids.kept, "c", "longer", "");
        break;
    case 44:
        status = one(b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = ids.kept, .max_count = 6, .max_age_ns = 900});
        break;
    case 45:
        status = one(b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = ids.kept, .max_count = 5, .max_age_ns = 901});
        break;
    case 46:
        status = one(b, (struct op){.kind = OP_STREAM_KEEP, .stream_id = ids.log});
        break;
    case 47:
        limit(b, other);
        break;
    case 48: /* an action that fails is counted */
        action.size = 0;
        op_encode(&action, &(struct op){.kind = OP_CHECK, .name = S("k"), .version = 99});
        timer.value = wire_written(&action);
        op_encode(&b->ops, &timer);
        status = one(b, (struct op){.kind = OP_TIMER_RUN, .name = S("t")});
        break;
    case 49:
        timer.owner    = 7;
        timer.delay_ns = 10;
        status         = one(b, timer);
        break;
    case 50:
        status = append(b, ids.log, 1, 1, 51);
        break;
    default:
        status = 1;
    }
    wire_writer_fini(&action);
    return status;
}

Test(stripe_save, every_other_state_has_another_one)
{
    uint64_t hashes[64];
    int      count = 0;
    for (;; count++) {
        struct bench b;
        struct ids   ids    = build(&b, 0);
        int          status = variant(&b, ids, count);
        hashes[count]       = stripe_hash(b.s);
        teardown(&b);
        if (status == 1) {
            break;
        }
        cr_assert_eq(status, 0, "variant %d", count);
        for (int i = 0; i < count; i++) {
            cr_assert_neq(hashes[i], hashes[count], "variants %d and %d", i, count);
        }
    }
    cr_assert_eq(count, 51);
}

/* Whether a record ahead of a cursor is still held depends on who has done it, and is not seen in the cursor alone. */
Test(stripe_save, a_record_that_is_not_held_any_more_tells_two_states_apart)
{
    uint64_t hashes[2];
    for (int second = 0; second < 2; second++) {
        struct bench b;
        setup_limited(&b, limits);
        uint64_t queue = create(&b, "q", STREAM_QUEUE);
        for (int i = 0; i < 3; i++) {
            cr_assert_eq(append(&b, queue, 0, 0, 0), 0);
        }
        /* The same cursors in the end; in one case the second was made when the body was gone. */
        if (second == 0) {
            cr_assert_eq(mark(&b, queue, 1, 1, 1, CURSOR_DONE), 0);
            cr_assert_eq(one(&b, (struct op){.kind = OP_CURSOR_MOVE, .stream_id = queue, .cursor = 2}), 0);
        } else {
            cr_assert_eq(one(&b, (struct op){.kind = OP_CURSOR_MOVE, .stream_id = queue, .cursor = 2}), 0);
            cr_assert_eq(mark(&b, queue, 1, 1, 1, CURSOR_DONE), 0);
        }
        cr_assert_eq(b.told.released, second == 0);
        hashes[second] = stripe_hash(b.s);
        teardown(&b);
    }
    cr_assert_neq(hashes[0], hashes[1]);
}
