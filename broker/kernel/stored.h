/* stored - sessions that outlive their connections, as every shard knows those that have subscriptions: what these are, and where it is connected.
 *
 *     subscriptions:  rows (rows.h); in the filter tree those whose filter has no shape (shapes.h), as LINK_STORED; shared ones in their groups
 *     QoS 1 and 2  ──▶ its stream, appended by the publisher's shard
 *     QoS 0        ──▶ the shards that have said MAIL_ROUTE "present": it is connected there
 *
 * A session that has subscriptions is told to all shards when it opens and when it closes, by one mail, however many they are; one that gets its first
 * by the mail of that subscription. An older broker tells of each filter instead (interest.h) and passes over what it is told here.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_STORED_H
#define KEEL_BROKER_KERNEL_STORED_H

#include "broker/kernel/rows.h"
#include "broker/kernel/session.h"

struct stored {
    struct subscriber   who;     /* subs: shared ones, and those in the filter tree */
    struct hashmap_node by_id;   /* in kernel.stored; extra: size of id */
    uint64_t            version; /* the newest of its rows */
    uint64_t            at;      /* other shards where it is connected, a bit each */
    struct session     *session; /* connected here, and it has subscriptions that are not shared; else NULL */
    struct row_set      rows;
    uint8_t             id[];
};

static inline struct stored *stored_of(struct subscriber *who)
{
    return CONTAINER_OF(who, struct stored, who);
}
static inline struct stored *stored_of_rows(struct row_set *rows)
{
    return CONTAINER_OF(rows, struct stored, rows);
}
static inline struct bytes stored_id(const struct stored *stored)
{
    return bytes_of(stored->id, stored->by_id.extra);
}
/* The session here that its subscriptions are those of, or NULL. */
static inline struct session *stored_session(const struct stored *stored)
{
    struct session *s = stored->session;
    return s != NULL && s->who.stream_id == stored->who.stream_id ? s : NULL;
}

/* NULL: nothing is known of it. */
struct stored *stored_find(struct kernel *kernel, struct bytes id);
/* Makes it when absent, NULL when memory is out. To be settled. */
struct stored *stored_make(struct kernel *kernel, struct bytes id);
/* Frees it if nothing is known of it any more. */
void stored_settle(struct kernel *kernel, struct stored *stored);
/* Subscriptions of it that are not shared came (1) or went (-1). */
void stored_count(struct kernel *kernel, struct stored *stored, int step);

/* A session here has opened: told to the others if it has subscriptions that are not shared. */
void stored_open(struct session *session);
/* It has its first one, which the others are told by other mail. */
void stored_attach(struct stored *stored, struct session *session);
/* It closes. */
void stored_close(struct session *session);
/* That shard has said that it is connected there, or no longer. */
void stored_seen(struct kernel *kernel, unsigned shard, struct bytes id, bool there);
/* All that are connected here, to one shard. */
void stored_tell(struct kernel *kernel, unsigned shard);
/* Those shards, a bit each, have gone. Looks at all sessions. */
void stored_lost(struct kernel *kernel, uint64_t shards);

#endif
