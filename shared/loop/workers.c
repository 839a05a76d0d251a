/* workers.c - a queue and the threads that empty it. */
#include "shared/loop/workers.h"

#include "shared/base/list.h"
#include "shared/loop/thread.h"

#include <pthread.h>
#include <stdlib.h>

struct workers {
    pthread_mutex_t   lock;
    pthread_cond_t    wanted;
    struct work_item *first;
    struct work_item *last;
    unsigned          waiting;
    unsigned          queue_max;
    bool              stopping;
    unsigned          thread_count;
    struct thread    *threads[];
};

static struct work_item *next_work(struct workers *workers)
{
    pthread_mutex_lock(&workers->lock);
    while (workers->first == NULL && !workers->stopping) {
        pthread_cond_wait(&workers->wanted, &workers->lock);
    }
    struct work_item *work = workers->first;
    if (work != NULL) {
        workers->first = work->next;
        workers->waiting--;
    }
    pthread_mutex_unlock(&workers->lock);
    return work;
}

static void work_loop(void *ctx)
{
    struct workers   *workers = ctx;
    struct work_item *work;
    while ((work = next_work(workers)) != NULL) {
        work->run(work);
        desk_return(work->desk, &work->back);
    }
}

struct workers *workers_new(unsigned threads, unsigned queue_max)
{
    struct workers *workers = calloc(1, sizeof *workers + threads * sizeof workers->threads[0]);
    if (workers == NULL) {
        return NULL;
    }
    workers->queue_max = queue_max;
    pthread_mutex_init(&workers->lock, NULL);
    pthread_cond_init(&workers->wanted, NULL);
    for (unsigned i = 0; i < threads; i++) {
        if (thread_start(&workers->threads[i], "worker", -1, work_loop, workers) < 0) {
            workers_free(workers);
            return NULL;
        }
        workers->thread_count++;
    }
    return workers;
}

void workers_free(struct workers *workers)
{
    if (workers == NULL) {
        return;
    }
    pthread_mutex_lock(&workers->lock);
    workers->stopping = true;
    pthread_cond_broadcast(&workers->wanted);
    pthread_mutex_unlock(&workers->lock);
    for (unsigned i = 0; i < workers->thread_count; i++) {
        thread_join(workers->threads[i]);
    }
    ASSERT(workers->first == NULL);
    pthread_cond_destroy(&workers->wanted);
    pthread_mutex_destroy(&workers->lock);
    free(workers);
}

static void returned(struct desk_item *item)
{
    struct work_item *work = CONTAINER_OF(item, struct work_item, back);
    work->done(work);
}

bool workers_submit(struct workers *workers, struct desk *desk, struct work_item *work)
{
    work->desk     = desk;
    work->next     = NULL;
    work->back.run = returned;
    pthread_mutex_lock(&workers->lock);
    bool taken = workers->waiting < workers->queue_max && !workers->stopping;
    if (taken) {
        desk_expect(desk);
        if (workers->first == NULL) {
            workers->first = work;
        } else {
            workers->last->next = work;
        }
        workers->last = work;
        workers->waiting++;
        pthread_cond_signal(&workers->wanted);
    }
    pthread_mutex_unlock(&workers->lock);
    return taken;
}
