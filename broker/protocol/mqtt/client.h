/* client - what one client carries from CONNECT on: what it may send, what it wants sent, aliases, packet ids, replies waiting.
 * connect.c, publish.c, subscribe.c and deliver.c stand on it; conn.c on top owns it.
 *
 * Kernel callbacks come in the middle of the kernel's own work, so they never close or read here: they queue output, or leave a note
 * (mqtt_client_doom, mqtt_client_soon) that mqtt_conn_turn takes up when the kernel is done.
 *
 * Threads: the shard of the connection.   Memory: nothing behind a pointer is allocated before it is needed. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_CLIENT_H
#define KEEL_BROKER_PROTOCOL_MQTT_CLIENT_H

#include "broker/protocol/mqtt/env.h"
#include "broker/protocol/mqtt/ids.h"
#include "broker/protocol/mqtt/packet.h"
#include "shared/base/list.h"
#include "shared/mem/outq.h"

struct mqtt_aliases;
struct mqtt_login; /* login.c */
struct mqtt_pace;  /* pace.c */
struct mqtt_reply; /* subscribe.c */
struct peer_identity;
struct ticket;

enum {
    MQTT_REPLIES_MAX = 32
}; /* SUBSCRIBE and UNSUBSCRIBE that wait for the kernel; beyond it the client is not read */

struct mqtt_client {
    struct client               kernel; /* the kernel's; first */
    struct mqtt_env            *env;
    struct outq                *out;
    struct timer                timer; /* conn.c: connect time-out, keep alive */
    struct list                 soon;  /* in env->soon */
    char                       *id;    /* ends with a zero; NULL before CONNECT */
    char                       *user;  /* topics.h; NULL: none, or nobody asks */
    struct mqtt_aliases        *aliases_in;
    struct mqtt_aliases        *aliases_out;
    struct mqtt_reply          *replies;
    const struct peer_identity *identity; /* NULL: nothing is known of the peer */
    struct ticket              *ticket;   /* what it may do; NULL: everything */
    struct mqtt_login          *login;    /* while it is asked who it is, and for those who may be asked again */
    struct mqtt_pace           *pace;     /* NULL: there is no rate, or it has published nothing */
    struct mqtt_ids             qos2_in;  /* MQTT 5: not completed */
    struct mqtt_fault           doom;     /* why it will be closed soon; why is NULL when it will not */
    uint32_t                    id_size;
    uint32_t                    qos1_in_count;    /* not answered */
    uint32_t                    packet_max_bytes; /* the client's Maximum Packet Size */
    uint32_t                    session_expiry_s;
    uint16_t                    receive_max; /* the client's Receive Maximum */
    uint16_t                    alias_out_max;
    uint16_t                    keep_alive_s; /* in force; 0: none */
    uint16_t                    user_size;
    uint16_t                    reply_count;
    uint8_t                     version; /* enum mqtt_version; 0 before CONNECT */
    bool                        bridge;
    bool                        assigned_id;
    bool                        problem_information;
    bool                        automatic;      /* it is to get subscriptions first of all */
    bool                        wants_writable; /* a delivery was answered DELIVER_FULL */
    bool                        held_back;      /* it publishes too fast: not read for a while */
    bool                        waiting;        /* the packet at the front waits to be allowed */
    bool                        recheck;        /* rules have changed: are its subscriptions still allowed? */
    bool                        recheck_waits;  /* some of the answers to that are still to come */
};

static inline struct mqtt_client *mqtt_client_of(struct client *client)
{
    return CONTAINER_OF(client, struct mqtt_client, kernel);
}

void mqtt_client_init(struct mqtt_client *client, struct mqtt_env *env, struct outq *out);
void mqtt_client_fini(struct mqtt_client *client);

/* Let the connection look after itself in mqtt_conn_turn, once the kernel is done. */
void mqtt_client_soon(struct mqtt_client *client);
/* The connection cannot go on; the first reason counts. */
void mqtt_client_doom(struct mqtt_client *client, enum mqtt_reason reason_code, const char *why);

/* Queues a packet; one that is over the client's Maximum Packet Size is left out [MQTT-3.1.2-24]. No room for it dooms the client. */
void mqtt_client_send(struct mqtt_client *client, const struct mqtt_packet *packet);
/* In SUBACK, PUBACK and PUBREC of 5.0. */
uint8_t mqtt_client_denied_code(const struct mqtt_client *client);
/* It was refused something; a line per client and second. */
void mqtt_client_log_denied(struct mqtt_client *client, const char *what, struct bytes topic);
/* Is a topic or filter no longer than the operator allows, and of no more levels? */
bool mqtt_client_topic_fits(const struct mqtt_client *client, struct bytes topic);
/* PUBACK and its like, without properties. */
void mqtt_client_send_ack(struct mqtt_client *client, enum mqtt_type type, uint16_t packet_id, uint8_t reason_code);

/* May more be read from it, as far as its own state goes? */
static inline bool mqtt_client_takes_input(const struct mqtt_client *client)
{
    return client->doom.why == NULL && !client->waiting && !client->held_back && !client->automatic &&
           client->reply_count < MQTT_REPLIES_MAX &&
           client->out->size_bytes < 2 * client->env->limits->output_max_bytes;
}

#endif
