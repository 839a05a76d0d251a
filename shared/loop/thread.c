/* thread.c - pthreads, with a name and a core. */
#include "shared/loop/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>

struct thread {
    pthread_t handle;
    char      name[16];
    void (*run)(void *ctx);
    void *ctx;
};

int thread_cpu_count(void)
{
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) {
        return 1;
    }
    return CPU_COUNT(&cpus);
}

static void *thread_main(void *ctx)
{
    struct thread *thread = ctx;
    pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->ctx);
    return NULL;
}

int thread_start(struct thread **out, const char *name, int cpu, void (*run)(void *ctx), void *ctx)
{
    struct thread *thread = calloc(1, sizeof *thread);
    if (thread == NULL) {
        return -ENOMEM;
    }
    snprintf(thread->name, sizeof thread->name, "%.15s", name);
    thread->run = run;
    thread->ctx = ctx;

    /* Pinned before it runs, so that what it touches first lies near its core. */
    pthread_attr_t attributes;
    int            error = pthread_attr_init(&attributes);
    if (error == 0 && cpu >= 0) {
        cpu_set_t cpus;
        CPU_ZERO(&cpus);
        CPU_SET((size_t)cpu, &cpus);
        error = cpu < CPU_SETSIZE ? pthread_attr_setaffinity_np(&attributes, sizeof cpus, &cpus) : EINVAL;
    }
    if (error == 0) {
        error = pthread_create(&thread->handle, &attributes, thread_main, thread);
    }
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        free(thread);
        return -error;
    }
    *out = thread;
    return 0;
}

void thread_join(struct thread *thread)
{
    if (thread == NULL) {
        return;
    }
    pthread_join(thread->handle, NULL);
    free(thread);
}
