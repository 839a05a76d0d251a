/* attempt.c - one client that is asked who it is: link after link of the chain, until one knows. */
#include "broker/auth/jwt.h"
#include "broker/auth/scram.h"
#include "broker/gate/hook.h"
#include "broker/gate/state.h"
#include "shared/loop/io.h"
#include "shared/loop/workers.h"

#include <openssl/crypto.h>
#include <stdlib.h>

enum verdict { VERDICT_IGNORE, VERDICT_ALLOW, VERDICT_DENY, VERDICT_LATER, VERDICT_BUSY, VERDICT_DOWN };

struct attempt {
    struct list          link; /* in gate->attempts */
    struct gate         *gate;
    struct auth_attempt *client; /* NULL: gone */
    struct work_item     work;
    struct scram        *scram;   /* an exchange, or NULL */
    struct hook_login   *login;   /* asked of the hook, or NULL */
    struct jwt_keys     *keys;    /* a share, once a token is to be checked */
    struct jwt_claims   *claims;  /* of a token or the hook, or NULL */
    const char          *why;     /* a token does not count */
    unsigned             step;    /* of the chain */
    bool                 working; /* a worker has it */
    bool                 has_user, has_password, loopback, again;
    /* what was found out */
    bool         in_table;
    bool         verified;
    bool         known;
    char         hash[CREDENTIAL_HASH_MAX_BYTES];
    char         groups[CREDENTIAL_GROUPS_MAX_BYTES];
    struct bytes name; /* who it is; size 0: anonymous */
    /* what was said: copies, in text */
    struct bytes client_id, user, password, address, certificate, only_user, listener;
    uint64_t     wall_ns;
    uint16_t     port;
    uint8_t      protocol_version;
    char         text[];
};

/* ---- life ------------------------------------------------------------------------------------------------------------------------- */

static void attempt_free(struct attempt *a)
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

static struct bytes keep(char **at, struct bytes text)
{
    struct bytes kept = bytes_of(*at, text.size);
    if (text.size > 0) {
        memcpy(*at, text.data, text.size);
    }
    (*at)[text.size] = '\0';
    *at += text.size + 1;
    return kept;
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
    a->client_id        = keep(&at, request->client_id);
    a->user             = keep(&at, request->user_name);
    a->password         = keep(&at, request->password);
    a->address          = keep(&at, address);
    a->certificate      = keep(&at, certificate);
    a->only_user        = keep(&at, request->only_user);
    a->listener         = keep(&at, listener);
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

static void refuse(struct attempt *a, enum auth_refusal refusal, const char *why)
{
    const struct auth_answer answer = {.outcome = AUTH_REFUSED, .refusal = refusal, .why = why};
    a->gate->busy += refusal == AUTH_BUSY;
    settle(a, &answer);
}

static const char banned[] = "it is banned (keel ctl ban list says until when)";

static void allow(struct attempt *a, struct bytes data)
{
    struct gate       *gate   = a->gate;
    struct auth_answer answer = {.outcome = AUTH_ALLOWED, .data = data, .has_data = data.size > 0};
    if (a->again) {
        if (!bytes_equal(a->name, a->only_user)) {
            refuse(a, AUTH_NOT_AUTHORIZED, "it came back as somebody else");
            return;
        }
        settle(a, &answer);
        return;
    }
    uint8_t     counted = 0;
    const char *full    = NULL;
    if (doorman_bans(gate, BAN_USER, a->name)) {
        refuse(a, AUTH_BANNED, banned);
        return;
    }
    full = doorman_enter(gate, a->name, a->address, a->client_id, &counted);
    if (full != NULL) {
        refuse(a, AUTH_QUOTA, full);
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
        refuse(a, AUTH_BUSY, "no memory to let it in");
        return;
    }
    settle(a, &answer);
}

static void take_user(struct attempt *a, const struct user *user, bool in_table)
{
    a->in_table = in_table;
    memcpy(a->groups, user->credential.groups, sizeof a->groups);
}

/* ---- the links -------------------------------------------------------------------------------------------------------------------- */

/* The transport has checked the certificate: whom it names, it is. A user name in CONNECT does not change that. */
static enum verdict by_certificate(struct attempt *a)
{
    bool in_table = false;
    if (a->certificate.size == 0) {
        return VERDICT_IGNORE;
    }
    a->name                 = a->certificate;
    const struct user *user = gate_user(a->gate, a->name, &in_table);
    if (user != NULL) { /* for its groups */
        take_user(a, user, in_table);
    }
    return VERDICT_ALLOW;
}

static void chain_go(struct attempt *a);

static void check_password(struct work_item *work)
{
    struct attempt *a = CONTAINER_OF(work, struct attempt, work);
    a->verified       = credential_verify(a->hash, a->password);
}

static void attempt_verdict(struct attempt *a, enum verdict verdict);

static void password_checked(struct work_item *work)
{
    struct attempt *a = CONTAINER_OF(work, struct attempt, work);
    a->working        = false;
    if (a->client == NULL) {
        attempt_free(a);
        return;
    }
    if (!a->known) {
        attempt_verdict(a, VERDICT_IGNORE);
        return;
    }
    bool               in_table = false;
    const struct user *user     = gate_user(a->gate, a->user, &in_table);
    if (!a->verified || user == NULL ||
        strcmp(user->credential.hash, a->hash) != 0) { /* it may have changed meanwhile */
        attempt_verdict(a, VERDICT_DENY);
        return;
    }
    a->name = a->user;
    take_user(a, user, in_table);
    attempt_verdict(a, VERDICT_ALLOW);
}

/* A name that nobody has takes as long as one that somebody has, so that time does not tell them apart. */
static enum verdict by_password(struct attempt *a)
{
    struct gate *gate     = a->gate;
    bool         in_table = false;
    if (!a->has_user || !a->has_password || gate->users.map.count + gate->file_users.map.count == 0) {
        return VERDICT_IGNORE;
    }
    const struct user *user = gate_user(gate, a->user, &in_table);
    a->known                = user != NULL;
    memcpy(a->hash, user != NULL ? user->credential.hash : gate->nobody, sizeof a->hash);
    a->work.run  = check_password;
    a->work.done = password_checked;
    if (!workers_submit(gate->workers, gate->desk, &a->work)) {
        return VERDICT_BUSY;
    }
    a->working = true;
    return VERDICT_LATER;
}

/* ---- tokens ------------------------------------------------------------------------------------------------------------------------- */

static void check_token(struct work_item *work)
{
    struct attempt           *a      = CONTAINER_OF(work, struct attempt, work);
    const struct auth_config *config = a->gate->config;
    const struct jwt_wants    wants  = {.issuer     = config->jwt_issuer,
                                        .audience   = config->jwt_audience,
                                        .user_claim = config->jwt_user_claim,
                                        .leeway_s   = config->jwt_leeway_s};
    a->why                           = jwt_check(a->keys, &wants, a->password, a->wall_ns, a->claims);
}

static void token_checked(struct work_item *work)
{
    struct attempt *a = CONTAINER_OF(work, struct attempt, work);
    a->working        = false;
    if (a->client == NULL) {
        attempt_free(a);
        return;
    }
    if (a->why == NULL && a->has_user && a->user.size > 0 && !bytes_equal(a->user, bytes_str(a->claims->user))) {
        a->why = "a token of another user";
    }
    if (a->why == NULL && a->claims->client_id[0] != '\0' &&
        !bytes_equal(a->client_id, bytes_str(a->claims->client_id))) {
        a->why = "a token of another client";
    }
    if (a->why != NULL) {
        refuse(a, AUTH_BAD_CREDENTIALS, a->why);
        return;
    }
    a->name = bytes_str(a->claims->user);
    memcpy(a->groups, a->claims->groups, sizeof a->groups);
    attempt_verdict(a, VERDICT_ALLOW);
}

static enum verdict by_token(struct attempt *a)
{
    struct gate *gate = a->gate;
    if (gate->jwt_keys == NULL || !a->has_password || !jwt_is_token(a->password)) {
        return VERDICT_IGNORE;
    }
    a->claims    = calloc(1, sizeof *a->claims);
    a->keys      = jwt_keys_ref(gate->jwt_keys); /* as they are now: the worker looks at them later */
    a->work.run  = check_token;
    a->work.done = token_checked;
    if (a->claims == NULL || !workers_submit(gate->workers, gate->desk, &a->work)) {
        return VERDICT_BUSY;
    }
    a->working = true;
    return VERDICT_LATER;
}

/* ---- the hook ------------------------------------------------------------------------------------------------------------------------ */

static void hook_said(void *ctx, enum hook_says says, struct jwt_claims *claims)
{
    struct attempt *a = ctx;
    a->login          = NULL;
    if (says == HOOK_DOWN && a->gate->config->hook_down == AUTH_HOOK_IGNORE) {
        says = HOOK_IGNORE;
    }
    if (says != HOOK_ALLOW) {
        attempt_verdict(a, says == HOOK_DENY ? VERDICT_DENY : says == HOOK_DOWN ? VERDICT_DOWN : VERDICT_IGNORE);
        return;
    }
    a->claims = malloc(sizeof *a->claims);
    if (a->claims == NULL) {
        jwt_claims_fini(claims);
        attempt_verdict(a, VERDICT_BUSY);
        return;
    }
    *a->claims = *claims;
    a->name    = claims->user[0] != '\0' ? bytes_str(a->claims->user) : a->user;
    memcpy(a->groups, claims->groups, sizeof a->groups);
    attempt_verdict(a, VERDICT_ALLOW);
}

static enum verdict by_hook(struct attempt *a)
{
    struct gate              *gate    = a->gate;
    enum hook_says            says    = HOOK_DENY;
    const struct auth_request request = {
        .client_id        = a->client_id,
        .user_name        = a->user,
        .password         = a->password,
        .has_user_name    = a->has_user,
        .has_password     = a->has_password,
        .protocol_version = a->protocol_version,
        .port             = a->port,
        .address          = a->address.size > 0 ? (const char *)a->address.data : NULL,
        .listener         = a->listener.size > 0 ? (const char *)a->listener.data : NULL,
        .certificate_user = a->certificate.size > 0 ? (const char *)a->certificate.data : NULL,
    };
    if (gate->hook == NULL || gate->config->login_url[0] == '\0') {
        return VERDICT_IGNORE;
    }
    a->login = hook_login(gate->hook, &request, hook_said, a, &says);
    if (a->login != NULL) {
        return VERDICT_LATER;
    }
    if (says == HOOK_DOWN) {
        return gate->config->hook_down == AUTH_HOOK_DENY ? VERDICT_BUSY : VERDICT_IGNORE;
    }
    return VERDICT_DENY;
}

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
        allow(a, (struct bytes){0});
    } else if (nameless) {
        refuse(a, AUTH_NOT_AUTHORIZED, "it has no name, and anonymous clients are not let in here (auth.anonymous)");
    } else {
        refuse(a, AUTH_BAD_CREDENTIALS, "a wrong user name or password");
    }
}

static void attempt_verdict(struct attempt *a, enum verdict verdict)
{
    switch (verdict) {
    case VERDICT_ALLOW:
        allow(a, (struct bytes){0});
        break;
    case VERDICT_DENY:
        refuse(a, AUTH_BAD_CREDENTIALS, "a wrong user name or password");
        break;
    case VERDICT_BUSY:
        refuse(a, AUTH_BUSY, "too many passwords wait to be checked (auth.queue_max)");
        break;
    case VERDICT_DOWN:
        refuse(a, AUTH_UNAVAILABLE, "the hook that knows the users gives no answer (hook.down)");
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
            verdict = by_certificate(a);
            break;
        case AUTH_LINK_PASSWORD:
            verdict = by_password(a);
            break;
        case AUTH_LINK_JWT:
            verdict = by_token(a);
            break;
        case AUTH_LINK_HTTP:
            verdict = by_hook(a);
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

/* ---- exchanges -------------------------------------------------------------------------------------------------------------------- */

static bool in_chain(const struct gate *gate, enum auth_link link)
{
    bool found = false;
    for (unsigned i = 0; i < gate->config->link_count; i++) {
        found = found || gate->config->links[i] == link;
    }
    return found;
}

static void scram_says_first(struct attempt *a, struct bytes message)
{
    struct gate  *gate     = a->gate;
    struct scram *scram    = a->scram;
    bool          in_table = false;
    uint64_t      nonce[3];
    const char   *why = scram_first(scram, message);
    if (why != NULL) {
        refuse(a, AUTH_PROTOCOL, why);
        return;
    }
    struct bytes name = bytes_of(scram->user, scram->user_size);
    if (a->has_user && !bytes_equal(a->user, name)) {
        refuse(a, AUTH_BAD_CREDENTIALS, "two user names that are not the same");
        return;
    }
    for (size_t i = 0; i < sizeof nonce / sizeof *nonce; i++) {
        nonce[i] = io_random(gate->io);
    }
    const struct user       *user = gate_user(gate, name, &in_table);
    const struct auth_answer next = {
        .outcome  = AUTH_CONTINUES,
        .has_data = true,
        .data     = scram_challenge(scram, user != NULL ? &user->credential.scram : NULL, gate->secret,
                                    gate->config->scram_iterations, (const uint8_t *)nonce),
    };
    if (next.data.size == 0) {
        refuse(a, AUTH_UNAVAILABLE, "a challenge could not be made");
        return;
    }
    a->step = 1;
    a->client->answered(a->client, &next);
}

static void scram_says_last(struct attempt *a, struct bytes message)
{
    char               said[64];
    size_t             size     = 0;
    bool               in_table = false;
    struct scram      *scram    = a->scram;
    const char        *why      = scram_final(scram, message, said, &size);
    struct bytes       name     = bytes_of(scram->user, scram->user_size);
    const struct user *user     = gate_user(a->gate, name, &in_table);
    if (why == NULL &&
        (user == NULL || memcmp(user->credential.scram.stored, scram->keys.stored, SCRAM_KEY_BYTES) != 0)) {
        why = "a user that has changed meanwhile";
    }
    if (why != NULL) {
        refuse(a, AUTH_BAD_CREDENTIALS, why);
        return;
    }
    a->name = name;
    take_user(a, user, in_table);
    allow(a, bytes_of(said, size));
}

static void scram_begin(struct attempt *a, const struct auth_request *request)
{
    a->scram = calloc(1, sizeof *a->scram);
    if (a->scram == NULL) {
        refuse(a, AUTH_BUSY, "no memory to ask who it is");
    } else if (request->has_data) {
        scram_says_first(a, request->data);
    } else { /* the client may let us begin, with nothing to say (4.12) */
        static const struct auth_answer your_turn = {.outcome = AUTH_CONTINUES};
        a->client->answered(a->client, &your_turn);
    }
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
        refuse(a, AUTH_BANNED, banned);
    } else if (!a->again && doorman_flaps(gate, a->client_id)) {
        refuse(a, AUTH_BANNED, "it connects again and again (flapping.connects)");
    } else if (!request->has_method) {
        chain_go(a);
    } else if (bytes_equal(request->method, bytes_str(SCRAM_METHOD)) && in_chain(gate, AUTH_LINK_PASSWORD)) {
        scram_begin(a, request);
    } else {
        refuse(a, AUTH_BAD_METHOD, "an authentication method that is not known here (SCRAM-SHA-256 is)");
    }
}

void attempt_respond(void *ctx, struct auth_attempt *client, struct bytes data)
{
    (void)ctx;
    struct attempt *a = client->job;
    ASSERT(a != NULL && a->scram != NULL);
    if (a->step == 0) {
        scram_says_first(a, data);
    } else {
        scram_says_last(a, data);
    }
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
