/* shard.c - the tick of one broker thread, in order. */
#include "broker/shard/shard.h"

#include "broker/admin/metrics.h"
#include "broker/gate/gate.h"
#include "broker/kernel/kernel.h"
#include "broker/protocol/mqtt/topics.h"
#include "broker/shard/bridges.h"
#include "broker/shard/peer.h"
#include "broker/store/client.h"
#include "broker/transport/tls.h"
#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/timer.h"
#include "shared/loop/desk.h"
#include "shared/loop/io.h"
#include "shared/loop/mailbox.h"

#include <stdio.h>
#include <stdlib.h>

/* How long clients may take to read their last packet when the broker stops, and the store to answer what was asked of it. */
static const uint64_t stop_wait_ns     = 5000000000u;
static const uint64_t metrics_every_ns = 200000000u;

static struct mailbox *mailbox_between(const struct broker *broker, unsigned from, unsigned to)
{
    return broker->mailboxes[from * broker->shard_count + to];
}

static bool port_post(void *ctx, unsigned to, const struct kernel_mail *mail)
{
    struct shard *shard = ctx;
    struct mail   out   = {.kind = mail->kind, .number = mail->number, .value = mail->value, .body = mail->body};
    if (BUGGIFY("shard: a mailbox is full", 10)) {
        return false;
    }
    return mailbox_push(mailbox_between(shard->broker, shard->index, to), &out);
}

static uint64_t port_random(void *ctx)
{
    struct shard *shard = ctx;
    return io_random(shard->io);
}

/* The clock of this turn, before any callback of the turn runs. */
static void on_begin(void *ctx)
{
    struct shard *shard = ctx;
    shard->mqtt.now_ns  = io_now_ns(shard->io);
    shard->mqtt.wall_ns = io_wall_ns(shard->io);
    if (shard->metrics != NULL && shard->metrics_at_ns == UINT64_MAX) { /* awake again */
        shard->metrics_at_ns = shard->mqtt.now_ns + metrics_every_ns;
    }
    kernel_begin(shard->kernel, shard->mqtt.now_ns, shard->mqtt.wall_ns);
    bridges_begin(shard->bridges);
    gate_turn(shard->gate, shard->mqtt.now_ns, shard->mqtt.wall_ns);
}

/* Rules about topics, if there are any. */
static void make_topics(struct shard *shard)
{
    const struct rules *rules = &shard->broker->config->rules;
    if (rules->automatic.count == 0 && rules->rewrites.count == 0) {
        return;
    }
    struct mqtt_topics *topics = calloc(1, sizeof *topics);
    ASSERT(topics != NULL); /* at start */
    topics->automatic = &rules->automatic;
    topics->rewrite   = rules_rewrite(rules);
    ASSERT(topics->rewrite != NULL);
    topics->publishes  = rewrite_any(topics->rewrite, REWRITE_PUBLISH);
    topics->filters    = rewrite_any(topics->rewrite, REWRITE_SUBSCRIBE);
    topics->user       = rewrite_wants_user(topics->rewrite) || automatic_wants_user(&rules->automatic);
    shard->topics      = topics;
    shard->mqtt.topics = topics;
}

struct shard *shard_new(struct broker *broker, unsigned index, struct io *io)
{
    const struct broker_config *config = broker->config;
    struct shard               *shard  = calloc(1, sizeof *shard);
    if (shard == NULL) {
        return NULL;
    }
    shard->broker = broker;
    shard->index  = index;
    shard->io     = io;
    list_init(&shard->peers);
    list_init(&shard->dirty);
    list_init(&shard->closing);
    list_init(&shard->postponed);
    shard->metrics_at_ns             = UINT64_MAX;
    shard->timers                    = timer_wheel_new(io_now_ns(io));
    shard->chunks                    = outq_pool_new(config->output_pool_bytes);
    shard->transport                 = (struct transport_env){.chunks = shard->chunks, .ws_path = config->ws_path};
    struct store_client_config store = config->store;
    store.instance                   = broker->instance;
    store.owner                      = kernel_owner(broker->instance, index);
    store.place                      = broker->place;
    const struct kernel_port port    = {
           .ctx = shard, .post = port_post, .random = port_random, .instance = broker->instance, .place = broker->place};
    shard->store  = store_client_new(io, shard->timers, &store);
    shard->kernel = kernel_new(index, broker->shard_count, &config->kernel, &port, shard->store, shard->timers);
    shard->mqtt   = (struct mqtt_env){
          .kernel = shard->kernel,
          .timers = shard->timers,
          .limits = &config->mqtt,
          .port   = {.ctx = shard, .close = peer_close, .receiving = peer_receiving, .random = port_random}};
    make_topics(shard);
    sys_init(&shard->sys, config->sys_interval_ns, io_now_ns(io));
    shard->mqtt.kernel_api      = &mqtt_kernel_api_default;
    const struct gate_spec gate = {.config  = &config->auth,
                                   .io      = io,
                                   .store   = shard->store,
                                   .timers  = shard->timers,
                                   .desk    = broker->desks[index],
                                   .workers = broker->workers,
                                   .census  = broker->census,
                                   .web     = broker->web};
    shard->gate                 = gate_new(&gate);
    shard->bridges              = bridges_new(shard);
    if (shard->gate == NULL || shard->bridges == NULL) {
        return NULL;
    }
    shard->mqtt.auth     = gate_port(shard->gate);
    broker->gates[index] = shard->gate;
    if (broker->kernels != NULL) {
        broker->kernels[index] = shard->kernel;
        broker->bridges[index] = shard->bridges;
    }
    desk_attach(broker->desks[index], io);
    mqtt_env_init(&shard->mqtt);
    for (unsigned from = 0; from < broker->shard_count; from++) {
        if (from != index) {
            mailbox_reader(mailbox_between(broker, from, index), io);
        }
    }
    io_on_begin(io, on_begin, shard);
    on_begin(shard);
    return shard;
}

static void on_accepted(void *ctx, struct io_socket *socket)
{
    const struct door *door = ctx;
    peer_accept(door->shard, socket, door->kind);
}

/* Of the shards themselves; the kernel's kinds are small numbers.  shard 0 -> others: the ports are chosen. */
enum { MAIL_LISTENING = 0x80000000u };

/* False: the address cannot be had, or (when this is not the first shard) its port is not known yet. */
static bool door_open(struct shard *shard, enum transport_kind kind)
{
    struct broker          *broker = shard->broker;
    const struct listen_at *at     = &broker->config->listen[kind];
    struct door            *door   = &shard->doors[kind];
    uint32_t                port   = atomic_load_explicit(&broker->ports[kind], memory_order_acquire);
    if (door->listener != NULL || at->address[0] == '\0') {
        return true;
    }
    if (shard->index != 0 && kind == TRANSPORT_UNIX) {
        return true; /* a path has one listener: the first shard serves it */
    }
    if (shard->index != 0 && port == 0) {
        return false;
    }
    *door                            = (struct door){.shard = shard, .kind = kind};
    const struct io_listen_spec spec = {
        .address    = at->address,
        .mode       = at->mode,
        .port       = shard->index == 0 ? at->port : (uint16_t)port,
        .reuse_port = broker->shard_count > 1,
        .first      = shard->index == 0,
        .backlog    = 4096,
        .accepted   = on_accepted,
        .ctx        = door,
    };
    static const char *const flags[TRANSPORT_KINDS] = {"--mqtt", "--mqtts", "--ws", "--wss", "mqtt.unix"};
    int                      error                  = io_listen(shard->io, &spec, &door->listener);
    if (error < 0) {
        char why[256];
        snprintf(why, sizeof why,
                 "cannot listen for MQTT on %s:%u: %s; choose another address with %s or stop what uses it",
                 spec.address, spec.port, err_sentence(error), flags[kind]);
        shard->refused = true;
        broker->refused(why);
        return false;
    }
    atomic_store_explicit(&broker->ports[kind], io_listener_port(door->listener), memory_order_release);
    return true;
}

/* Clients are let in once the stored subscriptions are known: a publish before that would miss sessions. The first shard
 * picks the ports, the others share them. */
static void listen_when_ready(struct shard *shard)
{
    struct broker *broker = shard->broker;
    if (shard->open || shard->refused || shard->stopping || !kernel_ready(shard->kernel) || !gate_ready(shard->gate)) {
        return;
    }
    for (enum transport_kind kind = 0; kind < TRANSPORT_KINDS; kind++) {
        if (!door_open(shard, kind)) {
            return;
        }
    }
    shard->open = true;
    atomic_fetch_add_explicit(&broker->ready_count, 1, memory_order_release);
    for (unsigned to = 1; shard->index == 0 && to < broker->shard_count; to++) {
        const struct mail mail = {.kind = MAIL_LISTENING};
        (void)mailbox_push(mailbox_between(broker, 0, to), &mail); /* a full one wakes its reader anyway */
    }
    if (broker->listening != NULL) {
        broker->listening();
    }
}

/* The files of TLS were read again. */
static void renew_tls(struct shard *shard)
{
    if (shard->broker->tls_next == NULL) {
        return;
    }
    struct tls_context *next =
        atomic_exchange_explicit(&shard->broker->tls_next[shard->index], NULL, memory_order_acq_rel);
    if (next != NULL) {
        tls_context_unref(shard->transport.tls);
        shard->transport.tls = next;
    }
}

void shard_free(struct shard *shard)
{
    peer_free_all(shard);
    desk_detach(shard->broker->desks[shard->index]);
    shard->broker->gates[shard->index] = NULL;
    if (shard->broker->kernels != NULL) {
        shard->broker->kernels[shard->index] = NULL;
        shard->broker->bridges[shard->index] = NULL;
    }
    bridges_free(shard->bridges);
    gate_free(shard->gate);
    kernel_free(shard->kernel);
    store_client_free(shard->store);
    mqtt_env_fini(&shard->mqtt);
    if (shard->topics != NULL) {
        rewrite_free(shard->topics->rewrite);
        free(shard->topics);
    }
    renew_tls(shard);
    tls_context_unref(shard->transport.tls);
    outq_pool_free(shard->chunks);
    timer_wheel_free(shard->timers);
    free(shard);
}

static void receive_mail(struct shard *shard)
{
    for (unsigned from = 0; from < shard->broker->shard_count; from++) {
        struct mail mail;
        while (from != shard->index && mailbox_pop(mailbox_between(shard->broker, from, shard->index), &mail)) {
            if (mail.kind == MAIL_LISTENING) { /* to wake us was all */
                continue;
            }
            const struct kernel_mail in = {
                .kind = mail.kind, .number = mail.number, .value = mail.value, .body = mail.body};
            kernel_receive(shard->kernel, from, &in);
        }
    }
}

static void ring_mail(struct shard *shard)
{
    for (unsigned to = 0; to < shard->broker->shard_count; to++) {
        if (to != shard->index) {
            mailbox_ring(mailbox_between(shard->broker, shard->index, to));
        }
    }
}

static void begin_stop(struct shard *shard)
{
    shard->stopping   = true;
    shard->stop_at_ns = shard->mqtt.now_ns + stop_wait_ns;
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        if (shard->doors[kind].listener != NULL) {
            io_listener_close(shard->doors[kind].listener);
            shard->doors[kind].listener = NULL;
        }
    }
    peer_stop_all(shard);
    bridges_stop(shard->bridges);
}

static void flush_dirty(struct shard *shard)
{
    struct list *link = NULL;
    while ((link = list_pop_front(&shard->dirty)) != NULL) {
        struct outq *out = CONTAINER_OF(link, struct outq, dirty_link);
        peer_flush(CONTAINER_OF(out, struct peer, out));
    }
}

/* Numbers are for people: a few times a second while something happens, once more when it has stopped. */
static void publish_metrics(struct shard *shard)
{
    const uint64_t now_ns = shard->mqtt.now_ns;
    if (shard->metrics == NULL || now_ns < shard->metrics_at_ns) {
        return;
    }
    const struct kernel_counters *kernel = kernel_counters(shard->kernel);
    struct store_client_counters  store;
    struct gate_counters          gate;
    store_client_counters(shard->store, &store);
    gate_counters(shard->gate, &gate);
    const uint64_t values[METRIC_COUNT] = {
        [METRIC_CONNECTIONS_OPEN]        = shard->peer_count,
        [METRIC_CONNECTIONS_TOTAL]       = shard->counters.accepted,
        [METRIC_CONNECTIONS_TURNED_AWAY] = io_turned_away(shard->io),
        [METRIC_CONNECTIONS_TCP]         = shard->counters.accepted_by[TRANSPORT_TCP],
        [METRIC_CONNECTIONS_TLS]         = shard->counters.accepted_by[TRANSPORT_TLS],
        [METRIC_CONNECTIONS_WS]          = shard->counters.accepted_by[TRANSPORT_WS],
        [METRIC_CONNECTIONS_UNIX]        = shard->counters.accepted_by[TRANSPORT_UNIX],
        [METRIC_CONNECTIONS_WSS]         = shard->counters.accepted_by[TRANSPORT_WSS],
        [METRIC_SESSIONS_OPEN]           = kernel->sessions_open,
        /* Every shard knows all of them. */
        [METRIC_SESSIONS_STORED]           = shard->index == 0 ? kernel->stored_sessions : 0,
        [METRIC_SUBSCRIPTIONS_STORED]      = shard->index == 0 ? kernel->stored_subscriptions : 0,
        [METRIC_SESSIONS_STORED_OPEN]      = kernel->stored_sessions_open,
        [METRIC_SUBSCRIPTIONS_STORED_OPEN] = kernel->stored_subscriptions_open,
        [METRIC_PACKETS_RECEIVED]          = shard->mqtt.counters.packets_in,
        [METRIC_PACKETS_SENT]              = shard->mqtt.counters.packets_out + shard->mqtt.counters.publishes_out,
        [METRIC_SUBSCRIPTIONS]             = kernel->subscriptions,
        [METRIC_BYTES_RECEIVED]            = shard->counters.received_bytes,
        [METRIC_BYTES_SENT]                = shard->counters.sent_bytes,
        [METRIC_PUBLISHES]                 = kernel->publishes,
        [METRIC_DELIVERIES]                = kernel->deliveries,
        [METRIC_BRIDGES_UP]                = bridges_up(shard->bridges),
        [METRIC_CAPTURED]                  = kernel->captured,
        [METRIC_REPLAYED]                  = kernel->replayed,
        [METRIC_DROPPED]                   = kernel->dropped,
        [METRIC_DUPLICATES]                = kernel->duplicates,
        [METRIC_STORED_APPENDS]            = kernel->stored_appends,
        [METRIC_EVICTIONS]                 = kernel->evictions,
        [METRIC_RETAINED_PUTS]             = kernel->retained_puts,
        [METRIC_WILLS]                     = kernel->wills,
        [METRIC_EXPIRED]                   = kernel->expired,
        [METRIC_DENIED]                    = kernel->denied + shard->mqtt.counters.subscriptions_denied,
        [METRIC_OVER_LIMIT]                = shard->mqtt.counters.over_limit,
        [METRIC_HELD_BACK]                 = shard->mqtt.counters.held_back,
        [METRIC_AUTHENTICATED]             = shard->mqtt.counters.authenticated,
        [METRIC_UNAUTHENTICATED]           = shard->mqtt.counters.unauthenticated,
        [METRIC_AUTH_BUSY]                 = gate.busy,
        [METRIC_PROTOCOL_ERRORS]           = shard->mqtt.counters.faults,
        [METRIC_STORE_REQUESTS_OPEN]       = store.requests_open,
        [METRIC_STORE_CONNECTED]           = store.links_up,
        [METRIC_TURNS]                     = shard->counters.turns,
        [METRIC_HANDSHAKES]                = shard->counters.handshakes_done,
        [METRIC_HANDSHAKES_OPEN]           = shard->handshakes,
        [METRIC_PROXY_FAULTS]              = shard->counters.proxy_faults,
        [METRIC_TRANSPORT_FAULTS]          = shard->counters.transport_faults,
    };
    bool changed = false;
    for (int metric = 0; metric < METRIC_COUNT; metric++) {
        changed = changed || (metric != METRIC_TURNS && metrics_get(shard->metrics, metric) != values[metric]);
        metrics_set(shard->metrics, metric, values[metric]);
    }
    shard->metrics_at_ns = changed ? now_ns + metrics_every_ns : UINT64_MAX;
}

uint64_t shard_turn(struct shard *shard)
{
    shard->counters.turns++;
    if (!shard->stopping && atomic_load_explicit(&shard->broker->stopping, memory_order_relaxed)) {
        begin_stop(shard);
    }
    receive_mail(shard);
    desk_turn(shard->broker->desks[shard->index]);
    gate_turn(shard->gate, shard->mqtt.now_ns, shard->mqtt.wall_ns);
    timer_expire(shard->timers, shard->mqtt.now_ns);
    renew_tls(shard);
    listen_when_ready(shard);
    peer_handshakes(shard);
    mqtt_conn_turn(&shard->mqtt);
    uint64_t sys_ns = UINT64_MAX;
    if (shard->index == 0 && shard->open) {
        sys_ns = sys_turn(&shard->sys, shard->all_metrics, shard->kernel, shard->mqtt.now_ns);
    }
    if (UNLIKELY(shard->stopping) && shard->peer_count == 0 && kernel_settled(shard->kernel)) {
        kernel_retire(shard->kernel);
    }
    uint64_t drain_ns  = drain_turn(shard);
    uint64_t kernel_ns = kernel_end(shard->kernel);
    bridges_turn(shard->bridges);
    peer_reap(shard);
    flush_dirty(shard);
    store_client_turn(shard->store);
    ring_mail(shard);
    publish_metrics(shard);
    if (mqtt_conn_turn_wanted(&shard->mqtt) || !list_empty(&shard->postponed) || !list_empty(&shard->closing) ||
        !list_empty(&shard->dirty)) {
        return 0;
    }
    uint64_t timer_ns = timer_next_ns(shard->timers);
    uint64_t next_ns  = timer_ns < kernel_ns ? timer_ns : kernel_ns;
    next_ns           = sys_ns < next_ns ? sys_ns : next_ns;
    next_ns           = drain_ns < next_ns ? drain_ns : next_ns;
    return next_ns < shard->metrics_at_ns ? next_ns : shard->metrics_at_ns;
}

bool shard_stopped(const struct shard *shard)
{
    if (!shard->stopping || shard->mqtt.now_ns >= shard->stop_at_ns) {
        return shard->stopping;
    }
    struct store_client_counters store;
    store_client_counters(shard->store, &store);
    bool told = (kernel_settled(shard->kernel) && store.requests_open == 0) || store.links_up == 0;
    return shard->peer_count == 0 && told;
}
