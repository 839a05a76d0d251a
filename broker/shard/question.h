/* question - a request of another thread (the admin's HTTP) to one shard: over its desk, carried out there, and the answer back.
 *
 *   HTTP thread: question_ask ──desk──▶ shard: run ─▶ .. ─▶ question_say ──▶ HTTP thread: status and text; five seconds at most
 *
 * The first member of what is asked, one allocation. It belongs to both sides; the one that lets go last frees it.
 * Threads: as marked. */
#ifndef KEEL_BROKER_SHARD_QUESTION_H
#define KEEL_BROKER_SHARD_QUESTION_H

#include "shared/base/bytes.h"
#include "shared/loop/desk.h"

#include <pthread.h>

struct question {
    struct desk_item item;
    void (*run)(struct question *question); /* on the shard; ends in question_settle, then or later, once */
    pthread_mutex_t lock;
    pthread_cond_t  settled;
    bool            done;
    bool            abandoned;
    int             status;
    char           *text;
};

/* size bytes, zeroed, of which struct question is the first part. NULL when memory is out. Any thread. */
void *question_new(size_t size, void (*run)(struct question *));
/* Of one that was not asked. */
void question_free(struct question *question);
/* Asks and waits: an HTTP status, and in *out_text a malloc'ed answer ended by a zero, or NULL. The question is gone. Any thread but the shard's. */
int question_ask(struct desk *desk, struct question *question, char **out_text);
/* The answer; text's ownership moves. By the shard. */
void question_settle(struct question *question, int status, char *text);
/* A sentence. By the shard. */
void question_say(struct question *question, int status, const char *sentence);

#endif
