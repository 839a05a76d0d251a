/* test_client.c - transactions over connections that come and go. */
#include "broker/store/state.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"
#include "tests/unit/broker/store/far_store.h"

#include <criterion/criterion.h>

struct asked {
    struct store_call call;
    int               answers;
    int               status;
    size_t            result_bytes;
};

static void on_done(struct store_call *call, int status, struct bytes results)
{
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    a->answers++;
    a->status       = status;
    a->result_bytes = results.size;
}

static void ask(struct far *far, struct asked *a, uint16_t stripe, size_t value_bytes)
{
    static uint8_t value[5 << 20];
    *a = (struct asked){.call.done = on_done};
    op_encode(store_txn_begin(far->store, stripe),
              &(struct op){.kind = OP_TABLE_PUT, .name = bytes_str("k"), .value = bytes_of(value, value_bytes)});
    store_txn_end(far->store, &a->call);
}

static void answer(struct io_socket *socket, uint64_t id, int status)
{
    uint8_t            bytes[16];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, (uint32_t)status);
    if (status == 0) {
        wire_put_u64(&w, 5);
    }
    far_send(socket, RPC_TXN_DONE, id, wire_written(&w));
}

Test(store_client, a_transaction_goes_to_the_shard_of_its_stripe_and_is_answered_once)
{
    struct far   far;
    struct asked a;
    struct frame f;
    far_init(&far);
    cr_assert(!store_known(far.store));
    far_up(&far, 2, 8);
    cr_assert(store_known(far.store) && store_stripe_count(far.store) == 8);
    ask(&far, &a, 5, 10);
    far_turn(&far);
    cr_assert(!far_next(&far, far_socket(&far, 0), &f));
    cr_assert(far_next(&far, far_socket(&far, 1), &f));
    cr_assert(f.kind == RPC_TXN && f.body.data[0] == 5);
    answer(far_socket(&far, 1), f.id, 0);
    answer(far_socket(&far, 1), f.id, 0);
    cr_assert(a.answers == 1 && a.status == 0 && a.result_bytes == 8);
    far_store_fini(&far);
}

Test(store_client, what_is_not_answered_is_sent_again_in_its_order)
{
    struct far   far;
    struct asked a[4];
    struct frame f;
    far_init(&far);
    far_up(&far, 1, 4);
    for (int i = 0; i < 4; i++) {
        ask(&far, &a[i], (uint16_t)i, 10);
    }
    far_turn(&far);
    uint64_t ids[4];
    for (int i = 0; i < 4; i++) {
        cr_assert(far_next(&far, far_socket(&far, 0), &f));
        ids[i] = f.id;
    }
    answer(far_socket(&far, 0), ids[1], 0);
    far_break(far_socket(&far, 0));
    far_pass(&far, 2000000000);
    far_up(&far, 1, 4);
    for (int i = 0; i < 4; i++) {
        if (i != 1) {
            cr_assert(far_next(&far, far_socket(&far, 0), &f), "request %d is sent again", i);
            cr_assert(f.id == ids[i] && f.body.data[0] == i);
            answer(far_socket(&far, 0), f.id, i == 2 ? ERR_CONFLICT : 0);
        }
    }
    cr_assert(!far_next(&far, far_socket(&far, 0), &f));
    for (int i = 0; i < 4; i++) {
        cr_assert(a[i].answers == 1 && a[i].status == (i == 2 ? ERR_CONFLICT : 0));
    }
    far_store_fini(&far);
}

static void refuse(struct io_socket *socket, uint64_t id, int status, bool refusing)
{
    uint8_t            bytes[8];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, (uint32_t)status);
    wire_put_u8(&w, refusing);
    far_send(socket, RPC_TXN_DONE, id, wire_written(&w));
}

static uint16_t round_of(const struct frame *txn)
{
    uint16_t round;
    memcpy(&round, txn->body.data + 2, sizeof round);
    return round;
}

Test(store_client, behind_a_refusal_a_new_round_waits_for_all_answers_of_the_old_one)
{
    struct far   far;
    struct asked a[5];
    struct frame f;
    uint64_t     ids[2];
    far_init(&far);
    far_up(&far, 1, 4);
    struct io_socket *socket = far_socket(&far, 0);
    ask(&far, &a[0], 2, 500);
    ask(&far, &a[1], 2, 500);
    far_turn(&far);
    for (int i = 0; i < 2; i++) {
        cr_assert(far_next(&far, socket, &f));
        ids[i] = f.id;
    }
    uint16_t round = round_of(&f);
    refuse(socket, ids[0], ERR_DISK_FULL, true);
    cr_assert(a[0].answers == 1 && a[0].status == ERR_DISK_FULL && a[0].result_bytes == 0);
    ask(&far, &a[2], 2, 10);
    ask(&far, &a[3], 3, 10); /* another stripe does not wait */
    far_turn(&far);
    cr_assert(far_next(&far, socket, &f) && f.body.data[0] == 3 && round_of(&f) == round);
    cr_assert(!far_next(&far, socket, &f), "the fate of the second one is not known yet");
    struct store_client_counters counters;
    store_client_counters(far.store, &counters);
    cr_assert_eq(counters.requests_open, 3);
    refuse(socket, ids[1], ERR_DISK_FULL, false);
    ask(&far, &a[4], 2, 20);
    far_turn(&far);
    for (int i = 2; i < 5; i += 2) {
        cr_assert(far_next(&far, socket, &f) && f.body.data[0] == 2 && round_of(&f) == round + 1);
        answer(socket, f.id, 0);
        cr_assert(a[i].answers == 1 && a[i].status == 0);
    }
    far_store_fini(&far);
}

Test(store_client, credit_bounds_what_is_unanswered_but_lets_one_request_through)
{
    struct far   far;
    struct asked a[3];
    struct frame f;
    far_init(&far);
    far.credit = 1000;
    far_up(&far, 1, 1);
    ask(&far, &a[0], 0, 3000);
    ask(&far, &a[1], 0, 600);
    ask(&far, &a[2], 0, 600);
    for (int i = 0; i < 3; i++) {
        far_turn(&far);
        cr_assert(far_next(&far, far_socket(&far, 0), &f));
        uint64_t id = f.id;
        far_turn(&far);
        cr_assert(!far_next(&far, far_socket(&far, 0), &f), "request %d alone", i);
        answer(far_socket(&far, 0), id, 0);
    }
    cr_assert(a[0].answers + a[1].answers + a[2].answers == 3);
    far_store_fini(&far);
}

Test(store_client, a_transaction_that_does_not_fit_a_frame_is_refused_by_a_later_turn)
{
    struct far   far;
    struct asked a;
    struct frame f;
    far_init(&far);
    far_up(&far, 1, 1);
    ask(&far, &a, 0, 5 << 20);
    cr_assert(a.answers == 0);
    far_turn(&far);
    cr_assert(a.answers == 1 && a.status == ERR_TOO_BIG);
    cr_assert(!far_next(&far, far_socket(&far, 0), &f));
    far_store_fini(&far);
}

Test(store_client, an_answer_that_is_no_answer_is_malformed)
{
    struct far   far;
    struct asked a[2];
    struct frame f;
    far_init(&far);
    far_up(&far, 1, 1);
    ask(&far, &a[0], 0, 1);
    ask(&far, &a[1], 0, 1);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_send(far_socket(&far, 0), RPC_TXN_DONE, f.id, bytes_of("\0\0", 2));
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_send(far_socket(&far, 0), RPC_READ_DONE, f.id, bytes_of("\0\0\0\0", 4));
    cr_assert(a[0].status == ERR_MALFORMED && a[1].status == ERR_MALFORMED);
    far_store_fini(&far);
}

Test(store_client, a_silent_connection_is_asked_and_then_given_up)
{
    struct far far;
    far_init(&far);
    far_up(&far, 1, 1);
    struct io_socket *socket = far_socket(&far, 0);
    size_t            before = socket->sent.size;
    far_pass(&far, 2500000000);
    far_turn(&far);
    cr_assert(socket->open && socket->sent.size == before + RPC_HEADER_BYTES, "PING");
    far_send(socket, RPC_PONG, 0, (struct bytes){0});
    for (int i = 0; i < 4 && socket->open; i++) {
        far_pass(&far, 2500000000);
        far_turn(&far);
    }
    cr_assert(!socket->open);
    struct store_client_counters counters;
    store_client_counters(far.store, &counters);
    cr_assert_eq(counters.links_up, 0);
    far_store_fini(&far);
}

Test(store_client, a_connection_that_hears_much_and_says_nothing_gives_a_sign_of_life)
{
    struct far far;
    far_init(&far);
    far_up(&far, 1, 1);
    struct io_socket *socket = far_socket(&far, 0);
    size_t            before = socket->sent.size;
    for (int i = 0; i < 5; i++) {
        far_pass(&far, 1000000000);
        far_send(socket, RPC_PONG, 0, (struct bytes){0});
        far_turn(&far);
    }
    cr_assert_geq(socket->sent.size, before + 2 * RPC_HEADER_BYTES, "PING");
    far_store_fini(&far);
}

Test(store_client, a_store_with_other_stripes_than_before_is_not_taken)
{
    struct far far;
    far_init(&far);
    far_up(&far, 1, 4);
    far_break(far_socket(&far, 0));
    far_pass(&far, 2000000000);
    far_up(&far, 1, 8);
    cr_assert_null(far_socket(&far, 0));
    far_pass(&far, 4000000000);
    far_up(&far, 1, 4);
    cr_assert_not_null(far_socket(&far, 0));
    far_store_fini(&far);
}

Test(store_client, a_welcome_that_cannot_be_is_not_taken)
{
    static const uint32_t shards[]  = {0, 1u << 31, 4};
    static const uint32_t stripes[] = {4, 4, 0x10000};
    for (int i = 0; i < 3; i++) {
        struct far far;
        far_init(&far);
        far_up(&far, shards[i], stripes[i]);
        cr_assert(!store_known(far.store));
        far_store_fini(&far);
    }
}
