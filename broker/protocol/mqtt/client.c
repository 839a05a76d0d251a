/* client.c - birth, death and output. */
#include "broker/protocol/mqtt/client.h"

#include "broker/protocol/mqtt/alias.h"
#include "broker/protocol/mqtt/encode.h"
#include "broker/protocol/mqtt/login.h"
#include "broker/protocol/mqtt/pace.h"
#include "broker/protocol/mqtt/subscribe.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

void mqtt_client_init(struct mqtt_client *client, struct mqtt_env *env, struct outq *out)
{
    *client = (struct mqtt_client){
        .env                 = env,
        .out                 = out,
        .packet_max_bytes    = UINT32_MAX,
        .receive_max         = 65535,
        .problem_information = true,
    };
}

void mqtt_client_fini(struct mqtt_client *client)
{
    mqtt_login_fini(client);
    mqtt_pace_free(client);
    timer_cancel(client->env->timers, &client->timer);
    list_remove(&client->soon);
    mqtt_aliases_free(client->aliases_in);
    mqtt_aliases_free(client->aliases_out);
    mqtt_replies_free(client);
    mqtt_ids_fini(&client->qos2_in);
    free(client->id);
    free(client->user);
    client->user        = NULL;
    client->aliases_in  = NULL;
    client->aliases_out = NULL;
    client->id          = NULL;
}

bool mqtt_client_topic_fits(const struct mqtt_client *client, struct bytes topic)
{
    const struct mqtt_limits *limits = client->env->limits;
    if (LIKELY(topic.size < limits->topic_levels_max && topic.size <= limits->topic_bytes_max)) {
        return true; /* it cannot have more levels than bytes and one */
    }
    uint32_t levels = 1;
    for (size_t i = 0; i < topic.size; i++) {
        levels += topic.data[i] == '/';
    }
    return topic.size <= limits->topic_bytes_max && levels <= limits->topic_levels_max;
}

void mqtt_client_soon(struct mqtt_client *client)
{
    if (!list_linked(&client->soon)) {
        list_push_back(&client->env->soon, &client->soon);
    }
}

void mqtt_client_doom(struct mqtt_client *client, enum mqtt_reason reason_code, const char *why)
{
    if (client->doom.why == NULL) {
        client->doom = mqtt_fault(reason_code, why);
        mqtt_client_soon(client);
    }
}

/* Larger than a reservation: in a block of its own. */
static int send_large(struct mqtt_client *client, const struct mqtt_packet *packet, size_t size)
{
    struct buf *block = buf_new((uint32_t)size);
    if (block == NULL) {
        return -1;
    }
    mqtt_encode((enum mqtt_version)client->version, packet, block->data);
    block->size = (uint32_t)size;
    int error   = outq_ref(client->out, block, 0, block->size);
    buf_unref(block);
    return error;
}

void mqtt_client_send(struct mqtt_client *client, const struct mqtt_packet *packet)
{
    client->env->counters.packets_out++;
    size_t size = mqtt_encode_size((enum mqtt_version)client->version, packet);
    if (size == 0 || size > client->packet_max_bytes) {
        client->env->counters.too_big_out++;
        return;
    }
    if (size > OUTQ_RESERVE_MAX_BYTES) {
        if (send_large(client, packet, size) != 0) {
            mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory for what must be sent to it");
        }
        return;
    }
    uint8_t *room = outq_reserve(client->out, size);
    if (room == NULL) {
        mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory for what must be sent to it");
        return;
    }
    mqtt_encode((enum mqtt_version)client->version, packet, room);
    outq_commit(client->out, size);
}

void mqtt_client_send_ack(struct mqtt_client *client, enum mqtt_type type, uint16_t packet_id, uint8_t reason_code)
{
    client->env->counters.packets_out++;
    uint8_t *room = outq_reserve(client->out, MQTT_ACK_BYTES_MAX);
    if (UNLIKELY(room == NULL)) {
        mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory for what must be sent to it");
        return;
    }
    size_t size = mqtt_encode_ack((enum mqtt_version)client->version, type, packet_id, reason_code, room);
    outq_commit(client->out, size <= client->packet_max_bytes ? size : 0);
}

uint8_t mqtt_client_denied_code(const struct mqtt_client *client)
{
    return client->env->limits->denied_hidden ? MQTT_UNSPECIFIED_ERROR : MQTT_NOT_AUTHORIZED;
}

void mqtt_client_log_denied(struct mqtt_client *client, const char *what, struct bytes topic)
{
    struct mqtt_env *env = client->env;
    struct bytes     id  = bytes_of(client->id, client->id_size);
    uint64_t         left_out;
    if (log_allowed(&env->logs[hash_bytes(id) % MQTT_LOG_SLOTS], env->now_ns, 1000ull * 1000 * 1000, &left_out)) {
        log_warn("mqtt: client \"%.64s\" may not %s \"%.*s\"%s", client->id, what,
                 (int)(topic.size < 128 ? topic.size : 128), (const char *)topic.data,
                 left_out > 0 ? "; more like it were not logged" : "");
    }
}
