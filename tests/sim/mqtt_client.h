/* mqtt_client - a correct MQTT 3.1.1 client with a stored session, for scenarios: keeps what the standard says a client keeps, connects
 * again whenever its connection ends, and sends again what was not answered (4.4).
 *
 * Publishes carry their publisher and number, so that the other end can tell them apart.
 * Threads: one; runs on a core of a process of its own, which never crashes. */
#ifndef KEEL_TESTS_SIM_MQTT_CLIENT_H
#define KEEL_TESTS_SIM_MQTT_CLIENT_H

#include "tests/sim/process.h"

enum { MQTT_CLIENT_MESSAGES_MAX = 400, MQTT_CLIENT_WINDOW = 20 };

enum publish_state { PUBLISH_NEW, PUBLISH_SENT, PUBLISH_RELEASED /* PUBREC came, PUBREL sent */, PUBLISH_ANSWERED };

struct mqtt_client {
    struct world *world;
    const char   *id;
    uint8_t       publisher; /* its number in payloads */
    uint8_t       qos;
    const char   *topic;  /* to publish to */
    const char   *filter; /* to subscribe to, or NULL */
    uint32_t      target; /* messages to publish, at most MQTT_CLIENT_MESSAGES_MAX */
    uint32_t      payload_bytes;
    /* A message arrived for the application: for QoS 2 once each. */
    void (*message)(struct mqtt_client *client, uint8_t publisher, uint32_t number);
    void *ctx;

    /* private */
    struct process   *process;
    struct io        *io;
    struct io_socket *socket;
    bool              up;         /* TCP */
    bool              connected;  /* CONNACK */
    bool              subscribed; /* SUBACK, once */
    bool              sending;
    uint64_t          retry_ns;
    uint8_t           states[MQTT_CLIENT_MESSAGES_MAX]; /* enum publish_state; packet id = number + 1 */
    uint32_t          first;                            /* all before it are answered */
    uint32_t          next;                             /* the next to be sent for the first time */
    bool              received[65536];                  /* QoS 2: ids that wait for PUBREL */
    uint8_t           in[262144];
    uint32_t          in_bytes;
    uint8_t           out[1 << 20];
    uint32_t          out_bytes;
    uint32_t          sending_bytes;
    uint32_t          connects;
};

/* On a machine of its own called like its id. */
void               mqtt_client_start(struct mqtt_client *client);
void               mqtt_client_end(struct mqtt_client *client);
static inline bool mqtt_client_done(const struct mqtt_client *client)
{
    return client->first == client->target && (client->filter == NULL || client->subscribed);
}

#endif
