/* sys.c - see sys.h. */
#include "broker/shard/sys.h"

#include "broker/admin/metrics.h"
#include "broker/kernel/kernel.h"
#include "shared/base/version.h"
#include "shared/base/wire.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { LIST_MAX_BYTES = 64 << 10 };

/* jemalloc, where it is linked: sanitizer builds bring their own allocator, and then nothing is said about the heap. */
extern int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size) __attribute__((weak));

static bool heap_bytes(uint64_t *out)
{
    uint64_t epoch = 1;
    size_t   used  = 0;
    size_t   size  = sizeof used;
    if (mallctl == NULL || mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) != 0 ||
        mallctl("stats.allocated", &used, &size, NULL, 0) != 0) {
        return false;
    }
    *out = used;
    return true;
}

static void put(struct wire_writer *w, const char *topic, const char *value)
{
    char         whole[96];
    int          size = snprintf(whole, sizeof whole, "$SYS/broker/%s", topic);
    struct bytes name = bytes_of(whole, (size_t)size);
    wire_put_blob(w, name);
    wire_put_blob(w, bytes_str(value));
}

static void put_number(struct wire_writer *w, const char *topic, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    put(w, topic, text);
}

static const struct {
    const char *total; /* NULL: only as a load */
    const char *load;
} rates[SYS_RATES] = {
    [SYS_MESSAGES_RECEIVED] = {"messages/received", "load/messages/received"},
    [SYS_MESSAGES_SENT]     = {"messages/sent", "load/messages/sent"},
    [SYS_PUBLISH_RECEIVED]  = {"publish/messages/received", "load/publish/received"},
    [SYS_PUBLISH_SENT]      = {"publish/messages/sent", "load/publish/sent"},
    [SYS_PUBLISH_DROPPED]   = {"publish/messages/dropped", "load/publish/dropped"},
    [SYS_BYTES_RECEIVED]    = {"bytes/received", "load/bytes/received"},
    [SYS_BYTES_SENT]        = {"bytes/sent", "load/bytes/sent"},
    [SYS_CONNECTIONS]       = {NULL, "load/connections"},
};

static void put_rates(struct sys *sys, const struct metrics *m, uint64_t passed_ns, struct wire_writer *w)
{
    static const unsigned minutes[3]        = {1, 5, 15};
    const uint64_t        totals[SYS_RATES] = {
               [SYS_MESSAGES_RECEIVED] = metrics_sum(m, METRIC_PACKETS_RECEIVED),
               [SYS_MESSAGES_SENT]     = metrics_sum(m, METRIC_PACKETS_SENT),
               [SYS_PUBLISH_RECEIVED]  = metrics_sum(m, METRIC_PUBLISHES),
               [SYS_PUBLISH_SENT]      = metrics_sum(m, METRIC_DELIVERIES),
               [SYS_PUBLISH_DROPPED]   = metrics_sum(m, METRIC_DROPPED),
               [SYS_BYTES_RECEIVED]    = metrics_sum(m, METRIC_BYTES_RECEIVED),
               [SYS_BYTES_SENT]        = metrics_sum(m, METRIC_BYTES_SENT),
               [SYS_CONNECTIONS]       = metrics_sum(m, METRIC_CONNECTIONS_TOTAL),
    };
    double passed_s = (double)passed_ns / 1e9;
    for (int i = 0; i < SYS_RATES; i++) {
        double per_minute = passed_ns == 0 ? 0 : (double)(totals[i] - sys->totals[i]) * 60 / passed_s;
        sys->totals[i]    = totals[i];
        if (rates[i].total != NULL) {
            put_number(w, rates[i].total, totals[i]);
        }
        for (int j = 0; j < 3; j++) {
            char   topic[64];
            char   text[32];
            double kept      = exp(-passed_s / (60.0 * minutes[j]));
            sys->loads[i][j] = per_minute + kept * (sys->loads[i][j] - per_minute);
            snprintf(topic, sizeof topic, "%s/%umin", rates[i].load, minutes[j]);
            snprintf(text, sizeof text, "%.2f", sys->loads[i][j]);
            put(w, topic, text);
        }
    }
}

static void put_counts(struct sys *sys, const struct metrics *m, struct wire_writer *w)
{
    uint64_t connected  = metrics_sum(m, METRIC_SESSIONS_OPEN);
    uint64_t stored     = metrics_sum(m, METRIC_SESSIONS_STORED);
    uint64_t open       = metrics_sum(m, METRIC_SESSIONS_STORED_OPEN);
    uint64_t away       = stored > open ? stored - open : 0; /* numbers of shards may be from different moments */
    uint64_t subs       = metrics_sum(m, METRIC_SUBSCRIPTIONS) + metrics_sum(m, METRIC_SUBSCRIPTIONS_STORED);
    uint64_t twice      = metrics_sum(m, METRIC_SUBSCRIPTIONS_STORED_OPEN);
    sys->connected_most = connected > sys->connected_most ? connected : sys->connected_most;
    put_number(w, "clients/connected", connected);
    put_number(w, "clients/active", connected); /* its former name */
    put_number(w, "clients/disconnected", away);
    put_number(w, "clients/inactive", away);
    put_number(w, "clients/total", connected + away);
    put_number(w, "clients/maximum", sys->connected_most);
    put_number(w, "subscriptions/count", subs > twice ? subs - twice : 0);
    uint64_t heap;
    if (heap_bytes(&heap)) {
        sys->heap_most = heap > sys->heap_most ? heap : sys->heap_most;
        put_number(w, "heap/current", heap);
        put_number(w, "heap/maximum", sys->heap_most);
    }
}

void sys_init(struct sys *sys, uint64_t interval_ns, uint64_t now_ns)
{
    *sys = (struct sys){.interval_ns = interval_ns, .started_ns = now_ns, .next_ns = now_ns};
}

uint64_t sys_turn(struct sys *sys, const struct metrics *metrics, struct kernel *kernel, uint64_t now_ns)
{
    if (sys->interval_ns == 0 || metrics == NULL) {
        return UINT64_MAX;
    }
    if (now_ns < sys->next_ns) {
        return sys->next_ns;
    }
    struct wire_writer w = wire_writer_growing(LIST_MAX_BYTES);
    char               uptime[40];
    snprintf(uptime, sizeof uptime, "%" PRIu64 " seconds", (now_ns - sys->started_ns) / 1000000000u);
    put(&w, "version", "keel version " KEEL_VERSION);
    put(&w, "uptime", uptime);
    put_counts(sys, metrics, &w);
    put_rates(sys, metrics, sys->last_ns == 0 ? 0 : now_ns - sys->last_ns, &w);
    if (!w.bad) {
        kernel_sys(kernel, wire_written(&w));
    }
    wire_writer_fini(&w);
    sys->last_ns = now_ns;
    sys->next_ns = now_ns + sys->interval_ns;
    return sys->next_ns;
}
