/* hook.c - questions out, answers in, some kept. */
#include "broker/gate/hook.h"

#include "broker/auth/cache.h"
#include "broker/gate/state.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"
#include "shared/loop/web.h"

#include <stdlib.h>

static const uint64_t log_every_ns = 1000000000u;

struct hook {
    struct gate       *gate;
    struct web        *web;
    struct cache       cache;
    struct log_limit   down_log;
    struct wire_writer key; /* scratch */
};

struct hook_login {
    struct web_request request;
    struct hook       *hook;
    void (*done)(void *ctx, enum hook_says says, struct jwt_claims *claims); /* NULL: nobody waits any more */
    void *ctx;
};

struct hook_access {
    struct web_request    request;
    struct hook          *hook;
    struct auth_question *question; /* NULL: nobody waits any more */
    size_t                key_size;
    uint8_t               key[];
};

static void say_down(struct hook *hook, const char *url, int status)
{
    uint64_t left_out;
    if (log_allowed(&hook->down_log, hook->gate->now_ns, log_every_ns, &left_out)) {
        log_warn("the hook %s gives no answer that counts (%s %d): %s (hook.down)", url,
                 status < 0 ? err_sentence(status) : "HTTP status", status,
                 hook->gate->config->hook_down == AUTH_HOOK_DENY ? "denied" : "passed over");
    }
}

/* ---- logins ------------------------------------------------------------------------------------------------------------------------ */

static void login_done(struct web_request *request)
{
    struct hook_login *login = CONTAINER_OF(request, struct hook_login, request);
    struct hook       *hook  = login->hook;
    struct jwt_claims  claims;
    if (login->done != NULL) {
        struct bytes   text = bytes_of(request->answer, request->answer_size);
        enum hook_says says = message_answer(request->status, text, hook->gate->wall_ns, &claims);
        if (says == HOOK_DOWN) {
            say_down(hook, request->url, request->status);
        }
        login->done(login->ctx, says, &claims);
    }
    free(request->answer);
    free(login);
}

struct hook_login *hook_login(struct hook *hook, const struct auth_request                                  *request,
                              void (*done)(void *ctx, enum hook_says says, struct jwt_claims *claims), void *ctx,
                              enum hook_says *out_says)
{
    const struct auth_config *config = hook->gate->config;
    struct hook_login        *login  = calloc(1, sizeof *login);
    *out_says                        = HOOK_DENY;
    if (login == NULL) {
        return NULL;
    }
    login->hook               = hook;
    login->done               = done;
    login->ctx                = ctx;
    login->request.url        = config->login_url;
    login->request.token      = config->hook_token;
    login->request.timeout_ms = config->hook_timeout_ms;
    login->request.done       = login_done;
    login->request.body       = message_login(request, &login->request.body_size);
    if (login->request.body == NULL) {
        free(login);
        return NULL;
    }
    if (!web_post(hook->web, hook->gate->desk, &login->request)) {
        say_down(hook, config->login_url, ERR_FULL);
        *out_says = HOOK_DOWN;
        free(login->request.body);
        free(login);
        return NULL;
    }
    return login;
}

void hook_login_forget(struct hook_login *login)
{
    login->done = NULL;
}

/* ---- access ------------------------------------------------------------------------------------------------------------------------ */

/* What was asked, as one key; valid until the next one. */
static struct bytes key_of(struct hook *hook, const struct ticket *ticket, const struct acl_wish *wish)
{
    struct wire_writer *w = &hook->key;
    w->size               = 0;
    w->bad                = false;
    wire_put_u8(w, (uint8_t)(wish->action | wish->qos << 2 | (wish->retain ? 0x10 : 0)));
    wire_put(w, ticket->who.address, sizeof ticket->who.address);
    wire_put_blob(w, ticket->who.user);
    wire_put_blob(w, ticket->who.client);
    wire_put_bytes(w, wish->topic);
    return w->bad ? (struct bytes){0} : wire_written(w);
}

static enum access meaning(const struct hook *hook, enum hook_says says)
{
    bool open = hook->gate->office.default_allow;
    if (says == HOOK_DOWN) {
        says = hook->gate->config->hook_down == AUTH_HOOK_DENY ? HOOK_DENY : HOOK_IGNORE;
    }
    return says == HOOK_ALLOW || (says == HOOK_IGNORE && open) ? ACCESS_ALLOW : ACCESS_DENY;
}

static void access_done(struct web_request *request)
{
    struct hook_access *access = CONTAINER_OF(request, struct hook_access, request);
    struct hook        *hook   = access->hook;
    struct bytes        text   = bytes_of(request->answer, request->answer_size);
    enum hook_says      says   = message_answer(request->status, text, hook->gate->wall_ns, NULL);
    if (says == HOOK_DOWN) {
        say_down(hook, request->url, request->status);
    } else {
        cache_put(&hook->cache, bytes_of(access->key, access->key_size), hook->gate->now_ns, (uint8_t)says);
    }
    if (access->question != NULL) {
        ticket_answer(access->question, meaning(hook, says) == ACCESS_ALLOW);
    }
    free(request->answer);
    free(access);
}

static enum access ask(struct ticket_office *office, struct ticket *ticket, const struct acl_wish *wish,
                       struct auth_question **out)
{
    struct hook              *hook   = CONTAINER_OF(office, struct gate, office)->hook;
    const struct auth_config *config = hook->gate->config;
    struct bytes              key    = key_of(hook, ticket, wish);
    uint8_t                   says;
    if (key.size != 0 && cache_find(&hook->cache, key, hook->gate->now_ns, &says)) {
        return meaning(hook, (enum hook_says)says);
    }
    struct hook_access *access = key.size == 0 ? NULL : calloc(1, sizeof *access + key.size);
    if (access == NULL) {
        return meaning(hook, HOOK_DOWN);
    }
    access->hook               = hook;
    access->key_size           = key.size;
    access->request.url        = config->access_url;
    access->request.token      = config->hook_token;
    access->request.timeout_ms = config->hook_timeout_ms;
    access->request.done       = access_done;
    memcpy(access->key, key.data, key.size);
    access->request.body = message_access(&ticket->who, ticket->address, wish, &access->request.body_size);
    access->question     = access->request.body == NULL ? NULL : ticket_question(ticket, wish);
    if (access->question == NULL || !web_post(hook->web, hook->gate->desk, &access->request)) {
        say_down(hook, config->access_url, ERR_FULL);
        if (access->question != NULL) {
            list_remove(&access->question->link);
            free(access->question);
        }
        free(access->request.body);
        free(access);
        return meaning(hook, HOOK_DOWN);
    }
    access->question->asked = access;
    *out                    = access->question;
    return ACCESS_WAIT;
}

static void forget(struct ticket_office *office, struct auth_question *question)
{
    (void)office;
    struct hook_access *access = question->asked;
    access->question           = NULL;
}

/* ---- life -------------------------------------------------------------------------------------------------------------------------- */

struct hook *hook_new(struct gate *gate, struct web *web)
{
    const struct auth_config *config = gate->config;
    struct hook              *hook   = calloc(1, sizeof *hook);
    if (hook == NULL) {
        return NULL;
    }
    hook->gate = gate;
    hook->web  = web;
    hook->key  = wire_writer_growing(4 * 65536);
    cache_init(&hook->cache, config->hook_cache_entries, config->hook_cache_ms * 1000000ull);
    if (config->access_url[0] != '\0') {
        gate->office.ask    = ask;
        gate->office.forget = forget;
    }
    return hook;
}

void hook_free(struct hook *hook)
{
    if (hook != NULL) {
        cache_fini(&hook->cache);
        wire_writer_fini(&hook->key);
        free(hook);
    }
}
