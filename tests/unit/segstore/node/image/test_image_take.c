/* A follower that waits for an image asks for it, and again when its leader has fallen silent over it. */
#include "segstore/node/image/image.h"
#include "segstore/node/peers/peers.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(image_take, a_follower_asks_again_when_nothing_of_its_image_comes)
{
    char                         why[1024];
    struct io_config             io      = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    const struct segstore_config config  = {.node = 1, .shards = 1, .nodes = {{.id = 2}}};
    const struct raft_options    options = {.self = 1, .heartbeat_ns = 100, .election_ns = 1000, .lease_ns = 900};
    const struct raft_stored     stored  = {.term = 1, .members = {.voters = {1, 2, 3}, .voter_count = 3}};
    struct peer        peer   = {.spec = &config.nodes[0], .state = PEER_UP, .out = wire_writer_growing(1 << 20)};
    struct node       *node   = calloc(1, sizeof *node);
    struct node_stripe stripe = {.node = node};
    struct image_in    in     = {.from = 3};
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    io_turn(node->io, 0);
    node->config     = &config;
    node->peers      = &peer;
    node->peer_count = 1;
    stripe.raft      = raft_new(&options, &(struct raft_hooks){0});
    raft_restore(stripe.raft, &stored);
    stripe.image_in = &in;
    in.heard_ns     = 0; /* long ago */
    image_ask(&stripe);
    cr_assert_eq(peer.out.size, 0, "nobody leads");
    raft_start(stripe.raft, io_now_ns(node->io));
    const struct raft_message append = {.kind = RAFT_APPEND, .from = 2, .to = 1, .term = 1};
    (void)raft_append(stripe.raft, &append, io_now_ns(node->io));
    cr_assert_eq(raft_leader(stripe.raft), 2);
    in.heard_ns = io_now_ns(node->io);
    image_ask(&stripe);
    cr_assert_eq(peer.out.size, 0, "it comes");
    in.heard_ns = 0;
    image_ask(&stripe);
    size_t asked = peer.out.size;
    cr_assert_gt(asked, 0);
    image_ask(&stripe);
    cr_assert_eq(peer.out.size, asked, "it has time to come");
    stripe.image_in = NULL;
    image_ask(&stripe);
    cr_assert_gt(peer.out.size, asked, "none is under way");
    raft_free(stripe.raft);
    wire_writer_fini(&peer.out);
    io_close(node->io);
    free(node);
}
