/* deliver.c - the outgoing PUBLISH. */
#include "broker/protocol/mqtt/deliver.h"

#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/encode.h"

#include <stdlib.h>

/* ---- the encoded variants of one message -------------------------------------------------------------------------- */

enum { VARIANTS = 2 * 3 * 2 }; /* before 5 or 5, QoS, RETAIN */

struct variant {
    uint8_t    *small; /* OUTQ_REF_MIN_BYTES of memory that stays with the cache */
    struct buf *large; /* or this, for one message only */
    uint32_t    size;
    uint32_t    id_offset; /* of the packet id */
    uint32_t    expiry_s;  /* that was written */
};

struct mqtt_cache {
    struct mqtt_env   *env;
    struct mqtt_cache *next;
    uint32_t           used; /* a bit per variant */
    struct variant     variants[VARIANTS];
};

static struct mqtt_cache *cache_take(struct mqtt_env *env)
{
    struct mqtt_cache *cache = env->cache_free;
    if (LIKELY(cache != NULL)) {
        env->cache_free = cache->next;
        return cache;
    }
    cache = calloc(1, sizeof *cache);
    if (cache != NULL) {
        cache->env = env;
    }
    return cache;
}

void mqtt_uncache(void *p)
{
    struct mqtt_cache *cache = p;
    for (uint32_t used = cache->used; used != 0; used &= used - 1) {
        struct variant *v = &cache->variants[__builtin_ctz(used)];
        buf_unref(v->large);
        v->large = NULL;
    }
    cache->used            = 0;
    cache->next            = cache->env->cache_free;
    cache->env->cache_free = cache;
}

void mqtt_caches_free(struct mqtt_env *env)
{
    for (struct mqtt_cache *cache = env->cache_free, *next; cache != NULL; cache = next) {
        next = cache->next;
        for (int i = 0; i < VARIANTS; i++) {
            free(cache->variants[i].small);
        }
        free(cache);
    }
    env->cache_free = NULL;
}

/* Where size bytes of a variant are to be written, or NULL. */
static uint8_t *variant_room(struct variant *v, size_t size)
{
    buf_unref(v->large);
    v->large = NULL;
    if (size < OUTQ_REF_MIN_BYTES) {
        if (v->small == NULL) {
            v->small = malloc(OUTQ_REF_MIN_BYTES);
        }
        return v->small;
    }
    v->large = buf_new((uint32_t)size);
    if (v->large == NULL) {
        return NULL;
    }
    v->large->size = (uint32_t)size;
    return v->large->data;
}

static bool variant_fill(struct variant *v, const struct mqtt_outgoing *p, size_t size)
{
    uint8_t *room = variant_room(v, size);
    uint8_t *id   = room;
    if (room == NULL) {
        return false;
    }
    mqtt_publish_write(p, room, &id);
    v->size      = (uint32_t)size;
    v->id_offset = (uint32_t)(id - room);
    v->expiry_s  = p->expiry_s;
    return true;
}

static void patch_id(uint8_t *packet, uint32_t offset, uint16_t id)
{
    packet[offset]     = (uint8_t)(id >> 8);
    packet[offset + 1] = (uint8_t)id;
}

/* By reference, but for the head up to the packet id, which is this client's own. */
static bool send_reference(struct mqtt_client *client, const struct variant *v, uint8_t qos, uint16_t id)
{
    if (qos == 0) {
        return outq_ref(client->out, v->large, 0, v->size) == 0;
    }
    uint32_t head = v->id_offset + 2;
    uint8_t  own[2];
    patch_id(own, 0, id);
    /* Topics may be longer than a reservation; room for all parts is made sure of by the first. */
    if (outq_put(client->out, bytes_of(v->large->data, v->id_offset)) != 0) {
        return false;
    }
    if (outq_put(client->out, bytes_of(own, 2)) != 0 || outq_ref(client->out, v->large, head, v->size - head) != 0) {
        mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory for the rest of a packet");
    }
    return true;
}

static bool send_variant(struct mqtt_client *client, const struct variant *v, uint8_t qos, uint16_t id)
{
    if (v->large != NULL) {
        return send_reference(client, v, qos, id);
    }
    uint8_t *room = outq_reserve(client->out, v->size);
    if (UNLIKELY(room == NULL)) {
        return false;
    }
    memcpy(room, v->small, v->size);
    if (qos > 0) {
        patch_id(room, v->id_offset, id);
    }
    outq_commit(client->out, v->size);
    return true;
}

/* ---- for one client alone ------------------------------------------------------------------------------------------ */

static bool send_alone(struct mqtt_client *client, const struct mqtt_outgoing *p, size_t size)
{
    if (LIKELY(size <= OUTQ_RESERVE_MAX_BYTES)) {
        uint8_t *room = outq_reserve(client->out, size);
        if (UNLIKELY(room == NULL)) {
            return false;
        }
        mqtt_publish_write(p, room, NULL);
        outq_commit(client->out, size);
        return true;
    }
    struct buf *block = buf_new((uint32_t)size);
    if (block == NULL) {
        return false;
    }
    mqtt_publish_write(p, block->data, NULL);
    block->size = (uint32_t)size;
    bool queued = outq_ref(client->out, block, 0, block->size) == 0;
    buf_unref(block);
    return queued;
}

/* Seconds that are left, the begun one counted whole: what was handed on at once arrives with the value it was sent with. */
static uint32_t seconds_left(const struct mqtt_env *env, uint64_t expires_wall_ns)
{
    enum { SECOND_NS = 1000 * 1000 * 1000 };
    if (expires_wall_ns <= env->wall_ns) {
        return 0;
    }
    uint64_t left_s = (expires_wall_ns - env->wall_ns + SECOND_NS - 1) / SECOND_NS;
    return left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX;
}

/* Shorter topics are no longer than the property that would replace them. */
enum { ALIAS_TOPIC_MIN_BYTES = 4 };

/* Puts an alias in p when it helps. True: it has to be told to the client first, with the topic in the same packet. */
static bool choose_alias(struct mqtt_client *client, struct mqtt_outgoing *p)
{
    bool known;
    if (client->alias_out_max == 0 || p->topic.size < ALIAS_TOPIC_MIN_BYTES) {
        return false;
    }
    p->alias = mqtt_alias_choose(client->aliases_out, client->alias_out_max, p->topic, &known);
    if (known) {
        p->topic = (struct bytes){0};
    }
    return !known;
}

static enum deliver_result refused(struct mqtt_client *client)
{
    client->wants_writable = true;
    client->env->counters.full_out++;
    return DELIVER_FULL;
}

static enum deliver_result deliver_alone(struct mqtt_client *client, struct mqtt_outgoing *p)
{
    bool   tell = choose_alias(client, p);
    size_t size = mqtt_publish_size(p);
    if (tell && size > client->packet_max_bytes) {
        tell     = false;
        p->alias = 0;
        size     = mqtt_publish_size(p);
    }
    if (size == 0 || size > client->packet_max_bytes) {
        client->env->counters.too_big_out++;
        return DELIVER_TOO_BIG;
    }
    if (tell && mqtt_alias_set(&client->aliases_out, client->alias_out_max, p->alias, p->topic) != 0) {
        return refused(client);
    }
    if (!send_alone(client, p, size)) {
        if (tell) { /* the client was not told, and the alias cannot be taken back by itself */
            mqtt_aliases_free(client->aliases_out);
            client->aliases_out = NULL;
        }
        return refused(client);
    }
    client->env->counters.publishes_out++;
    return DELIVER_OK;
}

static enum deliver_result deliver_variant(struct mqtt_client *client, const struct variant *v, uint8_t qos,
                                           uint16_t id)
{
    if (v->size > client->packet_max_bytes) {
        client->env->counters.too_big_out++;
        return DELIVER_TOO_BIG;
    }
    if (!send_variant(client, v, qos, id)) {
        return refused(client);
    }
    client->env->counters.publishes_out++;
    return DELIVER_OK;
}

static uint32_t variant_key(bool five, uint8_t qos, bool retain)
{
    return (five ? 6u : 0u) + qos * 2u + retain;
}

/* The first to get a message gets it encoded in place; from the second on it is encoded once for all. */
static enum deliver_result deliver_shared(struct mqtt_client *client, struct mqtt_outgoing *p, struct message *message)
{
    struct mqtt_cache *cache = message->cache;
    size_t             size  = mqtt_publish_size(p);
    if (size == 0 || size > client->packet_max_bytes) {
        client->env->counters.too_big_out++;
        return DELIVER_TOO_BIG;
    }
    bool first     = cache == NULL;
    cache          = first ? cache_take(client->env) : cache;
    message->cache = cache;
    if (cache == NULL || (first && size <= OUTQ_RESERVE_MAX_BYTES)) {
        if (!send_alone(client, p, size)) {
            return refused(client);
        }
        client->env->counters.publishes_out++;
        return DELIVER_OK;
    }
    uint32_t        key = variant_key(p->version == MQTT_V5, p->qos, p->retain);
    struct variant *v   = &cache->variants[key];
    cache->used &= ~(1u << key);
    if (!variant_fill(v, p, size)) {
        return refused(client);
    }
    cache->used |= 1u << key;
    return deliver_variant(client, v, p->qos, p->packet_id);
}

/* Out of line: a fan-out takes the short way for all but its first two. */
static __attribute__((noinline)) enum deliver_result deliver_new(struct mqtt_client *client, const struct delivery *d,
                                                                 uint32_t expiry_s, bool alone)
{
    const struct message *message = d->message;
    bool                  five    = client->version == MQTT_V5;
    struct mqtt_outgoing  p       = {
               .version               = (enum mqtt_version)client->version,
               .qos                   = d->qos,
               .duplicate             = d->duplicate && d->qos > 0,
               .retain                = d->retain,
               .packet_id             = d->id,
               .topic                 = message->topic,
               .payload               = message->payload,
               .properties            = message->properties,
               .expires               = five && message->expires_wall_ns != 0,
               .expiry_s              = expiry_s,
               .subscription_ids      = d->subscription_ids,
               .subscription_id_count = five ? d->subscription_id_count : 0,
    };
    return alone ? deliver_alone(client, &p) : deliver_shared(client, &p, d->message);
}

enum deliver_result mqtt_deliver(struct client *kernel_client, struct delivery *delivery)
{
    struct mqtt_client *client   = mqtt_client_of(kernel_client);
    struct message     *message  = delivery->message;
    bool                five     = client->version == MQTT_V5;
    bool                alone    = delivery->duplicate && delivery->qos > 0;
    uint32_t            expiry_s = 0;
    if (UNLIKELY(client->out->size_bytes >= client->env->limits->output_max_bytes || client->doom.why != NULL)) {
        return refused(client);
    }
    if (five) {
        expiry_s = message->expires_wall_ns != 0 ? seconds_left(client->env, message->expires_wall_ns) : 0;
        alone    = alone || delivery->subscription_id_count > 0 || client->alias_out_max > 0;
    }
    struct mqtt_cache *cache = message->cache;
    uint32_t           key   = variant_key(five, delivery->qos, delivery->retain);
    if (alone || cache == NULL || (cache->used >> key & 1) == 0 || cache->variants[key].expiry_s != expiry_s) {
        return deliver_new(client, delivery, expiry_s, alone);
    }
    return deliver_variant(client, &cache->variants[key], delivery->qos, delivery->id);
}

void mqtt_deliver_release(struct client *kernel_client, uint16_t id)
{
    mqtt_client_send_ack(mqtt_client_of(kernel_client), MQTT_PUBREL, id, MQTT_SUCCESS);
}
