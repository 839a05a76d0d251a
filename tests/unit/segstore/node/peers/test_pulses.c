/* What goes with the heartbeats of a shard: how strained producers are, there and here. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/state.h"

#include "shared/rpc/frame.h"

#include <criterion/criterion.h>
#include <stdlib.h>

Test(peers_pulses, nodes_tell_each_other_how_strained_their_producers_are)
{
    char             why[1024];
    struct io_config config = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct node     *node   = calloc(1, sizeof *node);
    struct peer      peer   = {.node = node, .state = PEER_UP, .out = wire_writer_growing(1 << 20)};
    cr_assert_eq(io_open(&config, &node->io, why, sizeof why), 0, "%s", why);
    io_turn(node->io, 0); /* reads the clock */
    pace_init(&node->own_transfer, 1 << 20, 1 << 30);
    node->transfer   = &node->own_transfer;
    node->peers      = &peer;
    node->peer_count = 1;
    node->strained   = 7;
    pulse_out_init(&peer.pulse_out, 8);
    pulse_in_init(&peer.pulse_in, 8);

    pulse_out_begin(&peer.pulse_out, 5);
    pulse_beat(&peer.pulse_out, 3, 1, 1, 1000);
    pulses_flush(node);
    struct bytes out = wire_written(&peer.out);
    cr_assert_gt(out.size, RPC_HEADER_BYTES);
    struct wire_reader tail = wire_reader_of(bytes_of(out.data + out.size - 4, 4));
    cr_assert_eq(wire_get_u32(&tail), 7, "the other end's are its own");

    uint8_t            frame[64];
    struct wire_writer w = wire_writer_fixed(frame, sizeof frame);
    wire_put_u64(&w, 9);
    wire_put_u32(&w, 1);
    wire_put_u64(&w, 1000);
    wire_put_u16(&w, 0);
    wire_put_u16(&w, 0);
    wire_put_u32(&w, 3 * PACE_ONE);
    pace_tell(node->transfer, PACE_ONE, io_now_ns(node->io)); /* ends the first step */
    struct wire_reader r = wire_reader_of(wire_written(&w));
    cr_assert_eq(pulse_receive(&peer, &r), 0);
    cr_assert_eq(node->transfer->strain, 3 * PACE_ONE, "what is sent from here yields to them");
    cr_assert_eq(node->strained, 7, "and they are not told of as producers of this node");

    pulse_in_fini(&peer.pulse_in);
    pulse_out_fini(&peer.pulse_out);
    wire_writer_fini(&peer.out);
    io_close(node->io);
    free(node);
}
