/* numbers - the shards of other broker processes as this shard knows them: each has a number here, behind those of its own process, and a channel (channel.h) to it through the
 * store. What shards tell each other goes to a number, whoever stands behind it.
 *
 *   another process ──numbers_begin──▶ its shards have the numbers [first, first + shard_count), and are told what stands here, then MAIL_TOLD
 *                   ──numbers_end────▶ what they had told is forgotten, who waited for them goes on, the numbers are free
 *
 * Which processes there are: company.h.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_NUMBERS_H
#define KEEL_BROKER_KERNEL_NUMBERS_H

#include "broker/kernel/state.h"

struct far_shard;
struct peer;

struct numbers {
    struct kernel    *kernel;
    struct far_shard *far[SHARDS_MAX]; /* NULL: the number is free, or of this process */
    bool              crowded;         /* it was said that there are too few */
};

/* Sets peer->first and peer->shards, unless there are too few numbers, or this process does not know its own birth (0) yet. */
void numbers_begin(struct numbers *numbers, struct peer *peer, uint64_t own_birth);
/* Its numbers are free. waiting: what waited for one of them goes on, last, when nothing knows it any more. */
void numbers_end(struct numbers *numbers, struct peer *peer, void (*waiting)(struct kernel *kernel, unsigned number));
void numbers_fini(struct numbers *numbers);

/* Who that shard is to the store. */
uint64_t numbers_owner(const struct numbers *numbers, unsigned shard);
uint64_t numbers_birth(const struct numbers *numbers, unsigned shard);
/* Into the channel to that shard; false when it is full. Takes the body. */
bool numbers_post(struct numbers *numbers, unsigned shard, const struct kernel_mail *mail);
/* A packet for the channel from that owner. */
void numbers_arrived(struct numbers *numbers, uint64_t from, struct bytes packet);
/* Sends what the channels have; when to call it again. */
uint64_t numbers_send(struct numbers *numbers);
/* MAIL_TOLD. */
void numbers_told(struct numbers *numbers, unsigned from);

#endif
