/* append - producers that send batches of records to a segment store over its RPC, each batch one transaction, and count what was acknowledged.
 *
 *   append --port N [--rate RECORDS] [--producers 16] [--window 1] [--connections 1] [--batch 16384] [--record 64] [--form run] [--seconds 3] [--pids a,b]
 *
 * --window   batches that one producer has under way        --batch   bytes of records in one        --record   bytes of one, header and topic included
 * --form     run: one APPEND_RUN a batch; ops: one APPEND a record; dense: nothing but records, which only appendfloor understands
 *
 * --rate     open loop: so many records a second in all, latency from when a batch should have been sent; else each answer brings the next batch
 * --mib      ends when so much of records was acknowledged, however long that takes
 * --streams  makes so many streams, in transactions of STREAMS_AT_ONCE, says what memory they took (of the first of --pids) and ends
 * --shard    of the store, 0: the stripes of no other are used
 * --keep     records that a stream keeps, 0: all. The rest is trimmed, as a reader would that keeps up
 *
 * Every producer is an idempotent writer with a stream of its own, on the stripes that this shard leads, by turns. Each answer is looked at: all offsets must follow one another from 0 on. Latency is that of a batch, from its
 * first byte offered to the socket. One line of JSON at the end. */
#include "bench/load/hist.h"
#include "bench/load/usage.h"
#include "shared/base/err.h"
#include "shared/record/record.h"
#include "shared/rpc/frame.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

enum {
    PRODUCERS_MAX   = 256,
    CONNECTIONS_MAX = 64,
    WINDOW_MAX      = 64,
    STRIPES_MAX     = 4096,
    PIDS_MAX        = 8,
    IN_BYTES        = 1 << 20,
    OUT_BYTES       = 64 << 20,
    APPEND_RESULT   = 13, /* duplicate, count, one offset */
    SEQUENCE_AT     = OP_HEADER_BYTES + 16,
    STREAM_AT       = OP_HEADER_BYTES + 28,
    TRIM_OFFSET_AT  = OP_HEADER_BYTES + 8,
    TRIM_KEEPS      = 1 << 14,
    STREAMS_AT_ONCE = 512,
    DUE_MAX         = 1 << 14, /* batches of one producer that wait for their turn */
    TXN_BYTES       = 12,      /* stripe, round, term */
};
static const uint64_t WARM_NS = 700000000;

enum form { FORM_RUN, FORM_OPS, FORM_DENSE };
static const char *const form_names[] = {[FORM_RUN] = "run", [FORM_OPS] = "ops", [FORM_DENSE] = "dense"};

struct producer {
    unsigned number, connection, waiting; /* waiting: batches under way */
    uint16_t stripe;
    uint64_t stream, sequence, next_id, acked; /* batches */
    uint8_t *frame;
    size_t   frame_bytes;
    uint64_t sent_ns[WINDOW_MAX];
    uint64_t due_ns[DUE_MAX]; /* of batches that are late */
    uint64_t due_first, due_end;
    bool     moved; /* its stripe is led elsewhere: it has stopped */
};

struct connection {
    int                fd;
    struct wire_writer out;
    size_t             sent;
    bool               blocked;
    uint8_t           *in;
    size_t             used;
};

static struct {
    unsigned  port, shard, producers, window, connections, batch, record, cpu, keep;
    double    rate;
    uint64_t  mib, streams;
    enum form form;
    double    seconds;
    int       pids[PIDS_MAX], pid_count;
} opt = {.producers   = 16,
         .window      = 1,
         .connections = 1,
         .batch       = 16384,
         .record      = 64,
         .cpu         = 1,
         .keep        = TRIM_KEEPS,
         .seconds     = 3};

static struct {
    int               epoll;
    struct producer   producers[PRODUCERS_MAX];
    struct connection connections[CONNECTIONS_MAX];
    uint64_t          terms[STRIPES_MAX];
    uint16_t          led[STRIPES_MAX]; /* by the node that we talk to */
    uint32_t          led_count;
    uint64_t          next_due_ns;
    unsigned          next_producer, moved;
    uint64_t          acked_bytes;
    uint32_t          stripe_count, per_batch, op_bytes, ops_at;
    struct hist       latency;
    bool              measuring;
    uint64_t          records;
} run;

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "append: %s (%s)\n", what, strerror(errno));
    exit(1);
}

/* ---- one question, one answer, before the load begins ---- */

static struct bytes ask(struct connection *c, uint16_t kind, struct bytes body, uint16_t *out_kind)
{
    static uint8_t     memory[RPC_HEADER_BYTES + 65536];
    struct wire_writer w     = wire_writer_fixed(memory, sizeof memory);
    size_t             begun = frame_begin(&w, kind, 1);
    wire_put_bytes(&w, body);
    if (frame_end(&w, begun) < 0 || send(c->fd, memory, w.size, MSG_NOSIGNAL) != (ssize_t)w.size) {
        die("cannot ask");
    }
    for (c->used = 0;;) {
        ssize_t got = recv(c->fd, c->in + c->used, IN_BYTES - c->used, 0);
        if (got <= 0) {
            die("no answer");
        }
        c->used += (size_t)got;
        struct rpc_header header;
        memcpy(&header, c->in, sizeof header);
        if (c->used >= RPC_HEADER_BYTES && c->used >= RPC_HEADER_BYTES + (size_t)header.size) {
            *out_kind = header.kind;
            c->used   = 0;
            return bytes_of(c->in + RPC_HEADER_BYTES, header.size);
        }
    }
}

static void say_hello(struct connection *c, unsigned number)
{
    uint8_t            memory[64];
    uint16_t           kind;
    struct wire_writer w = wire_writer_fixed(memory, sizeof memory);
    wire_put_u32(&w, RPC_MAGIC);
    wire_put_u16(&w, RPC_VERSION_MAJOR);
    wire_put_u16(&w, RPC_VERSION_MINOR);
    wire_put_u64(&w, 4711);
    wire_put_u64(&w, number + 1);
    wire_put_u32(&w, opt.shard);
    struct wire_reader r = wire_reader_of(ask(c, RPC_HELLO, wire_written(&w), &kind));
    (void)wire_get(&r, 2 + 2 + 8 + 4 + 4);
    run.stripe_count = wire_get_u32(&r);
    (void)wire_get(&r, 4 + 4);
    uint16_t node = wire_get_u16(&r);
    for (uint16_t nodes = wire_get_u16(&r); nodes > 0 && !r.bad; nodes--) {
        (void)wire_get(&r, 4);
        (void)wire_get_blob(&r);
    }
    run.led_count = 0;
    for (uint16_t leaders = wire_get_u16(&r); leaders > 0 && !r.bad; leaders--) {
        uint16_t stripe        = wire_get_u16(&r) % STRIPES_MAX;
        uint16_t leader        = wire_get_u16(&r);
        run.terms[stripe]      = wire_get_u64(&r);
        run.led[run.led_count] = stripe;
        run.led_count += leader == node;
    }
    if (kind != RPC_WELCOME || r.bad || (run.led_count == 0 && opt.form != FORM_DENSE)) {
        die("the store does not welcome us");
    }
}

static void open_connection(struct connection *c, unsigned number)
{
    int                on     = 1;
    struct sockaddr_in server = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd  = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    c->in  = malloc(IN_BYTES);
    c->out = wire_writer_growing(OUT_BYTES);
    if (c->in == NULL || c->fd < 0 || connect(c->fd, (const void *)&server, sizeof server) != 0) {
        die("cannot connect");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    say_hello(c, number);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(run.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0) {
        die("epoll");
    }
}

static void txn_begin(struct wire_writer *w, const struct producer *p)
{
    wire_put_u16(w, p->stripe);
    wire_put_u16(w, 1);
    wire_put_u64(w, run.terms[p->stripe]);
}

static void make_stream(struct producer *p)
{
    uint8_t            memory[256];
    char               name[64];
    uint16_t           kind;
    struct wire_writer w = wire_writer_fixed(memory, sizeof memory);
    snprintf(name, sizeof name, "bench/append/%d/%u", (int)getpid(), p->number);
    txn_begin(&w, p);
    op_encode(&w, &(struct op){.kind = OP_STREAM_CREATE, .name = bytes_str(name)});
    struct wire_reader r      = wire_reader_of(ask(&run.connections[p->connection], RPC_TXN, wire_written(&w), &kind));
    uint32_t           status = wire_get_u32(&r);
    p->stream                 = wire_get_u64(&r);
    if (kind != RPC_TXN_DONE || status != 0 || r.bad) {
        die(status != 0 ? err_sentence((int)status) : "the store does not understand how a stream is made");
    }
}

static void make_streams(void)
{
    static uint8_t memory[65000];
    uint64_t       rss   = process_rss(opt.pids[0]);
    uint64_t       began = now_ns();
    for (uint64_t made = 0; made < opt.streams; made += STREAMS_AT_ONCE) {
        struct producer    p = {.stripe = run.led[made / STREAMS_AT_ONCE % run.led_count]};
        struct wire_writer w = wire_writer_fixed(memory, sizeof memory);
        uint16_t           kind;
        txn_begin(&w, &p);
        for (uint64_t i = made; i < made + STREAMS_AT_ONCE; i++) {
            char name[64];
            snprintf(name, sizeof name, "bench/streams/%010llu", (unsigned long long)i);
            op_encode(&w, &(struct op){.kind = OP_STREAM_CREATE, .name = bytes_str(name)});
        }
        struct wire_reader r      = wire_reader_of(ask(&run.connections[0], RPC_TXN, wire_written(&w), &kind));
        int                status = (int)wire_get_u32(&r);
        if (kind != RPC_TXN_DONE || status != 0) {
            die(err_sentence(status));
        }
    }
    double bytes = (double)process_rss(opt.pids[0]) - (double)rss;
    printf("{\"streams\":%llu,\"seconds\":%.1f,\"bytes_each\":%.1f}\n", (unsigned long long)opt.streams,
           (double)(now_ns() - began) / 1e9, bytes / (double)opt.streams);
}

/* No other producer's, of this process or another. */
static uint64_t writer_of(const struct producer *p)
{
    return (uint64_t)getpid() << 16 | (p->number + 1);
}

/* ---- a batch, made once; what changes is written over ---- */

static void make_frame(struct producer *p)
{
    static const char  payload[65536];
    size_t             room = (size_t)opt.batch * 4 + 65536;
    struct wire_writer w    = wire_writer_fixed(malloc(room), room);
    char               topic[16];
    snprintf(topic, sizeof topic, "bench/%02u", p->number % 100);
    struct record record = {.qos             = 1,
                            .publish_wall_ns = 1,
                            .topic           = bytes_str(topic),
                            .payload         = bytes_of(payload, opt.record - RECORD_HEADER_BYTES - strlen(topic))};
    size_t        begun  = frame_begin(&w, RPC_TXN, 0);
    txn_begin(&w, p);
    if (opt.form != FORM_DENSE) {
        op_encode(&w, &(struct op){.kind = OP_TRIM, .stream_id = p->stream});
    }
    run.ops_at = (uint32_t)w.size;
    size_t op  = opt.form == FORM_RUN ? op_run_begin(&w, writer_of(p), 1, 0) : 0;
    for (uint32_t i = 0; i < run.per_batch; i++) {
        size_t at = w.size;
        if (opt.form == FORM_DENSE) {
            uint8_t *room_for = wire_reserve(&w, opt.record);
            if (room_for != NULL) {
                record_encode(&record, room_for);
            }
        } else if (opt.form == FORM_RUN) {
            op_run_add(&w, p->stream, (struct bytes){0}, &record);
        } else {
            size_t append = op_append_begin(&w, writer_of(p), 1, 0);
            op_append_target(&w, p->stream, (struct bytes){0});
            op_append_end(&w, append, 1, &record);
        }
        run.op_bytes = (uint32_t)(w.size - at);
    }
    if (opt.form == FORM_RUN) {
        op_run_end(&w, op, run.per_batch);
    }
    if (frame_end(&w, begun) < 0) {
        die("a batch does not fit a frame");
    }
    p->frame       = w.data;
    p->frame_bytes = w.size;
}

static void offer(struct producer *p, uint64_t began_ns)
{
    struct connection *c     = &run.connections[p->connection];
    uint64_t           id    = (uint64_t)p->number << 48 | p->next_id;
    uint64_t           first = p->sequence;
    memcpy(p->frame + 8, &id, sizeof id);
    if (opt.form != FORM_DENSE) {
        uint8_t *op = p->frame + run.ops_at;
        for (uint32_t i = 0; i < run.per_batch; i++, op += run.op_bytes) {
            p->sequence++;
            if (i == 0 || opt.form == FORM_OPS) {
                memcpy(op + SEQUENCE_AT, &p->sequence, sizeof p->sequence);
            }
        }
        uint64_t trim = opt.keep != 0 && first > opt.keep ? first - opt.keep : 0;
        memcpy(p->frame + RPC_HEADER_BYTES + TXN_BYTES + TRIM_OFFSET_AT, &trim, sizeof trim);
    }
    frame_seal(p->frame);
    p->sent_ns[p->next_id % WINDOW_MAX] = began_ns;
    p->next_id++;
    p->waiting++;
    wire_put(&c->out, p->frame, p->frame_bytes);
}

static void flush(struct connection *c)
{
    if (c->out.bad) {
        die("the store does not keep up with its own grants");
    }
    while (c->sent < c->out.size) {
        ssize_t sent = send(c->fd, c->out.data + c->sent, c->out.size - c->sent, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN) {
            die("the connection broke");
        }
        if (sent < 0) {
            break;
        }
        c->sent += (size_t)sent;
    }
    bool all = c->sent == c->out.size;
    if (all) {
        c->sent = c->out.size = 0;
    }
    if (c->blocked == all) {
        struct epoll_event event = {.events = all ? EPOLLIN : EPOLLIN | EPOLLOUT, .data.ptr = c};
        epoll_ctl(run.epoll, EPOLL_CTL_MOD, c->fd, &event);
        c->blocked = !all;
    }
}

/* Offsets go on where those of the batch before ended. */
static bool follows(const struct producer *p, struct bytes results)
{
    uint64_t first = p->acked * run.per_batch;
    if (opt.form == FORM_DENSE) {
        return true;
    }
    if (opt.form == FORM_RUN) { /* no duplicates, one range */
        struct wire_reader r     = wire_reader_of(results);
        bool               whole = wire_get_u32(&r) == 0 && wire_get_u32(&r) == 1 && wire_get_u64(&r) == first;
        return whole && wire_get_u32(&r) == run.per_batch && !r.bad;
    }
    if (results.size != (size_t)run.per_batch * APPEND_RESULT) {
        return false;
    }
    for (uint32_t i = 0; i < run.per_batch; i++) {
        uint64_t offset;
        memcpy(&offset, results.data + (size_t)i * APPEND_RESULT + 5, sizeof offset);
        if (offset != first + i || results.data[(size_t)i * APPEND_RESULT] != 0) {
            return false;
        }
    }
    return true;
}

static void answered(struct connection *c, const struct rpc_header *header, struct bytes body)
{
    struct producer   *p      = &run.producers[header->id >> 48];
    struct wire_reader r      = wire_reader_of(body);
    uint32_t           status = wire_get_u32(&r);
    if (header->kind == RPC_PING) {
        size_t begun = frame_begin(&c->out, RPC_PONG, header->id);
        (void)frame_end(&c->out, begun);
        return;
    }
    if (header->kind == RPC_LEADERS) {
        return;
    }
    if (header->kind == RPC_TXN_DONE && (int)status == ERR_NOT_LEADER) { /* another node leads its stripe from now on */
        run.moved += !p->moved;
        p->moved = true;
        return;
    }
    if (header->kind != RPC_TXN_DONE || status != 0 || (header->id & 0xffffffffffff) != p->acked ||
        !follows(p, bytes_of(r.at, wire_left(&r)))) {
        fprintf(stderr, "append: kind %u, status %d, batch %llu of producer %u\n", header->kind, (int)status,
                (unsigned long long)p->acked, p->number);
        exit(1);
    }
    if (run.measuring) {
        hist_add(&run.latency, now_ns() - p->sent_ns[p->acked % WINDOW_MAX]);
        run.records += run.per_batch;
    }
    p->acked++;
    run.acked_bytes += (uint64_t)run.per_batch * opt.record;
    p->waiting--;
    if (opt.rate == 0) {
        offer(p, now_ns());
    } else if (p->due_first < p->due_end) {
        offer(p, p->due_ns[p->due_first++ % DUE_MAX]);
    }
}

static void received(struct connection *c)
{
    ssize_t got = recv(c->fd, c->in + c->used, IN_BYTES - c->used, MSG_DONTWAIT);
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        die("the connection broke");
    }
    size_t at = 0;
    c->used += (size_t)got;
    while (c->used - at >= RPC_HEADER_BYTES) {
        struct rpc_header header;
        memcpy(&header, c->in + at, sizeof header);
        if (c->used - at < RPC_HEADER_BYTES + (size_t)header.size) {
            break;
        }
        answered(c, &header, bytes_of(c->in + at + RPC_HEADER_BYTES, header.size));
        at += RPC_HEADER_BYTES + header.size;
    }
    memmove(c->in, c->in + at, c->used - at);
    c->used -= at;
}

/* Open loop: whose turn it is sends, or will as soon as it may. How long until the next turn. */
static uint64_t take_turns(uint64_t now)
{
    if (opt.rate == 0) {
        return 100000000;
    }
    run.next_due_ns = run.next_due_ns == 0 ? now : run.next_due_ns;
    for (; run.next_due_ns <= now; run.next_due_ns += (uint64_t)(run.per_batch * 1e9 / opt.rate)) {
        struct producer *p = &run.producers[run.next_producer++ % opt.producers];
        if (p->moved) {
            continue;
        }
        if (p->waiting < opt.window) {
            offer(p, run.next_due_ns);
        } else if (p->due_end - p->due_first < DUE_MAX) {
            p->due_ns[p->due_end++ % DUE_MAX] = run.next_due_ns;
        } else {
            die("the store is too slow for this rate");
        }
    }
    for (unsigned i = 0; i < opt.connections; i++) {
        flush(&run.connections[i]);
    }
    return run.next_due_ns - now;
}

static volatile sig_atomic_t told_to_end;

static void end_soon(int number)
{
    (void)number;
    told_to_end = 1;
}

static void play_until(uint64_t end_ns)
{
    struct epoll_event events[CONNECTIONS_MAX];
    for (uint64_t now;
         told_to_end == 0 && (now = now_ns()) < end_ns && (opt.mib == 0 || run.acked_bytes < opt.mib << 20);) {
        struct timespec wait  = {.tv_nsec = (long)take_turns(now)};
        int             count = epoll_pwait2(run.epoll, events, CONNECTIONS_MAX, &wait, NULL);
        for (int i = 0; i < count; i++) {
            struct connection *c = events[i].data.ptr;
            if ((events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0) {
                received(c);
            }
            flush(c);
        }
    }
}

static double all_cpu_us(void)
{
    double sum = 0;
    for (int i = 0; i < opt.pid_count; i++) {
        sum += process_cpu_us(opt.pids[i]);
    }
    return sum;
}

static void measure(void)
{
    signal(SIGTERM, end_soon); /* the figures of what was measured until then */
    play_until(now_ns() + WARM_NS);
    double   cpu = all_cpu_us(), own = process_cpu_us((int)getpid());
    uint64_t began_ns = now_ns();
    run.measuring     = true;
    play_until(began_ns + (uint64_t)(opt.seconds * 1e9));
    double took_s = (double)(now_ns() - began_ns) / 1e9;
    cpu           = all_cpu_us() - cpu;
    own           = process_cpu_us((int)getpid()) - own;
    uint64_t rss  = opt.pid_count > 0 ? process_rss(opt.pids[0]) : 0;
    printf("{\"form\":\"%s\",\"batch\":%u,\"record\":%u,\"window\":%u,\"connections\":%u,\"records_per_s\":%.0f,\"mb_"
           "per_s\":%.1f,\"p50_us\":%.1f,"
           "\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f,\"batches\":%llu,\"cpu_ns_per_record\":%.1f,\"cpu_"
           "percent\":%.1f,"
           "\"generator_percent\":%.1f,"
           "\"rss_mib\":%.1f,\"moved\":%u}\n",
           form_names[opt.form], opt.batch, opt.record, opt.window, opt.connections, (double)run.records / took_s,
           (double)run.records * opt.record / took_s / 1e6, (double)hist_quantile(&run.latency, 500) / 1e3,
           (double)hist_quantile(&run.latency, 990) / 1e3, (double)hist_quantile(&run.latency, 999) / 1e3,
           (double)run.latency.max_ns / 1e3, (unsigned long long)run.latency.total,
           run.records > 0 ? cpu * 1e3 / (double)run.records : 0, cpu / took_s / 1e4, own / took_s / 1e4,
           (double)rss / 1048576, run.moved);
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, NULL, 'p'},  {"producers", 1, NULL, 'n'}, {"window", 1, NULL, 'w'}, {"connections", 1, NULL, 'c'},
        {"batch", 1, NULL, 'b'}, {"record", 1, NULL, 'r'},    {"form", 1, NULL, 'f'},   {"seconds", 1, NULL, 's'},
        {"rate", 1, NULL, 'a'},  {"keep", 1, NULL, 'k'},      {"mib", 1, NULL, 'm'},    {"streams", 1, NULL, 't'},
        {"pids", 1, NULL, 'i'},  {"cpu", 1, NULL, 'u'},       {"shard", 1, NULL, 'h'},  {NULL, 0, NULL, 0}};
    for (int got; (got = getopt_long(argc, argv, "", names, NULL)) != -1;) {
        unsigned number = optarg != NULL ? (unsigned)atoi(optarg) : 0;
        switch (got) {
        case 'p':
            opt.port = number;
            break;
        case 'h':
            opt.shard = number;
            break;
        case 'n':
            opt.producers = number;
            break;
        case 'w':
            opt.window = number;
            break;
        case 'c':
            opt.connections = number;
            break;
        case 'b':
            opt.batch = number;
            break;
        case 'r':
            opt.record = number;
            break;
        case 'f':
            for (opt.form = FORM_RUN; opt.form < FORM_DENSE && strcmp(optarg, form_names[opt.form]) != 0; opt.form++) {
            }
            break;
        case 's':
            opt.seconds = atof(optarg);
            break;
        case 'a':
            opt.rate = atof(optarg);
            break;
        case 'm':
            opt.mib     = number;
            opt.seconds = 3600;
            break;
        case 't':
            opt.streams = number;
            break;
        case 'k':
            opt.keep = number;
            break;
        case 'u':
            opt.cpu = number;
            break;
        case 'i':
            for (char *word = strtok(optarg, ","); word != NULL && opt.pid_count < PIDS_MAX; word = strtok(NULL, ",")) {
                opt.pids[opt.pid_count++] = atoi(word);
            }
            break;
        default:
            exit(2);
        }
    }
    if (opt.port == 0 || opt.producers == 0 || opt.producers > PRODUCERS_MAX || opt.window == 0 ||
        opt.window > WINDOW_MAX || opt.connections == 0 || opt.connections > CONNECTIONS_MAX || opt.record < 56 ||
        opt.record > 65536 || opt.batch < opt.record || opt.batch > 1 << 20) {
        fprintf(stderr, "append: look at the head of bench/load/append.c for its options\n");
        exit(2);
    }
}

int main(int argc, char **argv)
{
    cpu_set_t set;
    read_options(argc, argv);
    CPU_ZERO(&set);
    CPU_SET(opt.cpu, &set);
    (void)sched_setaffinity(0, sizeof set, &set);
    run.epoll     = epoll_create1(EPOLL_CLOEXEC);
    run.per_batch = opt.batch / opt.record;
    for (unsigned i = 0; i < opt.connections; i++) {
        open_connection(&run.connections[i], i);
    }
    if (opt.streams > 0) {
        make_streams();
        return 0;
    }
    for (unsigned i = 0; i < opt.producers; i++) {
        struct producer *p = &run.producers[i];
        *p                 = (struct producer){.number     = i,
                                               .connection = i % opt.connections,
                                               .stripe     = run.led_count > 0 ? run.led[i % run.led_count] : 0};
        if (opt.form != FORM_DENSE) {
            make_stream(p);
        }
        make_frame(p);
    }
    for (unsigned i = 0; i < opt.producers * opt.window && opt.rate == 0; i++) {
        offer(&run.producers[i % opt.producers], now_ns());
    }
    for (unsigned i = 0; i < opt.connections; i++) {
        flush(&run.connections[i]);
    }
    measure();
    return 0;
}
