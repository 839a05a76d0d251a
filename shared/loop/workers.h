/* workers - threads for what takes long and must not hold up a shard: password hashes, signatures.
 *
 *   shard: workers_submit ──bounded queue──▶ a worker: work->run ──desk_return──▶ shard: work->done
 *
 * Full is an answer: workers_submit returns false and the client is told that the server is busy. Two fulfilments, as of io.h: threads
 * (workers.c), and tests/sim, where the work is run at once and its end comes in a later turn.
 * Lifetime: made before the shards, freed after them; a work belongs to the pool until done.   Threads: as marked. */
#ifndef KEEL_SHARED_LOOP_WORKERS_H
#define KEEL_SHARED_LOOP_WORKERS_H

#include "shared/loop/desk.h"

#include <stdint.h>

struct workers;

struct work_item {
    struct desk_item  back;               /* private */
    struct desk      *desk;               /* private: whose work it is */
    struct work_item *next;               /* private */
    void (*run)(struct work_item *work);  /* on a worker: touches nothing but the work */
    void (*done)(struct work_item *work); /* on the shard again */
};

/* queue_max: works that wait. NULL when memory or threads are out. */
struct workers *workers_new(unsigned threads, unsigned queue_max);
/* Every work is done by now. Accepts NULL. */
void workers_free(struct workers *workers);
/* False: the queue is full. By the shard that sits at desk. */
MUST_CHECK bool workers_submit(struct workers *workers, struct desk *desk, struct work_item *work);

#endif
