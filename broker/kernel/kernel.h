/* kernel - what a protocol may ask: open, publish, subscribe, acknowledge, close. Free of any protocol and of the world.
 *
 *     protocol/mqtt  --kernel_publish()-->  kernel  --append-->  store.h  (streams of stored sessions, in the segment store)
 *           ^                                 |
 *           '---- client_ops.deliver() <------+--post-->  kernels of the other shards (live subscribers there)
 *
 * A *live* session ends with its connection: its messages pass through memory only. A *stored* session (expiry > 0) outlives it: what is
 * owed to it (QoS 1 and 2) is in its own stream, and nowhere else; while connected it follows that stream. QoS 0 is never stored.
 *
 * Packet ids (uint16_t id, the MQTT packet identifier): inbound ones are the client's; outbound ones are chosen here. For a stored session id = offset % 32767 + 1, so that a
 * resumed session repeats the same ids with nothing remembered; for a live session a counter from 1.
 *
 * Threads: one kernel per broker shard; a client lives on one shard.   Units: ns of the clocks handed to kernel_turn. */
#ifndef KEEL_BROKER_KERNEL_KERNEL_H
#define KEEL_BROKER_KERNEL_KERNEL_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/mem/buf.h"

struct kernel;
struct share_rules;
struct store;
struct timer_wheel;

/* ---- words ------------------------------------------------------------------------------------------------------ */

/* Shards have numbers: from 0 those of this process, behind them those of other processes of the same store as this shard meets them (company.h). */
enum { SHARDS_MAX = 64 };

/* One message on its way. All views are borrowed for the duration of the call that hands it over. */
struct message {
    struct bytes topic;
    struct bytes properties; /* as in record.h: the encoding of MQTT 5, passed through unaltered */
    struct bytes payload;
    uint8_t      qos;    /* as published */
    bool         retain; /* as published */
    uint64_t     publish_wall_ns;
    uint64_t     expires_wall_ns; /* 0: never */
    int refused; /* 0; or an error: the client may not publish this, it is answered so in its turn and goes nowhere */
    /* The protocol's encoded variants, kept from the first deliver() of a fan-out to its last so that a packet is encoded once and shared; NULL at
     * first. The kernel calls client_ops.uncache once at the end when it is not NULL. */
    void *cache;
};

enum { SUBSCRIPTION_IDS_MAX = 16 }; /* ids of overlapping subscriptions in one delivery; more are left out */

/* A message as it goes to one client. */
struct delivery {
    struct message *message;
    uint8_t         qos;                   /* min of published and granted */
    bool            retain;                /* what the RETAIN flag must say */
    bool            duplicate;             /* DUP: it was sent on an earlier connection */
    uint16_t        id;                    /* 0 for QoS 0 */
    uint8_t         subscription_id_count; /* at most SUBSCRIPTION_IDS_MAX */
    const uint32_t *subscription_ids;      /* borrowed, as message is */
};

enum deliver_result {
    DELIVER_OK,
    DELIVER_TOO_BIG, /* over the client's maximum packet size: counts as delivered and acknowledged */
    DELIVER_FULL, /* the client's output is over its bound: QoS 0 is dropped and counted; others wait for kernel_writable */
};

enum evict_reason {
    EVICT_TAKEN_OVER,  /* another connection opened this client id */
    EVICT_OVERRUN,     /* a live session does not keep up with its QoS 1 and 2 messages */
    EVICT_UNAVAILABLE, /* its stream cannot be served */
    EVICT_SHUTDOWN,    /* this broker stops */
};

struct will {
    struct bytes topic; /* size 0: there is no will */
    struct bytes properties;
    struct bytes payload;
    uint8_t      qos;
    bool         retain;
    uint32_t     delay_s;
    uint32_t     message_expiry_s; /* UINT32_MAX: none */
};

#define EXPIRY_NEVER UINT32_MAX

/* Of a stored session: names in the store are as long as text of MQTT, and have a prefix (tables.h). */
enum { STORED_ID_MAX_BYTES = 65500 };

struct open_request {
    bool own;  /* a client of the broker itself: may publish to topics that are the broker's own (reserved.h) */
    bool told; /* of a publish that is refused (MQTT 5), and does not send it again: without, it does when it is back */
    /* Not empty: the protocol assigns one first; STORED_ID_MAX_BYTES at most when expiry_s is not 0. */
    struct bytes client_id;
    bool         clean_start;
    uint32_t     expiry_s;    /* of the session; 0: ends with the connection; EXPIRY_NEVER */
    uint16_t     receive_max; /* QoS 1 and 2 deliveries that may be unacknowledged, 1.. */
    struct will  will;
};

struct subscription {
    struct bytes filter; /* valid topic filter, "$share/group/filter" as the client sent it */
    struct bytes from;   /* of "$stream/..": where to begin, empty: not said (reader.h) */
    uint32_t     id;     /* subscription identifier, 0: none */
    uint8_t      qos;
    bool         no_local;
    bool         retain_as_published;
    uint8_t      retain_handling; /* 0 send, 1 send if new, 2 do not send */
};

/* ---- kernel -> protocol ----------------------------------------------------------------------------------------- */

struct client;

/* Called with the client that asked. None is called after kernel_close returned. Those marked (in call) may come before the
 * function that asked returns. */
struct client_ops {
    /* Answer to kernel_open. status 0: open; ERR_UNAVAILABLE, ERR_QUOTA, ERR_DISK_FULL ..: not open, close without kernel_close. (in call) */
    void (*opened)(struct client *client, int status, bool session_present);
    /* The kernel gives the client up: say why to it and close the connection; kernel_close must not be called any more. */
    void (*evicted)(struct client *client, enum evict_reason why);
    /* Answers to kernel_publish with QoS 1 or 2, in the order of the calls. status: 0, or ERR_QUOTA, ERR_DISK_FULL (MQTT: 0x97), ERR_TOO_BIG ..: not
     * accepted. matched: at least one subscription matched. (in call) */
    void (*published)(struct client *client, uint16_t id, uint8_t qos, int status, bool matched);
    /* Answer to kernel_publish_release. status 0, or ERR_NOT_FOUND: no such id. (in call) */
    void (*publish_released)(struct client *client, uint16_t id, int status);
    /* One message for the client. (in call) */
    enum deliver_result (*deliver)(struct client *client, struct delivery *delivery);
    /* QoS 2: receipt of id is recorded, send PUBREL (again, after a resume). (in call) */
    void (*deliver_release)(struct client *client, uint16_t id);
    /* Answers to kernel_subscribe / kernel_unsubscribe: one result per filter, in order: granted QoS 0..2 or a negative error; for unsubscribe 0 or
     * ERR_NOT_FOUND. Retained messages come after. (in call) */
    void (*subscribed)(struct client *client, uint16_t id, const int *results, int count);
    void (*unsubscribed)(struct client *client, uint16_t id, const int *results, int count);
    /* Stop (true) or go on (false) reading from this client: what it sends cannot be taken now. */
    void (*pause)(struct client *client, bool paused);
    /* Frees message->cache. */
    void (*uncache)(void *cache);
};

/* Embedded in the protocol's connection; zeroed, then ops set. The rest is the kernel's. */
struct client {
    const struct client_ops *ops;
    struct session          *session; /* NULL unless opening or open */
};

/* ---- protocol -> kernel ----------------------------------------------------------------------------------------- */

/* Answered by opened(). An older connection with the same client id, on any shard, is evicted first. */
void kernel_open(struct kernel *kernel, struct client *client, const struct open_request *request);

/* id: the packet id for QoS 1 and 2. QoS 2: an id that is recorded and not yet released is a duplicate: answered, not delivered again.
 * Answered by published() unless QoS is 0. */
void kernel_publish(struct kernel *kernel, struct client *client, struct message *message, uint16_t id);
/* PUBREL arrived: the id may be used again. Answered by publish_released(). */
void kernel_publish_release(struct kernel *kernel, struct client *client, uint16_t id);

/* id is given back in the answer; at most 256 subscriptions per call. */
void kernel_subscribe(struct kernel *kernel, struct client *client, uint16_t id,
                      const struct subscription *subscriptions, int count);
void kernel_unsubscribe(struct kernel *kernel, struct client *client, uint16_t id, const struct bytes *filters,
                        int count);

/* What the client is subscribed to now: each(ctx, filter as it was sent, granted QoS). each must not call the kernel. */
void kernel_subscriptions(struct kernel *kernel, const struct client                      *client,
                          void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx);

/* How a delivery came to its end. */
enum delivery_end {
    DELIVERY_TAKEN,    /* PUBACK, also one that refuses: of QoS 1 */
    DELIVERY_RELEASED, /* PUBCOMP: of QoS 2, behind deliver_release */
    DELIVERY_REFUSED   /* a PUBREC that refuses: of QoS 2 */
};

/* The client acknowledged a delivery: received = PUBREC with success (deliver_release follows once recorded); done = what ends it.
 *   ERR_NOT_FOUND   no delivery with this id waits for anything
 *   ERR_CONFLICT    it waits for something else; nothing changed */
int kernel_received(struct kernel *kernel, struct client *client, uint16_t id);
int kernel_done(struct kernel *kernel, struct client *client, uint16_t id, enum delivery_end end);
/* The client's output fell below its bound after DELIVER_FULL. */
void kernel_writable(struct kernel *kernel, struct client *client);

struct close_request {
    bool     discard_will; /* DISCONNECT with reason 0 */
    bool     set_expiry;   /* DISCONNECT changed the session expiry */
    uint32_t expiry_s;
};

/* The connection ended. The client may be freed when this returns; what has to be finished is finished without it. */
void kernel_close(struct kernel *kernel, struct client *client, const struct close_request *request);

/* ---- the shard ---------------------------------------------------------------------------------------------------- */

struct kernel_limits {
    uint32_t subscriptions_max;   /* per client */
    uint32_t inflight_max;        /* unacknowledged deliveries per client, bounds receive_max */
    uint32_t publish_pending_max; /* unanswered publishes per client; beyond it the client is paused */
    /* QoS 1 and 2 waiting in memory for one live session; beyond it publishers are paused, then EVICT_OVERRUN. */
    uint32_t live_queue_bytes;
    uint64_t overrun_after_ns;     /* how long they are paused before that */
    uint32_t session_expiry_max_s; /* caps expiry_s; EXPIRY_NEVER: no cap */
    bool     retain_available;
    uint32_t delayed_max_s;          /* of $delayed; 0: such a topic is like any other */
    uint32_t events_per_s;           /* of $events; 0: none */
    bool     own_topics_ignored;     /* a publish to $SYS or $events is dropped without a word; else refused */
    const struct share_rules *share; /* share.h; NULL: round robin. Outlives the kernel */
};

/* From the kernel of one shard to that of another; body (or NULL) is malloc'ed and its ownership moves. */
struct kernel_mail {
    uint32_t kind;
    uint32_t number;
    uint64_t value;
    void    *body;
};

struct kernel_port {
    void *ctx;
    /* Posts to another shard; false when its mailbox is full (nothing was sent; try again next turn). */
    bool (*post)(void *ctx, unsigned shard, const struct kernel_mail *mail);
    uint64_t (*random)(void *ctx);
    /* Of this broker process, random; 0: it neither looks for others at the same store nor tells of itself (company.h). */
    uint64_t instance;
    uint64_t place; /* where it runs: an earlier process of the same place is dead (schema.h, HELLO); 0: not known */
};

/* Who a shard of a broker process is to the segment store. Every process knows those of all others by it. */
static inline uint64_t kernel_owner(uint64_t instance, unsigned shard)
{
    uint64_t owner = (instance ^ 0x9e3779b97f4a7c15u * (shard + 1)) * 0xd6e8feb86659fd93u;
    return (owner ^ owner >> 32) | 1; /* never 0, which means nobody */
}

/* Read by metrics. They grow only, but for the numbers of what there is now. Of stored sessions those with subscriptions are counted, connected or not, on
 * every shard; *_open: of these, connected here. */
struct kernel_counters {
    uint64_t sessions_open, subscriptions, stored_sessions, stored_subscriptions, stored_sessions_open,
        stored_subscriptions_open;
    uint64_t captured, replayed; /* put into streams of capture rules; read from them */
    uint64_t publishes, deliveries, dropped, duplicates, stored_appends, evictions, retained_puts, wills, delayed,
        expired, denied;
};

struct kernel *kernel_new(unsigned shard, unsigned shard_count, const struct kernel_limits *limits,
                          const struct kernel_port *port, struct store *store, struct timer_wheel *timers);
void           kernel_free(struct kernel *kernel);
/* Stored subscriptions have been loaded once: clients may be let in. */
bool kernel_ready(const struct kernel *kernel);
/* Of all processes at the same store this one has been there for longest: what is to be done once for all of them is done here. */
bool kernel_senior(const struct kernel *kernel);
/* Before the end: tells the others that this process stops. Only shard 0 has to. */
void kernel_retire(struct kernel *kernel);
/* Nobody is connected any more, and the store knows all that those who were have done. */
bool kernel_settled(const struct kernel *kernel);
/* First thing of each turn: sets the time. */
void kernel_begin(struct kernel *kernel, uint64_t now_ns, uint64_t wall_ns);
/* Last thing of each turn: gathered cursor moves, posts that found no room, resumed publishers. Returns when it wants to run again (ns, UINT64_MAX: no wish). */
uint64_t kernel_end(struct kernel *kernel);
void     kernel_receive(struct kernel *kernel, unsigned from_shard, const struct kernel_mail *mail);
/* On one shard: what is under $SYS now (sys.h): count times topic blob, payload blob (wire.h). */
void                          kernel_sys(struct kernel *kernel, struct bytes values);
const struct kernel_counters *kernel_counters(const struct kernel *kernel);

#endif
