/* desk.c - a list, a lock and a flag. */
#include "shared/loop/desk.h"

#include "shared/loop/io.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct desk {
    pthread_mutex_t   lock;
    pthread_cond_t    arrived;
    struct io        *io; /* NULL: nobody sits here */
    struct desk_item *first;
    struct desk_item *last;
    _Atomic bool      any;
    unsigned          expected; /* announced and not yet here */
};

struct desk *desk_new(void)
{
    struct desk *desk = calloc(1, sizeof *desk);
    if (desk != NULL) {
        pthread_mutex_init(&desk->lock, NULL);
        pthread_cond_init(&desk->arrived, NULL);
    }
    return desk;
}

void desk_free(struct desk *desk)
{
    if (desk == NULL) {
        return;
    }
    ASSERT(desk->first == NULL && desk->io == NULL);
    pthread_cond_destroy(&desk->arrived);
    pthread_mutex_destroy(&desk->lock);
    free(desk);
}

void desk_attach(struct desk *desk, struct io *io)
{
    pthread_mutex_lock(&desk->lock);
    ASSERT(desk->io == NULL);
    desk->io = io;
    pthread_mutex_unlock(&desk->lock);
}

/* Under the lock. */
static void put(struct desk *desk, struct desk_item *item)
{
    item->next = NULL;
    if (desk->first == NULL) {
        desk->first = item;
    } else {
        desk->last->next = item;
    }
    desk->last = item;
    atomic_store_explicit(&desk->any, true, memory_order_release);
    pthread_cond_signal(&desk->arrived);
    io_wake(desk->io);
}

bool desk_post(struct desk *desk, struct desk_item *item)
{
    pthread_mutex_lock(&desk->lock);
    bool taken = desk->io != NULL;
    if (taken) {
        put(desk, item);
    }
    pthread_mutex_unlock(&desk->lock);
    return taken;
}

void desk_expect(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    desk->expected++;
    pthread_mutex_unlock(&desk->lock);
}

void desk_return(struct desk *desk, struct desk_item *item)
{
    pthread_mutex_lock(&desk->lock);
    ASSERT(desk->expected > 0 && desk->io != NULL);
    desk->expected--;
    put(desk, item);
    pthread_mutex_unlock(&desk->lock);
}

static void run_all(struct desk_item *item)
{
    while (item != NULL) {
        struct desk_item *next = item->next; /* run may free it */
        item->run(item);
        item = next;
    }
}

/* Under the lock. */
static struct desk_item *take(struct desk *desk)
{
    struct desk_item *first = desk->first;
    desk->first             = NULL;
    atomic_store_explicit(&desk->any, false, memory_order_relaxed);
    return first;
}

void desk_turn(struct desk *desk)
{
    if (LIKELY(!atomic_load_explicit(&desk->any, memory_order_acquire))) {
        return;
    }
    pthread_mutex_lock(&desk->lock);
    struct desk_item *first = take(desk);
    pthread_mutex_unlock(&desk->lock);
    run_all(first);
}

void desk_detach(struct desk *desk)
{
    pthread_mutex_lock(&desk->lock);
    while (desk->expected > 0 || desk->first != NULL) {
        if (desk->first == NULL) {
            pthread_cond_wait(&desk->arrived, &desk->lock);
            continue;
        }
        struct desk_item *first = take(desk);
        pthread_mutex_unlock(&desk->lock);
        run_all(first);
        pthread_mutex_lock(&desk->lock);
    }
    desk->io = NULL;
    pthread_mutex_unlock(&desk->lock);
}
