/* Another node asks for a record that is not applied here: what the entries that wait here say of it. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/repair/repair.h"

#include "shared/record/record.h"
#include "shared/rpc/frame.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { SELF = 1, ASKER, STREAM = 100, OFFSET = 7, FIRST = 1, ENTRIES = 2 };

static struct segstore_config config;
static struct node           *node;
static struct node_stripe     stripe;
static struct wire_writer     ops; /* an APPEND to STREAM */
static uint32_t               at;  /* of its target */
static uint64_t               chains[FIRST + ENTRIES];
static struct stripe_held     near[4]; /* what the asker tells of, too */
static uint32_t               near_count;
static uint32_t               told_at;
static uint64_t               told_index;

/* Two entries that are not applied. */
static void begin(void)
{
    char                         why[1024];
    struct io_config             io      = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    const struct raft_options    options = {.self = SELF, .heartbeat_ns = 100, .election_ns = 1000, .lease_ns = 900};
    const struct raft_stored     stored  = {.term = 1, .members = {.voter_count = 2, .voters = {SELF, ASKER}}};
    const struct stripe_observer none    = {0};
    const struct record          record  = {.topic = bytes_str("a/b"), .payload = bytes_str("what it says")};
    node                                 = calloc(1, sizeof *node);
    node->storage                        = calloc(1, sizeof *node->storage);
    node->peers                          = calloc(1, sizeof *node->peers);
    config                               = (struct segstore_config){.node = SELF, .shards = 1, .stripes = 1};
    config.nodes[0].id                   = ASKER;
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    segments_init(&node->storage->segments, 1 << 20);
    list_init(&node->touched);
    node->config       = &config;
    node->peer_count   = 1;
    node->stripes      = &stripe;
    node->stripe_count = 1;
    node->peers[0] =
        (struct peer){.node = node, .spec = &config.nodes[0], .state = PEER_UP, .out = wire_writer_growing(1 << 20)};
    stripe      = (struct node_stripe){.node = node, .stripe = stripe_new(0, &none)};
    stripe.raft = raft_new(&options, &(struct raft_hooks){0});
    raft_restore(stripe.raft, &stored);
    repairs_make(node);
    ops          = wire_writer_growing(4096);
    size_t begun = op_append_begin(&ops, 0, 0, 0);
    at           = (uint32_t)ops.size;
    op_append_target(&ops, STREAM, bytes_str("tag"));
    op_append_end(&ops, begun, 1, &record);
    entries_init(&stripe.entries, FIRST - 1, 0);
    for (uint64_t index = FIRST; index < FIRST + ENTRIES; index++) {
        struct log_entry entry     = {.kind = LOG_OPS, .index = index, .term = 1, .ops = wire_written(&ops)};
        entry.chain                = log_chain(chains[index - 1], &entry);
        chains[index]              = entry.chain;
        const struct log_slot slot = {
            .memory = ops.data, .chain = entry.chain, .size = (uint32_t)ops.size, .durable = false};
        cr_assert(raft_restore_entry(stripe.raft, index, 1));
        entries_push(&stripe.entries, &slot);
    }
}

static void end(void)
{
    repairs_free(node);
    entries_fini(&stripe.entries);
    stripe_free(stripe.stripe);
    raft_free(stripe.raft);
    segments_fini(&node->storage->segments);
    io_close(node->io);
    wire_writer_fini(&ops);
    wire_writer_fini(&node->peers[0].out);
    free(node->peers);
    free(node->storage);
    free(node);
}

TestSuite(repair_answer, .init = begin, .fini = end);

/* What it is told who asks so. place NULL: it does not say where. */
static enum repair_kind told(const struct evidence_place *place)
{
    struct session      s      = {.node = node, .peer = ASKER};
    struct frame_reader reader = {0};
    struct frame        frame;
    struct wire_writer  w = wire_writer_growing(4096);
    wire_put_u16(&w, 0);
    wire_put_u16(&w, 0);
    wire_put_u32(&w, place == NULL ? 0 : place->at);
    wire_put_u64(&w, STREAM);
    wire_put_u64(&w, OFFSET);
    if (place != NULL) {
        wire_put_u64(&w, place->low);
        wire_put_u64(&w, place->high);
        wire_put_u64(&w, place->chain);
    }
    if (place != NULL && near_count > 0) {
        wire_put_u64(&w, place->from);
        wire_put_u64(&w, place->to);
        wire_put_u64(&w, place->sealed);
        wire_put_u64(&w, place->term);
        wire_put_u32(&w, near_count);
        wire_put_u32(&w, 0);
        for (uint32_t i = 0; i < near_count; i++) {
            wire_put_u64(&w, near[i].position);
            wire_put_u64(&w, near[i].stream_id);
            wire_put_u64(&w, near[i].offset);
        }
    }
    struct wire_reader asked = wire_reader_of(wire_written(&w));
    repair_asked(&s, &asked);
    answers_turn(node->repairs);
    frame_reader_feed(&reader, wire_written(&node->peers[0].out));
    cr_assert_eq(frame_reader_next(&reader, &frame), 1);
    struct wire_reader r = wire_reader_of(frame.body);
    (void)wire_get_u16(&r);
    uint8_t kind = wire_get_u8(&r);
    (void)wire_get_u8(&r);
    told_at = wire_get_u32(&r);
    (void)wire_get_u64(&r);
    (void)wire_get_u64(&r);
    told_index = kind == REPAIR_ENTRY ? wire_get_u64(&r) : 0;
    frame_reader_fini(&reader);
    node->peers[0].out.size = 0;
    wire_writer_fini(&w);
    return kind;
}

Test(repair_answer, the_entry_that_it_stands_in_is_given_before_it_is_applied_here)
{
    struct evidence_place place = {.low = 1, .high = 3, .chain = chains[2], .at = at};
    cr_assert_eq(told(&place), REPAIR_ENTRY);
    place.at++;
    cr_assert_eq(told(&place), REPAIR_LATER, "no record of the stream lies there");
    place = (struct evidence_place){.low = 1, .high = 3, .chain = chains[1], .at = at};
    cr_assert_eq(told(&place), REPAIR_LATER, "another history");
    place = (struct evidence_place){.low = 0, .high = 3};
    cr_assert_eq(told(&place), REPAIR_LATER, "it may be in either");
}

Test(repair_answer, who_has_none_of_the_entries_that_it_may_be_in_says_no)
{
    struct evidence_place place = {.low = 2, .high = 4};
    cr_assert_eq(told(&place), REPAIR_NONE);
    cr_assert_eq(stripe.missed, 0, "and does not miss it: it never had it");
    place = (struct evidence_place){.low = 0, .high = 1};
    cr_assert_eq(told(&place), REPAIR_LATER, "what was applied here, and is not held, was trimmed");
    cr_assert_eq(told(NULL), REPAIR_LATER, "a node of an earlier version does not say where it stands");
}

/* ---- by their sizes ---- */

/* At the asker the two entries lie one behind the other, room bytes from each other, and the record is in the nth. */
static struct evidence_place lay_out(uint32_t nth, uint64_t room)
{
    uint64_t length  = BLOCK_ENTRY_BYTES + (ops.size + 7) / 8 * 8;
    near_count       = ENTRIES;
    stripe.repairing = true; /* it waits for an image */
    for (uint32_t i = 0; i < ENTRIES; i++) {
        uint32_t k = i == 0 ? nth : 1 - nth; /* the one that is asked for comes first */
        near[i]    = (struct stripe_held){.position  = 4096 + k * (length + room) + BLOCK_ENTRY_BYTES + at,
                                          .stream_id = STREAM,
                                          .offset    = OFFSET + k - nth};
    }
    return (struct evidence_place){
        .low = 0, .high = 3, .from = 4096, .to = 4096 + 2 * length + 2 * room, .sealed = 1, .term = 1};
}

/* What is in the nth entry cannot be read. */
static void lose(uint64_t index)
{
    node->storage->fetch.wal                   = &node->storage->wal;
    node->storage->fetch.chunks                = &node->storage->chunks;
    node->storage->chunks.segments             = &node->storage->segments;
    entries_at(&stripe.entries, index)->memory = NULL;
}

Test(repair_answer, an_entry_is_found_by_the_sizes_of_all_that_lie_there)
{
    for (uint32_t nth = 0; nth < ENTRIES; nth++) {
        for (uint64_t room = 0; room < 4096; room += 512) {
            struct evidence_place place = lay_out(nth, room);
            cr_assert_eq(told(&place), REPAIR_ENTRY);
            cr_assert(told_index == FIRST + nth && told_at == at);
        }
    }
}

Test(repair_answer, who_cannot_read_the_entry_that_it_is_in_says_no_whatever_else_can_be_read)
{
    struct evidence_place place = lay_out(0, 64);
    lose(FIRST);
    cr_assert_eq(told(&place), REPAIR_NONE);
    place = lay_out(1, 64);
    cr_assert_eq(told(&place), REPAIR_ENTRY);
    cr_assert_eq(told_index, FIRST + 1);
    near_count = 1; /* it may be in the first, with the second behind it */
    place.to += 4096;
    cr_assert_eq(told(&place), REPAIR_UNCLEAR);
}

Test(repair_answer, nothing_is_said_of_another_history_or_of_what_was_applied_here)
{
    struct evidence_place place = lay_out(0, 0);
    place.term                  = 2;
    cr_assert_eq(told(&place), REPAIR_UNCLEAR);
    place        = lay_out(0, 0);
    place.high   = FIRST + 1;
    place.to     = (place.from + place.to) / 2;
    place.sealed = chains[FIRST + 1];
    near_count   = 1;
    cr_assert_eq(told(&place), REPAIR_ENTRY);
    place.sealed++;
    cr_assert_eq(told(&place), REPAIR_UNCLEAR, "the entry behind it is another one");
    place        = lay_out(0, 0);
    place.sealed = 0;
    cr_assert_eq(told(&place), REPAIR_UNCLEAR, "the asker does not know where they lie");
    near_count = 0;
    cr_assert_eq(told(&place), REPAIR_LATER, "a node of an earlier version is told what it knows");
    place            = lay_out(0, 0);
    place.term       = 2;
    stripe.repairing = false;
    cr_assert_eq(told(&place), REPAIR_LATER, "they will be applied");
}
