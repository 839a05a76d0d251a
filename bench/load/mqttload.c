/* mqttload - load for an MQTT broker, from one pinned thread; prints one line of JSON.
 *
 *   flow      publishers and subscribers; closed loop (a window of messages under way) or open loop (--rate, intended send times)
 *   backlog   stored sessions away, --count messages published to all, then all come back and drain
 *   idle      --subs connections that do nothing; memory per connection of the processes --pids
 *   churn     connections opened and closed, --subs at a time, for --seconds
 *
 * Payload: intended send time u64, publisher u32, sequence u32, filler. Every subscriber checks every sequence: lost, repeated, reordered.
 * Latency counts from the intended time, so a stall of the broker is seen by all messages it held up.
 * CPU: user and system time of --pids from /proc over the measured window only. */
#include "bench/load/client.h"
#include "bench/load/hist.h"
#include "bench/load/usage.h"
#include "broker/transport/gcm/gcm.h"

#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <time.h>

enum { PIDS_MAX = 8, EVENTS_MAX = 256, IN_ROOM = 256 * 1024, IDLE_IN_ROOM = 64, DRAIN_S = 20 };

static struct {
    const char        *mode;
    struct sockaddr_in server;
    unsigned           pubs, subs, qos, size, window, cpu;
    bool               pairs, stored;
    SSL_CTX           *tls; /* or NULL */
    double             rate, warmup, seconds;
    uint64_t           count;
    int                pids[PIDS_MAX], pid_count;
} opt = {.mode    = "flow",
         .pubs    = 1,
         .subs    = 1,
         .size    = 64,
         .window  = 100,
         .cpu     = 1,
         .warmup  = 0.7,
         .seconds = 3,
         .count   = 100};

static struct {
    int            epoll;
    struct client *clients; /* publishers first */
    struct client *dirty;
    unsigned       subscribed, connected;
    uint64_t       sent, acked, delivered, lost, repeated;
    uint64_t       next_ns; /* open loop: intended time of the next message */
    unsigned       turn;    /* open loop: whose turn it is */
    bool           sending, measuring, broken;
    uint64_t       from_ns, to_ns; /* the measured window, by intended time */
    struct hist    latency;
    char           filler[1 << 20];
} run;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void mark_dirty(struct client *c)
{
    if (!c->dirty) {
        c->dirty      = true;
        c->next_dirty = run.dirty;
        run.dirty     = c;
    }
}

static void broke(const struct client *c, const char *what)
{
    if (!run.broken) {
        fprintf(stderr, "mqttload: client %u: %s: %s\n", c->index, what, strerror(errno));
    }
    run.broken = true;
}

/* Copies that one message of this run must become. */
static unsigned fan_out(void)
{
    return opt.pairs ? 1 : opt.subs;
}

static void topic_of(unsigned publisher, char *topic, size_t size)
{
    snprintf(topic, size, opt.pairs ? "load/%u" : "load/all", publisher);
}

static void publish(struct client *c, uint64_t intended_ns)
{
    char topic[32];
    topic_of(c->index, topic, sizeof topic);
    memcpy(run.filler, &intended_ns, 8);
    memcpy(run.filler + 8, &c->index, 4);
    memcpy(run.filler + 12, &c->sequence, 4);
    c->sequence++;
    c->undelivered += fan_out();
    c->unacked += opt.qos > 0;
    run.sent++;
    put_publish(c, topic, opt.qos, run.filler, opt.size);
    mark_dirty(c);
}

/* Fills the window of one publisher. */
static void fill(struct client *c)
{
    bool closed = run.sending && opt.rate == 0;
    while (closed && c->unacked < opt.window && (opt.stored || c->undelivered < (int64_t)opt.window * fan_out())) {
        publish(c, now_ns());
    }
}

static void delivered(struct client *c, const uint8_t *payload)
{
    uint64_t intended_ns, now = now_ns();
    uint32_t publisher, sequence;
    memcpy(&intended_ns, payload, 8);
    memcpy(&publisher, payload + 8, 4);
    memcpy(&sequence, payload + 12, 4);
    if (publisher >= opt.pubs) {
        return;
    }
    run.delivered++;
    if (sequence < c->expected[publisher]) {
        run.repeated++;
    } else {
        run.lost += sequence - c->expected[publisher];
        c->expected[publisher] = sequence + 1;
    }
    if (intended_ns >= run.from_ns && intended_ns < run.to_ns) {
        hist_add(&run.latency, now - intended_ns);
    }
    struct client *from = &run.clients[publisher];
    from->undelivered--;
    fill(from);
}

static void take_publish(struct client *c, const uint8_t *body, size_t size, unsigned first)
{
    unsigned qos   = first >> 1 & 3;
    size_t   topic = (size_t)body[0] << 8 | body[1];
    size_t   at    = 2 + topic + (qos > 0 ? 2 : 0);
    if (size < at + 16) {
        return;
    }
    delivered(c, body + at);
    if (qos > 0) {
        put_ack(c, qos == 1 ? PUBACK : PUBREC, (unsigned)(body[at - 2] << 8 | body[at - 1]));
        mark_dirty(c);
    }
}

static void take(struct client *c, unsigned first, const uint8_t *body, size_t size)
{
    unsigned id = size >= 2 ? (unsigned)(body[0] << 8 | body[1]) : 0;
    switch (first & 0xf0) {
    case CONNACK:
        if (body[1] != 0) {
            errno = 0;
            broke(c, "CONNECT refused");
        }
        c->connected = true;
        run.connected++;
        break;
    case SUBACK:
        c->subscribed = true;
        run.subscribed++;
        break;
    case PUBLISH:
        take_publish(c, body, size, first);
        break;
    case PUBREC:
        put_ack(c, PUBREL, id);
        mark_dirty(c);
        break;
    case PUBREL & 0xf0:
        put_ack(c, PUBCOMP, id);
        mark_dirty(c);
        break;
    case PUBACK:
    case PUBCOMP:
        c->unacked--;
        run.acked++;
        fill(c);
        break;
    default:
        break;
    }
}

/* False when there was nothing, or the connection broke. */
static bool received_some(struct client *c)
{
    ssize_t got = client_read(c, c->in + c->in_used, c->in_room - c->in_used);
    if (got <= 0) {
        if (got == 0 || errno != EAGAIN) {
            errno = got == 0 ? ECONNRESET : errno;
            broke(c, "the broker closed");
            epoll_ctl(run.epoll, EPOLL_CTL_DEL, c->fd, NULL);
        }
        return false;
    }
    c->in_used += (size_t)got;
    size_t at = 0;
    for (;;) {
        size_t size = 0, head = 1;
        while (at + head < c->in_used && head < 5) {
            size |= (size_t)(c->in[at + head] & 127) << (7 * (head - 1));
            if ((c->in[at + head++] & 128) == 0) {
                break;
            }
        }
        if (at + 2 > c->in_used || at + head + size > c->in_used || (c->in[at + head - 1] & 128) != 0) {
            break;
        }
        take(c, c->in[at], c->in + at + head, size);
        at += head + size;
    }
    memmove(c->in, c->in + at, c->in_used - at);
    c->in_used -= at;
    return true;
}

/* What TLS has read already wakes nobody up. */
static void received(struct client *c)
{
    while (received_some(c) && c->ssl != NULL && (SSL_has_pending(c->ssl) || c->pipe->in_at < c->pipe->in_used)) {
    }
}

static void flush(void)
{
    while (run.dirty != NULL) {
        struct client *c = run.dirty;
        run.dirty        = c->next_dirty;
        c->dirty         = false;
        if (!client_flush(c, run.epoll)) {
            broke(c, "send");
        }
    }
}

/* One turn: waits until something arrives or until_ns. */
static void turn(uint64_t until_ns)
{
    struct epoll_event events[EVENTS_MAX];
    uint64_t           now  = now_ns();
    uint64_t           wait = until_ns > now ? until_ns - now : 0;
    if (run.sending && opt.rate > 0) {
        uint64_t gap = run.next_ns > now ? run.next_ns - now : 0;
        wait         = gap < wait ? gap : wait;
    }
    struct timespec timeout = {.tv_sec = (time_t)(wait / 1000000000u), .tv_nsec = (long)(wait % 1000000000u)};
    int             count   = epoll_pwait2(run.epoll, events, EVENTS_MAX, &timeout, NULL);
    for (int i = 0; i < count; i++) {
        struct client *c = events[i].data.ptr;
        if ((events[i].events & EPOLLOUT) != 0) {
            mark_dirty(c);
        }
        if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0) {
            received(c);
        }
    }
    for (now = now_ns(); run.sending && opt.rate > 0 && run.next_ns <= now;) {
        publish(&run.clients[run.turn++ % opt.pubs], run.next_ns);
        run.next_ns += (uint64_t)(1e9 / opt.rate);
    }
    flush();
}

/* Turns until the counter is at least wanted; false when it took longer than seconds. */
static bool turn_until(const unsigned *counter, unsigned wanted, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (*counter < wanted && !run.broken && now_ns() < end) {
        turn(end);
    }
    return *counter >= wanted && !run.broken;
}

static void turn_for(double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end && !run.broken) {
        turn(end);
    }
}

/* ---- what the processes under test use ---- */

struct usage {
    double   cpu_us[PIDS_MAX];
    double   all_us, own_us;
    uint64_t rss_bytes;
};

static struct usage measure(void)
{
    struct usage usage = {.own_us = process_cpu_us((int)getpid())};
    for (int i = 0; i < opt.pid_count; i++) {
        usage.cpu_us[i] = process_cpu_us(opt.pids[i]);
        usage.all_us += usage.cpu_us[i];
        usage.rss_bytes += process_rss(opt.pids[i]);
    }
    return usage;
}

static void print_usage(const struct usage *before, const struct usage *after, double units, double seconds)
{
    printf(",\"cpu_us_per_msg\":%.4f,\"cpu_us_apart\":[", units > 0 ? (after->all_us - before->all_us) / units : 0);
    for (int i = 0; i < opt.pid_count; i++) {
        printf("%s%.4f", i > 0 ? "," : "", units > 0 ? (after->cpu_us[i] - before->cpu_us[i]) / units : 0);
    }
    printf("],\"cpu_percent\":%.1f,\"generator_percent\":%.1f,\"rss_mib\":%.1f",
           (after->all_us - before->all_us) / seconds / 1e4, (after->own_us - before->own_us) / seconds / 1e4,
           (double)after->rss_bytes / 1048576);
}

/* ---- modes ---- */

static bool open_one_from(unsigned index, bool publisher, size_t in_room, uint8_t source)
{
    struct client *c = &run.clients[index];
    char           id[64];
    c->index     = index;
    c->publisher = publisher;
    if (!client_open(c, &opt.server, run.epoll, in_room, source, opt.tls)) {
        broke(c, "connect");
        return false;
    }
    snprintf(id, sizeof id, "load-%d-%u", opt.stored ? 0 : (int)getpid(), index);
    put_connect(c, id, publisher || !opt.stored);
    mark_dirty(c);
    return true;
}

static bool open_one(unsigned index, bool publisher, size_t in_room)
{
    return open_one_from(index, publisher, in_room, 0);
}

static bool open_subscribers(bool subscribe)
{
    unsigned connected = run.connected;
    for (unsigned i = 0; i < opt.subs; i++) {
        if (!open_one(opt.pubs + i, false, IN_ROOM)) {
            return false;
        }
        flush();
    }
    if (!turn_until(&run.connected, connected + opt.subs, 30)) {
        return false;
    }
    for (unsigned i = 0; subscribe && i < opt.subs; i++) {
        char topic[32];
        topic_of(i, topic, sizeof topic);
        put_subscribe(&run.clients[opt.pubs + i], topic, opt.qos);
        mark_dirty(&run.clients[opt.pubs + i]);
    }
    flush();
    return !subscribe || turn_until(&run.subscribed, opt.subs, 30);
}

static bool open_publishers(void)
{
    unsigned connected = run.connected;
    for (unsigned i = 0; i < opt.pubs; i++) {
        if (!open_one(i, true, IN_ROOM)) {
            return false;
        }
    }
    flush();
    return turn_until(&run.connected, connected + opt.pubs, 30);
}

/* Turns until every copy has arrived and every acknowledgement came, or DRAIN_S passed. */
static void drain(void)
{
    uint64_t end = now_ns() + (uint64_t)DRAIN_S * 1000000000u;
    while ((run.delivered < run.sent * fan_out() || (opt.qos > 0 && run.acked < run.sent)) && now_ns() < end &&
           !run.broken) {
        turn(end);
    }
}

static void print_result(const char *mode, double seconds)
{
    uint64_t missing =
        run.sent * fan_out() > run.delivered - run.repeated ? run.sent * fan_out() - (run.delivered - run.repeated) : 0;
    printf("{\"mode\":\"%s\",\"pubs\":%u,\"subs\":%u,\"qos\":%u,\"size\":%u,\"window\":%u,\"rate\":%.0f,\"stored\":%s,"
           "\"seconds\":%.2f",
           mode, opt.pubs, opt.subs, opt.qos, opt.size, opt.window, opt.rate, opt.stored ? "true" : "false", seconds);
    printf(",\"sent\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"broken\":%s", run.sent, missing,
           run.repeated, run.broken ? "true" : "false");
}

static int flow(void)
{
    if (!open_subscribers(true) || !open_publishers()) {
        return 1;
    }
    run.sending = true;
    run.next_ns = now_ns();
    for (unsigned i = 0; i < opt.pubs; i++) {
        fill(&run.clients[i]);
    }
    flush();
    turn_for(opt.warmup);
    struct usage before    = measure();
    uint64_t     delivered = run.delivered, start = now_ns();
    run.from_ns = start;
    run.to_ns   = start + (uint64_t)(opt.seconds * 1e9);
    turn_for(opt.seconds);
    double       seconds = (double)(now_ns() - start) / 1e9;
    struct usage after   = measure();
    double       copies  = (double)(run.delivered - delivered);
    run.sending          = false;
    drain();
    print_result("flow", seconds);
    printf(",\"msgs_per_s\":%.0f", copies / seconds);
    print_usage(&before, &after, copies, seconds);
    printf(",\"n\":%" PRIu64 ",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n", run.latency.total,
           (double)hist_quantile(&run.latency, 500) / 1e3, (double)hist_quantile(&run.latency, 990) / 1e3,
           (double)hist_quantile(&run.latency, 999) / 1e3, (double)run.latency.max_ns / 1e3);
    return run.broken ? 1 : 0;
}

/* Stored sessions leave, opt.count messages per publisher are acknowledged, the sessions come back for them. */
static int backlog(void)
{
    opt.stored = true;
    if (opt.qos == 0 || !open_subscribers(true)) {
        fputs("mqttload: backlog wants QoS 1 or 2 and a broker\n", stderr);
        return 1;
    }
    for (unsigned i = 0; i < opt.subs; i++) {
        struct client *c = &run.clients[opt.pubs + i];
        put(c, "\xe0\0", 2);
        client_flush(c, run.epoll);
        client_close(c);
    }
    if (!open_publishers()) {
        return 1;
    }
    struct usage before = measure();
    uint64_t     start = now_ns(), end = start + 300ull * 1000000000u;
    while (run.acked < opt.count * opt.pubs && !run.broken && now_ns() < end) {
        for (unsigned i = 0; i < opt.pubs; i++) {
            struct client *c = &run.clients[i];
            while (c->sequence < opt.count && c->unacked < opt.window) {
                publish(c, now_ns());
            }
        }
        flush();
        turn(end);
    }
    double       publish_s = (double)(now_ns() - start) / 1e9;
    struct usage middle    = measure();
    start                  = now_ns();
    if (!open_subscribers(false)) {
        return 1;
    }
    while (run.delivered < run.sent * fan_out() && !run.broken && now_ns() < end) {
        turn(end);
    }
    double drain_s = (double)(now_ns() - start) / 1e9, copies = (double)(run.sent * fan_out());
    print_result("backlog", publish_s + drain_s);
    printf(",\"publish_per_s\":%.0f,\"stored_copies_per_s\":%.0f,\"drain_per_s\":%.0f,\"rss_bytes_per_copy\":%.1f",
           (double)run.acked / publish_s, copies / publish_s, (double)run.delivered / drain_s,
           (double)(middle.rss_bytes - before.rss_bytes) / copies);
    print_usage(&before, &middle, copies, publish_s);
    printf("}\n");
    return run.broken ? 1 : 0;
}

static int idle(void)
{
    struct usage before = measure();
    for (unsigned i = 0; i < opt.subs; i++) {
        if (!open_one(i, false, IDLE_IN_ROOM)) {
            break;
        }
        flush();
        if (i % 64 == 63) {
            turn_until(&run.connected, i - 32, 30);
        }
    }
    turn_until(&run.connected, opt.subs, 30);
    turn_for(1);
    struct usage after = measure();
    print_result("idle", 1);
    printf(",\"connected\":%u,\"bytes_per_connection\":%.0f", run.connected,
           (double)(after.rss_bytes - before.rss_bytes) / (double)run.connected);
    struct usage quiet = measure();
    turn_for(2);
    struct usage later = measure();
    print_usage(&quiet, &later, 0, 2);
    printf("}\n");
    return run.broken || run.connected < opt.subs ? 1 : 0;
}

static int churn(void)
{
    struct usage before = measure();
    uint64_t     start = now_ns(), end = start + (uint64_t)(opt.seconds * 1e9), done = 0;
    while (now_ns() < end && !run.broken) {
        unsigned connected = run.connected;
        for (unsigned i = 0;
             i < opt.subs && open_one_from(i, false, IDLE_IN_ROOM, (uint8_t)(1 + done / opt.subs % 100)); i++) {
        }
        flush();
        if (!turn_until(&run.connected, connected + opt.subs, 10)) {
            break;
        }
        for (unsigned i = 0; i < opt.subs; i++) {
            put(&run.clients[i], "\xe0\0", 2);
            client_flush(&run.clients[i], run.epoll);
            client_close(&run.clients[i]);
        }
        done += opt.subs;
    }
    double       seconds = (double)(now_ns() - start) / 1e9;
    struct usage after   = measure();
    print_result("churn", seconds);
    printf(",\"connections_per_s\":%.0f", (double)done / seconds);
    print_usage(&before, &after, (double)done, seconds);
    printf("}\n");
    return run.broken ? 1 : 0;
}

static void read_pids(char *list)
{
    for (char *state = NULL, *word = strtok_r(list, ",", &state); word != NULL && opt.pid_count < PIDS_MAX;
         word = strtok_r(NULL, ",", &state)) {
        opt.pids[opt.pid_count++] = atoi(word);
    }
}

static int read_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"mode", 1, NULL, 'm'},   {"host", 1, NULL, 'h'},  {"port", 1, NULL, 'p'},   {"pubs", 1, NULL, 'P'},
        {"subs", 1, NULL, 'S'},   {"pairs", 0, NULL, 'x'}, {"qos", 1, NULL, 'q'},    {"size", 1, NULL, 's'},
        {"window", 1, NULL, 'w'}, {"rate", 1, NULL, 'r'},  {"warmup", 1, NULL, 'W'}, {"seconds", 1, NULL, 't'},
        {"cpu", 1, NULL, 'c'},    {"pids", 1, NULL, 'i'},  {"stored", 0, NULL, 'd'}, {"count", 1, NULL, 'n'},
        {"tls", 0, NULL, 'T'},    {NULL, 0, NULL, 0}};
    opt.server =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(1883), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'm':
            opt.mode = optarg;
            break;
        case 'T':
            opt.tls = SSL_CTX_new_ex(gcm_library(), gcm_properties(), TLS_client_method());
            SSL_CTX_set_mode(opt.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
            break;
        case 'h':
            inet_pton(AF_INET, optarg, &opt.server.sin_addr);
            break;
        case 'p':
            opt.server.sin_port = htons((uint16_t)atoi(optarg));
            break;
        case 'P':
            opt.pubs = (unsigned)atoi(optarg);
            break;
        case 'S':
            opt.subs = (unsigned)atoi(optarg);
            break;
        case 'x':
            opt.pairs = true;
            break;
        case 'q':
            opt.qos = (unsigned)atoi(optarg);
            break;
        case 's':
            opt.size = (unsigned)atoi(optarg);
            break;
        case 'w':
            opt.window = (unsigned)atoi(optarg);
            break;
        case 'r':
            opt.rate = atof(optarg);
            break;
        case 'W':
            opt.warmup = atof(optarg);
            break;
        case 't':
            opt.seconds = atof(optarg);
            break;
        case 'c':
            opt.cpu = (unsigned)atoi(optarg);
            break;
        case 'i':
            read_pids(optarg);
            break;
        case 'd':
            opt.stored = true;
            break;
        case 'n':
            opt.count = strtoull(optarg, NULL, 10);
            break;
        default:
            return 2;
        }
    }
    bool sane = opt.size >= 16 && opt.size <= sizeof run.filler && opt.pubs > 0 && opt.subs > 0 && opt.qos <= 2 &&
                (!opt.pairs || opt.pubs == opt.subs);
    if (!sane) {
        fputs("mqttload: wants --size 16.., --pubs and --subs 1.., --qos 0..2, and as many --pubs as --subs with "
              "--pairs\n",
              stderr);
    }
    return sane ? 0 : 2;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } modes[]        = {{"flow", flow}, {"backlog", backlog}, {"idle", idle}, {"churn", churn}};
    int       status = read_options(argc, argv);
    cpu_set_t set;
    if (status != 0) {
        return status;
    }
    CPU_ZERO(&set);
    CPU_SET(opt.cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
    run.epoll   = epoll_create1(EPOLL_CLOEXEC);
    run.clients = calloc(opt.pubs + opt.subs, sizeof *run.clients);
    if (run.epoll < 0 || run.clients == NULL) {
        perror("mqttload");
        return 1;
    }
    for (unsigned i = 0; i < opt.pubs + opt.subs && (strcmp(opt.mode, "flow") == 0 || strcmp(opt.mode, "backlog") == 0);
         i++) {
        run.clients[i].expected = calloc(opt.pubs, sizeof(uint32_t));
    }
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(opt.mode, modes[i].name) == 0) {
            return modes[i].run();
        }
    }
    fprintf(stderr, "mqttload: unknown mode %s\n", opt.mode);
    return 2;
}
