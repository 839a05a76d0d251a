/* mqtt5_client - an MQTT 5 client that does what a scenario tells it, and tells the scenario all that it hears.
 *
 *     away ──mqtt5_connect──▶ connecting ──CONNACK──▶ connected ──mqtt5_leave, mqtt5_drop──▶ away
 *                                ▲ after a while          │ lost, refused, sent away (unless `once`)
 *                                └────────────────────────┘
 *
 * What is to be published or subscribed waits in a list and is sent in its order; what was sent and is not answered is sent again on the next
 * connection, as 4.4 says, when the session is there still, and anew when it is not. Packets are made by hand, so that the broker's encoder is not its
 * own judge. The list grows only: its place is the packet id.
 * Threads: one; runs on a core of a process of its own, which never crashes. The verbs are called by the scenario. */
#ifndef KEEL_TESTS_SIM_MQTT5_CLIENT_H
#define KEEL_TESTS_SIM_MQTT5_CLIENT_H

#include "tests/sim/process.h"

enum { MQTT5_ASKS_MAX = 600, MQTT5_TEXT_MAX = 40, MQTT5_BUFFER_BYTES = 1 << 16 };

#define MQTT5_NEVER UINT32_MAX

enum ask_kind { ASK_PUBLISH, ASK_SUBSCRIBE, ASK_UNSUBSCRIBE };
enum ask_state { ASK_NEW, ASK_SENT, ASK_RELEASED /* PUBREC came, PUBREL sent */, ASK_ANSWERED };

/* Something that the client wants of the broker. */
struct mqtt5_ask {
    uint8_t  kind;  /* enum ask_kind */
    uint8_t  state; /* enum ask_state */
    uint8_t  qos;
    uint8_t  reason; /* of the answer */
    bool     retain;
    bool     anew;     /* sent again, not as a repetition: the session was gone, so it may be there twice */
    bool     again;    /* sent again, either way */
    uint32_t expiry_s; /* MQTT5_NEVER: none */
    uint32_t size;     /* of the payload: the text, filled up */
    char     topic[MQTT5_TEXT_MAX];
    char     text[MQTT5_TEXT_MAX];
    uint64_t sent_ns; /* first time */
    uint64_t answered_ns;
};

struct mqtt5_message {
    char     topic[MQTT5_TEXT_MAX];
    char     text[MQTT5_TEXT_MAX];
    uint8_t  qos;
    bool     retain;
    bool     duplicate;
    uint32_t expiry_s; /* MQTT5_NEVER: none */
};

enum mqtt5_end {
    MQTT5_LOST,      /* the connection broke, was refused or never came to be */
    MQTT5_LEFT,      /* mqtt5_leave, and the broker closed: it has read the DISCONNECT; or mqtt5_drop */
    MQTT5_SENT_AWAY, /* the broker sent DISCONNECT */
};

struct mqtt5_client {
    struct world *world;
    const char   *name; /* of its machine */
    const char   *id;
    const char   *at; /* the machine of its broker; NULL: any, by lot */
    bool          clean_start;
    uint32_t      expiry_s; /* of the session */
    uint16_t      receive_max;
    uint32_t      window; /* publishes that wait for their answers */
    bool          once;   /* does not connect again by itself */
    struct {
        const char *topic; /* NULL: no will */
        char        text[MQTT5_TEXT_MAX];
        uint8_t     qos;
        bool        retain;
        uint32_t    delay_s;
    } will;
    /* Any of them may be NULL. */
    void (*connecting)(struct mqtt5_client *client); /* before CONNECT is written: the members above may be changed */
    void (*connected)(struct mqtt5_client *client, bool present);
    /* True: it is acknowledged. Of QoS 2 only what was not received yet. */
    bool (*message)(struct mqtt5_client *client, const struct mqtt5_message *message);
    void (*answered)(struct mqtt5_client *client, struct mqtt5_ask *ask);
    void (*ended)(struct mqtt5_client *client, enum mqtt5_end how, uint8_t reason, bool was_connected);
    void *ctx;

    /* read only */
    bool             up; /* CONNACK came */
    uint32_t         connects;
    uint64_t         connected_ns;
    struct mqtt5_ask asks[MQTT5_ASKS_MAX];
    uint32_t         ask_count;
    uint32_t         first; /* all before it are answered */

    /* private */
    struct process   *process;
    struct core      *core;
    struct io        *io;
    struct io_socket *socket;
    bool              wanted; /* the scenario wants a connection */
    bool              said;   /* CONNECT is written */
    bool              leaving;
    bool              dropping;
    bool              sent_away;
    uint8_t           leave_reason;
    uint8_t           away_reason;
    bool              sending;
    uint64_t          retry_ns;
    uint32_t          next;            /* the next to be sent for the first time on this connection */
    bool              received[65536]; /* QoS 2: ids that wait for PUBREL */
    uint32_t          in_bytes;
    uint32_t          out_bytes;
    uint32_t          sending_bytes;
    uint8_t           in[MQTT5_BUFFER_BYTES];
    uint8_t           out[MQTT5_BUFFER_BYTES];
};

/* world, name and id are set, the rest may be; away at first. */
void mqtt5_start(struct mqtt5_client *client);
void mqtt5_end(struct mqtt5_client *client);
void mqtt5_connect(struct mqtt5_client *client);
/* DISCONNECT with this reason, if there is a connection. */
void mqtt5_leave(struct mqtt5_client *client, uint8_t reason);
/* The connection is closed without a word. */
void              mqtt5_drop(struct mqtt5_client *client);
struct mqtt5_ask *mqtt5_publish(struct mqtt5_client *client, const char *topic, const char *text, uint8_t qos);
struct mqtt5_ask *mqtt5_subscribe(struct mqtt5_client *client, const char *filter, uint8_t qos);
struct mqtt5_ask *mqtt5_unsubscribe(struct mqtt5_client *client, const char *filter);
/* All that was asked for is answered. */
static inline bool mqtt5_idle(const struct mqtt5_client *client)
{
    return client->first == client->ask_count;
}
/* .. of all of them; least: and each has asked for so much. */
bool mqtt5_all_idle(const struct mqtt5_client *clients, uint32_t count, uint32_t least);
/* One of two publishers, by lot, says how often it has published, with QoS 1 or 2, to "t/0" or "t/1"; not more than most times. */
void mqtt5_publish_count(struct mqtt5_client publishers[2], uint32_t most);

#endif
