/* appendfloor - how fast this machine can make records durable that come over a socket, with nothing of a store around it: frames of the store's RPC
 * with records one behind the other are parsed, copied into blocks, checksummed, written with O_DIRECT and RWF_DSYNC, and acknowledged in order.
 *
 *   appendfloor FILE [DEPTH]      prints "port N"; serves until it is killed
 *
 * The file is filled with zeroes at the start and written from its front again when its end is reached: no file is made, grown or filled while it is
 * measured. Nothing of a frame is checked, no record is looked up, numbered or remembered. */
#include "shared/base/hash.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    FILE_BYTES  = 1 << 30,
    BLOCK_BYTES = 1 << 20,
    BLOCKS      = 32,
    HEAD_BYTES  = 64, /* of a block: its number and checksum */
    IN_BYTES    = 1 << 20,
    PEERS_MAX   = 64,
    ACKS_MAX    = 4096,
    TXN_BYTES   = 12, /* stripe, round, term */
    PAGE        = 4096,
};
enum { OP_RECV = 1, OP_SEND, OP_WRITE, OP_ACCEPT };

struct peer {
    int                fd;
    uint8_t           *in;
    size_t             used;
    bool               sending;
    struct wire_writer out, flying;
    size_t             sent;
};

struct ack {
    struct peer *peer;
    uint64_t     id;
};

struct block {
    uint8_t   *data;
    size_t     used;
    bool       flying, durable;
    struct ack acks[ACKS_MAX];
    unsigned   ack_count;
};

static struct {
    struct io_uring ring;
    int             listener, file;
    off_t           at;
    unsigned        depth, flying;
    uint64_t        number;
    struct block    blocks[BLOCKS];
    unsigned        oldest, current;
    struct peer     peers[PEERS_MAX];
    unsigned        peer_count;
    uint64_t        looked_at;
} run;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t tag_of(unsigned op, size_t number)
{
    return (uint64_t)op << 32 | number;
}

static struct io_uring_sqe *sqe(unsigned op, size_t number)
{
    struct io_uring_sqe *entry = io_uring_get_sqe(&run.ring);
    if (entry == NULL) {
        io_uring_submit(&run.ring);
        entry = io_uring_get_sqe(&run.ring);
    }
    entry->user_data = tag_of(op, number);
    return entry;
}

static void receive(struct peer *peer)
{
    struct io_uring_sqe *entry = sqe(OP_RECV, (size_t)(peer - run.peers));
    uint64_t             tag   = entry->user_data;
    io_uring_prep_recv(entry, peer->fd, peer->in + peer->used, IN_BYTES - peer->used, 0);
    entry->user_data = tag;
}

static void flush(struct peer *peer)
{
    if (peer->sending || (peer->flying.size == peer->sent && peer->out.size == 0)) {
        return;
    }
    if (peer->flying.size == peer->sent) {
        struct wire_writer empty = peer->flying;
        empty.size               = 0;
        peer->flying             = peer->out;
        peer->out                = empty;
        peer->sent               = 0;
    }
    struct io_uring_sqe *entry = sqe(OP_SEND, (size_t)(peer - run.peers));
    uint64_t             tag   = entry->user_data;
    io_uring_prep_send(entry, peer->fd, peer->flying.data + peer->sent, peer->flying.size - peer->sent, MSG_NOSIGNAL);
    entry->user_data = tag;
    peer->sending    = true;
}

static void welcome(struct peer *peer, uint64_t id)
{
    struct wire_writer *w     = &peer->out;
    size_t              begun = frame_begin(w, RPC_WELCOME, id);
    wire_put_u16(w, RPC_VERSION_MAJOR);
    wire_put_u16(w, RPC_VERSION_MINOR);
    wire_put_u64(w, 1);
    wire_put_u32(w, 0);
    wire_put_u32(w, 1);
    wire_put_u32(w, 1);
    wire_put_u32(w, 1u << 30);
    wire_put_u32(w, 1u << 20);
    wire_put_u16(w, 1);
    wire_put_u16(w, 0);
    wire_put_u16(w, 0);
    (void)frame_end(w, begun);
}

static void acknowledge(const struct ack *ack)
{
    struct wire_writer *w     = &ack->peer->out;
    size_t              begun = frame_begin(w, RPC_TXN_DONE, ack->id);
    wire_put_u32(w, 0);
    (void)frame_end(w, begun);
}

/* The records of a frame go into the current block, or into the next when that is full. */
static void take(struct peer *peer, uint64_t id, const uint8_t *records, size_t size)
{
    uint64_t seen = 0;
    for (size_t at = 0; at + 16 <= size;) {
        uint32_t record;
        uint64_t word;
        memcpy(&record, records + at, sizeof record);
        memcpy(&word, records + at + 8, sizeof word);
        seen += word;
        at += record;
        if (record == 0) {
            die("a record of no size");
        }
    }
    run.looked_at += seen;
    struct block *block = &run.blocks[run.current];
    if (block->flying || block->used + size > BLOCK_BYTES || block->ack_count == ACKS_MAX) {
        run.current = (run.current + 1) % BLOCKS;
        block       = &run.blocks[run.current];
        if (block->flying || block->used > HEAD_BYTES) {
            die("more under way than there are blocks");
        }
    }
    memcpy(block->data + block->used, records, size);
    block->used += size;
    block->acks[block->ack_count++] = (struct ack){.peer = peer, .id = id};
}

static void received(struct peer *peer, size_t size)
{
    size_t at = 0;
    peer->used += size;
    while (peer->used - at >= RPC_HEADER_BYTES) {
        struct rpc_header header;
        memcpy(&header, peer->in + at, sizeof header);
        if (peer->used - at < RPC_HEADER_BYTES + header.size) {
            break;
        }
        if (header.kind == RPC_HELLO) {
            welcome(peer, header.id);
        } else {
            take(peer, header.id, peer->in + at + RPC_HEADER_BYTES + TXN_BYTES, header.size - TXN_BYTES);
        }
        at += RPC_HEADER_BYTES + header.size;
    }
    memmove(peer->in, peer->in + at, peer->used - at);
    peer->used -= at;
    receive(peer);
}

static void write_some(void)
{
    for (unsigned i = 0; i < BLOCKS && run.flying < run.depth; i++) {
        unsigned      number = (run.oldest + i) % BLOCKS;
        struct block *block  = &run.blocks[number];
        if (block->flying) {
            continue;
        }
        if (block->used == HEAD_BYTES) {
            return;
        }
        size_t size = (block->used + PAGE - 1) / PAGE * PAGE;
        memset(block->data + block->used, 0, size - block->used);
        uint64_t checksum = hash_bytes(bytes_of(block->data + HEAD_BYTES, block->used - HEAD_BYTES));
        run.number++;
        memcpy(block->data, &run.number, sizeof run.number);
        memcpy(block->data + 8, &checksum, sizeof checksum);
        if (run.at + (off_t)size > FILE_BYTES) {
            run.at = 0;
        }
        struct io_uring_sqe *entry = sqe(OP_WRITE, number);
        uint64_t             tag   = entry->user_data;
        io_uring_prep_write(entry, run.file, block->data, (unsigned)size, (uint64_t)run.at);
        entry->rw_flags  = RWF_DSYNC;
        entry->user_data = tag;
        run.at += (off_t)size;
        block->flying = true;
        run.flying++;
        if (number == run.current) {
            run.current = (run.current + 1) % BLOCKS;
        }
    }
}

/* Acknowledged is what is durable with all before it. */
static void written(struct block *block)
{
    block->durable = true;
    run.flying--;
    for (struct block *oldest = &run.blocks[run.oldest]; oldest->durable; oldest = &run.blocks[run.oldest]) {
        for (unsigned i = 0; i < oldest->ack_count; i++) {
            acknowledge(&oldest->acks[i]);
        }
        oldest->durable = oldest->flying = false;
        oldest->used                     = HEAD_BYTES;
        oldest->ack_count                = 0;
        run.oldest                       = (run.oldest + 1) % BLOCKS;
    }
}

static void accepted(int fd)
{
    int          on   = 1;
    struct peer *peer = &run.peers[run.peer_count++ % PEERS_MAX];
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (peer->in == NULL) {
        peer->in     = malloc(IN_BYTES);
        peer->out    = wire_writer_growing(IN_BYTES);
        peer->flying = wire_writer_growing(IN_BYTES);
    }
    peer->fd   = fd;
    peer->used = 0;
    receive(peer);
    struct io_uring_sqe *entry = sqe(OP_ACCEPT, 0);
    uint64_t             tag   = entry->user_data;
    io_uring_prep_accept(entry, run.listener, NULL, NULL, 0);
    entry->user_data = tag;
}

static void completed(const struct io_uring_cqe *cqe)
{
    unsigned op     = (unsigned)(cqe->user_data >> 32);
    unsigned number = (unsigned)cqe->user_data;
    switch (op) {
    case OP_ACCEPT:
        accepted(cqe->res);
        break;
    case OP_RECV:
        if (cqe->res > 0) {
            received(&run.peers[number], (size_t)cqe->res);
        }
        break;
    case OP_SEND:
        run.peers[number].sending = false;
        run.peers[number].sent += cqe->res > 0 ? (size_t)cqe->res : run.peers[number].flying.size;
        break;
    default:
        if (cqe->res <= 0) {
            die("write");
        }
        written(&run.blocks[number]);
    }
}

static void open_file(const char *path)
{
    uint8_t *zeros = aligned_alloc(PAGE, BLOCK_BYTES);
    run.file       = open(path, O_RDWR | O_CREAT | O_TRUNC | O_DIRECT | O_CLOEXEC, 0600);
    if (run.file < 0 || zeros == NULL) {
        die(path);
    }
    memset(zeros, 0, BLOCK_BYTES);
    for (off_t at = 0; at < FILE_BYTES; at += BLOCK_BYTES) {
        if (pwrite(run.file, zeros, BLOCK_BYTES, at) != BLOCK_BYTES) {
            die("fill");
        }
    }
    fsync(run.file);
    unlink(path);
    free(zeros);
    for (unsigned i = 0; i < BLOCKS; i++) {
        run.blocks[i].data = aligned_alloc(PAGE, BLOCK_BYTES + PAGE);
        run.blocks[i].used = HEAD_BYTES;
        if (run.blocks[i].data == NULL) {
            die("memory");
        }
        memset(run.blocks[i].data, 0, BLOCK_BYTES + PAGE);
    }
}

int main(int argc, char **argv)
{
    struct sockaddr_in     address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t              size    = sizeof address;
    struct io_uring_params params  = {.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN};
    if (argc < 2) {
        fprintf(stderr, "appendfloor FILE [DEPTH]\n");
        return 2;
    }
    run.depth = argc > 2 ? (unsigned)atoi(argv[2]) : 2;
    open_file(argv[1]);
    run.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (run.listener < 0 || bind(run.listener, (const void *)&address, sizeof address) != 0 ||
        listen(run.listener, PEERS_MAX) != 0 || getsockname(run.listener, (void *)&address, &size) != 0 ||
        io_uring_queue_init_params(256, &run.ring, &params) != 0) {
        die("start");
    }
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    int first = accept(run.listener, NULL, NULL);
    if (first < 0) {
        die("accept");
    }
    accepted(first);
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned             head, count = 0;
        for (unsigned i = 0; i < run.peer_count && i < PEERS_MAX; i++) {
            flush(&run.peers[i]);
        }
        if (io_uring_submit_and_wait(&run.ring, 1) < 0) {
            die("wait");
        }
        io_uring_for_each_cqe(&run.ring, head, cqe)
        {
            completed(cqe);
            count++;
        }
        io_uring_cq_advance(&run.ring, count);
        write_some();
    }
}
