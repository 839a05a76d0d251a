/* test_uring_socket - real sockets over loopback. */
#include "shared/loop/io.h"

#include "shared/base/rand.h"
#include "shared/loop/thread.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static struct io *open_io(uint32_t sockets_max, uint32_t buffers)
{
    char             why[1024];
    struct io       *io     = NULL;
    struct io_config config = {
        .sockets_max = sockets_max, .recv_buffers = buffers, .recv_buffer_bytes = 16384, .cpu = -1};
    cr_assert_eq(io_open(&config, &io, why, sizeof why), 0, "%s", why);
    return io;
}

/* One end of a connection: sends all of out, then keeps what it receives. */
struct end {
    struct io        *io;
    struct io_socket *socket;
    uint8_t          *out;
    size_t            out_bytes, out_done, step;
    uint8_t          *in;
    size_t            in_bytes;
    int               connected, connect_result, sent, sent_error, closed, close_reason, moved;
    int64_t           handle;
    bool              echo, close_at_end;
    int               pieces;
};

static void end_send(struct end *end)
{
    struct iovec iov[64];
    int          count = 0;
    size_t       left  = end->out_bytes - end->out_done;
    size_t       at    = end->out_done;
    left               = end->step != 0 && left > end->step ? end->step : left;
    for (size_t each = left / (size_t)end->pieces + 1; left > 0; count++) {
        size_t size = left < each ? left : each;
        iov[count]  = (struct iovec){.iov_base = end->out + at, .iov_len = size};
        at += size;
        left -= size;
    }
    end->out_done = at;
    io_socket_send(end->socket, iov, count);
}

static void on_connected(void *ctx, int result)
{
    struct end *end = ctx;
    end->connected++;
    end->connect_result = result;
    if (result == 0 && end->out_bytes > 0) {
        end_send(end);
    }
}

static void on_received(void *ctx, struct bytes data)
{
    struct end *end = ctx;
    cr_assert_leq(end->in_bytes + data.size, 4 * MIB);
    memcpy(end->in + end->in_bytes, data.data, data.size);
    end->in_bytes += data.size;
}

static void on_sent(void *ctx, int result)
{
    struct end *end = ctx;
    end->sent++;
    end->sent_error = result;
    if (result != 0) {
        return;
    }
    if (end->out_done < end->out_bytes) {
        end_send(end);
    } else if (end->close_at_end) {
        io_socket_close(end->socket);
        end->socket = NULL;
    }
}

static void on_closed(void *ctx, int reason)
{
    struct end *end = ctx;
    end->closed++;
    end->close_reason = reason;
    end->socket       = NULL;
}

static const struct io_handler handler = {
    .connected = on_connected, .received = on_received, .sent = on_sent, .closed = on_closed};

static void end_init(struct end *end, struct io *io, size_t out_bytes, uint64_t seed)
{
    struct rand r;
    rand_init(&r, seed, 0);
    *end     = (struct end){.io = io, .out_bytes = out_bytes, .pieces = 1};
    end->in  = malloc(4 * MIB);
    end->out = malloc(out_bytes + 1);
    for (size_t i = 0; i < out_bytes; i++) {
        end->out[i] = (uint8_t)rand_u64(&r);
    }
}

static void end_fini(struct end *end)
{
    free(end->in);
    free(end->out);
}

struct server {
    struct end         *end; /* of the next connection */
    struct io_socket   *last;
    struct io_listener *listener;
    int                 accepted;
};

static void on_accepted(void *ctx, struct io_socket *socket)
{
    struct server *server = ctx;
    server->accepted++;
    server->last = socket;
    if (server->end != NULL) {
        server->end->socket = socket;
        io_socket_adopt(socket, &handler, server->end);
    }
}

static void server_open(struct server *server, struct io *io, struct end *end, bool movable)
{
    *server                    = (struct server){.end = end};
    struct io_listen_spec spec = {
        .address = "127.0.0.1", .backlog = 128, .accepted = on_accepted, .ctx = server, .movable = movable};
    cr_assert_eq(io_listen(io, &spec, &server->listener), 0);
    cr_assert_gt(io_listener_port(server->listener), 0);
}

static void connect_to(struct end *end, const struct server *server)
{
    end->socket = io_connect(end->io, "127.0.0.1", io_listener_port(server->listener), &handler, end);
}

/* Runs turns until the condition holds, ten seconds at most. */
#define RUN_UNTIL(io, condition)                             \
    do {                                                     \
        uint64_t give_up_ns = io_now_ns(io) + 10000000000u;  \
        while (!(condition) && io_now_ns(io) < give_up_ns) { \
            io_turn(io, io_now_ns(io) + 50000000);           \
        }                                                    \
        cr_assert(condition);                                \
    } while (0)

static void run_for(struct io *io, uint64_t ns)
{
    uint64_t until = io_now_ns(io) + ns;
    while (io_now_ns(io) < until) {
        io_turn(io, until);
    }
}

static void echo_both_ways(size_t bytes, uint32_t buffers, size_t step, int pieces)
{
    struct io    *io = open_io(16, buffers);
    struct server server;
    struct end    client, peer;
    end_init(&client, io, bytes, 1);
    end_init(&peer, io, bytes, 2);
    client.step   = step;
    client.pieces = peer.pieces = pieces;
    server_open(&server, io, &peer, false);
    connect_to(&client, &server);
    RUN_UNTIL(io, peer.socket != NULL);
    end_send(&peer);
    RUN_UNTIL(io, client.in_bytes == bytes && peer.in_bytes == bytes);
    cr_assert(memcmp(client.out, peer.in, bytes) == 0 && memcmp(peer.out, client.in, bytes) == 0);
    cr_assert_eq(client.connected, 1);
    RUN_UNTIL(io, peer.sent == 1);

    char text[64], expected[64];
    snprintf(expected, sizeof expected, "127.0.0.1:%u", io_listener_port(server.listener));
    cr_assert_str_eq(io_socket_peer(client.socket, text, sizeof text), expected);
    io_socket_peer(peer.socket, text, sizeof text);
    cr_assert_eq(strncmp(text, "127.0.0.1:", 10), 0);

    io_socket_close(client.socket);
    RUN_UNTIL(io, peer.closed == 1);
    cr_assert_eq(peer.close_reason, 0);
    cr_assert_eq(client.closed, 0, "no callbacks after io_socket_close");
    io_listener_close(server.listener);
    run_for(io, 10000000);
    io_close(io);
    end_fini(&client);
    end_fini(&peer);
}

Test(loop_uring_socket, a_mebibyte_goes_both_ways)
{
    echo_both_ways(MIB, 64, 0, 1);
}

Test(loop_uring_socket, a_mebibyte_goes_both_ways_in_many_pieces)
{
    echo_both_ways(MIB, 64, 0, 64);
    echo_both_ways(MIB, 64, 7777, 5);
}

Test(loop_uring_socket, nothing_is_lost_when_receive_buffers_run_out)
{
    echo_both_ways(3 * MIB, 1, 0, 3);
    echo_both_ways(3 * MIB, 2, 100000, 1);
}

Test(loop_uring_socket, a_paused_socket_receives_nothing_more_and_everything_after_it_resumes)
{
    struct io    *io = open_io(16, 8);
    struct server server;
    struct end    client, peer;
    end_init(&client, io, 4 * MIB, 3);
    end_init(&peer, io, 0, 4);
    server_open(&server, io, &peer, false);
    connect_to(&client, &server);
    for (int round = 0; round < 20; round++) {
        size_t before = peer.in_bytes;
        RUN_UNTIL(io, peer.in_bytes > before || peer.in_bytes == 4 * MIB);
        io_socket_receiving(peer.socket, false);
        run_for(io, 5000000); /* what was under way */
        size_t paused = peer.in_bytes;
        run_for(io, 20000000);
        cr_assert_eq(peer.in_bytes, paused);
        io_socket_receiving(peer.socket, true);
        io_socket_receiving(peer.socket, false);
        io_socket_receiving(peer.socket, true);
    }
    RUN_UNTIL(io, peer.in_bytes == 4 * MIB);
    cr_assert_eq(memcmp(peer.in, client.out, 4 * MIB), 0);
    io_close(io);
    end_fini(&client);
    end_fini(&peer);
}

Test(loop_uring_socket, a_refused_connect_is_told_once_and_the_place_is_free_again)
{
    struct io         *io      = open_io(2, 8);
    int                fd      = socket(AF_INET, SOCK_STREAM, 0); /* bound, not listening: refuses */
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t          size    = sizeof address;
    cr_assert_eq(bind(fd, (struct sockaddr *)&address, size), 0);
    getsockname(fd, (struct sockaddr *)&address, &size);
    for (int i = 0; i < 10; i++) {
        struct end client;
        end_init(&client, io, 0, 5);
        client.socket = io_connect(io, "127.0.0.1", ntohs(address.sin_port), &handler, &client);
        cr_assert_eq(client.connected, 0, "told later, not from within io_connect");
        RUN_UNTIL(io, client.connected == 1);
        cr_assert_eq(client.connect_result, -ECONNREFUSED);
        cr_assert_eq(client.closed, 0);
        run_for(io, 1000000);
        end_fini(&client);
    }
    close(fd);
    io_close(io);
}

Test(loop_uring_socket, a_connect_without_a_place_fails_and_one_that_is_closed_early_is_silent)
{
    struct io    *io = open_io(2, 8);
    struct server server;
    struct end    ends[4], none;
    server_open(&server, io, NULL, false);
    for (int i = 0; i < 4; i++) {
        end_init(&ends[i], io, 0, 6);
    }
    end_init(&none, io, 0, 7);
    server.end = &none;
    io_listener_accepting(server.listener, false);
    connect_to(&ends[0], &server);
    connect_to(&ends[1], &server);
    connect_to(&ends[2], &server); /* no place */
    connect_to(&ends[3], &server); /* no place, and no longer wanted */
    io_socket_close(ends[3].socket);
    RUN_UNTIL(io, ends[2].connected == 1);
    cr_assert_eq(ends[2].connect_result, -EMFILE);
    RUN_UNTIL(io, ends[0].connected == 1 && ends[1].connected == 1);
    cr_assert_eq(ends[3].connected, 0);
    io_socket_close(ends[0].socket);
    run_for(io, 2200000000);
    struct end early;
    end_init(&early, io, 0, 8);
    connect_to(&early, &server);
    io_socket_close(early.socket);
    run_for(io, 20000000);
    cr_assert_eq(early.connected, 0);
    io_close(io);
    for (int i = 0; i < 4; i++) {
        end_fini(&ends[i]);
    }
    end_fini(&none);
    end_fini(&early);
}

Test(loop_uring_socket, a_host_name_is_looked_up)
{
    struct io    *io = open_io(16, 8);
    struct server server;
    struct end    client, peer, lost, early;
    end_init(&client, io, 1000, 9);
    end_init(&peer, io, 0, 10);
    end_init(&lost, io, 0, 11);
    end_init(&early, io, 0, 12);
    server_open(&server, io, &peer, false);
    client.socket = io_connect(io, "localhost", io_listener_port(server.listener), &handler, &client);
    early.socket  = io_connect(io, "localhost", io_listener_port(server.listener), &handler, &early);
    io_socket_close(early.socket);
    lost.socket = io_connect(io, "no..such..host", 1, &handler, &lost);
    RUN_UNTIL(io, lost.connected == 1 && client.connected == 1);
    cr_assert_lt(lost.connect_result, 0);
    if (client.connect_result == 0) { /* where localhost is ::1 first, nobody listens */
        RUN_UNTIL(io, peer.in_bytes == 1000);
    }
    cr_assert_eq(early.connected, 0);
    io_close(io);
    end_fini(&client);
    end_fini(&peer);
    end_fini(&lost);
    end_fini(&early);
}

/* A client with plain system calls. */
static int plain_connect(const struct server *server)
{
    int                fd      = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family      = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port        = htons(io_listener_port(server->listener))};
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

Test(loop_uring_socket, a_last_packet_reaches_a_peer_whose_input_was_not_read)
{
    struct io    *io = open_io(16, 8);
    struct server server;
    struct end    peer;
    char          text[100];
    end_init(&peer, io, 10, 13);
    memcpy(peer.out, "disconnect", 10);
    server_open(&server, io, &peer, false);
    int fd = plain_connect(&server);
    RUN_UNTIL(io, peer.socket != NULL);
    io_socket_receiving(peer.socket, false);
    run_for(io, 5000000);
    for (int i = 0; i < 20; i++) { /* lies unread at the server: a plain close would answer with a reset */
        cr_assert_eq(write(fd, text, sizeof text), (ssize_t)sizeof text);
    }
    end_send(&peer);
    io_socket_close(peer.socket); /* in the same turn */
    free(peer.out);               /* the bytes are ours again */
    peer.out = NULL;
    run_for(io, 50000000);
    cr_assert_eq(write(fd, text, sizeof text), (ssize_t)sizeof text);
    run_for(io, 50000000);
    cr_assert_eq(recv(fd, text, sizeof text, 0), 10);
    cr_assert_eq(memcmp(text, "disconnect", 10), 0);
    cr_assert_eq(recv(fd, text, sizeof text, 0), 0, "an orderly end, no reset");
    cr_assert_eq(peer.closed + peer.sent, 0);
    close(fd);
    io_close(io);
    end_fini(&peer);
}

Test(loop_uring_socket, a_peer_that_goes_on_talking_after_our_goodbye_is_cut_off)
{
    struct io    *io = open_io(16, 8);
    struct server server;
    struct end    peer;
    static char   text[65536];
    end_init(&peer, io, 0, 14);
    server_open(&server, io, &peer, false);
    int talker = plain_connect(&server);
    RUN_UNTIL(io, peer.socket != NULL);
    io_socket_close(peer.socket);
    int sends = 0;
    while (sends < 100 && send(talker, text, sizeof text, MSG_NOSIGNAL | MSG_DONTWAIT) > 0) {
        sends++;
        run_for(io, 2000000);
    }
    cr_assert_lt(sends, 100, "64 KiB are drained, then the connection is reset");
    close(talker);

    peer.socket = NULL;
    int silent  = plain_connect(&server);
    RUN_UNTIL(io, peer.socket != NULL);
    io_socket_close(peer.socket);
    run_for(io, 2200000000);
    send(silent, text, 1, MSG_NOSIGNAL);
    run_for(io, 10000000);
    cr_assert_eq(send(silent, text, 1, MSG_NOSIGNAL), -1, "after two seconds nobody listens");
    close(silent);
    io_close(io);
    end_fini(&peer);
}

Test(loop_uring_socket, a_send_to_a_closed_peer_is_an_error_and_then_closed_is_told)
{
    struct io    *io = open_io(16, 8);
    struct server server;
    struct end    peer;
    end_init(&peer, io, 2 * MIB, 15);
    server_open(&server, io, &peer, false);
    int fd = plain_connect(&server);
    RUN_UNTIL(io, peer.socket != NULL);
    io_socket_receiving(peer.socket, false); /* only the send can notice */
    run_for(io, 5000000);
    struct linger hard = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
    end_send(&peer);
    RUN_UNTIL(io, peer.closed == 1);
    cr_assert_eq(peer.sent, 1);
    cr_assert_lt(peer.sent_error, 0);
    cr_assert_lt(peer.close_reason, 0);
    run_for(io, 5000000);
    cr_assert(peer.closed == 1 && peer.sent == 1);
    io_close(io);
    end_fini(&peer);
}

Test(loop_uring_socket, memory_of_a_send_that_is_stuck_is_free_once_closed_is_told)
{
    for (int by_us = 0; by_us < 2; by_us++) {
        for (int pieces = 1; pieces < 64; pieces += 40) {
            struct io    *io = open_io(16, 8);
            struct server server;
            struct end    peer;
            end_init(&peer, io, 64 * MIB, 16); /* more than the socket buffers hold */
            peer.pieces = pieces;
            server_open(&server, io, &peer, false);
            int fd = plain_connect(&server);
            RUN_UNTIL(io, peer.socket != NULL);
            end_send(&peer);
            run_for(io, 20000000);
            cr_assert_eq(peer.sent, 0, "the peer does not read");
            if (by_us) {
                io_socket_close(peer.socket);
            } else {
                shutdown(fd, SHUT_WR);
                RUN_UNTIL(io, peer.closed == 1);
            }
            memset(peer.out, 0xee, 64 * MIB);
            free(peer.out);
            peer.out = NULL;
            static uint8_t text[65536];
            ssize_t        got;
            while ((got = recv(fd, text, sizeof text, MSG_DONTWAIT)) > 0) {
                for (ssize_t i = 0; i + 8 <= got; i++) {
                    cr_assert(memcmp(text + i, "\xee\xee\xee\xee\xee\xee\xee\xee", 8) != 0, "freed memory was sent");
                }
                run_for(io, 1000000);
            }
            cr_assert_eq(peer.sent, 0);
            close(fd);
            io_close(io);
            end_fini(&peer);
        }
    }
}

static void on_moved(void *ctx, int64_t handle)
{
    struct end *end = ctx;
    end->moved++;
    end->handle = handle;
    end->socket = NULL;
}

Test(loop_uring_socket, a_moved_socket_loses_no_byte)
{
    struct io    *from = open_io(16, 8);
    struct io    *to   = open_io(16, 8);
    struct server server;
    struct end    client, first, second;
    end_init(&client, from, MIB, 17);
    end_init(&first, from, 0, 18);
    end_init(&second, to, 100000, 19);
    client.step = 1000;
    server_open(&server, from, &first, true);
    connect_to(&client, &server);
    RUN_UNTIL(from, first.in_bytes > 10000);
    io_socket_move(first.socket, on_moved, &first);
    cr_assert_eq(first.moved, 0, "told later");
    RUN_UNTIL(from, first.moved == 1);
    second.socket = io_socket_attach(to, first.handle);
    cr_assert_not_null(second.socket);
    char text[64];
    cr_assert_eq(strncmp(io_socket_peer(second.socket, text, sizeof text), "127.0.0.1:", 10), 0);
    io_socket_adopt(second.socket, &handler, &second);
    end_send(&second);
    uint64_t give_up = io_now_ns(from) + 10000000000u;
    while ((first.in_bytes + second.in_bytes < MIB || client.in_bytes < 100000) && io_now_ns(from) < give_up) {
        io_turn(from, io_now_ns(from) + 1000000);
        io_turn(to, io_now_ns(to) + 1000000);
    }
    cr_assert_eq(first.in_bytes + second.in_bytes, MIB);
    cr_assert_eq(memcmp(first.in, client.out, first.in_bytes), 0);
    cr_assert_eq(memcmp(second.in, client.out + first.in_bytes, second.in_bytes), 0);
    cr_assert_eq(memcmp(client.in, second.out, 100000), 0);
    cr_assert_eq(first.closed, 0);
    io_close(from);
    io_close(to);
    end_fini(&client);
    end_fini(&first);
    end_fini(&second);
}

Test(loop_uring_socket, beyond_a_full_table_connections_are_closed_until_there_is_a_place)
{
    struct io    *io = open_io(3, 8);
    struct server server;
    struct end    peers[8];
    int           fds[8];
    char          byte;
    server_open(&server, io, NULL, false);
    for (int i = 0; i < 8; i++) {
        end_init(&peers[i], io, 0, 20);
    }
    server.end = &peers[0];
    for (int i = 0; i < 3; i++) {
        fds[i] = plain_connect(&server);
        RUN_UNTIL(io, server.accepted == i + 1);
        server.end = &peers[i + 1];
    }
    int beyond = plain_connect(&server);
    RUN_UNTIL(io, io_turned_away(io) == 1);
    cr_assert_eq(recv(beyond, &byte, 1, MSG_DONTWAIT), 0, "it is closed");
    close(beyond);
    cr_assert_eq(server.accepted, 3);
    close(fds[0]);
    RUN_UNTIL(io, peers[0].closed == 1);
    fds[3] = plain_connect(&server);
    RUN_UNTIL(io, server.accepted == 4);
    cr_assert_eq(recv(fds[3], &byte, 1, MSG_DONTWAIT), -1);
    cr_assert_eq(errno, EAGAIN, "it is alive");
    io_listener_accepting(server.listener, false);
    close(fds[1]);
    RUN_UNTIL(io, peers[1].closed == 1);
    fds[4]     = plain_connect(&server);
    server.end = &peers[4];
    run_for(io, 20000000);
    cr_assert_eq(server.accepted, 4, "the listener does not accept");
    io_listener_accepting(server.listener, true);
    RUN_UNTIL(io, server.accepted == 5);
    io_close(io);
    for (int i = 0; i < 8; i++) {
        end_fini(&peers[i]);
    }
    for (int i = 2; i < 5; i++) {
        close(fds[i]);
    }
}

Test(loop_uring_socket, clients_leave_places_for_what_this_side_connects_to)
{
    struct io    *io = open_io(32, 8);
    struct server server;
    struct end    peers[33], own[2];
    int           fds[31];
    server_open(&server, io, NULL, false);
    for (int i = 0; i < 33; i++) {
        end_init(&peers[i], io, 0, 20);
    }
    for (int i = 0; i < 30; i++) {
        server.end = &peers[i];
        fds[i]     = plain_connect(&server);
        RUN_UNTIL(io, server.accepted == i + 1);
    }
    fds[30] = plain_connect(&server);
    RUN_UNTIL(io, io_turned_away(io) == 1);
    for (int i = 0; i < 2; i++) {
        end_init(&own[i], io, 0, 21);
        connect_to(&own[i], &server);
        RUN_UNTIL(io, own[i].connected == 1);
        cr_assert_eq(own[i].connect_result, 0);
    }
    io_close(io);
    for (int i = 0; i < 33; i++) {
        end_fini(&peers[i]);
    }
    for (int i = 0; i < 2; i++) {
        end_fini(&own[i]);
    }
    for (int i = 0; i < 31; i++) {
        close(fds[i]);
    }
}

Test(loop_uring_socket, places_come_back_after_thousands_of_connections)
{
    struct io    *io = open_io(8, 8);
    struct server server;
    struct end    peer;
    server_open(&server, io, NULL, false);
    for (int i = 0; i < 2000; i++) {
        end_init(&peer, io, 0, 21);
        server.end = &peer;
        int fd     = plain_connect(&server);
        RUN_UNTIL(io, peer.socket != NULL);
        if (i % 2 == 0) {
            close(fd);
            RUN_UNTIL(io, peer.closed == 1);
        } else {
            io_socket_close(peer.socket);
            char byte;
            while (recv(fd, &byte, 1, MSG_DONTWAIT) != 0) {
                io_turn(io, io_now_ns(io) + 1000000);
            }
            close(fd);
        }
        end_fini(&peer);
    }
    io_close(io);
}

Test(loop_uring_socket, an_address_that_cannot_be_bound_is_an_error)
{
    struct io            *io       = open_io(8, 8);
    struct io_listener   *listener = NULL;
    struct io_listen_spec spec     = {.address = "nonsense", .backlog = 1, .accepted = on_accepted};
    cr_assert_eq(io_listen(io, &spec, &listener), -EINVAL);
    spec.address = "192.0.2.1";
    cr_assert_eq(io_listen(io, &spec, &listener), -EADDRNOTAVAIL);
    spec.address = "127.0.0.1";
    cr_assert_eq(io_listen(io, &spec, &listener), 0);
    struct io_listener *second = NULL;
    spec.port                  = io_listener_port(listener);
    cr_assert_eq(io_listen(io, &spec, &second), -EADDRINUSE);
    io_close(io);
}
