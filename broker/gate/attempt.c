/* attempt.c - one client that is asked who it is: link after link of the chain, until one knows. */
#include "broker/gate/attempt.h"

#include <openssl/crypto.h>
#include <stdlib.h>

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

void attempt_free(struct attempt *a)
{
    list_remove(&a->link);
    if (a->scram != NULL) {
        OPENSSL_cleanse(a->scram, sizeof *a->scram);
        free(a->scram);
    }
    if (a->password.size > 0) {
        OPENSSL_cleanse((uint8_t *)(uintptr_t)a->password.data, a->password.size);
    }
    if (a->claims != NULL) {
        jwt_claims_fini(a->claims);
        free(a->claims);
    }
    jwt_keys_free(a->keys);
    free(a);
}

static struct attempt *attempt_new(struct gate *gate, struct auth_attempt *client, const struct auth_request *request)
{
    struct bytes address     = bytes_str(request->address != NULL ? request->address : "");
    struct bytes certificate = bytes_str(request->certificate_user != NULL ? request->certificate_user : "");
    struct bytes listener    = bytes_str(request->listener != NULL ? request->listener : "");
    size_t       size = request->client_id.size + request->user_name.size + request->password.size + address.size +
                  certificate.size + request->only_user.size + listener.size + 7;
    struct attempt *a = calloc(1, sizeof *a + size);
    if (a == NULL) {
        return NULL;
    }
    char *at            = a->text;
    a->gate             = gate;
    a->client           = client;
    a->has_user         = request->has_user_name;
    a->has_password     = request->has_password;
    a->loopback         = request->loopback;
    a->again            = request->again;
    a->client_id        = bytes_keep(&at, request->client_id);
    a->user             = bytes_keep(&at, request->user_name);
    a->password         = bytes_keep(&at, request->password);
    a->address          = bytes_keep(&at, address);
    a->certificate      = bytes_keep(&at, certificate);
    a->only_user        = bytes_keep(&at, request->only_user);
    a->listener         = bytes_keep(&at, listener);
    a->port             = request->port;
    a->protocol_version = request->protocol_version;
    a->wall_ns          = gate->wall_ns;
    list_push_back(&gate->attempts, &a->link);
    client->job = a;
    return a;
}

/* The last word of an attempt; it is gone afterwards. */
static void settle(struct attempt *a, const struct auth_answer *answer)
{
    struct auth_attempt *client = a->client;
    a->client                   = NULL;
    if (client != NULL) {
        client->job = NULL;
        client->answered(client, answer);
    }
    attempt_free(a);
}

void attempt_refuse(struct attempt *a, enum auth_refusal refusal, const char *why)
{
    const struct auth_answer answer = {.outcome = AUTH_REFUSED, .refusal = refusal, .why = why};
    a->gate->busy += refusal == AUTH_BUSY;
    settle(a, &answer);
}

static const char banned[] = "it is banned (keel ctl ban list says until when)";

void attempt_allow(struct attempt *a, struct bytes data)
{
    struct gate       *gate   = a->gate;
    struct auth_answer answer = {.outcome = AUTH_ALLOWED, .data = data, .has_data = data.size > 0};
    if (a->again) {
        if (!bytes_equal(a->name, a->only_user)) {
            attempt_refuse(a, AUTH_NOT_AUTHORIZED, "it came back as somebody else");
            return;
        }
        settle(a, &answer);
        return;
    }
    uint8_t     counted = 0;
    const char *full    = NULL;
    if (doorman_bans(gate, BAN_USER, a->name)) {
        attempt_refuse(a, AUTH_BANNED, banned);
        return;
    }
    full = doorman_enter(gate, a->name, a->address, a->client_id, &counted);
    if (full != NULL) {
        attempt_refuse(a, AUTH_QUOTA, full);
        return;
    }
    struct ticket_spec spec = {
        .counted   = counted,
        .user      = a->name,
        .client_id = a->client_id,
        .groups    = a->groups,
        .address   = a->address.size > 0 ? (const char *)a->address.data : NULL,
        .in_table  = a->in_table,
        .wall_ns   = gate->wall_ns,
        .now_ns    = gate->now_ns,
    };
    if (a->claims != NULL) {
        spec.rules            = a->claims->rules;
        spec.rule_count       = a->claims->rule_count;
        spec.rules_only       = a->claims->rules_only;
        spec.expires_wall_ns  = gate->config->jwt_disconnects ? a->claims->expires_wall_ns : 0;
        a->claims->rule_count = 0; /* they are the ticket's now; the array is still ours */
    }
    answer.ticket = ticket_new(&gate->office, &spec);
    if (answer.ticket == NULL) {
        doorman_leave(gate, counted, a->name, a->address, a->client_id);
        attempt_refuse(a, AUTH_BUSY, "no memory to let it in");
        return;
    }
    settle(a, &answer);
}

static void chain_go(struct attempt *a);

/* ---- the chain -------------------------------------------------------------------------------------------------------------------- */

/* Nobody has spoken. A name that could not be judged because there is nobody to judge it is not a name: its client is anonymous. */
static void chain_end(struct attempt *a)
{
    const struct gate *gate      = a->gate;
    bool               nameless  = !a->has_user && !a->has_password;
    bool               anonymous = gate->config->anonymous == AUTH_ANONYMOUS_YES ||
                     (gate->config->anonymous == AUTH_ANONYMOUS_LOOPBACK && a->loopback);
    if (anonymous && (nameless || !gate_judges(gate))) {
        a->name = (struct bytes){0};
        attempt_allow(a, (struct bytes){0});
    } else if (nameless) {
        attempt_refuse(a, AUTH_NOT_AUTHORIZED,
                       "it has no name, and anonymous clients are not let in here (auth.anonymous)");
    } else {
        attempt_refuse(a, AUTH_BAD_CREDENTIALS, "a wrong user name or password");
    }
}

void attempt_verdict(struct attempt *a, enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_ALLOW:
        attempt_allow(a, (struct bytes){0});
        break;
    case VERDICT_DENY:
        attempt_refuse(a, AUTH_BAD_CREDENTIALS, "a wrong user name or password");
        break;
    case VERDICT_BUSY:
        attempt_refuse(a, AUTH_BUSY, "too many passwords wait to be checked (auth.queue_max)");
        break;
    case VERDICT_DOWN:
        attempt_refuse(a, AUTH_UNAVAILABLE, "the hook that knows the users gives no answer (hook.down)");
        break;
    case VERDICT_IGNORE:
        a->step++;
        chain_go(a);
        break;
    case VERDICT_LATER:
        break;
    }
}

static void chain_go(struct attempt *a)
{
    const struct auth_config *config  = a->gate->config;
    enum verdict              verdict = VERDICT_IGNORE;
    for (; a->step < config->link_count; a->step++) {
        switch ((enum auth_link)config->links[a->step]) {
        case AUTH_LINK_CERT:
            verdict = link_certificate(a);
            break;
        case AUTH_LINK_PASSWORD:
            verdict = link_password(a);
            break;
        case AUTH_LINK_JWT:
            verdict = link_token(a);
            break;
        case AUTH_LINK_HTTP:
            verdict = link_hook(a);
            break;
        default:
            ASSERT(!"there are no other links");
        }
        if (verdict != VERDICT_IGNORE) {
            attempt_verdict(a, verdict);
            return;
        }
    }
    chain_end(a);
}

static bool in_chain(const struct gate *gate, enum auth_link link)
{
    bool found = false;
    for (unsigned i = 0; i < gate->config->link_count; i++) {
        found = found || gate->config->links[i] == link;
    }
    return found;
}

/* ---- the port --------------------------------------------------------------------------------------------------------------------- */

void attempt_begin(void *ctx, struct auth_attempt *client, const struct auth_request *request)
{
    struct gate    *gate = ctx;
    struct attempt *a    = attempt_new(gate, client, request);
    if (a == NULL) {
        static const struct auth_answer full = {
            .outcome = AUTH_REFUSED, .refusal = AUTH_BUSY, .why = "no memory to ask who it is"};
        client->answered(client, &full);
    } else if (doorman_bans(gate, BAN_CLIENT, a->client_id) || doorman_bans(gate, BAN_ADDRESS, a->address) ||
               (a->has_user && doorman_bans(gate, BAN_USER, a->user))) {
        attempt_refuse(a, AUTH_BANNED, banned);
    } else if (!a->again && doorman_flaps(gate, a->client_id)) {
        attempt_refuse(a, AUTH_BANNED, "it connects again and again (flapping.connects)");
    } else if (!request->has_method) {
        chain_go(a);
    } else if (bytes_equal(request->method, bytes_str(SCRAM_METHOD)) && in_chain(gate, AUTH_LINK_PASSWORD)) {
        exchange_begin(a, request);
    } else {
        attempt_refuse(a, AUTH_BAD_METHOD, "an authentication method that is not known here (SCRAM-SHA-256 is)");
    }
}

void attempt_respond(void *ctx, struct auth_attempt *client, struct bytes data)
{
    (void)ctx;
    struct attempt *a = client->job;
    ASSERT(a != NULL && a->scram != NULL);
    exchange_respond(a, data);
}

void attempt_cancel(void *ctx, struct auth_attempt *client)
{
    (void)ctx;
    struct attempt *a = client->job;
    client->job       = NULL;
    if (a == NULL) {
        return;
    }
    a->client = NULL;
    if (a->login != NULL) {
        hook_login_forget(a->login);
    }
    if (!a->working) {
        attempt_free(a);
    }
}
