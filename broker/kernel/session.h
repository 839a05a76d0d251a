/* session - one client id that is open on this shard, from kernel_open to the last answer of the store after kernel_close.
 *
 *     CLAIMING ──granted──▶ LOADING ──▶ OPEN ──closed, evicted──▶ CLOSING ──settled──▶ ENDING ──▶ freed, claim released
 *         │                    └──────────client gone or refused─────▲   │
 *         └─refused, gone─▶ freed                                        wait until nothing of it is under way
 *
 *     CLAIMING  the home shard of the id evicts an older connection first      directory.c
 *     LOADING   the store is asked: is there a session, whose is it now        open.c
 *     CLOSING   publishes and cursor moves under way come to their end         close.c
 *     ENDING    the last transaction: start or cancel timers, or forget all    close.c
 *
 * Small by itself; what a session does not use it does not have: publisher (QoS 1, 2 inbound), delivery (QoS 1, 2 outbound), keep (stored).
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SESSION_H
#define KEEL_BROKER_KERNEL_SESSION_H

#include "broker/kernel/inbound.h"
#include "broker/kernel/lanes.h"
#include "broker/kernel/state.h"
#include "broker/kernel/window.h"
#include "shared/mem/buf.h"

struct assignments;

enum session_state { SESSION_CLAIMING, SESSION_LOADING, SESSION_OPEN, SESSION_CLOSING, SESSION_ENDING };

/* One publish whose answer is not given yet, in the order in which they came. */
struct pending {
    struct list       link;
    struct publisher *publisher;
    struct buf       *copy;         /* while it waits for its turn to be handed out */
    uint64_t          writer_epoch; /* QoS 2 of a stored session */
    uint64_t          sequence;     /* also: of a will, its offset + 1 */
    uint64_t          content;      /* QoS 2 of a stored session: a hash of the message */
    int               status;
    uint32_t          before; /* answers of the store that must come before it is handed out */
    uint32_t          after;  /* appends under way */
    uint16_t          id;
    uint8_t           qos;
    bool              handed_out;
    bool              matched;
    bool              duplicate;
    bool              recorded; /* the id's row is written */
    bool              resumed;  /* by the number that it has from an earlier connection: somebody may have it */
    bool              delayed;  /* stored for later: not handed out now */
    /* This process was taken for dead over it: neither done nor refused, and nobody is told (company.h). */
    bool                abandoned;
    struct assignments *assigned; /* members of groups that have it, recorded (assign.h); NULL: none */
    bool                awaited;  /* a request of the same client comes behind it */
};

enum pause_reason { PAUSE_PENDING = 1, PAUSE_STORE = 2, PAUSE_MAIL = 4, PAUSE_SLOW = 8 };

/* What comes in from one client, or from the wills of one stripe. */
struct publisher {
    struct kernel  *kernel;
    struct session *session; /* NULL: wills */
    void (*answered)(struct publisher *publisher, struct pending *pending);
    struct list    pendings;
    uint32_t       pending_count;
    struct list    paused_link; /* in kernel.paused */
    uint64_t       slow;        /* shards with a queue over its bound that this publisher fed */
    struct inbound inbound;
    struct list    unsure; /* struct assignments.link: of messages in doubt that were not sent again yet */
    uint64_t       count;  /* QoS 2 publishes of this connection, for sequences; of wills: the writer's id */
    union {
        uint64_t resumed_epoch; /* the newest number of an earlier release that came again (publish.h) */
        uint64_t stream_epoch;  /* of wills: in which their stream is followed */
    };
    uint64_t     resumed_sequence;
    struct lanes lanes;
    bool         flushing;
};

struct group;
struct standing;

/* A QoS 1 or 2 message that a live session cannot take yet. */
struct queued {
    struct list         link;
    struct buf         *message;
    struct delivery_tag tag;
    struct group       *group; /* whose other members may get it instead, or NULL */
};

/* What goes out with an acknowledgement. */
struct delivery_state {
    struct session *session;
    struct window   window;
    uint32_t        inflight; /* sent on this connection and not done */
    bool            blocked;  /* DELIVER_FULL: until kernel_writable */
    struct readers *readers;  /* subscriptions to captured streams (reader.h) */
    /* live sessions */
    struct list  held; /* struct held (reshare.h): sent as a member of a group and not acknowledged */
    size_t       held_bytes;
    struct list  queue;
    size_t       queue_bytes;
    struct list  overrun_link;
    struct timer overrun;
};

/* Cursor moves not yet written. */
struct moves {
    struct move *items;
    uint32_t     count;
    uint32_t     capacity;
};
struct move {
    uint64_t first;
    uint64_t last;
    uint8_t  mark; /* enum cursor_mark */
};

/* A session that outlives its connection. */
struct keep {
    struct session     *session;
    uint64_t            epoch;
    uint64_t            sent;        /* offsets below were handed to the client, on some connection */
    uint64_t            follow_next; /* the first offset that has not come in */
    uint64_t            again_below; /* offsets below may have been sent on an earlier connection */
    uint32_t            credit;      /* given and not used */
    bool                following;
    bool                moving; /* a batch with moves of this session is under way */
    bool                fenced;
    struct store_follow follow;
    struct moves        moves;
    struct list         dirty; /* in kernel.dirty */
};

struct opening;
struct closing;

/* What was asked for and is not answered to the end. */
struct asking {
    struct list requests; /* struct request: subscribe and unsubscribe */
    struct list replays;  /* struct replay: retained messages to show */
};

struct session {
    struct subscriber      who;
    struct kernel         *kernel;
    struct client         *client;    /* NULL: gone */
    struct hashmap_node    by_serial; /* extra: size of id */
    uint64_t               serial;
    struct publisher      *publisher; /* NULL until needed */
    struct delivery_state *delivery;  /* so is this */
    struct asking         *asking;    /* and this */
    struct keep           *keep;      /* stored sessions */
    struct standing       *standing;  /* while it is a member of a group */
    union {
        struct opening *opening; /* CLAIMING, LOADING */
        struct closing *closing; /* CLOSING, ENDING */
    };
    uint32_t expiry_s;
    uint32_t busy; /* answers of the store that name this session */
    uint16_t receive_max;
    uint8_t  state;
    uint8_t  evict_why; /* 1 + enum evict_reason: it will be, 0: no */
    bool     has_will;
    bool     own;    /* of the broker itself */
    bool     told;   /* of refusals (kernel.h) */
    bool     shares; /* stored: it has been a member of a shared subscription on this connection */
    uint8_t  id[];
};

static inline struct session *session_of(struct subscriber *who)
{
    return CONTAINER_OF(who, struct session, who);
}

static inline struct bytes session_id(const struct session *s)
{
    return bytes_of(s->id, s->by_serial.extra);
}

static inline bool session_stored(const struct session *s)
{
    return s->who.stream_id != 0;
}

/* The stripe of everything that the store has of it. */
uint16_t session_stripe(struct session *session);

/* NULL when memory is out. */
struct session *session_new(struct kernel *kernel, struct client *client, const struct open_request *request);
/* Of a session that nothing refers to any more; gives its claim back. */
void            session_free(struct session *session);
struct session *session_find(struct kernel *kernel, uint64_t serial);
void            session_step(struct session *session, enum session_state next);

/* The client is told and let go at the end of this turn. */
void session_evict(struct session *session, enum evict_reason why);
/* Carries out what session_evict asked for, of all sessions. */
void session_evict_all(struct kernel *kernel);
/* The same of all that are open here. What they have published and was not handed out is abandoned: they send it again, behind what was before it. */
void session_evict_everybody(struct kernel *kernel);
/* At once. */
void session_evict_now(struct session *session, enum evict_reason why);

/* NULL when memory is out. */
struct publisher *session_publisher(struct session *session);
struct asking    *session_asking(struct session *session);
/* Something of it was answered. */
void                   session_asked(struct session *session);
struct delivery_state *session_delivery(struct session *session);

/* open.c */
void open_forget(struct session *session);
void open_granted(struct session *session);

/* close.c: takes the session out of everything and ends it when nothing is under way. discard_will, expiry as of now. */
void close_begin(struct session *session, bool discard_will, bool set_expiry, uint32_t expiry_s);
/* Something that was under way is not any more. */
void close_continue(struct session *session);

/* directory.c */
void directory_claim(struct session *session);
void directory_release(struct session *session);
/* The claim of that session has its turn, everywhere; it has lost it. */
void directory_grant(struct kernel *kernel, unsigned shard, uint64_t serial);
void directory_evict(struct kernel *kernel, unsigned shard, uint64_t serial);
void directory_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
/* Ends the sessions that others take over and that were heard out. False: some are left for the next turn, which should come at once. */
bool directory_flush(struct kernel *kernel);
void directory_fini(struct kernel *kernel);

#endif
