/* Whatever another node says of a record that is missed here is looked at before it is believed. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/repair/repair.h"

#include "shared/record/record.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SELF = 1, OTHER, THIRD, STRIPE = 0, STREAM = 100, OFFSET = 7, INDEX = 1 };

static struct segstore_config config;
static struct node           *node;
static struct node_stripe     stripe;
static struct session         session;
static struct missed         *missed;
static struct wire_writer     ops; /* an APPEND of the record that is missed, to STREAM */
static size_t                 at;  /* of its target */

/* The log has no room: what is believed is written later, and asked for again until then. */
static void begin(void)
{
    char             why[1024];
    struct io_config io = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    node                = calloc(1, sizeof *node);
    node->storage       = calloc(1, sizeof *node->storage);
    node->peers         = calloc(2, sizeof *node->peers);
    config              = (struct segstore_config){.node = SELF, .shards = 1, .stripes = 1};
    config.nodes[0].id  = OTHER;
    config.nodes[1].id  = THIRD;
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    segments_init(&node->storage->segments, 1 << 20);
    node->config       = &config;
    node->peer_count   = 2;
    node->peers[0]     = (struct peer){.node = node, .spec = &config.nodes[0]};
    node->peers[1]     = (struct peer){.node = node, .spec = &config.nodes[1]};
    stripe             = (struct node_stripe){.node = node, .id = STRIPE};
    node->stripes      = &stripe;
    node->stripe_count = 1;
    entries_init(&stripe.entries, 0, 0);
    repairs_make(node);
    const struct stripe_held held = {.position = 4096, .stream_id = STREAM, .offset = OFFSET};
    missed                        = missed_add(node->repairs, &stripe, &held);
    const struct record record    = {.topic = bytes_str("a/b"), .payload = bytes_str("what it says")};
    ops                           = wire_writer_growing(4096);
    size_t begun                  = op_append_begin(&ops, 0, 0, 0);
    at                            = ops.size;
    op_append_target(&ops, STREAM, bytes_str("tag"));
    op_append_end(&ops, begun, 1, &record);
}

static void end(void)
{
    wire_writer_fini(&ops);
    repairs_clear(&stripe);
    repairs_free(node);
    entries_fini(&stripe.entries);
    segments_fini(&node->storage->segments);
    io_close(node->io);
    free(node->peers);
    free(node->storage);
    free(node);
}

TestSuite(repair_ask, .init = begin, .fini = end);

/* What a node says. False: it counts for as much as if it did not have the record. */
static bool is_believed(uint16_t from, enum repair_kind kind, const struct log_entry *entry, size_t target_at)
{
    struct wire_writer w = wire_writer_growing(4096);
    wire_put_u16(&w, STRIPE);
    wire_put_u8(&w, (uint8_t)kind);
    wire_put_u8(&w, 0);
    wire_put_u32(&w, (uint32_t)target_at);
    wire_put_u64(&w, STREAM);
    wire_put_u64(&w, OFFSET);
    wire_put_u64(&w, entry->index);
    wire_put_u64(&w, entry->term);
    wire_put_u64(&w, entry->wall_ns);
    wire_put_u64(&w, entry->chain);
    wire_put_u16(&w, entry->kind);
    wire_put_u16(&w, 0);
    wire_put_u32(&w, 0);
    wire_put_bytes(&w, entry->ops);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    missed->state        = REPAIR_ASK;
    missed->said_no      = 0;
    session              = (struct session){.node = node, .peer = from};
    repair_answered(&session, &r);
    cr_assert(r.bad || wire_left(&r) == 0 || entry->ops.size > 0);
    wire_writer_fini(&w);
    return missed->said_no == 0;
}

static struct log_entry the_entry(void)
{
    struct log_entry e = {
        .stripe = STRIPE, .kind = LOG_OPS, .index = INDEX, .term = 1, .wall_ns = 5, .ops = wire_written(&ops)};
    e.chain = log_chain(0, &e);
    return e;
}

/* This node's log knows an entry of that index by its chain, and cannot read it. */
static void know(uint64_t chain)
{
    const struct log_slot slot = {.position = 4096, .chain = chain, .size = (uint32_t)ops.size, .durable = true};
    entries_push(&stripe.entries, &slot);
}

Test(repair_ask, the_record_in_an_entry_that_is_the_one_that_is_known_here_is_believed)
{
    const struct log_entry e = the_entry();
    cr_assert(is_believed(OTHER, REPAIR_ENTRY, &e, at), "its entry is not known here any more");
    know(e.chain);
    cr_assert(is_believed(OTHER, REPAIR_ENTRY, &e, at));
}

Test(repair_ask, an_entry_that_is_not_the_one_that_is_known_here_is_not_believed)
{
    const struct log_entry e     = the_entry();
    struct log_entry       other = e;
    know(e.chain);
    other.wall_ns++;
    cr_assert_not(is_believed(OTHER, REPAIR_ENTRY, &other, at), "its chain is not made of it");
    other.chain = log_chain(0, &other);
    cr_assert_not(is_believed(OTHER, REPAIR_ENTRY, &other, at), "another history");
}

Test(repair_ask, what_is_not_a_whole_record_of_that_stream_is_not_believed)
{
    const struct log_entry e = the_entry();
    cr_assert_not(is_believed(OTHER, REPAIR_ENTRY, &e, at + 1), "no target lies there");
    cr_assert_not(is_believed(OTHER, REPAIR_ENTRY, &e, e.ops.size), "nor behind its end");
    ops.data[ops.size - 1] ^= 1;
    const struct log_entry rotten = the_entry();
    cr_assert_not(is_believed(OTHER, REPAIR_PAGES, &rotten, at));
    ops.data[ops.size - 1] ^= 1;
    ops.data[at] ^= 1;
    const struct log_entry misdirected = the_entry();
    cr_assert_not(is_believed(OTHER, REPAIR_PAGES, &misdirected, at), "another stream's");
}

Test(repair_ask, a_doubt_is_believed_when_two_nodes_have_it)
{
    struct log_entry e = {.kind = LOG_OPS, .index = 77, .ops = wire_written(&ops)}; /* index: of what points to it */
    cr_assert_not(is_believed(OTHER, REPAIR_DOUBT, &e, at));
    cr_assert_not(is_believed(OTHER, REPAIR_DOUBT, &e, at), "the same node once more");
    e.index = 78;
    cr_assert_not(is_believed(THIRD, REPAIR_DOUBT, &e, at), "they say different things");
    e.index = 77;
    cr_assert(is_believed(THIRD, REPAIR_DOUBT, &e, at));
}

Test(repair_ask, a_doubt_is_believed_when_this_node_has_the_same)
{
    const struct log_entry e            = {.kind = LOG_OPS, .index = 77, .ops = wire_written(&ops)};
    missed->targets[SEGSTORE_NODES_MAX] = 77;
    cr_assert(is_believed(OTHER, REPAIR_DOUBT, &e, at));
}
