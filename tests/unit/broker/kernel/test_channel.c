/* Two ends of a channel over packets that the test carries, loses and repeats. */
#include "broker/kernel/channel.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { HERE, THERE };

static struct channel ends[2];
static uint64_t       now_ns;

static void begin(void)
{
    now_ns = 1000;
    channel_init(&ends[HERE], 200, 100, 0);
    channel_init(&ends[THERE], 100, 200, 0);
}

static void end(void)
{
    channel_fini(&ends[HERE]);
    channel_fini(&ends[THERE]);
}

TestSuite(kernel_channel, .init = begin, .fini = end);

struct packet {
    size_t  size;
    uint8_t bytes[CHANNEL_HEAD_BYTES + CHANNEL_PIECE_BYTES];
};

static void put(int from, uint32_t number, const char *text)
{
    const struct kernel_mail mail = {.kind = 7, .number = number, .value = number * 10ull};
    cr_assert(channel_put(&ends[from], &mail, bytes_str(text)));
}

static bool next(int from, struct packet *out)
{
    struct bytes bytes;
    if (!channel_next(&ends[from], now_ns, out->bytes, &bytes)) {
        return false;
    }
    if (bytes.size > 0) {
        memcpy(out->bytes + CHANNEL_HEAD_BYTES, bytes.data, bytes.size);
    }
    out->size = CHANNEL_HEAD_BYTES + bytes.size;
    return true;
}

static bool arrived(int at, const struct packet *packet)
{
    return channel_arrived(&ends[at], bytes_of(packet->bytes, packet->size), now_ns);
}

/* Everything that either end has to say reaches the other one. */
static void carry(void)
{
    static struct packet p;
    for (bool more = true; more;) {
        more = false;
        for (int from = HERE; from <= THERE; from++) {
            while (next(from, &p)) {
                cr_assert(arrived(1 - from, &p));
                more = true;
            }
        }
    }
}

/* The next mail there is number, with this text. */
static void expect(int at, uint32_t number, const char *text)
{
    struct kernel_mail mail;
    size_t             to = 0;
    uint32_t           size;
    cr_assert(channel_mail(&ends[at], &to, &mail), "mail %u is not there", number);
    cr_assert_eq(mail.kind, 7);
    cr_assert_eq(mail.number, number);
    cr_assert_eq(mail.value, number * 10ull);
    memcpy(&size, mail.body, sizeof size);
    cr_assert_eq(size, sizeof size + strlen(text));
    cr_assert_arr_eq((uint8_t *)mail.body + sizeof size, text, strlen(text));
    channel_taken(&ends[at], to);
}

static void expect_none(int at)
{
    struct kernel_mail mail;
    size_t             to = 0;
    cr_assert(!channel_mail(&ends[at], &to, &mail));
}

Test(kernel_channel, mails_arrive_in_their_order_and_the_channel_is_quiet_then)
{
    put(HERE, 1, "one");
    put(HERE, 2, "");
    put(THERE, 3, "three");
    carry();
    expect(THERE, 1, "one");
    expect(THERE, 2, "");
    expect(HERE, 3, "three");
    expect_none(THERE);
    expect_none(HERE);
    cr_assert_eq(channel_wish_ns(&ends[HERE]), UINT64_MAX);
    cr_assert_eq(channel_wish_ns(&ends[THERE]), UINT64_MAX);
    cr_assert_eq(ends[HERE].out.size, 0);
}

Test(kernel_channel, what_is_lost_comes_again_when_patience_is_over_and_another_way)
{
    struct packet p;
    carry();
    put(HERE, 1, "one");
    put(HERE, 2, "two");
    cr_assert(next(HERE, &p)); /* lost */
    cr_assert(!next(HERE, &p));
    uint32_t way = ends[HERE].way;
    now_ns       = channel_wish_ns(&ends[HERE]);
    carry();
    cr_assert_eq(ends[HERE].way, way + 1);
    expect(THERE, 1, "one");
    expect(THERE, 2, "two");
    expect_none(THERE);
}

Test(kernel_channel, patience_doubles_while_nobody_answers_and_begins_anew_when_somebody_does)
{
    struct packet p;
    uint64_t      before = 0;
    put(HERE, 1, "one");
    for (int i = 0; i < 10; i++) {
        cr_assert(next(HERE, &p));
        uint64_t wait = channel_wish_ns(&ends[HERE]) - now_ns;
        cr_assert(wait == 2 * before || before == 0 || wait == 1000000000, "%d: %d after %d", i, (int)wait,
                  (int)before);
        before = wait;
        now_ns += wait;
    }
    cr_assert_eq(before, 1000000000);
    carry();
    put(HERE, 2, "two");
    cr_assert(next(HERE, &p));
    cr_assert_eq(channel_wish_ns(&ends[HERE]) - now_ns, 50000000);
}

Test(kernel_channel, what_comes_twice_or_late_is_taken_once)
{
    struct packet one, two;
    put(HERE, 1, "one");
    cr_assert(next(HERE, &one));
    put(HERE, 2, "two");
    cr_assert(next(HERE, &two));
    cr_assert(arrived(THERE, &two)); /* before the first: it comes again */
    expect_none(THERE);
    cr_assert(arrived(THERE, &one));
    cr_assert(arrived(THERE, &one));
    expect(THERE, 1, "one");
    expect_none(THERE);
    cr_assert(arrived(THERE, &two));
    cr_assert(arrived(THERE, &two));
    expect(THERE, 2, "two");
    cr_assert(arrived(THERE, &one));
    cr_assert(arrived(THERE, &two));
    expect_none(THERE);
}

Test(kernel_channel, a_packet_that_begins_with_what_is_known_brings_the_rest)
{
    struct packet one, both;
    put(HERE, 1, "one");
    cr_assert(next(HERE, &one));
    cr_assert(arrived(THERE, &one)); /* the acknowledgement is lost */
    put(HERE, 2, "two");
    now_ns = channel_wish_ns(&ends[HERE]);
    cr_assert(next(HERE, &both));
    cr_assert_gt(both.size, one.size);
    cr_assert(arrived(THERE, &both));
    expect(THERE, 1, "one");
    expect(THERE, 2, "two");
    expect_none(THERE);
}

Test(kernel_channel, a_flipped_bit_anywhere_is_refused)
{
    struct packet p, whole;
    put(HERE, 1, "one");
    cr_assert(next(HERE, &whole));
    for (size_t bit = 0; bit < whole.size * 8; bit++) {
        p = whole;
        p.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert(!arrived(THERE, &p), "bit %zu", bit);
    }
    for (size_t size = 0; size < whole.size; size++) {
        p      = whole;
        p.size = size;
        cr_assert(!arrived(THERE, &p), "%zu bytes", size);
    }
    expect_none(THERE);
    cr_assert(arrived(THERE, &whole));
    expect(THERE, 1, "one");
}

Test(kernel_channel, an_earlier_life_of_either_process_is_passed_over)
{
    struct packet  p;
    struct channel earlier, other;
    channel_init(&earlier, 200, 99, 0);
    channel_init(&other, 201, 100, 0);
    const struct kernel_mail mail = {.kind = 7};
    struct bytes             bytes;
    cr_assert(channel_put(&earlier, &mail, bytes_str("of before")) &&
              channel_put(&other, &mail, bytes_str("to a later one")));
    cr_assert(channel_next(&earlier, now_ns, p.bytes, &bytes));
    memcpy(p.bytes + CHANNEL_HEAD_BYTES, bytes.data, bytes.size);
    p.size = CHANNEL_HEAD_BYTES + bytes.size;
    cr_assert(!arrived(THERE, &p));
    cr_assert(channel_next(&other, now_ns, p.bytes, &bytes));
    memcpy(p.bytes + CHANNEL_HEAD_BYTES, bytes.data, bytes.size);
    p.size = CHANNEL_HEAD_BYTES + bytes.size;
    cr_assert(!arrived(THERE, &p));
    channel_fini(&earlier);
    channel_fini(&other);
}

Test(kernel_channel, what_was_said_before_the_other_one_was_heard_of_is_said_again_at_once)
{
    struct packet p;
    put(HERE, 1, "one");
    cr_assert(next(HERE, &p)); /* passed over: the other process did not know of this one yet */
    put(THERE, 2, "two");
    cr_assert(next(THERE, &p));
    cr_assert(arrived(HERE, &p));
    carry(); /* no time passes */
    expect(THERE, 1, "one");
    expect(HERE, 2, "two");
}

Test(kernel_channel, a_large_mail_comes_in_pieces_and_is_handed_on_whole)
{
    size_t size = 3 * CHANNEL_PIECE_BYTES + 17;
    char  *text = malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        text[i] = (char)('a' + i % 23);
    }
    text[size] = '\0';
    put(HERE, 1, text);
    struct packet *p = malloc(sizeof *p);
    for (int i = 0; i < 3; i++) {
        cr_assert(next(HERE, p));
        cr_assert_eq(p->size, sizeof p->bytes);
        cr_assert(arrived(THERE, p));
        expect_none(THERE);
    }
    carry();
    expect(THERE, 1, text);
    free(text);
    free(p);
}

Test(kernel_channel, no_more_is_under_way_than_the_window_and_no_more_is_kept_than_fits)
{
    static uint8_t           bytes[CHANNEL_PIECE_BYTES];
    static struct packet     p;
    const struct kernel_mail mail  = {.kind = 7};
    size_t                   taken = 0, flying = 0;
    while (channel_put(&ends[HERE], &mail, bytes_of(bytes, sizeof bytes))) {
        taken += sizeof bytes;
    }
    cr_assert_geq(taken, CHANNEL_FULL_BYTES - sizeof bytes);
    cr_assert_leq(taken, CHANNEL_FULL_BYTES + sizeof bytes);
    while (next(HERE, &p)) {
        flying += p.size - CHANNEL_HEAD_BYTES;
    }
    cr_assert_eq(flying, CHANNEL_FLYING_BYTES);
    now_ns = channel_wish_ns(&ends[HERE]);
    carry();
    struct kernel_mail got;
    size_t             at = 0, count = 0;
    while (channel_mail(&ends[THERE], &at, &got)) {
        count++;
    }
    cr_assert_eq(count * sizeof bytes, taken);
    cr_assert(channel_put(&ends[HERE], &mail, bytes_of(bytes, sizeof bytes)));
}

Test(kernel_channel, an_acknowledgement_of_what_was_never_said_is_passed_over)
{
    struct packet p;
    put(HERE, 1, "one");
    cr_assert(next(HERE, &p));
    ends[THERE].taken = 5000; /* as a process with a fault would */
    put(THERE, 2, "two");
    cr_assert(next(THERE, &p));
    cr_assert(arrived(HERE, &p));
    cr_assert_eq(ends[HERE].acked, 0);
    cr_assert_eq(ends[HERE].sent, 0, "it is said again");
}
