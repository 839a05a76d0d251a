/* Followers that are sent images together are waited for, but one that takes nothing holds up itself alone. */
#include "segstore/node/image/sending.h"
#include "segstore/node/peers/peers.h"
#include "segstore/node/repair/repair.h"
#include "segstore/status/status.h"

#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"
#include "tests/unit/segstore/disk/disk_stage.h"
#include "tests/unit/segstore/raft/raft_desk.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { SELF = 1, SLOW, FAST, SEGMENT = 3, RECORDS = 8, RECORD_BYTES = 60000, FULL_BYTES = 5 << 20 };
static const uint64_t TEST_NS  = 20000000000; /* on a machine that has other things to do */
static const uint64_t SOME_NS  = 1500000000;  /* longer than anybody's patience */
static const uint64_t LATER_NS = 10000000000; /* longer than a follower goes without asking again */

static struct disk_stage      stage;
static struct segstore_config config;
static struct node           *node;
static struct node_stripe     stripes[2];
static struct desk            desks[2];

/* ---- a leader with two stripes, whose records lie in a file ---- */

static void apply(struct node_stripe *st, struct wire_writer *ops, struct block_writer *w, const uint8_t *image,
                  struct wire_writer *results)
{
    const struct log_entry entry = {.stripe = st->id, .kind = LOG_OPS, .ops = wire_written(ops)};
    const uint8_t         *at    = block_append(w, &entry);
    struct stripe_entry    e     = {.index    = stripe_applied(st->stripe) + 1,
                                    .wall_ns  = 1,
                                    .ops      = entry.ops,
                                    .position = (uint64_t)SEGMENT * DISK_STAGE_SEGMENT_BYTES + (uint64_t)(at - image)};
    results->size                = 0;
    cr_assert_eq(stripe_apply(st->stripe, &e, true, results), 0);
    ops->size = 0;
}

static void fill(struct node_stripe *st, struct block_writer *w, const uint8_t *image)
{
    static uint8_t               payload[RECORD_BYTES];
    const struct record          record   = {.topic = bytes_str("a/b"), .payload = bytes_of(payload, sizeof payload)};
    const struct op              create   = {.kind = OP_STREAM_CREATE, .name = bytes_str("log")};
    const struct stripe_observer observer = {0};
    struct wire_writer           ops      = wire_writer_growing(1 << 20);
    struct wire_writer           results  = wire_writer_growing(4096);
    st->stripe                            = stripe_new(st->id, &observer);
    op_encode(&ops, &create);
    apply(st, &ops, w, image, &results);
    struct wire_reader r         = wire_reader_of(wire_written(&results));
    uint64_t           stream_id = wire_get_u64(&r);
    for (int i = 0; i < RECORDS / 2; i++) {
        size_t begun = op_append_begin(&ops, 0, 0, 0);
        op_append_target(&ops, stream_id, bytes_str("tag"));
        op_append_end(&ops, begun, 1, &record);
        apply(st, &ops, w, image, &results);
    }
    wire_writer_fini(&ops);
    wire_writer_fini(&results);
}

static void make_file(void)
{
    struct storage     *storage = node->storage;
    uint8_t            *image   = aligned_alloc(4096, BLOCK_MAX_BYTES);
    struct block_header link    = {.position = (uint64_t)SEGMENT * DISK_STAGE_SEGMENT_BYTES, .block_seq = 1};
    struct block_writer w;
    char                path[160], name[SEGMENT_NAME_BYTES];
    struct io_file     *file;
    cr_assert_not_null(image);
    block_begin(&w, image, DISK_STAGE_SEGMENT_BYTES);
    fill(&stripes[0], &w, image);
    fill(&stripes[1], &w, image);
    size_t length = block_seal(&w, &storage->super.id, &link);
    segment_name(SEGMENT, name);
    snprintf(path, sizeof path, "%s/%s", stage.wal, name);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    cr_assert(fd >= 0 && pwrite(fd, image, length, 0) == (ssize_t)length &&
              ftruncate(fd, DISK_STAGE_SEGMENT_BYTES) == 0);
    close(fd);
    free(image);
    cr_assert_eq(io_file_open(stage.io, path, 0, &file), 0);
    struct log_segment *segment = segments_at(&storage->segments, SEGMENT);
    segment->exists             = true;
    segment->file               = file;
}

static void begin(void)
{
    static const uint64_t     terms[] = {1, 1, 1, 1, 1, 0};
    const struct raft_members members = desk_members(3, 0);
    disk_stage_init(&stage);
    config                  = (struct segstore_config){.node = SELF, .shards = 1, .checkpoint_slice_bytes = 1 << 20};
    node                    = calloc(1, sizeof *node);
    node->storage           = calloc(1, sizeof *node->storage);
    node->peers             = calloc(2, sizeof *node->peers);
    node->placements        = calloc(2, sizeof *node->placements);
    node->io                = stage.io;
    node->config            = &config;
    node->transfer          = &node->own_transfer;
    node->peer_count        = 2;
    node->stripes           = stripes;
    node->stripe_count      = 2;
    struct storage *storage = node->storage;
    storage->io             = stage.io;
    storage->config.sector_bytes    = 4096;
    storage->wal.delivered.position = (uint64_t)(SEGMENT + 1) * DISK_STAGE_SEGMENT_BYTES;
    segments_init(&storage->segments, DISK_STAGE_SEGMENT_BYTES);
    pace_init(&node->own_transfer, 1u << 30, 1u << 30);
    list_init(&node->images_out);
    list_init(&node->images_behind);
    list_init(&node->images_waiting);
    list_init(&node->touched);
    list_init(&node->sessions);
    for (uint16_t i = 0; i < 2; i++) {
        config.nodes[i].id = (uint16_t)(SLOW + i);
        node->peers[i]     = (struct peer){
                .node = node, .spec = &config.nodes[i], .state = PEER_UP, .out = wire_writer_growing(64 << 20)};
        desk_open(&desks[i], SELF, &members, terms, 1, RAFT_NONE);
        desk_start(&desks[i]);
        desk_elect(&desks[i]);
        stripes[i] = (struct node_stripe){.node = node, .id = i, .raft = desks[i].raft, .applied_members = members};
        entries_init(&stripes[i].entries, 1 + RECORDS / 2, 77);
    }
    make_file();
}

static void end(void)
{
    images_free(node);
    for (int i = 0; i < 2; i++) {
        list_remove(&stripes[i].touched);
        stripe_free(stripes[i].stripe);
        entries_fini(&stripes[i].entries);
        desk_close(&desks[i]);
        wire_writer_fini(&node->peers[i].out);
    }
    io_file_close(segments_find(&node->storage->segments, SEGMENT)->file);
    segments_fini(&node->storage->segments);
    disk_stage_fini(&stage);
    free(node->peers);
    free(node->placements);
    free(node->storage);
    free(node);
}

TestSuite(image_send, .init = begin, .fini = end, .timeout = 60);

/* ---- followers ---- */

struct sent {
    int      bodies;
    int      zeros; /* of them, those that hold nothing */
    int      parts;
    bool     ended;
    uint64_t transfer;
};

/* A connection takes all that waits for it. */
static void take(uint16_t to, struct sent *sent)
{
    struct peer        *p      = peer_find(node, to);
    struct frame_reader reader = {0};
    struct frame        frame;
    frame_reader_feed(&reader, wire_written(&p->out));
    while (frame_reader_next(&reader, &frame) == 1) {
        struct wire_reader r = wire_reader_of(frame.body);
        (void)wire_get_u16(&r);
        uint8_t kind = wire_get_u8(&r);
        (void)wire_get_u8(&r);
        (void)wire_get_u64(&r);
        sent->transfer = wire_get_u64(&r);
        sent->bodies += kind == IMAGE_BODY;
        sent->zeros += kind == IMAGE_BODY && wire_left(&r) == sizeof(uint64_t) + PICK_LOST_BYTES;
        sent->parts += kind == IMAGE_PART;
        sent->ended = sent->ended || kind == IMAGE_END;
    }
    frame_reader_fini(&reader);
    p->out.size = 0;
}

/* .. nothing, from now on. */
static void stand_still(uint16_t to)
{
    static const uint8_t junk[FULL_BYTES];
    wire_put(&peer_find(node, to)->out, junk, sizeof junk);
}

static void turn(void)
{
    io_turn(node->io, 1000000);
    images_turn(node);
}

/* The clock stands still until the next turn: they ask while others may join. */
static void ask_for(struct node_stripe *st, uint16_t to)
{
    while (st->still > 0) { /* one is made at a time */
        images_turn(node);
    }
    image_send(st, to);
}

static bool is_sent(struct node_stripe *st, uint16_t to)
{
    struct raft_progress progress;
    return raft_progress(st->raft, to, &progress) && progress.snapshot;
}

/* Until this one has all of its image, for so long at most. */
static bool arrives(uint16_t to, struct sent *sent, uint64_t patience_ns)
{
    for (uint64_t until = io_now_ns(node->io) + patience_ns; !sent->ended && io_now_ns(node->io) < until;) {
        turn();
        take(to, sent);
    }
    return sent->ended;
}

Test(image_send, a_follower_that_takes_nothing_holds_up_itself_alone)
{
    struct sent fast = {0};
    struct sent slow = {0};
    ask_for(&stripes[0], SLOW);
    ask_for(&stripes[0], FAST);
    cr_assert(is_sent(&stripes[0], SLOW) && is_sent(&stripes[0], FAST), "they get the same stripe together");
    take(SLOW, &slow);
    stand_still(SLOW);
    cr_assert(arrives(FAST, &fast, TEST_NS));
    cr_assert_eq(fast.bodies, RECORDS / 2);
    cr_assert(!slow.ended && is_sent(&stripes[0], SLOW));
    peer_find(node, SLOW)->out.size = 0;
    cr_assert(arrives(SLOW, &slow, TEST_NS));
    cr_assert(slow.bodies == fast.bodies && slow.parts == fast.parts, "nothing is left out and nothing comes twice");
    image_done(&stripes[0], FAST, fast.transfer, true);
    image_done(&stripes[0], SLOW, slow.transfer, true);
    cr_assert_eq(node->counts.images_sent, 2);
    cr_assert(!is_sent(&stripes[0], SLOW) && !is_sent(&stripes[0], FAST));
}

Test(image_send, a_follower_that_takes_nothing_does_not_keep_others_from_joining)
{
    struct sent fast = {0};
    struct sent slow = {0};
    ask_for(&stripes[0], SLOW);
    take(SLOW, &slow);
    stand_still(SLOW);
    for (uint64_t until = io_now_ns(node->io) + TEST_NS; io_now_ns(node->io) < until && !fast.ended;) {
        turn();
        if (!is_sent(&stripes[1], FAST)) {
            image_send(&stripes[1], FAST);
        }
        take(FAST, &fast);
    }
    cr_assert(fast.ended);
    cr_assert(is_sent(&stripes[0], SLOW) && !slow.ended);
}

Test(image_send, a_follower_that_takes_nothing_gives_its_memory_to_others)
{
    struct sent fast = {0};
    struct sent slow = {0};
    ask_for(&stripes[0], SLOW);
    ask_for(&stripes[0], FAST);
    take(SLOW, &slow);
    stand_still(SLOW);
    cr_assert(arrives(FAST, &fast, TEST_NS));
    cr_assert_not(list_empty(&node->images_behind));
    CONTAINER_OF(node->images_behind.next, struct image_out, link)->image_bytes = 1u << 30; /* as if it were large */
    image_send(&stripes[1], FAST);
    cr_assert(list_empty(&node->images_behind));
    cr_assert(is_sent(&stripes[1], FAST) && !is_sent(&stripes[0], SLOW));
}

static void on_held(void *ctx, const struct stripe_held *held)
{
    struct node_stripe *st                    = ctx;
    missed_add(node->repairs, st, held)->lost = true;
    st->lost++;
}

/* All records of a stripe, on every node. */
static void lose(struct node_stripe *st)
{
    static const uint8_t junk[BLOCK_PAGE_BYTES];
    struct stripe_walk   walk = {0};
    char                 path[160], name[SEGMENT_NAME_BYTES];
    repairs_make(node);
    while (!stripe_walk(st->stripe, &walk, 100, on_held, st)) {
    }
    cr_assert_eq(st->lost, RECORDS / 2);
    segment_name(SEGMENT, name);
    snprintf(path, sizeof path, "%s/%s", stage.wal, name);
    int fd = open(path, O_WRONLY);
    cr_assert(fd >= 0 && pwrite(fd, junk, sizeof junk, 0) == sizeof junk);
    close(fd);
}

/* What operators read of the stripe, and the sum of all of them. */
static bool is_told(const struct node_stripe *st)
{
    static struct stripe_status places[2];
    struct shard_status         status = {.stripes = places};
    node_status(node, &status);
    cr_assert_eq(status.values[STATUS_IMAGES_WITHHELD], (uint64_t)places[0].withheld + places[1].withheld);
    return places[st->id].withheld;
}

Test(image_send, what_no_node_has_is_a_hole_once_the_operator_accepts_it)
{
    struct sent sent = {0};
    stripes[0].led   = true;
    lose(&stripes[0]);
    image_send(&stripes[0], FAST);
    cr_assert(!is_sent(&stripes[0], FAST) && stripes[0].withheld_ns > 0, "it is the operator's decision");
    cr_assert(is_told(&stripes[0]) && !is_told(&stripes[1]));
    stripes[0].led = false;
    cr_assert_not(is_told(&stripes[0]), "its leader says so");
    stripes[0].led = true;
    stripes[0].withheld_ns -= LATER_NS;
    cr_assert_not(is_told(&stripes[0]), "nobody has asked for it any more");
    config.accept_damage = true;
    stripes[0].missed++; /* one that may be had yet */
    image_send(&stripes[0], FAST);
    cr_assert_not(is_sent(&stripes[0], FAST), "that one is waited for");
    stripes[0].missed--;
    ask_for(&stripes[0], FAST);
    cr_assert(arrives(FAST, &sent, TEST_NS));
    cr_assert(sent.bodies == RECORDS / 2 && sent.zeros == RECORDS / 2);
    image_done(&stripes[0], FAST, sent.transfer, true);
    repairs_clear(&stripes[0]);
    repairs_free(node);
}

Test(image_send, a_follower_that_holds_nobody_up_is_waited_for)
{
    struct sent slow = {0};
    ask_for(&stripes[0], SLOW);
    take(SLOW, &slow);
    stand_still(SLOW);
    for (uint64_t until = io_now_ns(node->io) + SOME_NS; io_now_ns(node->io) < until;) {
        turn();
    }
    cr_assert(list_empty(&node->images_behind) && is_sent(&stripes[0], SLOW));
    peer_find(node, SLOW)->out.size = 0;
    cr_assert(arrives(SLOW, &slow, TEST_NS));
    cr_assert_eq(slow.bodies, RECORDS / 2);
}
