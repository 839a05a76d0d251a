/* thread - pin, name, start, join.
 * Threads: any; a struct thread belongs to the one that started it. */
#ifndef KEEL_SHARED_LOOP_THREAD_H
#define KEEL_SHARED_LOOP_THREAD_H

#include "shared/base/assert.h"

struct thread;

/* Runs run(ctx) on a new thread called name (15 characters), pinned to cpu unless it is negative.
 * 0 and *out, or -errno (-EINVAL: there is no such cpu for us). */
MUST_CHECK int thread_start(struct thread **out, const char *name, int cpu, void (*run)(void *ctx), void *ctx);
/* Waits until run() has returned, then frees; accepts NULL. */
void thread_join(struct thread *thread);
/* Cores this process may run on, 1 at least. */
int thread_cpu_count(void);

#endif
