/* An entry that cannot be read is asked for at one node after the other; what is not that entry counts as a no, and when nobody has it an image is wanted. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SELF = 1, OTHER, THIRD, INDEX = 1 };

static struct segstore_config config;
static struct node           *node;
static struct node_stripe     stripe;
static struct log_entry       entry;

static void begin(void)
{
    char                      why[1024];
    struct io_config          io      = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    const struct raft_options options = {.self = SELF, .heartbeat_ns = 100, .election_ns = 1000, .lease_ns = 900};
    const struct raft_stored  stored  = {.members = {.voters = {SELF, OTHER, THIRD}, .voter_count = 3}};
    node                              = calloc(1, sizeof *node);
    node->storage                     = calloc(1, sizeof *node->storage); /* a log without room */
    node->peers                       = calloc(2, sizeof *node->peers);
    config                            = (struct segstore_config){.node = SELF, .shards = 1, .stripes = 1};
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    io_turn(node->io, 0);
    segments_init(&node->storage->segments, 1 << 20);
    list_init(&node->touched);
    node->config       = &config;
    node->peer_count   = 2;
    node->stripes      = &stripe;
    node->stripe_count = 1;
    for (uint16_t i = 0; i < 2; i++) {
        config.nodes[i].id = (uint16_t)(OTHER + i);
        node->peers[i]     = (struct peer){
                .node = node, .spec = &config.nodes[i], .state = PEER_UP, .out = wire_writer_growing(1 << 20)};
    }
    const struct stripe_observer observer = {0};
    stripe =
        (struct node_stripe){.node = node, .repairing = true, .unreadable = INDEX, .stripe = stripe_new(0, &observer)};
    stripe.raft = raft_new(&options, &(struct raft_hooks){0});
    raft_restore(stripe.raft, &stored);
    entry =
        (struct log_entry){.kind = LOG_OPS, .index = INDEX, .term = 1, .wall_ns = 5, .ops = bytes_str("what it says")};
    entry.chain                = log_chain(0, &entry);
    const struct log_slot slot = {.chain = entry.chain, .size = (uint32_t)entry.ops.size, .durable = true};
    entries_init(&stripe.entries, 0, 0);
    entries_push(&stripe.entries, &slot);
}

static void end(void)
{
    single_drop(&stripe);
    list_remove(&stripe.touched);
    entries_fini(&stripe.entries);
    stripe_free(stripe.stripe);
    raft_free(stripe.raft);
    segments_fini(&node->storage->segments);
    io_close(node->io);
    wire_writer_fini(&node->peers[0].out);
    wire_writer_fini(&node->peers[1].out);
    free(node->peers);
    free(node->storage);
    free(node);
}

TestSuite(refill_single, .init = begin, .fini = end);

/* Who was asked since, for the entry, whoever leads; 0: nobody. */
static uint16_t asked(void)
{
    uint16_t who = 0;
    for (uint16_t i = 0; i < 2; i++) {
        struct frame_reader reader = {0};
        struct frame        frame;
        frame_reader_feed(&reader, wire_written(&node->peers[i].out));
        while (frame_reader_next(&reader, &frame) == 1) {
            struct wire_reader r = wire_reader_of(frame.body);
            cr_assert_eq(frame.kind, RPC_REFILL_ASK);
            cr_assert_eq(wire_get_u16(&r), 0);
            cr_assert_eq(wire_get_u16(&r), REFILL_LED_OR_NOT);
            (void)wire_get_u32(&r);
            cr_assert_eq(wire_get_u64(&r), INDEX);
            cr_assert_eq(who, 0, "one at a time");
            who = node->peers[i].spec->id;
        }
        frame_reader_fini(&reader);
        node->peers[i].out.size = 0;
    }
    return who;
}

static void says(uint16_t who, enum refill_kind kind, const struct log_entry *e)
{
    struct wire_writer w = wire_writer_growing(4096);
    wire_put_u32(&w, (uint32_t)e->ops.size);
    wire_put_u16(&w, e->kind);
    wire_put_u16(&w, 0);
    wire_put_u64(&w, e->term);
    wire_put_u64(&w, e->wall_ns);
    wire_put_u64(&w, e->chain);
    wire_put_bytes(&w, e->ops);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    single_answered(&stripe, (uint32_t)(who - OTHER), (uint8_t)kind, INDEX, &r);
    wire_writer_fini(&w);
}

Test(refill_single, one_node_after_the_other_is_asked_and_then_an_image_is_wanted)
{
    cr_assert(single_ask(&stripe));
    uint16_t first = asked();
    cr_assert_neq(first, 0);
    cr_assert(single_ask(&stripe));
    cr_assert_eq(asked(), 0, "it has time to answer");
    says(first, REFILL_NONE, &entry);
    cr_assert(single_ask(&stripe));
    uint16_t second = asked();
    cr_assert(second != 0 && second != first);
    says(second, REFILL_NONE, &entry);
    cr_assert_not(single_ask(&stripe));
    cr_assert_eq(asked(), 0);
}

Test(refill_single, what_is_not_that_entry_counts_as_a_no)
{
    struct log_entry other = entry;
    other.wall_ns++;
    cr_assert(single_ask(&stripe));
    uint16_t first = asked();
    says(first, REFILL_ENTRIES, &other); /* its chain is not made of it */
    cr_assert(single_ask(&stripe));
    other.chain = log_chain(0, &other);
    says(asked(), REFILL_ENTRIES, &other); /* another history */
    cr_assert_not(single_ask(&stripe), "nobody is left");
}

Test(refill_single, that_entry_is_taken_when_the_log_has_room)
{
    cr_assert(single_ask(&stripe));
    says(asked(), REFILL_ENTRIES, &entry);
    cr_assert(single_ask(&stripe), "it is asked for again");
}

Test(refill_single, a_history_that_differs_is_not_mended_by_an_entry)
{
    stripe.unreadable = 0;
    cr_assert_not(single_ask(&stripe));
    cr_assert_eq(asked(), 0);
}
