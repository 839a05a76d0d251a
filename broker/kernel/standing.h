/* standing - how a member of shared subscriptions stands, as every shard knows it: how much it has not acknowledged, and whether it takes more.
 *
 *     session here ──its window, its output──▶ looked at when somebody chooses
 *     session elsewhere ──MAIL_STANDING at the end of a turn in which it changed──▶ what its shard said last, and what was given to it since
 *
 * One for each session that is a member of a group, however many groups that are.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_STANDING_H
#define KEEL_BROKER_KERNEL_STANDING_H

#include "broker/kernel/session.h"

struct standing {
    struct hashmap_node by_who;  /* in kernel.standings */
    struct list         dirty;   /* in kernel.changed_standings; of a session here */
    struct session     *session; /* NULL: on another shard */
    uint64_t            serial;
    uint32_t            inflight; /* said last by its shard */
    uint32_t            given;    /* since then, from here */
    uint32_t            members;  /* that refer to it */
    uint16_t            shard;
    bool                slow;    /* said last */
    bool                counted; /* some group asks for the number, not only whether it is slow */
};

/* Counts one reference more; made when absent. NULL: no memory. */
struct standing *standing_ref(struct kernel *kernel, unsigned shard, uint64_t serial);
void             standing_unref(struct kernel *kernel, struct standing *standing);

/* Takes it nothing now: its output is full, or all it allows is unacknowledged? */
bool standing_slow(const struct standing *standing);
/* Unacknowledged messages, with those that are on their way to it. */
uint32_t standing_load(const struct standing *standing);

/* Its window or its output changed. */
void               standing_changed(struct session *session);
static inline void standing_note(struct session *session)
{
    if (UNLIKELY(session->standing != NULL)) {
        standing_changed(session);
    }
}

/* At the end of the turn: tells the other shards. */
void standing_flush(struct kernel *kernel);
void standing_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

#endif
