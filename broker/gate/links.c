/* links.c - the links of the chain: each says allow, deny, or lets the next one speak. */
#include "broker/gate/attempt.h"

#include <stdlib.h>

void link_user(struct attempt *a, const struct user *user, bool in_table)
{
    a->in_table = in_table;
    memcpy(a->groups, user->credential.groups, sizeof a->groups);
}

/* The transport has checked the certificate: whom it names, it is. A user name in CONNECT does not change that. */
enum verdict link_certificate(struct attempt *a)
{
    bool in_table = false;
    if (a->certificate.size == 0) {
        return VERDICT_IGNORE;
    }
    a->name                 = a->certificate;
    const struct user *user = gate_user(a->gate, a->name, &in_table);
    if (user != NULL) { /* for its groups */
        link_user(a, user, in_table);
    }
    return VERDICT_ALLOW;
}

static void check_password(struct work_item *work)
{
    struct attempt *a = CONTAINER_OF(work, struct attempt, work);
    a->verified       = credential_verify(a->hash, a->password);
}

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
    link_user(a, user, in_table);
    attempt_verdict(a, VERDICT_ALLOW);
}

/* A name that nobody has takes as long as one that somebody has, so that time does not tell them apart. */
enum verdict link_password(struct attempt *a)
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
        attempt_refuse(a, AUTH_BAD_CREDENTIALS, a->why);
        return;
    }
    a->name = bytes_str(a->claims->user);
    memcpy(a->groups, a->claims->groups, sizeof a->groups);
    attempt_verdict(a, VERDICT_ALLOW);
}

enum verdict link_token(struct attempt *a)
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

enum verdict link_hook(struct attempt *a)
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
