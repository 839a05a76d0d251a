/* web.c - libcurl's multi interface in a loop of its own. */
#include "shared/loop/web.h"

#include "shared/base/err.h"
#include "shared/base/list.h"
#include "shared/loop/thread.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CONNECTIONS_MAX = 64, POLL_MS = 1000, TOKEN_MAX_BYTES = 512 };

struct web {
    pthread_mutex_t     lock;
    CURLM              *multi;
    struct thread      *thread;
    struct web_request *first; /* posted and not taken up; under the lock, as the next four */
    struct web_request *last;
    unsigned            waiting; /* posted and not done */
    unsigned            waiting_max;
    bool                stopping;
    bool                ending;
    struct web_request *running; /* the thread's */
};

static size_t take_answer(char *data, size_t unit, size_t count, void *ctx)
{
    struct web_request *request = ctx;
    size_t              size    = unit * count;
    if (size > WEB_ANSWER_MAX_BYTES - request->answer_size) {
        return 0; /* curl ends it with an error */
    }
    char *grown = realloc(request->answer, request->answer_size + size + 1);
    if (grown == NULL) {
        return 0;
    }
    memcpy(grown + request->answer_size, data, size);
    request->answer = grown;
    request->answer_size += size;
    request->answer[request->answer_size] = '\0';
    return size;
}

static void finish(struct web *web, struct web_request *request, int status)
{
    curl_slist_free_all(request->headers);
    if (request->handle != NULL) {
        curl_easy_cleanup(request->handle);
    }
    free(request->body);
    request->body    = NULL;
    request->headers = NULL;
    request->handle  = NULL;
    request->status  = status;
    pthread_mutex_lock(&web->lock);
    web->waiting--;
    pthread_mutex_unlock(&web->lock);
    desk_return(request->desk, &request->back);
}

static void begin(struct web *web, struct web_request *request)
{
    char  line[TOKEN_MAX_BYTES + 32];
    CURL *curl       = curl_easy_init();
    request->handle  = curl;
    request->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (curl == NULL) {
        finish(web, request, ERR_FULL);
        return;
    }
    if (request->token != NULL && *request->token != '\0') {
        snprintf(line, sizeof line, "Authorization: Bearer %.511s", request->token);
        request->headers = curl_slist_append(request->headers, line);
    }
    curl_easy_setopt(curl, CURLOPT_URL, request->url);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)request->timeout_ms);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, request->headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)request->body_size);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_answer);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, request);
    curl_easy_setopt(curl, CURLOPT_PRIVATE, request);
    if (curl_multi_add_handle(web->multi, curl) != CURLM_OK) {
        finish(web, request, ERR_UNAVAILABLE);
        return;
    }
    request->next = web->running;
    web->running  = request;
}

static void forget(struct web *web, struct web_request *request)
{
    struct web_request **at = &web->running;
    while (*at != request) {
        at = &(*at)->next;
    }
    *at = request->next;
    curl_multi_remove_handle(web->multi, request->handle);
}

static void collect(struct web *web)
{
    int      left;
    CURLMsg *message;
    while ((message = curl_multi_info_read(web->multi, &left)) != NULL) {
        struct web_request *request = NULL;
        long                status  = 0;
        CURLcode            result  = message->data.result;
        if (message->msg != CURLMSG_DONE) {
            continue;
        }
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &request);
        curl_easy_getinfo(message->easy_handle, CURLINFO_RESPONSE_CODE, &status);
        forget(web, request);
        finish(web, request,
               result == CURLE_OK                   ? (int)status
               : result == CURLE_OPERATION_TIMEDOUT ? ERR_TIMEOUT
                                                    : ERR_UNAVAILABLE);
    }
}

static void web_loop(void *ctx)
{
    struct web *web    = ctx;
    bool        ending = false;
    while (!ending) {
        int running = 0;
        pthread_mutex_lock(&web->lock);
        struct web_request *posted   = web->first;
        bool                stopping = web->stopping;
        ending                       = web->ending;
        web->first                   = NULL;
        pthread_mutex_unlock(&web->lock);
        while (posted != NULL) {
            struct web_request *next = posted->next;
            if (stopping) {
                finish(web, posted, ERR_CLOSED);
            } else {
                begin(web, posted);
            }
            posted = next;
        }
        while (stopping && web->running != NULL) {
            struct web_request *request = web->running;
            forget(web, request);
            finish(web, request, ERR_CLOSED);
        }
        curl_multi_perform(web->multi, &running);
        collect(web);
        if (!ending) {
            curl_multi_poll(web->multi, NULL, 0, POLL_MS, NULL);
        }
    }
}

struct web *web_new(unsigned waiting_max)
{
    struct web *web = calloc(1, sizeof *web);
    if (web == NULL) {
        return NULL;
    }
    curl_global_init(CURL_GLOBAL_DEFAULT);
    web->waiting_max = waiting_max;
    web->multi       = curl_multi_init();
    pthread_mutex_init(&web->lock, NULL);
    if (web->multi != NULL) {
        curl_multi_setopt(web->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, (long)CONNECTIONS_MAX);
    }
    if (web->multi == NULL || thread_start(&web->thread, "web", -1, web_loop, web) < 0) {
        web_free(web);
        return NULL;
    }
    return web;
}

void web_stop(struct web *web)
{
    if (web == NULL) {
        return;
    }
    pthread_mutex_lock(&web->lock);
    web->stopping = true;
    pthread_mutex_unlock(&web->lock);
    curl_multi_wakeup(web->multi);
}

void web_free(struct web *web)
{
    if (web == NULL) {
        return;
    }
    if (web->thread != NULL) {
        pthread_mutex_lock(&web->lock);
        web->stopping = true;
        web->ending   = true;
        pthread_mutex_unlock(&web->lock);
        curl_multi_wakeup(web->multi);
        thread_join(web->thread);
    }
    ASSERT(web->waiting == 0);
    curl_multi_cleanup(web->multi);
    pthread_mutex_destroy(&web->lock);
    free(web);
}

static void returned(struct desk_item *item)
{
    struct web_request *request = CONTAINER_OF(item, struct web_request, back);
    request->done(request);
}

bool web_post(struct web *web, struct desk *desk, struct web_request *request)
{
    request->desk        = desk;
    request->next        = NULL;
    request->handle      = NULL;
    request->headers     = NULL;
    request->answer      = NULL;
    request->answer_size = 0;
    request->back.run    = returned;
    pthread_mutex_lock(&web->lock);
    bool taken = web->waiting < web->waiting_max;
    if (taken) {
        desk_expect(desk);
        if (web->first == NULL) {
            web->first = request;
        } else {
            web->last->next = request;
        }
        web->last = request;
        web->waiting++;
    }
    pthread_mutex_unlock(&web->lock);
    if (taken) {
        curl_multi_wakeup(web->multi);
    }
    return taken;
}
