/* link - one connection of this broker shard to one shard of one node of the segment store.
 *
 *   down --(back-off)--> connecting --> greeting (HELLO sent) --(WELCOME)--> up
 *    ^                        |             | refused, closed       | closed, silent for 6 s , corrupt frame
 *    '------------------------'-------------'-----------------------'
 *
 * Frames queue in any state and leave when it is up. Answers go to the owner of their request, pushes to the owner of their follow or watch.
 * Threads: the broker shard.   Units: ns, bytes. */
#ifndef KEEL_BROKER_STORE_LINK_H
#define KEEL_BROKER_STORE_LINK_H

#include "broker/store/queue.h"
#include "shared/base/log.h"
#include "shared/base/timer.h"
#include "shared/base/wire.h"
#include "shared/rpc/frame.h"

struct io;
struct io_socket;
struct link;

enum link_state { LINK_DOWN, LINK_CONNECTING, LINK_GREETING, LINK_UP };

struct link_welcome {
    uint64_t           cluster;
    uint32_t           shard_count;
    uint32_t           stripe_count;
    uint32_t           record_max_bytes;
    uint16_t           node;  /* who answers */
    struct wire_reader nodes; /* count u16, count x .. (schema.h), and behind that the leaders */
};

/* What the client does with what arrives. Each may set link->broken: the connection is given up then. */
struct link_handler {
    /* Up: ask again for follows and watches (link_notice); unanswered requests are repeated by the link itself, behind this call: what is taken out of
     * its queue now is not sent again. */
    void (*up)(void *ctx, struct link *link, const struct link_welcome *welcome);
    /* Behind this the queue counts as stopped. */
    void (*down)(void *ctx, struct link *link);
    /* The answer's frame may be RPC_ERROR. */
    void (*answered)(void *ctx, struct link *link, const struct queue_request *request, const struct frame *frame);
    /* A transaction was answered with ERR_NOT_LEADER: it is to be taken out of the queue, with what follows it. */
    void (*refused)(void *ctx, struct link *link, uint16_t stripe);
    /* A frame for a follow or watch. False: it was not understood, the connection is given up. */
    bool (*pushed)(void *ctx, struct link *link, const struct frame *frame);
    /* RPC_RELAY of another broker; likewise. */
    bool (*relayed)(void *ctx, struct link *link, const struct frame *frame);
    /* count u16, count x { stripe u16, leader u16, term u64 }; likewise. */
    bool (*leaders)(void *ctx, struct link *link, struct wire_reader *r);
};

/* Ids of follows and watches have this bit, those of requests have not. */
#define LINK_PUSH_ID (UINT64_C(1) << 63)

struct link {
    struct io                 *io;
    struct timer_wheel        *timers;
    const struct link_handler *handler;
    void                      *ctx;
    const char                *address;
    uint16_t                   port;
    uint32_t                   shard;
    uint64_t                   instance;
    uint64_t                   owner;
    uint64_t                   place;
    struct io_socket          *socket; /* NULL when down */
    uint8_t                    state;
    bool                       broken;  /* to be given up after the current callback */
    bool                       retired; /* it does not come back */
    struct frame_reader        reader;
    struct queue               queue;
    struct wire_writer         greeting; /* HELLO, PING, PONG and notices: before the queue */
    struct wire_writer         sending_greeting;
    size_t                     sending_bytes; /* of the queue, while a send is under way */
    bool                       sending;
    struct timer               timer; /* back-off when down, silence otherwise */
    uint64_t                   heard_ns;
    uint64_t                   said_ns;
    uint64_t                   backoff_ns;
    uint64_t                   up_ns; /* when it was welcomed */
    struct log_limit           complaint;
    uint64_t                   reconnects;
    uint64_t                   corrupt_frames;
};

void link_init(struct link *link);
void link_fini(struct link *link);
/* Begins to connect; all members above `socket` are set. */
void link_start(struct link *link);
/* frame: whole, with queue_next_id as its id. */
void link_request(struct link *link, struct bytes frame, uint16_t kind, uint16_t stripe, void *owner);
/* A frame without an answer. Only when up: otherwise it is dropped, up() asks again. */
void link_notice(struct link *link, struct bytes frame);
/* Sends what is queued, unless a send is under way. */
void link_flush(struct link *link);

#endif
