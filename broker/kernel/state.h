/* state - what the files of the kernel share: the kernel of one shard, and who is subscribed to what.
 *
 *     rows             of stored sessions, connected or not, wherever they are (rows.h, stored.h)
 *     tree ─ node ─┬─ LINK_LIVE     struct sub of a live session on this shard
 *                  ├─ LINK_STORED   struct sub of a stored session that is no row: its filter has no shape (shapes.h)
 *                  ├─ LINK_INTEREST which other shards have live subscribers of this filter
 *                  ├─ LINK_GROUP    members of a shared subscription, of all shards
 *                  └─ LINK_CAPTURE  a rule that keeps what matches in a stream (capture.h)
 *
 * In a group's own lists: LINK_LIVE of a session on this shard, stored or not, and LINK_STORED of a stored one.
 * Threads: one kernel per shard. */
#ifndef KEEL_BROKER_KERNEL_STATE_H
#define KEEL_BROKER_KERNEL_STATE_H

#include "broker/kernel/kernel.h"
#include "broker/kernel/hashmap.h"
#include "broker/kernel/match.h"
#include "broker/kernel/rows.h"
#include "broker/kernel/shapes.h"
#include "broker/kernel/store.h"
#include "broker/kernel/tables.h"
#include "broker/kernel/wants.h"
#include "shared/rpc/op.h"
#include "shared/base/list.h"
#include "shared/base/timer.h"
#include "shared/mem/pool.h"

enum link_kind { LINK_LIVE = 1, LINK_STORED, LINK_INTEREST, LINK_GROUP, LINK_CAPTURE };

/* Who is owed: begins struct session and struct stored (stored.h). */
struct subscriber {
    struct list subs;      /* struct sub.of_owner */
    uint64_t    stream_id; /* 0: a live session */
    uint64_t    mark;      /* the publish that found it last .. */
    uint32_t    slot;      /* .. and its place among the targets */
    uint32_t    sub_count;
};

/* One subscription of one subscriber. A live one that is not shared is this and no more; others are struct sub_wide. */
struct sub {
    /* flags: enum sub_flags; spare: route generation. In the tree, or in a group's list when shared. */
    struct match_link   link;
    struct list         of_owner; /* in subscriber.subs */
    struct hashmap_node by_key;   /* in kernel.subs: owner, node or group; extra: subscription id */
    struct subscriber  *owner;
};
_Static_assert(sizeof(struct sub) == 64, "a million of them are counted");

/* A stored subscription that is no row, or a shared one. */
struct sub_wide {
    struct sub    sub;
    struct group *group;   /* shared: not NULL, and sub.link.node is MATCH_NONE */
    uint64_t      version; /* LINK_STORED: of its row */
};

static inline struct sub_wide *sub_wide(struct sub *sub)
{
    return CONTAINER_OF(sub, struct sub_wide, sub);
}

/* NULL: it is not shared. sub is in the tree or in its group. */
static inline struct group *sub_group(const struct sub *sub)
{
    return sub->link.node != MATCH_NONE ? NULL : CONTAINER_OF(sub, const struct sub_wide, sub)->group;
}

/* Mails that wait for room in a mailbox. */
struct outbox {
    struct list waiting;
    size_t      waiting_bytes;
    uint64_t    announced; /* announcements sent to that shard */
    uint64_t    confirmed; /* of which it has taken in this many */
    uint64_t    base;      /* announcements to those who had its place before */
    uint64_t    received;  /* announcements taken in from that shard */
    uint64_t    answered;  /* of which it was told */
    struct list taking;    /* struct taking (far.h): QoS 1 and 2 on its way to another broker */
};

/* Where one publish goes, gathered before anything is handed out. */
struct target {
    struct session *session;   /* who is given it here, or NULL; a stored session only what is QoS 0 to it */
    struct group   *group;     /* as a member of which */
    uint64_t        stream_id; /* whose stream gets it, or 0 */
    uint32_t        more;      /* next subscription of the same subscriber, TARGET_NONE: none */
    uint32_t        in_stripe; /* next target in the same stripe */
    uint32_t        sub_id;    /* of the subscription */
    uint8_t         flags;     /* of the subscription */
    bool            own;       /* its own subscription: neither as a group's member nor of a rule */
    bool            chained;   /* hangs on another target */
    bool            capture;   /* of a rule: whatever the QoS, without a tag */
    uint32_t        assigned;  /* 1 + its place among those that are recorded (assign.h), 0: it is not */
};
#define TARGET_NONE UINT32_MAX

/* How many events (events.h) were made. */
struct events {
    uint64_t second;   /* of the steady clock */
    uint32_t count;    /* in that second */
    uint64_t left_out; /* since the last one */
};

struct kernel {
    unsigned               shard;
    unsigned               shard_count; /* of this process */
    uint64_t               others;      /* shards that mails can go to, a bit each; those of other processes too */
    uint64_t               far;         /* of them those of other processes */
    bool                   tracking;    /* interest of those who are here is counted: there are others, or were */
    struct company        *company;     /* NULL: this process is alone for ever */
    struct kernel_limits   limits;
    struct kernel_port     port;
    struct store          *store;
    struct timer_wheel    *timers;
    uint64_t               now_ns;
    uint64_t               wall_ns;
    struct kernel_counters counters;

    struct match  *tree;
    struct hashmap subs;          /* struct sub.by_key */
    struct hashmap tallies;       /* struct tally.by_node */
    struct wants   wants;         /* what other shards want .. */
    struct shapes  shapes;        /* .. of filters with wildcards, and those of rows */
    struct rows    rows;          /* subscriptions of stored sessions */
    struct hashmap interests;     /* struct interest.by_node: of filters that have no shape */
    struct hashmap groups;        /* struct group.by_filter */
    struct hashmap stored;        /* struct stored.by_id */
    struct hashmap sessions;      /* struct session.by_serial */
    struct hashmap standings;     /* struct standing.by_who */
    struct hashmap marks;         /* struct mark.by_writer */
    struct list    marked;        /* struct mark.link */
    struct hashmap holders;       /* of exclusive subscriptions whose home is this shard */
    struct hashmap claims;        /* directory of the ids whose home is this shard */
    struct list    rivals;        /* struct rival: claims that other processes are asked about */
    uint64_t       rival_ticket;  /* of the last one */
    struct list    partings;      /* sessions of this shard that are taken over in the next turn */
    uint64_t       serial;        /* of the last session */
    uint32_t       ticket;        /* of the last subscribe that asked for an exclusive one */
    uint64_t       seed;          /* of the directory */
    uint64_t       delayed_count; /* of this shard, for the names of their timers */

    struct outbox out[SHARDS_MAX];
    struct list   announcing;      /* struct announcement that wait for other shards */
    struct list   announcing_here; /* for those of this process alone */

    struct pending *handing; /* the publish that is being handed out, if somebody waits for it */
    struct target  *targets;
    uint32_t        target_count;
    uint32_t        target_capacity;
    uint64_t        mark;
    uint32_t       *stripe_heads; /* per stripe: first target, UINT32_MAX: none; made when the stripe count is known */
    uint16_t       *stripes_hit;
    uint32_t        stripes_hit_count;
    uint64_t       *stripe_sequences; /* of this shard as a writer .. */
    struct lanes   *stripe_lanes;     /* .. which is several (fanout.c) */
    uint32_t        stripe_count;     /* 0: it is not known yet */

    struct pool *pendings;
    struct pool *works;
    struct pool *assignments;
    struct list  paused;   /* struct publisher.paused_link */
    struct list  dirty;    /* struct keep.dirty: cursor moves to write */
    uint64_t    *evicting; /* serials of sessions to evict at the end of the turn */
    uint32_t     evicting_count;
    uint32_t     evicting_capacity;
    bool         evicting_all;      /* some found no room there: look at every session */
    struct list  batches;           /* of cursor moves, under way */
    struct list  orphans;           /* struct request whose session closes before the store has answered */
    struct list  orphaned;          /* struct orphan */
    struct list  overruns;          /* struct delivery_state.overrun_link: queues over their bound */
    uint64_t     slow_told;         /* shards that were told that a queue here is over its bound */
    struct list  changed_standings; /* struct standing.dirty: to be told to the other shards */

    bool               started; /* the store is known: watch and wills are under way */
    struct store_watch routes;
    uint32_t           route_shards;
    uint16_t          *route_generations; /* per part of the store (store.h) */
    bool              *route_synced;      /* once */
    bool              *route_showing;     /* between restarted and synced */
    uint32_t           route_unsynced;    /* parts that were not yet, once it is known how many there are */
    bool               route_stale; /* rows may be known that were not shown again: forgotten at the end of the turn */
    bool               ready;
    struct events      events;
    uint8_t           *sys; /* values of $SYS, NULL: none yet */
    size_t             sys_bytes;
    struct wills      *wills;

    struct list        captures; /* struct capture.all */
    struct store_watch capture_watch;
    uint32_t           capture_shards;
    uint16_t          *capture_generations; /* per part of the store */
    bool              *capture_seen;
    uint32_t           capture_unseen;
    struct list        reading;   /* struct readers.link: sessions with readers */
    struct list        cursors;   /* struct reader.dirty: positions to write */
    struct wire_writer assembled; /* scratch: the properties of a captured message */

    struct publisher *relay; /* messages that were mailed to a group's member which is gone */

    uint8_t key[SUB_KEY_MAX_BYTES]; /* scratch for keys and names */
};

/* Could the store have a stream of this id? Asked of what rows say before anything relies on it. */
static inline bool kernel_has_stripe(const struct kernel *k, uint64_t stream_id)
{
    return stream_id_stripe(stream_id) < store_stripe_count(k->store);
}

/* What kernel_receive does, with a body that stays the caller's. */
void kernel_take_mail(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

#endif
