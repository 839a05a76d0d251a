/* pace - see pace.h. */
#include "broker/protocol/mqtt/pace.h"

#include <stdlib.h>

struct mqtt_pace {
    struct mqtt_client *client;
    struct timer        timer; /* until it may be read again */
    struct bucket       messages;
    struct bucket       bytes;
    uint64_t            over_since_ns; /* 0: it has been within its rate since */
};

static struct mqtt_pace *pace_of(struct mqtt_client *client)
{
    if (client->pace == NULL) {
        client->pace = calloc(1, sizeof *client->pace);
        if (client->pace == NULL) {
            mqtt_client_doom(client, MQTT_QUOTA_EXCEEDED, "no memory to watch how fast it publishes");
            return NULL;
        }
        client->pace->client = client;
    }
    return client->pace;
}

static void waited(struct timer *timer, uint64_t now_ns)
{
    struct mqtt_pace *pace = CONTAINER_OF(timer, struct mqtt_pace, timer);
    (void)now_ns;
    pace->client->held_back = false;
    mqtt_client_soon(pace->client);
}

static uint64_t take(struct bucket *bucket, uint64_t rate, uint64_t units, uint64_t now_ns)
{
    return rate == 0 ? 0 : bucket_take(bucket, rate, units, now_ns);
}

void mqtt_pace_publish(struct mqtt_client *client, uint64_t bytes)
{
    struct mqtt_env          *env    = client->env;
    const struct mqtt_limits *limits = env->limits;
    struct mqtt_pace         *pace   = pace_of(client);
    if (pace == NULL) {
        return;
    }
    if (bucket_full(&pace->messages, env->now_ns) && bucket_full(&pace->bytes, env->now_ns)) {
        pace->over_since_ns = 0;
    }
    uint64_t messages_ns = take(&pace->messages, limits->publish_rate, 1, env->now_ns);
    uint64_t bytes_ns    = take(&pace->bytes, limits->publish_bytes_rate, bytes, env->now_ns);
    uint64_t wait_ns     = messages_ns > bytes_ns ? messages_ns : bytes_ns;
    if (wait_ns == 0) {
        return;
    }
    pace->over_since_ns = pace->over_since_ns == 0 ? env->now_ns : pace->over_since_ns;
    if (limits->publish_patience_ns != 0 && env->now_ns - pace->over_since_ns >= limits->publish_patience_ns) {
        mqtt_client_doom(client, MQTT_MESSAGE_RATE_TOO_HIGH, "it publishes faster than it may, and does not stop");
        return;
    }
    env->counters.held_back++;
    client->held_back = true;
    timer_arm(env->timers, &pace->timer, env->now_ns + wait_ns, waited);
}

void mqtt_pace_free(struct mqtt_client *client)
{
    if (client->pace != NULL) {
        timer_cancel(client->env->timers, &client->pace->timer);
        free(client->pace);
        client->pace = NULL;
    }
}
