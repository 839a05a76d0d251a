/* web - HTTP requests of a program to others, on a thread of its own (libcurl).
 *
 *   shard: web_post ──bounded queue──▶ the thread: connections kept open, time-outs ──desk_return──▶ shard: request->done
 *
 * Two fulfilments, as of io.h: a thread (web.c), and tests/sim, where nobody answers.
 * Lifetime: made before the shards, freed after them; a request belongs to it until done.   Threads: as marked. */
#ifndef KEEL_SHARED_LOOP_WEB_H
#define KEEL_SHARED_LOOP_WEB_H

#include "shared/loop/desk.h"

#include <stddef.h>
#include <stdint.h>

struct web;

enum { WEB_ANSWER_MAX_BYTES = 64 * 1024 };

struct web_request {
    struct desk_item    back; /* private, as the next four */
    struct desk        *desk;
    struct web_request *next;
    void               *handle;
    void               *headers;
    const char         *url;   /* outlives the request */
    const char         *token; /* sent as Authorization: Bearer; NULL: none */
    char               *body;  /* JSON; malloc'ed, freed by the web */
    size_t              body_size;
    uint32_t            timeout_ms;
    void (*done)(struct web_request *request); /* on the shard */
    /* what came of it */
    int    status; /* of HTTP; or an error, err.h */
    char  *answer; /* malloc'ed, the asker's; NULL: none */
    size_t answer_size;
};

/* waiting_max: requests under way. NULL when memory or threads are out. */
struct web *web_new(unsigned waiting_max);
/* All that is under way ends with ERR_CLOSED, and all that comes later. Any thread. */
void web_stop(struct web *web);
/* Accepts NULL. */
void web_free(struct web *web);
/* False: too many are under way; body is still the caller's. By the shard that sits at desk. */
MUST_CHECK bool web_post(struct web *web, struct desk *desk, struct web_request *request);

#endif
