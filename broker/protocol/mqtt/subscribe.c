/* subscribe.c - filters to the kernel in groups, its results back into one reply. */
#include "broker/protocol/mqtt/subscribe.h"

#include "broker/auth/ticket.h"
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/topics.h"
#include "broker/protocol/mqtt/utf8.h"
#include "shared/base/err.h"

#include <stdlib.h>

enum {
    GROUP_MAX = 256,  /* kernel_subscribe takes no more */
    PENDING   = 0xff, /* no reason code: the kernel is to say */
};

struct mqtt_reply {
    struct mqtt_reply *next;
    uint16_t           packet_id;
    uint8_t            type;    /* MQTT_SUBACK or MQTT_UNSUBACK */
    uint32_t           pending; /* codes that are missing */
    uint32_t           at;      /* none is missing before it */
    uint32_t           count;
    uint8_t            codes[];
};

/* ---- replies ---------------------------------------------------------------------------------------------------------- */

static struct mqtt_reply **reply_find(struct mqtt_client *client, enum mqtt_type type, uint16_t packet_id)
{
    struct mqtt_reply **at = &client->replies;
    while (*at != NULL && ((*at)->packet_id != packet_id || (*at)->type != type)) {
        at = &(*at)->next;
    }
    return at;
}

/* Behind those that wait already; the codes are the caller's to set. */
static struct mqtt_reply *reply_new(struct mqtt_client *client, enum mqtt_type type, uint16_t packet_id, uint32_t count)
{
    struct mqtt_reply *reply = malloc(sizeof *reply + count);
    if (reply == NULL) {
        return NULL;
    }
    *reply                  = (struct mqtt_reply){.packet_id = packet_id, .type = (uint8_t)type, .count = count};
    struct mqtt_reply **end = &client->replies;
    while (*end != NULL) {
        end = &(*end)->next;
    }
    *end = reply;
    client->reply_count++;
    return reply;
}

static void reply_send(struct mqtt_client *client, const struct mqtt_reply *reply)
{
    struct mqtt_packet packet = {.type = reply->type};
    packet.suback.packet_id   = reply->packet_id;
    if (reply->type == MQTT_SUBACK || client->version == MQTT_V5) {
        packet.suback.reason_codes = bytes_of(reply->codes, reply->count);
    }
    mqtt_client_send(client, &packet);
}

/* Sends the reply once nothing is missing, and forgets it. */
static void reply_settle(struct mqtt_client *client, struct mqtt_reply **at)
{
    struct mqtt_reply *reply = *at;
    if (reply->pending > 0) {
        return;
    }
    reply_send(client, reply);
    *at = reply->next;
    free(reply);
    if (client->reply_count-- == MQTT_REPLIES_MAX) {
        mqtt_client_soon(client);
    }
}

void mqtt_replies_free(struct mqtt_client *client)
{
    for (struct mqtt_reply *reply = client->replies, *next; reply != NULL; reply = next) {
        next = reply->next;
        free(reply);
    }
    client->replies     = NULL;
    client->reply_count = 0;
}

/* Every filter is refused with the same code. */
static void reply_all(struct mqtt_client *client, enum mqtt_type type, const struct mqtt_subscribe *packet,
                      uint8_t code)
{
    struct mqtt_reply *reply = malloc(sizeof *reply + packet->count);
    if (reply == NULL) {
        mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory for a reply");
        return;
    }
    *reply = (struct mqtt_reply){.packet_id = packet->packet_id, .type = (uint8_t)type, .count = packet->count};
    memset(reply->codes, code, packet->count);
    reply_send(client, reply);
    free(reply);
}

/* A packet id that waits for an answer is not free for another; 3.x has no code to say so. */
static bool id_in_use(struct mqtt_client *client, enum mqtt_type type, const struct mqtt_subscribe *packet,
                      struct mqtt_fault *fault)
{
    *fault = MQTT_FINE;
    if (*reply_find(client, type, packet->packet_id) == NULL) {
        return false;
    }
    if (client->version == MQTT_V5) {
        reply_all(client, type, packet, MQTT_PACKET_IDENTIFIER_IN_USE);
    } else {
        *fault = mqtt_fault(MQTT_PROTOCOL_ERROR, "a packet identifier that waits for its answer was used again");
    }
    return true;
}

/* ---- SUBSCRIBE ---------------------------------------------------------------------------------------------------------- */

static enum access allowed(struct mqtt_client *client, const struct mqtt_filter *filter)
{
    const struct acl_wish wish = {.action = ACL_SUBSCRIBE, .qos = filter->qos, .topic = filter->filter};
    return ticket_check(client->ticket, &wish);
}

/* Is it known of every filter whether it may be subscribed to? All that is not is asked for at once. */
static bool rights_known(struct mqtt_client *client, const struct mqtt_subscribe *subscribe)
{
    struct bytes       left  = subscribe->filters;
    bool               known = true;
    struct mqtt_filter filter;
    while (client->ticket != NULL && mqtt_filter_next(&left, true, &filter)) {
        known = allowed(client, &filter) != ACCESS_WAIT && known;
    }
    return known;
}

/* The reason code that our limits and its rights have for a filter, or PENDING. */
static uint8_t limit_code(struct mqtt_client *client, const struct mqtt_filter *wanted)
{
    const struct mqtt_limits *limits = client->env->limits;
    struct bytes              filter = wanted->filter;
    if (allowed(client, wanted) == ACCESS_DENY) {
        client->env->counters.subscriptions_denied++;
        mqtt_client_log_denied(client, "subscribe to", filter);
        return mqtt_client_denied_code(client);
    }
    if (!mqtt_client_topic_fits(client, filter)) {
        client->env->counters.over_limit++;
        mqtt_client_log_denied(client, "subscribe to a filter that is too long or has too many levels:", filter);
        return MQTT_TOPIC_FILTER_INVALID;
    }
    if (!limits->shared_available && mqtt_topic_filter_shared(filter)) {
        return MQTT_SHARED_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    if (!limits->wildcard_available && mqtt_topic_filter_wildcard(filter)) {
        return MQTT_WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED;
    }
    return PENDING;
}

static uint8_t granted_code(const struct mqtt_client *client, int result)
{
    if (result >= 0) {
        return (uint8_t)result;
    }
    if (client->version != MQTT_V5) {
        return MQTT_V3_SUBSCRIBE_FAILURE;
    }
    if (result == ERR_NOT_FOUND || result == ERR_MALFORMED) { /* of "$stream/..": no such stream or position */
        return MQTT_TOPIC_FILTER_INVALID;
    }
    return result == ERR_DENIED                                                   ? mqtt_client_denied_code(client)
           : result == ERR_QUOTA || result == ERR_FULL || result == ERR_DISK_FULL ? MQTT_QUOTA_EXCEEDED
                                                                                  : MQTT_UNSPECIFIED_ERROR;
}

static struct subscription subscription_of(const struct mqtt_client *client, const struct mqtt_filter *filter,
                                           uint32_t id, struct bytes from)
{
    uint8_t qos_max = client->env->limits->qos_max;
    bool    bridge  = client->bridge && !mqtt_topic_filter_shared(filter->filter) &&
                  !bytes_starts_with(filter->filter, bytes_str("$stream/"));
    return (struct subscription){
        .filter              = filter->filter,
        .id                  = id,
        .from                = from,
        .qos                 = filter->qos < qos_max ? filter->qos : qos_max,
        .no_local            = filter->no_local || bridge,
        .retain_as_published = filter->retain_as_published || client->bridge,
        .retain_handling     = filter->retain_handling,
    };
}

/* A code of 5.0 as this client knows it. 3.1 has only the QoS granted: what is forbidden looks granted, as it wants it for PUBLISH too; for
 * what fails see settle. */
static uint8_t code_for(const struct mqtt_client *client, const struct mqtt_filter *filter, uint8_t code)
{
    switch (client->version) {
    case MQTT_V5:
        return code;
    case MQTT_V31:
        return filter->qos;
    default:
        return MQTT_V3_SUBSCRIBE_FAILURE;
    }
}

/* Sets the codes that are known without the kernel, and counts the others. */
static void reply_prepare(struct mqtt_client *client, const struct mqtt_subscribe *subscribe, struct mqtt_reply *reply)
{
    struct bytes       left = subscribe->filters;
    struct mqtt_filter filter;
    for (uint32_t i = 0; mqtt_filter_next(&left, reply->type == MQTT_SUBACK, &filter); i++) {
        uint8_t code    = reply->type == MQTT_SUBACK ? limit_code(client, &filter) : PENDING;
        reply->codes[i] = code == PENDING ? code : code_for(client, &filter, code);
        reply->pending += code == PENDING;
    }
}

/* Those that the reply waits for. With the last of them the reply may go, so nothing is looked at behind it. */
static void ask_subscribe(struct mqtt_client *client, const struct mqtt_subscribe *subscribe, uint32_t id,
                          const struct mqtt_reply *reply)
{
    struct mqtt_env    *env = client->env;
    struct subscription group[GROUP_MAX];
    int                 count   = 0;
    uint32_t            pending = reply->pending;
    struct bytes        left    = subscribe->filters;
    struct bytes        from    = {0};
    struct mqtt_filter  filter;
    (void)!mqtt_user_property(&subscribe->properties, bytes_str("keel-from"), &from);
    for (uint32_t i = 0; pending > 0 && mqtt_filter_next(&left, true, &filter); i++) {
        if (reply->codes[i] != PENDING) {
            continue;
        }
        pending--;
        group[count++] = subscription_of(client, &filter, id, from);
        if (count == GROUP_MAX) {
            env->kernel_api->subscribe(env->kernel, &client->kernel, subscribe->packet_id, group, count);
            count = 0;
        }
    }
    if (count > 0) {
        env->kernel_api->subscribe(env->kernel, &client->kernel, subscribe->packet_id, group, count);
    }
}

static struct mqtt_fault take_subscribe(struct mqtt_client *client, const struct mqtt_subscribe *subscribe)
{
    uint32_t          id = 0;
    struct mqtt_fault fault;
    if (mqtt_has(&subscribe->properties, MQTT_SUBSCRIPTION_IDENTIFIER)) {
        if (!client->env->limits->subscription_id_available) {
            return mqtt_fault(MQTT_SUBSCRIPTION_IDENTIFIERS_NOT_SUPPORTED,
                              "a subscription identifier, which is not available");
        }
        id = subscribe->properties.subscription_identifier;
    }
    if (id_in_use(client, MQTT_SUBACK, subscribe, &fault)) {
        return fault;
    }
    if (!rights_known(client, subscribe)) {
        client->waiting = true;
        return MQTT_FINE;
    }
    struct mqtt_reply *reply = reply_new(client, MQTT_SUBACK, subscribe->packet_id, subscribe->count);
    if (reply == NULL) {
        return mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for a reply");
    }
    reply_prepare(client, subscribe, reply);
    ticket_settled(client->ticket);
    if (reply->pending == 0) {
        reply_settle(client, reply_find(client, MQTT_SUBACK, subscribe->packet_id));
        return MQTT_FINE;
    }
    ask_subscribe(client, subscribe, id, reply); /* reply may be gone now */
    return MQTT_FINE;
}

/* ---- UNSUBSCRIBE -------------------------------------------------------------------------------------------------------- */

static struct mqtt_fault take_unsubscribe(struct mqtt_client *client, const struct mqtt_subscribe *unsubscribe)
{
    struct mqtt_env  *env = client->env;
    struct mqtt_fault fault;
    if (id_in_use(client, MQTT_UNSUBACK, unsubscribe, &fault)) {
        return fault;
    }
    struct mqtt_reply *reply = reply_new(client, MQTT_UNSUBACK, unsubscribe->packet_id, unsubscribe->count);
    if (reply == NULL) {
        return mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for a reply");
    }
    reply_prepare(client, unsubscribe, reply);
    struct bytes       group[GROUP_MAX];
    int                count = 0;
    struct bytes       left  = unsubscribe->filters;
    struct mqtt_filter filter;
    while (mqtt_filter_next(&left, false, &filter)) {
        group[count++] = filter.filter;
        if (count == GROUP_MAX || left.size == 0) {
            env->kernel_api->unsubscribe(env->kernel, &client->kernel, unsubscribe->packet_id, group, count);
            count = 0;
        }
    }
    return MQTT_FINE;
}

/* ---- rewritten ------------------------------------------------------------------------------------------------------------ */

enum { FILTERS_MAX_BYTES = 16 << 20 };

/* With what the rules make of its filters. */
static struct mqtt_fault take_rewritten(struct mqtt_client *client, const struct mqtt_subscribe *packet, bool subscribe)
{
    struct mqtt_subscribe mine  = *packet;
    struct wire_writer    w     = wire_writer_growing(FILTERS_MAX_BYTES);
    struct mqtt_fault     fault = mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for topic filters");
    if (mqtt_topics_filters(client, packet->filters, subscribe, &w)) {
        mine.filters = wire_written(&w);
        fault        = subscribe ? take_subscribe(client, &mine) : take_unsubscribe(client, &mine);
    }
    wire_writer_fini(&w);
    return fault;
}

struct mqtt_fault mqtt_subscribe_take(struct mqtt_client *client, const struct mqtt_subscribe *subscribe)
{
    return mqtt_topics_rewrite_filters(client->env) ? take_rewritten(client, subscribe, true)
                                                    : take_subscribe(client, subscribe);
}

struct mqtt_fault mqtt_unsubscribe_take(struct mqtt_client *client, const struct mqtt_subscribe *unsubscribe)
{
    return mqtt_topics_rewrite_filters(client->env) ? take_rewritten(client, unsubscribe, false)
                                                    : take_unsubscribe(client, unsubscribe);
}

/* ---- the kernel's answers ------------------------------------------------------------------------------------------------ */

static void settle(struct client *kernel_client, enum mqtt_type type, uint16_t id, const int *results, int count)
{
    struct mqtt_client *client = mqtt_client_of(kernel_client);
    if (id == 0) {
        return; /* an automatic one (topics.h): it was not asked for and is not answered */
    }
    struct mqtt_reply **at    = reply_find(client, type, id);
    struct mqtt_reply  *reply = *at;
    ASSERT(reply != NULL && count > 0 && (uint32_t)count <= reply->pending);
    for (int i = 0; i < count; i++, reply->at++) {
        if (results[i] < 0 && type == MQTT_SUBACK && client->version == MQTT_V31) { /* which has no word for no */
            mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, err_sentence(results[i]));
            return;
        }
        while (reply->codes[reply->at] != PENDING) {
            reply->at++;
        }
        reply->codes[reply->at] = type == MQTT_UNSUBACK && results[i] == ERR_NOT_FOUND
                                      ? MQTT_NO_SUBSCRIPTION_EXISTED
                                      : granted_code(client, results[i]);
    }
    reply->pending -= (uint32_t)count;
    reply_settle(client, at);
}

void mqtt_subscribed(struct client *kernel_client, uint16_t id, const int *results, int count)
{
    settle(kernel_client, MQTT_SUBACK, id, results, count);
}

void mqtt_unsubscribed(struct client *kernel_client, uint16_t id, const int *results, int count)
{
    if (id == 0) { /* taken from it, it did not ask (login.c) */
        return;
    }
    settle(kernel_client, MQTT_UNSUBACK, id, results, count);
}
