/* topics.c - see topics.h. */
#include "broker/protocol/mqtt/topics.h"

#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/utf8.h"

#include <stdlib.h>

static struct bytes rewritten(struct mqtt_client *client, enum rewrite_action action, struct bytes topic)
{
    struct mqtt_topics *topics = client->env->topics;
    struct bytes        user   = bytes_of(client->user, client->user_size);
    struct bytes        result =
        rewrite_apply(topics->rewrite, action, topic, bytes_of(client->id, client->id_size), user, topics->result);
    bool valid = action == REWRITE_PUBLISH ? mqtt_topic_name_valid(result) : mqtt_topic_filter_valid(result);
    return valid ? result : topic;
}

struct bytes mqtt_topics_publish(struct mqtt_client *client, struct bytes topic)
{
    return client->env->topics->publishes ? rewritten(client, REWRITE_PUBLISH, topic) : topic;
}

bool mqtt_topics_filters(struct mqtt_client *client, struct bytes filters, bool options, struct wire_writer *out)
{
    for (struct bytes left = filters, before = left; left.size != 0; before = left) {
        struct mqtt_filter filter;
        if (!mqtt_filter_next(&left, options, &filter)) {
            break;
        }
        struct bytes result = rewritten(client, REWRITE_SUBSCRIBE, filter.filter);
        wire_put_u8(out, (uint8_t)(result.size >> 8));
        wire_put_u8(out, (uint8_t)result.size);
        wire_put_bytes(out, result);
        if (options) {
            wire_put_u8(out, before.data[before.size - left.size - 1]);
        }
    }
    return !out->bad;
}

bool mqtt_topics_user(struct mqtt_client *client, struct bytes user)
{
    if (client->env->topics == NULL || !client->env->topics->user || user.size == 0) {
        return true;
    }
    free(client->user);
    client->user = malloc(user.size);
    if (client->user == NULL) {
        return false;
    }
    memcpy(client->user, user.data, user.size);
    client->user_size = (uint16_t)user.size;
    return true;
}

void mqtt_topics_subscribe(struct mqtt_client *client)
{
    struct mqtt_env             *env       = client->env;
    const struct automatic      *automatic = env->topics->automatic;
    const struct template_values values    = {.client_id = bytes_of(client->id, client->id_size),
                                              .user      = bytes_of(client->user, client->user_size)};
    for (unsigned i = 0; i < automatic->count; i++) {
        const struct automatic_item *item = &automatic->items[i];
        size_t                       size;
        if (!template_fill(item->filter, &values, env->topics->result, &size)) {
            continue;
        }
        const struct subscription subscription = {
            .filter              = bytes_of(env->topics->result, size),
            .qos                 = item->qos < env->limits->qos_max ? item->qos : env->limits->qos_max,
            .no_local            = item->no_local && !mqtt_topic_filter_shared(bytes_of(env->topics->result, size)),
            .retain_as_published = item->retain_as_published,
            .retain_handling     = item->retain_handling,
        };
        if (mqtt_topic_filter_valid(subscription.filter)) {
            env->kernel_api->subscribe(env->kernel, &client->kernel, 0, &subscription, 1);
        }
    }
}

bool mqtt_topics_automatic(const struct mqtt_client *client, struct bytes filter)
{
    const struct mqtt_topics    *topics = client->env->topics;
    const struct template_values values = {.client_id = bytes_of(client->id, client->id_size),
                                           .user      = bytes_of(client->user, client->user_size)};
    size_t                       size;
    for (unsigned i = 0; topics != NULL && i < topics->automatic->count; i++) {
        if (template_fill(topics->automatic->items[i].filter, &values, client->env->topics->result, &size) &&
            bytes_equal(filter, bytes_of(topics->result, size))) {
            return true;
        }
    }
    return false;
}
