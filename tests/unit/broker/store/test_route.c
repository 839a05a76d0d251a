/* test_route.c - several nodes: transactions, watches, follows and scans go to the one that leads their stripe, and move with the lead. */
#include "broker/store/state.h"
#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "shared/rpc/op.h"
#include "tests/unit/broker/store/far_store.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct asked {
    struct store_call call;
    int               answers;
    int               status;
};

static void on_done(struct store_call *call, int status, struct bytes results)
{
    struct asked *a = CONTAINER_OF(call, struct asked, call);
    (void)results;
    a->answers++;
    a->status = status;
}

/* Its number is the key. */
static void ask(struct far *far, struct asked *a, uint16_t stripe, uint8_t number)
{
    *a = (struct asked){.call.done = on_done};
    op_encode(store_txn_begin(far->store, stripe),
              &(struct op){.kind = OP_TABLE_PUT, .name = bytes_of(&number, 1), .value = bytes_str("v")});
    store_txn_end(far->store, &a->call);
}

struct txn {
    uint64_t id;
    uint64_t term;
    uint16_t stripe;
    uint16_t round;
    uint8_t  number;
};

static bool next_txn(struct far *far, struct io_socket *socket, struct txn *out)
{
    struct frame f;
    struct op    op;
    if (socket == NULL || !far_next(far, socket, &f)) {
        return false;
    }
    struct wire_reader r = wire_reader_of(f.body);
    cr_assert_eq(f.kind, RPC_TXN);
    out->id     = f.id;
    out->stripe = wire_get_u16(&r);
    out->round  = wire_get_u16(&r);
    out->term   = wire_get_u64(&r);
    cr_assert_eq(op_next(&r, &op), 1);
    out->number = op.name.data[0];
    return true;
}

static void answer(struct io_socket *socket, uint64_t id, int status)
{
    uint8_t            bytes[16];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, (uint32_t)status);
    wire_put_u8(&w, 0);
    far_send(socket, RPC_TXN_DONE, id, wire_written(&w));
}

/* Three nodes, of which the first is a seed; node n leads stripe n - 1 in term 1, the first all others. */
static void setup(struct far *far, uint32_t shards)
{
    far_init_nodes(far, 3, 1);
    far_lead(far, 1, 2, 1);
    far_lead(far, 2, 3, 1);
    far_up(far, shards, 8);
}

Test(store_route, one_seed_tells_of_all_nodes_and_each_stripe_is_asked_where_it_is_led)
{
    struct far   far;
    struct asked a[3];
    struct txn   t;
    setup(&far, 2);
    cr_assert(store_known(far.store));
    struct store_client_counters counters;
    store_client_counters(far.store, &counters);
    cr_assert_eq(counters.links_up, 6, "three nodes with two shards");
    for (uint16_t i = 0; i < 3; i++) {
        ask(&far, &a[i], i, (uint8_t)i);
    }
    far_turn(&far);
    for (uint16_t i = 0; i < 3; i++) {
        struct io_socket *socket = far_socket_of(&far, (uint16_t)(i + 1), i % 2);
        cr_assert(next_txn(&far, socket, &t) && t.stripe == i && t.number == i && t.term == 1);
        answer(socket, t.id, 0);
        cr_assert(a[i].answers == 1 && a[i].status == 0);
    }
    far_store_fini(&far);
}

Test(store_route, the_store_is_known_when_the_leader_of_every_stripe_was_connected_once)
{
    struct far far;
    far_init_nodes(&far, 3, 1);
    far.down[3] = true;
    far_lead(&far, 2, 3, 1);
    far_up(&far, 1, 8);
    cr_assert(!store_known(far.store), "node 3 leads a stripe and is not reached");
    far_lead(&far, 2, 0, 2);
    far_tell(&far, 2, 2);
    cr_assert(!store_known(far.store), "nobody leads it");
    far_lead(&far, 2, 2, 3);
    far_tell(&far, 2, 2);
    cr_assert(store_known(far.store));
    far_store_fini(&far);
}

Test(store_route, seeds_that_are_nodes_by_another_address_are_dropped_and_a_dead_one_hinders_nobody)
{
    struct far far;
    far_init_nodes(&far, 2, 4);
    far.says[3] = 2; /* node 2 by another address */
    far.down[4] = true;
    far_lead(&far, 1, 2, 1);
    far_up(&far, 1, 4);
    cr_assert(store_known(far.store));
    cr_assert(far_socket_of(&far, 1, 0) != NULL);
    cr_assert((far_socket_of(&far, 2, 0) != NULL) != (far_socket_of(&far, 3, 0) != NULL), "one connection to node 2");
    struct store_client_counters counters;
    store_client_counters(far.store, &counters);
    cr_assert_eq(counters.links_up, 2);
    far_pass(&far, 3000000000);
    far_up(&far, 1, 4);
    store_client_counters(far.store, &counters);
    cr_assert_eq(counters.links_up, 2, "it stays so");
    far_store_fini(&far);
}

Test(store_route, a_node_of_another_cluster_is_not_used)
{
    struct far far;
    far_init_nodes(&far, 3, 1);
    far.cluster[2] = 78;
    far_up(&far, 1, 4);
    cr_assert(far_socket_of(&far, 1, 0) != NULL && far_socket_of(&far, 3, 0) != NULL);
    cr_assert_null(far_socket_of(&far, 2, 0));
    far_store_fini(&far);
}

Test(store_route, a_new_leader_is_asked_what_the_old_one_left_unanswered_in_its_order)
{
    struct far   far;
    struct asked a[6];
    struct txn   t;
    setup(&far, 1);
    struct io_socket *one = far_socket_of(&far, 1, 0), *two = far_socket_of(&far, 2, 0);
    uint64_t          ids[4];
    for (uint8_t i = 0; i < 4; i++) {
        ask(&far, &a[i], i == 1 ? 4 : 3, i);
    }
    far_turn(&far);
    for (int i = 0; i < 4; i++) {
        cr_assert(next_txn(&far, one, &t) && t.number == i);
        ids[i] = t.id;
    }
    answer(one, ids[2], 0); /* answered out of order: it is not asked again */
    far_lead(&far, 3, 2, 5);
    far_tell(&far, 3, 3);
    ask(&far, &a[4], 3, 4);
    far_turn(&far);
    static const uint8_t expected[] = {0, 3, 4};
    for (int i = 0; i < 3; i++) {
        cr_assert(next_txn(&far, two, &t) && t.number == expected[i] && t.term == 5 && t.stripe == 3);
        if (i == 0) {
            answer(one, ids[0], ERR_CONFLICT); /* late */
            cr_assert_eq(a[0].answers, 0);
        }
        answer(two, t.id, 0);
        cr_assert(a[expected[i]].answers == 1 && a[expected[i]].status == 0);
    }
    cr_assert(!next_txn(&far, one, &t) && !next_txn(&far, two, &t));
    cr_assert_eq(a[1].answers, 0, "stripe 4 stays where it was");
    answer(one, ids[1], 0);
    cr_assert_eq(a[1].answers, 1);
    far_store_fini(&far);
}

Test(store_route, what_is_parked_behind_a_refusal_stays_behind_what_moves)
{
    struct far   far;
    struct asked a[3];
    struct txn   t;
    setup(&far, 1);
    ask(&far, &a[0], 3, 0);
    ask(&far, &a[1], 3, 1);
    far_turn(&far);
    cr_assert(next_txn(&far, far_socket_of(&far, 1, 0), &t) && t.number == 0);
    uint8_t            bytes[8];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, (uint32_t)ERR_DISK_FULL);
    wire_put_u8(&w, 1);
    far_send(far_socket_of(&far, 1, 0), RPC_TXN_DONE, t.id, wire_written(&w));
    cr_assert(a[0].answers == 1 && a[0].status == ERR_DISK_FULL);
    ask(&far, &a[2], 3, 2); /* parked: it is not known what becomes of the second one */
    far_lead(&far, 3, 2, 2);
    far_tell(&far, 2, 3);
    far_turn(&far);
    for (int i = 1; i < 3; i++) {
        cr_assert(next_txn(&far, far_socket_of(&far, 2, 0), &t) && t.number == i, "%d is asked of the new leader", i);
        answer(far_socket_of(&far, 2, 0), t.id, 0);
        cr_assert(a[i].answers == 1 && a[i].status == 0);
    }
    far_store_fini(&far);
}

Test(store_route, what_waits_for_a_dead_leader_moves_with_a_higher_term_and_not_with_an_old_one)
{
    struct far   far;
    struct asked a[2];
    struct txn   t;
    setup(&far, 1);
    far_lead(&far, 1, 2, 5);
    far_tell(&far, 1, 1);
    far.down[2] = true;
    far_break(far_socket_of(&far, 2, 0));
    ask(&far, &a[0], 1, 0);
    ask(&far, &a[1], 1, 1);
    far_turn(&far);
    far_lead(&far, 1, 3, 4);
    far_tell(&far, 3, 1);
    far_turn(&far);
    cr_assert(!next_txn(&far, far_socket_of(&far, 3, 0), &t), "the news is old");
    far_lead(&far, 1, 0, 6);
    far_tell(&far, 3, 1);
    far_lead(&far, 1, 3, 6);
    far_tell(&far, 3, 1);
    far_turn(&far);
    for (int i = 0; i < 2; i++) {
        cr_assert(next_txn(&far, far_socket_of(&far, 3, 0), &t) && t.number == i && t.term == 6);
    }
    far.down[2] = false;
    far_pass(&far, 2000000000);
    far_up(&far, 1, 8);
    cr_assert(far_socket_of(&far, 2, 0) != NULL && !next_txn(&far, far_socket_of(&far, 2, 0), &t),
              "nothing was left behind");
    far_store_fini(&far);
}

Test(store_route, a_node_that_does_not_lead_any_more_is_asked_again_in_a_new_round_or_another_one)
{
    struct far   far;
    struct asked a[4];
    struct txn   t;
    setup(&far, 1);
    struct io_socket *one = far_socket_of(&far, 1, 0), *three = far_socket_of(&far, 3, 0);
    uint64_t          ids[3];
    for (uint8_t i = 0; i < 3; i++) {
        ask(&far, &a[i], 3, i);
    }
    far_turn(&far);
    for (int i = 0; i < 3; i++) {
        cr_assert(next_txn(&far, one, &t) && t.number == i);
        ids[i] = t.id;
    }
    uint16_t round = t.round;
    answer(one, ids[0], ERR_NOT_LEADER);
    answer(one, ids[1], 0); /* can only be said of what was taken in the end; whoever is asked next finds a duplicate */
    ask(&far, &a[3], 3, 3);
    far_turn(&far);
    cr_assert(!next_txn(&far, one, &t), "it is not known who leads");
    cr_assert(a[0].answers + a[1].answers + a[2].answers == 0, "the kernel hears nothing");
    far_pass(&far, 150000000);
    far_turn(&far);
    for (int i = 0; i < 4; i++) {
        cr_assert(next_txn(&far, one, &t) && t.number == i && t.round == (uint16_t)(round + 1), "asked again: %d", i);
        if (i == 0) {
            answer(one, ids[2], ERR_NOT_LEADER); /* of the old round: it concerns nobody */
        }
    }
    answer(one, t.id - 3, ERR_NOT_LEADER);
    far_lead(&far, 3, 3, 9);
    far_tell(&far, 2, 3);
    far_turn(&far);
    for (int i = 0; i < 4; i++) {
        cr_assert(next_txn(&far, three, &t) && t.number == i && t.term == 9 && t.round > (uint16_t)(round + 1));
        answer(three, t.id, 0);
        cr_assert(a[i].answers == 1 && a[i].status == 0);
    }
    far_store_fini(&far);
}

Test(store_route, a_restart_in_a_new_term_at_the_same_node_asks_again_with_that_term)
{
    struct far   far;
    struct asked a[2];
    struct txn   t;
    setup(&far, 1);
    ask(&far, &a[0], 3, 0);
    far_turn(&far);
    cr_assert(next_txn(&far, far_socket_of(&far, 1, 0), &t) && t.term == 1);
    far_break(far_socket_of(&far, 1, 0));
    ask(&far, &a[1], 3, 1);
    far_lead(&far, 3, 1, 2);
    far_pass(&far, 2000000000);
    far_up(&far, 1, 8);
    for (int i = 0; i < 2; i++) {
        cr_assert(next_txn(&far, far_socket_of(&far, 1, 0), &t) && t.number == i && t.term == 2);
    }
    cr_assert(!next_txn(&far, far_socket_of(&far, 1, 0), &t));
    far_store_fini(&far);
}

/* ---- order, whatever happens -------------------------------------------------------------------------------------- */

enum { PLAY_NODES = 3, PLAY_STRIPES = 4, PLAY_ASKED = 2000 };

struct play {
    struct far   far;
    struct rand  random;
    struct asked asked[PLAY_STRIPES][PLAY_ASKED];
    uint32_t     made[PLAY_STRIPES];
    uint64_t     term[PLAY_STRIPES];
    uint64_t     taken[PLAY_STRIPES]; /* by the stripe's log: all below */
    /* Of a connection: what it refused. */
    struct {
        struct io_socket *socket;
        bool              refused;
        uint16_t          round;
    } memory[PLAY_NODES + 1][PLAY_STRIPES];
};

/* As a node does it: in order, behind a refusal nothing of its round; one that is not the next is a duplicate, or a gap that would lose what is before it. */
static void play_node(struct play *p, uint16_t node)
{
    struct io_socket *socket = far_socket_of(&p->far, node, 0);
    struct txn        t;
    while (socket != NULL && rand_below(&p->random, 4) != 0 && next_txn(&p->far, socket, &t)) {
        uint32_t n     = 0;
        bool     leads = p->far.leaders[t.stripe].leader == node && t.term == p->term[t.stripe];
        if (p->memory[node][t.stripe].socket != socket || p->memory[node][t.stripe].round != t.round) {
            p->memory[node][t.stripe].socket  = socket;
            p->memory[node][t.stripe].round   = t.round;
            p->memory[node][t.stripe].refused = false;
        }
        bool refuses = !leads || p->memory[node][t.stripe].refused || rand_chance(&p->random, 10); /* not ready yet */
        p->memory[node][t.stripe].refused = refuses;
        if (!refuses) {
            n = (uint32_t)(p->taken[t.stripe] / 256 * 256 + t.number);
            n = n > p->taken[t.stripe] + 128 ? n - 256 : n + 128 < p->taken[t.stripe] ? n + 256 : n;
            cr_assert(n <= p->taken[t.stripe], "%u of stripe %u is taken before %u", n, t.stripe,
                      (unsigned)p->taken[t.stripe]);
            p->taken[t.stripe] = n == p->taken[t.stripe] ? n + 1 : p->taken[t.stripe];
        }
        if (rand_below(&p->random, 3) != 0) { /* else the answer is lost with the connection, later */
            answer(socket, t.id, refuses ? ERR_NOT_LEADER : 0);
        } else {
            far_break(socket);
            return;
        }
    }
}

Test(store_route, no_transaction_is_taken_before_one_that_was_made_before_it_whoever_leads)
{
    for (uint64_t seed = 1; seed <= 30; seed++) {
        struct play *p = calloc(1, sizeof *p);
        rand_init(&p->random, seed, 0);
        far_init_nodes(&p->far, PLAY_NODES, 2);
        for (uint16_t i = 0; i < PLAY_STRIPES; i++) {
            p->term[i] = 1;
        }
        far_up(&p->far, 1, PLAY_STRIPES);
        for (int step = 0; step < 300 && p->far.io.count < FAR_SOCKETS - 12; step++) {
            uint16_t stripe = (uint16_t)rand_below(&p->random, PLAY_STRIPES);
            switch (rand_below(&p->random, 12)) {
            case 0: { /* an election; who hears of it tells */
                uint16_t teller = (uint16_t)(1 + rand_below(&p->random, PLAY_NODES));
                far_lead(&p->far, stripe, (uint16_t)(1 + rand_below(&p->random, PLAY_NODES)), ++p->term[stripe]);
                if (far_socket_of(&p->far, teller, 0) != NULL) {
                    far_tell(&p->far, teller, stripe);
                }
                break;
            }
            case 1:
                far_pass(&p->far, rand_below(&p->random, 300000000));
                break;
            case 2:
                far_up(&p->far, 1, PLAY_STRIPES);
                break;
            case 3:
            case 4:
            case 5:
            case 6:
                if (p->made[stripe] < p->taken[stripe] + 100 && p->made[stripe] < PLAY_ASKED) {
                    uint32_t n = p->made[stripe]++;
                    ask(&p->far, &p->asked[stripe][n], stripe, (uint8_t)n);
                }
                break;
            default:
                far_turn(&p->far);
                play_node(p, (uint16_t)(1 + rand_below(&p->random, PLAY_NODES)));
            }
        }
        for (uint16_t i = 0; i < PLAY_STRIPES; i++) {
            bool gap = false;
            for (uint32_t n = 0; n < p->made[i]; n++) {
                cr_assert(p->asked[i][n].answers <= 1 && p->asked[i][n].status == 0);
                cr_assert(p->asked[i][n].answers == 0 || n < p->taken[i],
                          "%u of stripe %u is answered and was never taken", n, i);
                gap = gap || p->asked[i][n].answers == 0;
            }
        }
        far_store_fini(&p->far);
        free(p);
    }
}
