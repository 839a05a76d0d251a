/* test_queue.c - requests kept until they are answered, and taken out when another node leads their stripe. */
#include "broker/store/queue.h"
#include "shared/base/rand.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { BODY = 100 };

static int owners[64];

static void put(struct queue *q, uint16_t stripe, int owner, size_t body)
{
    struct wire_writer w = wire_writer_growing(1 << 20);
    (void)frame_begin(&w, RPC_TXN, queue_next_id(q));
    for (size_t i = 0; i < body; i++) {
        wire_put_u8(&w, (uint8_t)owner);
    }
    cr_assert_eq(frame_end(&w, 0), 0);
    queue_request(q, wire_written(&w), RPC_TXN, stripe, &owners[owner]);
    wire_writer_fini(&w);
}

/* Owners of what is sent now, as digits; all of it is then sent. */
static void sent(struct queue *q, char *story)
{
    struct iovec        iov[64];
    size_t              size;
    struct frame_reader reader = {0};
    struct frame        frame;
    struct wire_writer  w     = wire_writer_growing(1 << 24);
    int                 count = queue_gather(q, iov, 64, &size);
    for (int i = 0; i < count; i++) {
        wire_put_bytes(&w, bytes_of(iov[i].iov_base, iov[i].iov_len));
    }
    frame_reader_feed(&reader, wire_written(&w));
    while (frame_reader_next(&reader, &frame) == 1) {
        *story++ = (char)('0' + frame.body.data[0]);
    }
    *story = '\0';
    queue_sent(q, size);
    frame_reader_fini(&reader);
    wire_writer_fini(&w);
}

struct taken {
    uint16_t stripe;
    char     story[64];
    size_t   count;
};

static bool wanted(void *ctx, uint16_t stripe)
{
    return ((struct taken *)ctx)->stripe == stripe;
}

static void take(void *ctx, uint16_t stripe, struct bytes frame, void *owner)
{
    struct taken *t = ctx;
    cr_assert(stripe == t->stripe && frame.size > RPC_HEADER_BYTES);
    cr_assert_eq(frame.data[RPC_HEADER_BYTES], (int *)owner - owners);
    t->story[t->count++] = (char)('0' + ((int *)owner - owners));
    t->story[t->count]   = '\0';
}

static void take_out(struct queue *q, struct taken *t, uint16_t stripe)
{
    *t                             = (struct taken){.stripe = stripe};
    const struct queue_taker taker = {.ctx = t, .wanted = wanted, .take = take};
    queue_take(q, &taker);
}

Test(store_queue, what_is_taken_out_comes_in_its_order_and_is_not_sent_over_a_new_connection)
{
    struct queue q;
    struct taken t;
    char         story[64];
    queue_init(&q);
    queue_restart(&q, 1 << 20);
    for (int i = 0; i < 6; i++) {
        put(&q, (uint16_t)(i % 2), i, BODY);
    }
    sent(&q, story);
    cr_assert_str_eq(story, "012345");
    put(&q, 1, 7, BODY);
    take_out(&q, &t, 1);
    cr_assert_str_eq(t.story, "1357");
    cr_assert_eq(q.open_count, 3);
    take_out(&q, &t, 1);
    cr_assert_str_eq(t.story, "", "once");
    sent(&q, story);
    cr_assert_str_eq(story, "7", "its bytes may have been on their way");
    queue_stop(&q);
    queue_restart(&q, 1 << 20);
    sent(&q, story);
    cr_assert_str_eq(story, "024");
    queue_fini(&q);
}

Test(store_queue, the_answer_to_what_was_taken_out_gives_back_its_credit_and_concerns_nobody)
{
    struct queue q;
    struct taken t;
    char         story[64];
    queue_init(&q);
    queue_restart(&q, 2 * (BODY + RPC_HEADER_BYTES));
    for (int i = 0; i < 4; i++) {
        put(&q, (uint16_t)(i % 2), i, BODY);
    }
    sent(&q, story);
    cr_assert_str_eq(story, "01");
    take_out(&q, &t, 1);
    cr_assert_str_eq(t.story, "13");
    sent(&q, story);
    cr_assert_str_eq(story, "", "the credit of a shell is used until it is answered");
    cr_assert_null(queue_find(&q, 2));
    cr_assert_not_null(queue_find(&q, 1));
    queue_answered(&q, 2);
    sent(&q, story);
    cr_assert_str_eq(story, "2");
    queue_answered(&q, 2);
    queue_answered(&q, 99);
    cr_assert_eq(q.open_count, 2);
    queue_fini(&q);
}

Test(store_queue, without_a_connection_what_is_taken_out_leaves_nothing)
{
    struct queue q;
    struct taken t;
    queue_init(&q);
    queue_restart(&q, 1 << 20);
    for (int i = 0; i < 9; i++) {
        put(&q, 3, i, 50000);
    }
    put(&q, 4, 9, 50000);
    cr_assert_gt(q.held_bytes, 400000u);
    queue_stop(&q);
    take_out(&q, &t, 3);
    cr_assert_str_eq(t.story, "012345678");
    cr_assert_lt(q.held_bytes, 110000u, "one chunk is left");
    take_out(&q, &t, 4);
    cr_assert(q.held_bytes == 0 && q.open_count == 0);
    put(&q, 4, 1, BODY);
    queue_abandon(&q, queue_next_id(&q) - 1);
    cr_assert(q.held_bytes == 0 && q.open_count == 0);
    queue_fini(&q);
}

/* Against a model: the owner of each request by its id, 0: answered or taken. */
Test(store_queue, everything_is_answered_or_taken_once_whatever_happens_in_between)
{
    enum { STEPS = 20000, IDS = STEPS + 1 };
    static int   owner_of[IDS];
    static int   stripe_of[IDS];
    struct queue q;
    struct rand  random;
    struct taken t;
    static char  story[1 << 16];
    uint64_t     open = 0;
    rand_init(&random, 5, 0);
    queue_init(&q);
    for (int step = 0; step < STEPS; step++) {
        uint64_t next = queue_next_id(&q);
        switch (rand_below(&random, 8)) {
        case 0:
            if (q.stopped) {
                queue_restart(&q, rand_below(&random, 100000));
            } else if (rand_chance(&random, 10)) {
                queue_stop(&q);
            }
            break;
        case 1:
            if (open < 60 || rand_chance(&random, 4)) {
                take_out(&q, &t, (uint16_t)rand_below(&random, 4));
                for (uint64_t id = 1, at = 0; id < next; id++) {
                    if (owner_of[id] != 0 && stripe_of[id] == t.stripe) {
                        cr_assert_eq(t.story[at++], '0' + owner_of[id]);
                        owner_of[id] = 0;
                        open--;
                    }
                }
            }
            break;
        case 2:
        case 3:
        case 4:
            if (open < 50) {
                owner_of[next]  = 1 + (int)rand_below(&random, 60);
                stripe_of[next] = (int)rand_below(&random, 4);
                put(&q, (uint16_t)stripe_of[next], owner_of[next],
                    rand_chance(&random, 5) ? 60000 : 1 + rand_below(&random, 500));
                open++;
            }
            break;
        default:
            if (!q.stopped) {
                sent(&q, story);
            }
            for (uint64_t id = next > 30 ? next - 30 : 1; id < next && !q.stopped; id++) {
                if (rand_chance(&random, 3)) {
                    cr_assert_eq(queue_find(&q, id) != NULL, owner_of[id] != 0);
                    open -= owner_of[id] != 0;
                    owner_of[id] = 0;
                    queue_answered(&q, id);
                }
            }
        }
        cr_assert_eq(q.open_count, open);
    }
    queue_fini(&q);
}
