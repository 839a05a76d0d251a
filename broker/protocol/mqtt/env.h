/* env - what all MQTT connections of one shard share: the kernel, the clock, the limits, the way to the sockets, counters and scratch memory.
 *
 *     shard  --mqtt_conn_receive()-->  conn  --kernel_api-->  kernel
 *        ^                              |
 *        '------- port, outq <----------'
 *
 * The shard sets now_ns and wall_ns first thing each turn, and calls mqtt_conn_turn before kernel_end.
 * Threads: one env per shard.   Units: ns, bytes; *_s seconds. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_ENV_H
#define KEEL_BROKER_PROTOCOL_MQTT_ENV_H

#include "broker/auth/port.h"
#include "broker/kernel/kernel.h"
#include "shared/base/bucket.h"
#include "shared/base/list.h"
#include "shared/base/log.h"
#include "shared/base/timer.h"

/* All chosen at start-up. What MQTT 5 has a word for is told to the client in CONNACK. */
struct mqtt_limits {
    uint32_t packet_max_bytes; /* of an incoming packet, header included */
    /* QoS 1 and 2 publishes of one client that may be unanswered (MQTT 5 only: 3.x has no such word). */
    uint16_t receive_max;
    uint16_t topic_alias_in_max;  /* that a client may set */
    uint16_t topic_alias_out_max; /* that we set, at most what the client allows */
    uint8_t  qos_max;             /* 0..2 */
    bool     retain_available;
    bool     wildcard_available;
    bool     shared_available;
    bool     subscription_id_available;
    bool reason_strings; /* say why in words too, in DISCONNECT and CONNACK that refuse, unless the client wants none */
    uint16_t keep_alive_max_s;     /* a longer one, or none, is replaced (MQTT 5); 0: any */
    uint32_t session_expiry_max_s; /* as in kernel_limits; EXPIRY_NEVER: any */
    uint64_t connect_timeout_ns; /* from the connection to the end of CONNECT and of what it takes to know the client */
    bool     denied_hidden;      /* a client is told of what it may not do as of any failure: 0x80 */
    bool denied_ends_v3; /* before MQTT 5: a denied publish ends the connection; else it is acknowledged and dropped */
    uint32_t topic_bytes_max;
    uint32_t topic_levels_max;
    uint32_t client_id_bytes_max;
    uint64_t publish_rate;        /* PUBLISH packets of one client per second; 0: any (pace.h) */
    uint64_t publish_bytes_rate;  /* their bytes */
    uint64_t publish_patience_ns; /* over it for so long: closed; 0: never */
    uint64_t connect_rate;        /* CONNECTs of this shard per second; 0: any */
    /* Queued for one client: nothing is delivered beyond it, nothing read beyond twice as much. */
    size_t output_max_bytes;
};

extern const struct mqtt_limits mqtt_limits_default;

/* The kernel as a table, so that a test can stand in for it; mqtt_kernel_api_default is kernel.h itself. */
struct mqtt_kernel_api {
    void (*open)(struct kernel *, struct client *, const struct open_request *);
    void (*publish)(struct kernel *, struct client *, struct message *, uint16_t id);
    void (*publish_release)(struct kernel *, struct client *, uint16_t id);
    void (*subscribe)(struct kernel *, struct client *, uint16_t id, const struct subscription *, int count);
    void (*unsubscribe)(struct kernel *, struct client *, uint16_t id, const struct bytes *, int count);
    void (*subscriptions)(struct kernel *, const struct client *, void (*each)(void *, struct bytes, uint8_t),
                          void *ctx);
    int (*received)(struct kernel *, struct client *, uint16_t id);
    int (*done)(struct kernel *, struct client *, uint16_t id, enum delivery_end end);
    void (*writable)(struct kernel *, struct client *);
    void (*close)(struct kernel *, struct client *, const struct close_request *);
};

extern const struct mqtt_kernel_api mqtt_kernel_api_default;

/* What a connection asks of the shard. None of them calls back into the connection before it returns. */
struct mqtt_port {
    void *ctx;
    /* Send what is queued, within the shard's own time limit, then close. mqtt_conn_closed() follows, later. */
    void (*close)(void *peer);
    /* Stop (false) or go on (true) receiving from the peer. What had been received already may still be handed over. */
    void (*receiving)(void *peer, bool on);
    uint64_t (*random)(void *ctx);
};

/* Clients are sent elsewhere: what CONNACK and DISCONNECT say. */
struct mqtt_moved {
    uint8_t     reason_code; /* MQTT_USE_ANOTHER_SERVER, MQTT_SERVER_MOVED */
    const char *reference;   /* Server Reference; empty: none */
};

struct mqtt_counters { /* grow only; read by metrics */
    /* packets_out: all but PUBLISH */
    uint64_t connects, refused, disconnects, faults, timeouts, packets_in, publishes_in, packets_out, publishes_out,
        too_big_out, full_out, authenticated, unauthenticated, subscriptions_denied, over_limit, held_back;
};

struct mqtt_cache;
struct mqtt_topics;
enum { MQTT_LOG_SLOTS = 64 };

struct mqtt_env {
    struct kernel                *kernel;
    const struct mqtt_kernel_api *kernel_api;
    struct timer_wheel           *timers;
    const struct mqtt_limits     *limits;
    const struct auth_port       *auth;   /* NULL: everybody is let in and may do everything */
    struct mqtt_topics           *topics; /* topics.h, or NULL */
    const struct mqtt_moved      *moved;  /* NULL: clients are let in */
    struct mqtt_port              port;
    uint64_t                      now_ns;
    uint64_t                      wall_ns;
    struct mqtt_counters          counters;
    struct bucket                 connects; /* of connect_rate */

    /* private */
    struct list        soon;       /* connections with something left for mqtt_conn_turn */
    struct mqtt_cache *cache_free; /* deliver.c */
    uint8_t           *scratch;    /* properties that lie apart, put together; made on first need */
    size_t             scratch_bytes;
    struct log_limit   logs[MQTT_LOG_SLOTS]; /* one line per client and second; clients share a slot by hash */
};

/* Zeroes the private part; the rest is set by the shard, before or after. */
void mqtt_env_init(struct mqtt_env *env);
/* Behind the last connection. */
void mqtt_env_fini(struct mqtt_env *env);
/* At least size bytes until the next call, or NULL. */
uint8_t *mqtt_env_scratch(struct mqtt_env *env, size_t size);

#endif
