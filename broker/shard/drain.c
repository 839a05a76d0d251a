/* drain - see drain.h. */
#include "broker/shard/drain.h"

#include "broker/admin/metrics.h"
#include "broker/protocol/mqtt/packet.h"
#include "broker/shard/peer.h"
#include "broker/shard/shard.h"
#include "shared/base/log.h"
#include "shared/loop/desk.h"

#include <stdio.h>
#include <stdlib.h>

static const uint64_t step_ns = 100000000; /* some are sent away every so often */

/* ---- the shard ---------------------------------------------------------------------------------------------------------------------- */

static void begin(struct shard *shard, const struct drain_order *order)
{
    struct drain *d   = &shard->drain;
    *d                = (struct drain){.order = order, .begun_ns = shard->mqtt.now_ns, .clients = shard->peer_count};
    shard->mqtt.moved = order->on ? &order->moved : NULL;
}

uint64_t drain_turn(struct shard *shard)
{
    struct drain             *d     = &shard->drain;
    const struct drain_order *order = atomic_load_explicit(&shard->broker->drain, memory_order_acquire);
    if (LIKELY(order == NULL)) {
        return UINT64_MAX;
    }
    if (order != d->order) {
        begin(shard, order);
    }
    if (!order->on || shard->stopping || shard->peer_count == 0) {
        return UINT64_MAX;
    }
    uint64_t took_ns = shard->mqtt.now_ns - d->begun_ns;
    uint64_t all_ns  = order->seconds * UINT64_C(1000000000);
    uint64_t due = took_ns >= all_ns ? UINT64_MAX : (uint64_t)((unsigned __int128)d->clients * took_ns / all_ns) + 1;
    if (due > d->told) {
        uint64_t more = due == UINT64_MAX ? UINT32_MAX : due - d->told;
        d->told += peers_move(shard, more < UINT32_MAX ? (uint32_t)more : UINT32_MAX);
    }
    return shard->mqtt.now_ns + step_ns;
}

/* ---- the admin ---------------------------------------------------------------------------------------------------------------------- */

struct nudge {
    struct desk_item item;
};

static void nudged(struct desk_item *item)
{
    free(CONTAINER_OF(item, struct nudge, item));
}

/* A turn of every shard: it looks for orders itself. */
static void nudge_all(struct broker *broker)
{
    for (unsigned i = 0; i < broker->shard_count; i++) {
        struct nudge *nudge = calloc(1, sizeof *nudge);
        if (nudge != NULL) {
            nudge->item.run = nudged;
            if (!desk_post(broker->desks[i], &nudge->item)) {
                free(nudge);
            }
        }
    }
}

static int say(char **out_text, int status, const char *sentence)
{
    if (asprintf(out_text, "%s\n", sentence) < 0) {
        *out_text = NULL;
    }
    return status;
}

static int give(struct broker *broker, struct drain_order *order, char **out_text)
{
    order->moved.reference = order->reference;
    order->older           = atomic_load_explicit(&broker->drain, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(&broker->drain, &order->older, order, memory_order_acq_rel,
                                                  memory_order_relaxed)) {
        /* another admin thread was faster: behind its order, then */
    }
    nudge_all(broker);
    log_info(order->on ? "drain: clients are sent away within %u s, and no new ones are let in"
                       : "drain: ended, clients are let in again",
             order->seconds);
    return say(out_text, 200, "done");
}

/* "SECONDS temporary|permanent [HOST:PORT]" */
static bool read_order(struct bytes body, struct drain_order *order)
{
    char text[DRAIN_REFERENCE_MAX_BYTES + 64] = "";
    char word[16]                             = "";
    int  end                                  = 0;
    if (body.size == 0 || body.size >= sizeof text || memchr(body.data, '\0', body.size) != NULL) {
        return false;
    }
    memcpy(text, body.data, body.size);
    if (sscanf(text, "%6u %15s %n", &order->seconds, word, &end) < 2 || order->seconds > DRAIN_SECONDS_MAX ||
        strlen(text + end) > DRAIN_REFERENCE_MAX_BYTES || strpbrk(text + end, "\r\n") != NULL) {
        return false;
    }
    bool permanent = strcmp(word, "permanent") == 0;
    snprintf(order->reference, sizeof order->reference, "%s", text + end);
    order->moved.reason_code = permanent ? MQTT_SERVER_MOVED : MQTT_USE_ANOTHER_SERVER;
    return permanent || strcmp(word, "temporary") == 0;
}

int drain_handle(struct broker *broker, const char *method, struct bytes body, char **out_text)
{
    bool put = strcmp(method, "PUT") == 0;
    if (strcmp(method, "GET") == 0) {
        *out_text = NULL;
        (void)!asprintf(out_text, "%s\n", drain_on(broker) ? "draining" : "not draining");
        return 200;
    }
    if (!put && strcmp(method, "DELETE") != 0) {
        return say(out_text, 405, "PUT, DELETE and GET are answered here");
    }
    struct drain_order *order = calloc(1, sizeof *order);
    if (order == NULL) {
        return say(out_text, 500, "out of memory");
    }
    order->on = put;
    if (put && !read_order(body, order)) {
        free(order);
        return say(out_text, 400,
                   "the body is SECONDS (at most 86400), a blank, temporary or permanent, and if wanted a blank and "
                   "HOST:PORT");
    }
    return give(broker, order, out_text);
}

bool drain_on(const struct broker *broker)
{
    const struct drain_order *order = atomic_load_explicit(&broker->drain, memory_order_acquire);
    return order != NULL && order->on;
}

void drain_free(struct broker *broker)
{
    struct drain_order *order = atomic_load_explicit(&broker->drain, memory_order_relaxed);
    while (order != NULL) {
        struct drain_order *older = order->older;
        free(order);
        order = older;
    }
}
