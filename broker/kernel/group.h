/* group - shared subscriptions (MQTT 5.0, 4.8.2): each message goes to one member.
 *
 *     group of "$share/g/a/#" ─┬─ members: live, on any shard (a connected stored session is one as well)   first choice, in turns
 *                              └─ stored:  of stored sessions, connected or not                             when nobody is connected
 *
 * Every shard knows all members, so the publisher's shard chooses alone. Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_GROUP_H
#define KEEL_BROKER_KERNEL_GROUP_H

#include "broker/kernel/state.h"

struct member {
    struct list link;
    uint64_t    serial; /* of its session, on its shard */
    uint64_t    stream_id;
    uint32_t    sub_id;
    uint16_t    shard;
    uint8_t     flags; /* enum sub_flags */
};

struct group {
    struct match_link   link;      /* at the filter behind the group's name */
    struct hashmap_node by_filter; /* extra: size of filter */
    struct list         members;
    struct match_link  *stored; /* struct sub.link */
    uint32_t            stored_count;
    uint8_t             filter[]; /* whole, "$share/.." */
};

/* NULL: there is none. */
struct group *group_find(struct kernel *kernel, struct bytes whole_filter);
/* Makes it when absent; NULL when memory is out. A group without members must be given to group_settle. */
struct group *group_make(struct kernel *kernel, struct bytes whole_filter);
/* Frees the group if it has no members. */
void group_settle(struct kernel *kernel, struct group *group);

/* 0 or ERR_FULL. Replaces the member of the same shard and serial. */
MUST_CHECK int group_join(struct kernel *kernel, struct group *group, unsigned shard, uint64_t serial,
                          uint64_t stream_id, uint8_t flags, uint32_t sub_id);
void           group_leave(struct kernel *kernel, struct group *group, unsigned shard, uint64_t serial);
void           group_stored_add(struct group *group, struct sub *sub);
void           group_stored_remove(struct group *group, struct sub *sub);

/* Whose turn it is. One of the two is set, or none. */
struct group_choice {
    const struct member *member;
    const struct sub    *stored;
};
struct group_choice group_choose(struct group *group);

/* Tells the other shards that a session here joined (or left) a group. */
void group_announce(struct kernel *kernel, const struct group *group, bool joined, uint64_t serial, uint64_t stream_id,
                    uint8_t flags, uint32_t sub_id);
void group_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

#endif
