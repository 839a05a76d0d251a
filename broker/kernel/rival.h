/* rival - one client id at several broker processes: its home here (directory.h) asks its home at each other process to give it up before the session is opened.
 *
 *     claim has its turn at its home ──MAIL_RIVAL──▶ home there: whoever has the id is evicted, and when nothing of it is under way any more ──free──▶ granted here
 *                                                                                       a later claim there, or one at the same time that wins ──refused──▶ evicted here
 *
 * At the same time: each was sent before the other one had arrived. The later stamp wins on both sides. A process that does not answer within RIVAL_PATIENCE_NS
 * is passed over: a stored session is fenced by the store anyway, and what it has in memory only it gives up when it hears of it.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_RIVAL_H
#define KEEL_BROKER_KERNEL_RIVAL_H

#include "broker/kernel/state.h"

#define RIVAL_PATIENCE_NS 500000000u

/* A claim that waits for other processes. */
struct rival {
    struct list link; /* in kernel.rivals */
    uint64_t    low;  /* the hash of its id, as the directory has it */
    uint64_t    high;
    uint64_t    ticket;
    uint64_t    stamp; /* wall clock */
    uint64_t    waiting;
    uint64_t    deadline_ns;
    uint64_t    serial;
    uint16_t    shard;
    bool        refused;
};

/* False: there is nobody to ask. */
bool rival_begin(struct kernel *kernel, uint64_t low, uint64_t high, uint64_t serial, uint16_t shard, struct bytes id);
/* That claim has been given back. */
void rival_cancel(struct kernel *kernel, uint64_t low, uint64_t high);
/* Does a claim to this id stand here that was made before the other one, of that shard, had arrived, and that wins? */
bool rival_wins(struct kernel *kernel, uint64_t low, uint64_t high, unsigned from, uint64_t stamp);
void rival_answered(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
/* These shards have gone. */
void rival_lost(struct kernel *kernel, uint64_t shards);
/* Those who waited long enough go on; when this is to be called again. */
uint64_t rival_turn(struct kernel *kernel);
void     rival_fini(struct kernel *kernel);

#endif
