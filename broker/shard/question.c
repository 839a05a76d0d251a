/* question.c - a lock, a condition, and who frees. */
#include "broker/shard/question.h"

#include "shared/base/list.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_S = 5 };

static void on_desk(struct desk_item *item)
{
    struct question *q = CONTAINER_OF(item, struct question, item);
    q->run(q);
}

void *question_new(size_t size, void (*run)(struct question *))
{
    struct question   *q = calloc(1, size);
    pthread_condattr_t attributes;
    if (q == NULL) {
        return NULL;
    }
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->settled, &attributes);
    pthread_condattr_destroy(&attributes);
    q->item.run = on_desk;
    q->run      = run;
    return q;
}

void question_free(struct question *q)
{
    pthread_cond_destroy(&q->settled);
    pthread_mutex_destroy(&q->lock);
    free(q->text);
    free(q);
}

void question_settle(struct question *q, int status, char *text)
{
    pthread_mutex_lock(&q->lock);
    bool abandoned = q->abandoned;
    q->done        = true;
    q->status      = status;
    q->text        = text;
    pthread_cond_signal(&q->settled);
    pthread_mutex_unlock(&q->lock);
    if (abandoned) {
        question_free(q);
    }
}

void question_say(struct question *q, int status, const char *sentence)
{
    char *text = NULL;
    question_settle(q, status, asprintf(&text, "%s\n", sentence) < 0 ? NULL : text);
}

int question_ask(struct desk *desk, struct question *q, char **out_text)
{
    static const char too_late[] = "no answer from the segment store within 5 s; whether it was done is not known\n";
    struct timespec   until;
    if (!desk_post(desk, &q->item)) {
        question_free(q);
        *out_text = strdup("the broker starts or stops\n");
        return 503;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&q->lock);
    int late = 0;
    while (!q->done && late != ETIMEDOUT) {
        late = pthread_cond_timedwait(&q->settled, &q->lock, &until);
    }
    if (!q->done) {
        q->abandoned = true;
        pthread_mutex_unlock(&q->lock);
        *out_text = strdup(too_late);
        return 504;
    }
    int status = q->status;
    *out_text  = q->text;
    q->text    = NULL;
    pthread_mutex_unlock(&q->lock);
    question_free(q);
    return status;
}
