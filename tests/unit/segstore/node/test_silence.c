/* Who waits for a slow disk here hears that this node lives. */
#include "segstore/node/state.h"

#include "shared/loop/io.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct node   *node;
static struct session session;

static void begin(void)
{
    char             why[1024];
    struct io_config config = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    node                    = calloc(1, sizeof *node);
    cr_assert_eq(io_open(&config, &node->io, why, sizeof why), 0, "%s", why);
    io_turn(node->io, 0); /* reads the clock */
    list_init(&node->sessions);
    list_init(&node->stalled);
    list_init(&node->dirty);
    session     = (struct session){.node = node, .state = SESSION_OPEN, .heard_ns = io_now_ns(node->io)};
    session.out = wire_writer_growing(1 << 20);
    list_push_back(&node->sessions, &session.link);
}

static void end(void)
{
    wire_writer_fini(&session.out);
    io_close(node->io);
    free(node);
}

TestSuite(node_silence, .init = begin, .fini = end);

/* The kind of the one frame that is said; 0: nothing is. */
static uint16_t said(void)
{
    struct wire_reader r = wire_reader_of(wire_written(&session.out));
    (void)wire_get_u32(&r);
    return wire_get_u16(&r);
}

Test(node_silence, a_node_whose_frames_wait_hears_that_this_one_lives)
{
    session.peer = 2;
    list_push_back(&node->stalled, &session.stalled_link);
    silence_turn(node);
    cr_assert_eq(said(), RPC_PONG);
    cr_assert_eq(session.out.size, RPC_HEADER_BYTES);
    silence_turn(node);
    cr_assert_eq(session.out.size, RPC_HEADER_BYTES, "not in every turn");
}

Test(node_silence, a_node_whose_frames_do_not_wait_hears_nothing)
{
    session.peer = 2;
    silence_turn(node);
    cr_assert_eq(said(), 0);
}

Test(node_silence, a_broker_whose_requests_wait_is_not_asked)
{
    list_push_back(&node->stalled, &session.stalled_link);
    silence_turn(node);
    cr_assert_eq(said(), 0);
}
