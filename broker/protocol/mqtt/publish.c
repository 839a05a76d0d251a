/* publish.c - topic alias, limits and expiry of what comes in; reason codes of what is answered. */
#include "broker/protocol/mqtt/publish.h"

#include "broker/auth/ticket.h"
#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/property.h"
#include "broker/protocol/mqtt/topics.h"
#include "shared/base/err.h"

static const uint64_t second_ns = 1000ull * 1000 * 1000;

/* The topic that the packet means: its own, or that of its alias. */
static struct mqtt_fault resolve_topic(struct mqtt_client *client, const struct mqtt_publish *publish,
                                       struct bytes *topic)
{
    uint16_t max = client->env->limits->topic_alias_in_max;
    *topic       = publish->topic;
    if (!mqtt_has(&publish->properties, MQTT_TOPIC_ALIAS)) {
        return MQTT_FINE;
    }
    uint16_t alias = publish->properties.topic_alias;
    if (alias == 0 || alias > max) {
        return mqtt_fault(MQTT_TOPIC_ALIAS_INVALID,
                          "a topic alias that is 0 or over the maximum"); /* [MQTT-3.3.2-8] [MQTT-3.3.2-9] */
    }
    if (topic->size == 0) {
        *topic = mqtt_alias_topic(client->aliases_in, alias);
        return topic->size > 0 ? MQTT_FINE : mqtt_fault(MQTT_PROTOCOL_ERROR, "a topic alias that was never set");
    }
    if (mqtt_alias_set(&client->aliases_in, max, alias, *topic) != 0) {
        return mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for a topic alias");
    }
    return MQTT_FINE;
}

/* Counts the publish against our Receive Maximum; only MQTT 5 clients know one [MQTT-3.3.4-9]. A QoS 2 publish that comes again counts once. */
static struct mqtt_fault charge(struct mqtt_client *client, uint8_t qos, uint16_t id)
{
    if (qos == 0 || client->version != MQTT_V5 || (qos == 2 && mqtt_ids_has(&client->qos2_in, id))) {
        return MQTT_FINE;
    }
    if (client->qos1_in_count + client->qos2_in.count >= client->env->limits->receive_max) {
        return mqtt_fault(MQTT_RECEIVE_MAXIMUM_EXCEEDED, "more unanswered publishes than Receive Maximum allows");
    }
    if (qos == 1) {
        client->qos1_in_count++;
        return MQTT_FINE;
    }
    return mqtt_ids_add(&client->qos2_in, id) == 0
               ? MQTT_FINE
               : mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for a packet identifier");
}

static struct mqtt_fault check_limits(const struct mqtt_client *client, const struct mqtt_publish *publish)
{
    const struct mqtt_limits *limits = client->env->limits;
    if (publish->qos > limits->qos_max) {
        return mqtt_fault(MQTT_QOS_NOT_SUPPORTED, "PUBLISH with a QoS over the maximum"); /* [MQTT-3.2.2-11] */
    }
    if (publish->retain && !limits->retain_available) {
        return mqtt_fault(MQTT_RETAIN_NOT_SUPPORTED,
                          "PUBLISH with RETAIN, which is not available"); /* [MQTT-3.2.2-14] */
    }
    return MQTT_FINE;
}

static struct mqtt_fault take_properties(struct mqtt_env *env, const struct mqtt_properties *p, struct message *message)
{
    uint8_t *scratch = NULL;
    if (mqtt_properties_scattered(p)) {
        scratch = mqtt_env_scratch(env, p->raw.size);
        if (scratch == NULL) {
            return mqtt_fault(MQTT_QUOTA_EXCEEDED, "no memory for properties");
        }
    }
    message->properties = mqtt_properties_forward(p, scratch);
    if (mqtt_has(p, MQTT_MESSAGE_EXPIRY_INTERVAL)) {
        message->expires_wall_ns = env->wall_ns + p->message_expiry_interval_s * second_ns;
    }
    return MQTT_FINE;
}

static enum access allowed(struct mqtt_client *client, const struct message *message)
{
    const struct acl_wish wish = {
        .action = ACL_PUBLISH, .qos = message->qos, .retain = message->retain, .topic = message->topic};
    enum access access = ticket_check(client->ticket, &wish);
    if (UNLIKELY(access == ACCESS_DENY)) {
        mqtt_client_log_denied(client, "publish to", message->topic);
    }
    if (access != ACCESS_WAIT) {
        ticket_settled(client->ticket);
    }
    return access;
}

struct mqtt_fault mqtt_publish_take(struct mqtt_client *client, const struct mqtt_publish *publish)
{
    struct mqtt_env  *env   = client->env;
    struct mqtt_fault fault = check_limits(client, publish);
    if (UNLIKELY(fault.why != NULL)) {
        return fault;
    }
    struct message message = {
        .topic           = publish->topic,
        .payload         = publish->payload,
        .qos             = publish->qos,
        .retain          = publish->retain,
        .publish_wall_ns = env->wall_ns,
    };
    if (UNLIKELY(publish->properties.present != 0)) {
        fault = resolve_topic(client, publish, &message.topic);
        if (fault.why == NULL) {
            fault = take_properties(env, &publish->properties, &message);
        }
        if (fault.why != NULL) {
            return fault;
        }
    }
    if (UNLIKELY(!mqtt_client_topic_fits(client, message.topic))) {
        env->counters.over_limit++;
        mqtt_client_log_denied(client, "publish to a topic that is too long or has too many levels:", message.topic);
        if (client->version != MQTT_V5) {
            return mqtt_fault(MQTT_TOPIC_NAME_INVALID,
                              "a topic longer than mqtt.topic_max, or of more levels than mqtt.topic_levels_max");
        }
        message.refused = ERR_MALFORMED;
    }
    if (UNLIKELY(env->topics != NULL)) {
        message.topic = mqtt_topics_publish(client, message.topic);
    }
    switch (allowed(client, &message)) {
    case ACCESS_ALLOW:
        break;
    case ACCESS_WAIT:
        client->waiting = true;
        return MQTT_FINE;
    case ACCESS_DENY:
        message.refused = ERR_DENIED;
        if (client->version != MQTT_V5 && env->limits->denied_ends_v3) {
            return mqtt_fault(MQTT_NOT_AUTHORIZED, "it may not publish to this topic");
        }
        break;
    }
    if (publish->qos > 0) {
        fault = charge(client, publish->qos, publish->packet_id);
        if (fault.why != NULL) {
            return fault;
        }
    }
    env->counters.publishes_in++;
    env->kernel_api->publish(env->kernel, &client->kernel, &message, publish->packet_id);
    return MQTT_FINE;
}

struct mqtt_fault mqtt_ack_take(struct mqtt_client *client, enum mqtt_type type, const struct mqtt_ack *ack)
{
    struct mqtt_env              *env   = client->env;
    const struct mqtt_kernel_api *api   = env->kernel_api;
    int                           found = 0;
    switch (type) {
    case MQTT_PUBREL:
        api->publish_release(env->kernel, &client->kernel, ack->packet_id);
        break;
    case MQTT_PUBREC:
        if (ack->reason_code >= MQTT_UNSPECIFIED_ERROR) { /* refused: that ends it [MQTT-4.4.0-2] */
            found = api->done(env->kernel, &client->kernel, ack->packet_id, DELIVERY_REFUSED);
            break;
        }
        found = api->received(env->kernel, &client->kernel, ack->packet_id);
        if (found == ERR_NOT_FOUND) {
            /* The client still holds an id that means nothing here: PUBREL lets it go [MQTT-4.3.3-4]. */
            mqtt_client_send_ack(client, MQTT_PUBREL, ack->packet_id, MQTT_PACKET_IDENTIFIER_NOT_FOUND);
        }
        break;
    case MQTT_PUBCOMP:
        found = api->done(env->kernel, &client->kernel, ack->packet_id, DELIVERY_RELEASED);
        break;
    default: /* PUBACK; one that nobody waits for changes nothing */
        found = api->done(env->kernel, &client->kernel, ack->packet_id, DELIVERY_TAKEN);
        break;
    }
    return UNLIKELY(found == ERR_CONFLICT)
               ? mqtt_fault(MQTT_PROTOCOL_ERROR, "an acknowledgement of another kind than the message waits for")
               : MQTT_FINE;
}

static uint8_t reason_of(const struct mqtt_client *client, int status, bool matched)
{
    switch (status) {
    case 0:
        return matched ? MQTT_SUCCESS : MQTT_NO_MATCHING_SUBSCRIBERS;
    case ERR_DENIED:
        return mqtt_client_denied_code(client);
    case ERR_MALFORMED:
        return MQTT_TOPIC_NAME_INVALID;
    case ERR_QUOTA:
    case ERR_DISK_FULL:
    case ERR_TOO_BIG:
    case ERR_FULL:
        return MQTT_QUOTA_EXCEEDED;
    case ERR_BUSY:
        return MQTT_PACKET_IDENTIFIER_IN_USE;
    default:
        return MQTT_UNSPECIFIED_ERROR;
    }
}

void mqtt_published(struct client *kernel_client, uint16_t id, uint8_t qos, int status, bool matched)
{
    struct mqtt_client *client = mqtt_client_of(kernel_client);
    uint8_t             code   = reason_of(client, status, matched);
    if (client->version == MQTT_V5) {
        if (qos == 1) {
            ASSERT(client->qos1_in_count > 0);
            client->qos1_in_count--;
        } else if (code >= MQTT_UNSPECIFIED_ERROR) {
            mqtt_ids_remove(&client->qos2_in, id);
        }
    } else if (code >= MQTT_UNSPECIFIED_ERROR && status != ERR_DENIED) {
        /* Before MQTT 5 an acknowledgement always means yes, so the only honest no is to close; what is forbidden is acknowledged and dropped, as
         * 3.1.1 has it [MQTT-3.3.5-2]. */
        mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, err_sentence(status));
        return;
    }
    mqtt_client_send_ack(client, qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, id, code);
}

void mqtt_publish_released(struct client *kernel_client, uint16_t id, int status)
{
    struct mqtt_client *client = mqtt_client_of(kernel_client);
    mqtt_ids_remove(&client->qos2_in, id);
    mqtt_client_send_ack(client, MQTT_PUBCOMP, id,
                         status == ERR_NOT_FOUND ? MQTT_PACKET_IDENTIFIER_NOT_FOUND : MQTT_SUCCESS);
}
