#include "segstore/node/peers/pulse.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>

enum { SLOTS = 70 };

struct heard {
    uint64_t         term[SLOTS];
    uint64_t         commit[SLOTS];
    uint64_t         clock[SLOTS];
    uint32_t         count;
    struct pulse_in *answers; /* all but every third */
};

struct ends {
    struct pulse_out   out;
    struct pulse_in    in;
    struct wire_writer w;
    struct heard       heard;
};

static void open_ends(struct ends *e)
{
    *e = (struct ends){.w = wire_writer_growing(1 << 20)};
    pulse_out_init(&e->out, SLOTS);
    pulse_in_init(&e->in, SLOTS);
    pulse_out_begin(&e->out, 77);
}

static void close_ends(struct ends *e)
{
    pulse_out_fini(&e->out);
    pulse_in_fini(&e->in);
    wire_writer_fini(&e->w);
}

static void hear(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    struct heard *h = ctx;
    h->term[slot]   = term;
    h->commit[slot] = commit;
    h->clock[slot]  = clock_ns;
    h->count++;
    if (h->answers != NULL && slot % 3 != 2) {
        pulse_ack_add(h->answers, slot);
    }
}

static void hear_ack(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns)
{
    hear(ctx, slot, term, 0, clock_ns);
}

/* The frame that is due arrives. Its size, 0: refused. */
static size_t pass(struct ends *e)
{
    e->w.size = 0;
    e->heard  = (struct heard){.answers = &e->in};
    pulse_put(&e->out, 33, &e->w);
    struct wire_reader r = wire_reader_of(wire_written(&e->w));
    return pulse_get(&e->in, &r, hear, &e->heard) == 0 ? e->w.size : 0;
}

/* What the answer to the last one says at the leader. */
static bool answer(struct ends *e, struct heard *out)
{
    *out      = (struct heard){0};
    e->w.size = 0;
    pulse_ack_put(&e->in, &e->w);
    struct wire_reader r = wire_reader_of(wire_written(&e->w));
    return pulse_ack_get(&e->out, &r, hear_ack, out);
}

Test(peers_pulse, what_has_not_changed_is_one_bit_and_comes_out_whole)
{
    struct ends e;
    open_ends(&e);
    for (uint32_t s = 0; s < SLOTS; s++) {
        pulse_beat(&e.out, s, 5 + s, 100 + s, 1000);
    }
    size_t first = pass(&e);
    cr_assert_gt(first, SLOTS * 18);
    for (uint32_t s = 0; s < SLOTS; s += 2) {
        pulse_beat(&e.out, s, 5 + s, s == 4 ? 999 : 100 + s, 2000);
    }
    cr_assert_eq(pass(&e), 8 + 4 + 8 + 2 + 18 + 2 + 9 + 4);
    cr_assert_eq(e.heard.count, SLOTS / 2);
    for (uint32_t s = 0; s < SLOTS; s += 2) {
        cr_assert_eq(e.heard.term[s], 5 + s);
        cr_assert_eq(e.heard.commit[s], s == 4 ? 999 : 100 + s);
        cr_assert_eq(e.heard.clock[s], 2000);
    }
    close_ends(&e);
}

Test(peers_pulse, the_clock_of_a_pulse_is_that_of_its_earliest_beat)
{
    struct ends e;
    open_ends(&e);
    pulse_beat(&e.out, 1, 1, 0, 3000);
    pulse_beat(&e.out, 2, 1, 0, 2900);
    pulse_beat(&e.out, 1, 1, 0, 3100);
    cr_assert_gt(pass(&e), 0);
    cr_assert_eq(e.heard.count, 2);
    cr_assert_eq(e.heard.clock[1], 2900);
    pulse_beat(&e.out, 1, 1, 0, 4000);
    cr_assert_gt(pass(&e), 0);
    cr_assert_eq(e.heard.clock[1], 4000);
    close_ends(&e);
}

Test(peers_pulse, an_answer_counts_for_those_who_gave_it)
{
    struct ends  e;
    struct heard acks;
    open_ends(&e);
    for (uint32_t s = 0; s < 9; s++) {
        pulse_beat(&e.out, s, 8, s, 1000);
    }
    cr_assert_gt(pass(&e), 0);
    cr_assert(answer(&e, &acks));
    cr_assert_eq(acks.count, 6);
    for (uint32_t s = 0; s < 9; s++) {
        cr_assert_eq(acks.term[s], s % 3 != 2 ? 8 : 0);
        cr_assert_eq(acks.clock[s], s % 3 != 2 ? 1000 : 0);
    }
    close_ends(&e);
}

Test(peers_pulse, an_answer_to_an_earlier_term_counts_for_nothing)
{
    struct ends  e;
    struct heard acks;
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    pulse_beat(&e.out, 1, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    pulse_beat(&e.out, 0, 9, 1, 2000); /* it was elected anew while the answer was on its way */
    cr_assert(answer(&e, &acks));
    cr_assert_eq(acks.count, 1);
    cr_assert_eq(acks.term[0], 0);
    cr_assert_eq(acks.term[1], 8);
    cr_assert_gt(pass(&e), 0);
    cr_assert(answer(&e, &acks));
    cr_assert_eq(acks.term[0], 9);
    close_ends(&e);
}

Test(peers_pulse, an_answer_that_was_under_way_when_a_new_term_was_said_counts_for_nothing)
{
    struct ends        e;
    struct heard       acks  = {0};
    struct wire_writer first = wire_writer_growing(1 << 20);
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    pulse_beat(&e.out, 1, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    pulse_ack_put(&e.in, &first);
    pulse_beat(&e.out, 0, 9, 1, 2000);
    cr_assert_gt(pass(&e), 0);
    struct wire_reader r = wire_reader_of(wire_written(&first));
    cr_assert(pulse_ack_get(&e.out, &r, hear_ack, &acks));
    cr_assert_eq(acks.count, 1);
    cr_assert_eq(acks.term[1], 8);
    wire_writer_fini(&first);
    close_ends(&e);
}

Test(peers_pulse, an_answer_of_an_earlier_connection_counts_for_nothing)
{
    struct ends  e;
    struct heard acks;
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    pulse_out_begin(&e.out, 78);
    pulse_beat(&e.out, 0, 9, 1, 2000);
    e.w.size = 0;
    pulse_put(&e.out, 33, &e.w);
    cr_assert(answer(&e, &acks));
    cr_assert_eq(acks.count, 0);
    close_ends(&e);
}

Test(peers_pulse, a_new_connection_says_everything_again)
{
    struct ends e;
    open_ends(&e);
    pulse_beat(&e.out, 3, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    pulse_out_begin(&e.out, 78);
    pulse_beat(&e.out, 3, 8, 1, 2000);
    cr_assert_eq(pass(&e), 8 + 4 + 8 + 2 + 18 + 2 + 4);
    cr_assert_eq(e.heard.commit[3], 1);
    close_ends(&e);
}

Test(peers_pulse, one_that_is_missing_or_comes_twice_ends_the_connection)
{
    struct ends e;
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    struct wire_reader again = wire_reader_of(wire_written(&e.w));
    cr_assert_eq(pulse_get(&e.in, &again, hear, &e.heard), ERR_CONFLICT, "nothing is wrong with it but its time");
    pulse_beat(&e.out, 0, 8, 2, 2000);
    e.w.size = 0;
    pulse_put(&e.out, 33, &e.w); /* lost */
    pulse_beat(&e.out, 0, 8, 2, 3000);
    cr_assert_eq(pass(&e), 0);
    cr_assert_eq(e.heard.count, 0);
    close_ends(&e);
}

Test(peers_pulse, what_is_malformed_is_refused_wherever_it_is_cut)
{
    struct ends e;
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    pulse_beat(&e.out, 0, 8, 1, 2000);
    pulse_beat(&e.out, 9, 8, 1, 2000);
    e.w.size = 0;
    pulse_put(&e.out, 33, &e.w);
    struct bytes whole = wire_written(&e.w);
    for (size_t size = 0; size < whole.size; size++) {
        struct pulse_in    in = e.in;
        struct wire_reader r  = wire_reader_of(bytes_of(whole.data, size));
        e.heard               = (struct heard){0};
        if (size == whole.size - sizeof(uint32_t)) { /* as releases before said it */
            continue;
        }
        cr_assert_eq(pulse_get(&in, &r, hear, &e.heard), ERR_MALFORMED, "%zu of %zu bytes are taken", size, whole.size);
        cr_assert_eq(e.heard.count, 0);
    }
    close_ends(&e);
}

Test(peers_pulse, says_how_strained_producers_are_if_it_is_of_a_release_that_does)
{
    struct ends e;
    open_ends(&e);
    pulse_beat(&e.out, 0, 8, 1, 1000);
    cr_assert_gt(pass(&e), 0);
    cr_assert_eq(e.in.strain, 33);
    pulse_beat(&e.out, 0, 8, 2, 2000);
    e.w.size = 0;
    pulse_put(&e.out, 44, &e.w);
    struct wire_reader r = wire_reader_of(bytes_of(e.w.data, e.w.size - sizeof(uint32_t)));
    cr_assert_eq(pulse_get(&e.in, &r, hear, &e.heard), 0);
    cr_assert_eq(e.heard.commit[0], 2);
    cr_assert_eq(e.in.strain, 0);
    close_ends(&e);
}

Test(peers_pulse, a_bit_of_a_stripe_that_nothing_was_said_of_is_refused)
{
    uint8_t            bytes[64];
    struct ends        e;
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    open_ends(&e);
    wire_put_u64(&w, 5);
    wire_put_u32(&w, 1);
    wire_put_u64(&w, 1000);
    wire_put_u16(&w, 0);
    wire_put_u16(&w, 1);
    wire_put_u8(&w, 2);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    cr_assert_eq(pulse_get(&e.in, &r, hear, &e.heard), ERR_MALFORMED);
    cr_assert_eq(e.heard.count, 0);
    close_ends(&e);
}
