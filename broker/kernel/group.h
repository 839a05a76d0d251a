/* group - shared subscriptions (MQTT 5.0, 4.8.2): each message goes to one member.
 *
 *     group of "$share/g/a/#" ─┬─ members: live, on any shard (a connected stored session is one as well)   first choice, as share.h says
 *                              └─ stored:  of stored sessions, connected or not                             when nobody is connected
 *
 * Every shard knows all members, in the same order, so the publisher's shard chooses alone. Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_GROUP_H
#define KEEL_BROKER_KERNEL_GROUP_H

#include "broker/kernel/share.h"
#include "broker/kernel/state.h"

struct standing;

struct member {
    struct standing *standing;
    uint64_t         serial; /* of its session, on its shard */
    uint64_t         stream_id;
    uint64_t         since_ns; /* wall clock, when it joined */
    uint64_t         who;      /* the same everywhere: of its shard and serial (group_who) */
    uint64_t         client;   /* hash of its client id */
    uint32_t         sub_id;
    uint16_t         shard;
    uint8_t          flags; /* enum sub_flags */
};

struct group {
    struct match_link   link;      /* at the filter behind the group's name */
    struct hashmap_node by_filter; /* extra: size of filter */
    struct member      *members;   /* the longest one first */
    uint32_t            member_count;
    uint32_t            member_capacity;
    uint32_t            changes; /* of its members and of stored */
    uint32_t            turn;    /* whose it is */
    uint32_t            held;    /* messages that are to go to another member when theirs goes */
    struct match_link  *stored;  /* struct sub.link */
    uint32_t            stored_count;
    uint8_t             strategy;  /* enum share_strategy */
    bool                exclusive; /* of one subscriber at a time (exclusive.h) */
    uint8_t             filter[];  /* whole, "$share/.." or "$exclusive/.." */
};

/* NULL: there is none. */
struct group *group_hashed(struct kernel *kernel, uint64_t hash);
struct group *group_find(struct kernel *kernel, struct bytes whole_filter);
/* Makes it when absent; NULL when memory is out. A group without members must be given to group_settle. */
struct group *group_make(struct kernel *kernel, struct bytes whole_filter);
/* Frees the group if it has no members and nothing is held for it. */
void group_settle(struct kernel *kernel, struct group *group);
/* Whatever it has. */
void group_free(struct kernel *kernel, struct group *group);

static inline struct bytes group_filter(const struct group *group)
{
    return bytes_of(group->filter, group->by_filter.extra);
}
static inline bool group_empty(const struct group *group)
{
    return group->member_count == 0 && group->stored == NULL;
}

/* 0 or ERR_FULL. Replaces the member of the same shard and serial, which keeps its place. */
MUST_CHECK int group_join(struct kernel *kernel, struct group *group, const struct member *member);
/* NULL: it is none. Valid until the next that joins or leaves. */
const struct member *group_member(const struct group *group, unsigned shard, uint64_t serial);
void                 group_leave(struct kernel *kernel, struct group *group, unsigned shard, uint64_t serial);
void                 group_stored_add(struct group *group, struct sub *sub);
void                 group_stored_remove(struct group *group, struct sub *sub);

/* What a choice may depend on. */
struct group_question {
    struct bytes topic;
    uint64_t     publisher; /* a hash of who published; 0: nobody in particular */
};
/* Whose turn it is. One of the two is set, or none. */
struct group_choice {
    const struct member *member;
    const struct sub    *stored;
};
struct group_choice group_choose(struct kernel *kernel, struct group *group, const struct group_question *question);

/* All members that are here, to one shard. */
void group_tell(struct kernel *kernel, unsigned shard);
/* That shard has gone, and its members. */
void group_lost(struct kernel *kernel, unsigned shard);
/* Of a session here. */
uint64_t group_who(const struct kernel *kernel, uint64_t serial);
/* Tells the other shards that a session here joined (or left) a group. */
void group_announce(struct kernel *kernel, const struct group *group, bool joined, const struct member *member);
void group_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);

#endif
