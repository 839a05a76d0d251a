/* thread - pin, name, start, join. */
#ifndef KEEL_SHARED_LOOP_THREAD_H
#define KEEL_SHARED_LOOP_THREAD_H

#include "shared/base/assert.h"

struct thread;

/* Runs run(ctx) on a new thread called name (15 characters), pinned to cpu unless it is negative. */
MUST_CHECK int thread_start(struct thread **out, const char *name, int cpu, void (*run)(void *ctx), void *ctx);
void           thread_join(struct thread *thread);
/* Pins the calling thread; 0 or -errno. */
int thread_pin_self(int cpu);
/* Cores this process may run on. */
int thread_cpu_count(void);

#endif
