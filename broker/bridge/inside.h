/* inside - the inside of bridge.h, for the files that share it; nobody else includes this.
 *
 *   bridge.c   the connection's life, its timers, what the shard asks      remote.c   packets to and from the other broker
 *   local.c    our session in the kernel: opened, subscribed, published to
 *
 * Threads: the shard that owns the bridge. */
#ifndef KEEL_BROKER_BRIDGE_INSIDE_H
#define KEEL_BROKER_BRIDGE_INSIDE_H

#include "broker/bridge/bridge.h"
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"

#define SECOND_NS        1000000000ull
#define BACKOFF_FIRST_NS (SECOND_NS / 4)
#define BACKOFF_LAST_NS  (30 * SECOND_NS)
#define GREET_NS         (10 * SECOND_NS)
#define PREPARE_NS       (SECOND_NS / 20)

enum {
    OUTPUT_MAX_BYTES  = 1 << 20,
    INPUT_MAX_BYTES   = 4 << 20,
    RECEIVE_MAX       = 100,   /* theirs to us */
    RECEIVE_MAX_V311  = 20,    /* ours to a broker that cannot say */
    SUBSCRIBE_ID      = 65535, /* the kernel's ids of a session's own stream are below 32768 */
    CONNECT_BYTES_MAX = 2048,
};

static inline struct bridge *bridge_of(struct client *client)
{
    return CONTAINER_OF(client, struct bridge, client);
}

static inline bool bridge_v5(const struct bridge *b)
{
    return b->spec.version == MQTT_V5;
}

/* bridge.c */
void bridge_step(struct bridge *b, enum bridge_state next);
/* The connection is of no use any more; inside bridge_receive it is closed at the end of the call. */
void bridge_drop(struct bridge *b, const char *why);
/* Last thing in a call from outside: closes what was dropped inside. */
void bridge_end_call(struct bridge *b);
void bridge_arm_keep_alive(struct bridge *b);

/* remote.c */
void bridge_greet(struct bridge *b);           /* CONNECT */
void bridge_subscribe_there(struct bridge *b); /* what is to come in */
void bridge_send_packet(struct bridge *b, const struct mqtt_packet *packet);
void bridge_send_ack(struct bridge *b, enum mqtt_type type, uint16_t id, uint8_t reason);
/* Takes the packets that have come, unless it is at it. */
void bridge_work(struct bridge *b);

/* local.c */
void bridge_local_open(struct bridge *b);
/* What the kernel calls of our session. */
extern const struct client_ops bridge_ops;

#endif
