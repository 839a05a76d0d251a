/* bridge - one connection to another MQTT broker, as a client of it and of our kernel at once. Sans-I/O: bytes in, bytes out, effects through a port.
 *
 *     other broker ◀──socket── outq ◀── bridge ──client_ops──▶ kernel: session "$bridge/<name>"
 *                   ──bytes──▶                                   stored: what is to go out waits in its stream, on disk
 *
 *     AWAY ─timer─▶ CONNECTING ─▶ GREETING ─CONNACK─▶ OPENING ─opened─▶ UP
 *      ▲               │  CONNECT sent  │               │ our session       │
 *      └──── lost, refused, too slow: back-off with jitter ◀───────────────┘          our session is closed then, and queues by itself
 *
 * The kernel's packet ids are those on the wire, in both directions, and repeat after a reconnect: so QoS 1 arrives at least once and QoS 2 once, as long
 * as both brokers keep their sessions, through crashes of either. QoS 0 goes only while the other broker is there.
 * A PUBACK of ours is sent when our store has the message; one of theirs moves our session's cursor. QoS is that of the topic's rule, and at most what
 * the other broker allows.
 * No loop between two brokers: our subscription there says No Local (MQTT 5) or the connection the bridge bit (3.1.1; a broker that does not know the
 * bit refuses it and is asked without), our own subscription here says No Local too.
 * "$SYS/broker/connection/<name>/state" is retained here: "1" while it is up, "0" else (a will, so that it is true after a crash as well).
 * Threads: the shard that owns it.   Units: *_ns of the shard's clock. */
#ifndef KEEL_BROKER_BRIDGE_BRIDGE_H
#define KEEL_BROKER_BRIDGE_BRIDGE_H

#include "broker/bridge/spec.h"
#include "broker/kernel/kernel.h"
#include "broker/protocol/mqtt/input.h"
#include "shared/base/timer.h"
#include "shared/mem/outq.h"

/* What is owed to the other broker is kept so long while it is away. */
enum { BRIDGE_EXPIRY_S = 7 * 86400 };

/* A reason for people; a longer one is cut. */
enum { BRIDGE_WHY_MAX = 160 };

/* Client ids of this prefix belong to bridges: no client may come with one. */
#define BRIDGE_CLIENT_PREFIX "$bridge/"

enum bridge_state { BRIDGE_AWAY, BRIDGE_CONNECTING, BRIDGE_GREETING, BRIDGE_OPENING, BRIDGE_UP };

struct bridge_port {
    void *ctx;
    /* Begins a connection: bridge_connected or bridge_lost follows, or comes at once. */
    void (*connect)(void *ctx);
    /* Ends it, after what is in the output; nothing follows. */
    void (*close)(void *ctx);
    void (*receiving)(void *ctx, bool on);
    uint64_t (*random)(void *ctx);
};

struct bridge_counters {
    uint64_t connects, sent, received, dropped; /* dropped: no rule takes it, or too big for us or the other side */
};

struct bridge {
    struct client          client; /* first: the kernel's */
    struct kernel         *kernel;
    struct timer_wheel    *timers;
    struct outq           *out; /* of the connection */
    struct bridge_port     port;
    struct bridge_spec     spec;  /* password: that of its file is put there by who connects */
    struct timer           timer; /* back-off, time allowed, keep alive */
    struct mqtt_input      input;
    struct bridge_counters counters;
    uint64_t               now_ns;
    uint64_t               wall_ns;
    uint64_t               heard_ns;
    uint64_t               sent_ns;
    uint64_t               up_ns;
    uint64_t               backoff_ns;
    uint32_t               packet_max_bytes; /* of the other broker */
    uint32_t               skip_bytes;       /* that are still to come of a message that is passed over */
    uint16_t               keep_alive_s;
    uint16_t               receive_max;
    uint8_t                state;
    uint8_t                qos_max;
    bool                   retain_available;
    bool                   bridge_bit; /* 3.1.1: not refused yet */
    bool                   local;      /* our session is open or opening */
    bool                   prepared;   /* our subscriptions are recorded */
    bool                   paused;
    bool                   full;     /* the output was, and the kernel waits */
    bool                   pinged;   /* and not answered */
    bool                   in_input; /* no closing inside */
    bool                   doomed;   /* closed at the end of the call */
    bool                   stopped;
    bool                   ending; /* its session is to go */
    bool                   ended;
    bool                   warned_size; /* on this connection */
    bool                   explained;   /* why is that of the connection which is being given up */
    char                   why[BRIDGE_WHY_MAX];
    uint16_t               name_size;
    uint8_t                name[BRIDGE_NAME_MAX];
    uint8_t                topic[65535]; /* scratch */
};

/* NULL when memory is out. out: of the connection that port makes; empty while there is none. */
struct bridge *bridge_new(struct kernel *kernel, struct timer_wheel *timers, struct outq *out,
                          const struct bridge_port *port, struct bytes name, const struct bridge_spec *spec);
/* Says DISCONNECT and lets go of the session, which goes on queueing. Then bridge_free. */
void bridge_stop(struct bridge *bridge);
/* As bridge_stop, and the session goes with all that waits in it; bridge_ended tells when that is under way. Then bridge_free. */
void bridge_end(struct bridge *bridge);
bool bridge_ended(const struct bridge *bridge);
void bridge_free(struct bridge *bridge);
/* First thing of each turn. */
void bridge_begin(struct bridge *bridge, uint64_t now_ns, uint64_t wall_ns);
/* Begins when the kernel is ready; each turn. */
void bridge_turn(struct bridge *bridge);

void bridge_connected(struct bridge *bridge);
/* The connection broke or could not be made; output and input are gone. */
void bridge_lost(struct bridge *bridge, const char *why);
void bridge_receive(struct bridge *bridge, struct bytes data);
/* Some of the output was sent. */
void bridge_writable(struct bridge *bridge);

const char *bridge_state_name(const struct bridge *bridge);
/* Why the last connection ended or could not be made, as long as there is none that is up; else empty. */
const char *bridge_why(const struct bridge *bridge);

#endif
