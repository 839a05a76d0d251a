/* attempt - one client that is asked who it is: what the files that do it share; nobody else includes this.
 *
 *   attempt.c    from the question to the last word        links.c     a certificate, a password, a token, the hook
 *   exchange.c   SCRAM: questions and answers
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_GATE_ATTEMPT_H
#define KEEL_BROKER_GATE_ATTEMPT_H

#include "broker/auth/jwt.h"
#include "broker/auth/scram.h"
#include "broker/gate/hook.h"
#include "broker/gate/state.h"
#include "shared/loop/workers.h"

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

/* attempt.c */
void attempt_free(struct attempt *attempt);
/* The last words; it is gone afterwards. */
void attempt_refuse(struct attempt *attempt, enum auth_refusal refusal, const char *why);
void attempt_allow(struct attempt *attempt, struct bytes data);
/* What a link said that took its time. */
void attempt_verdict(struct attempt *attempt, enum verdict verdict);

/* links.c */
enum verdict link_certificate(struct attempt *attempt);
enum verdict link_password(struct attempt *attempt);
enum verdict link_token(struct attempt *attempt);
enum verdict link_hook(struct attempt *attempt);
/* Its groups are those of the user's row. */
void link_user(struct attempt *attempt, const struct user *user, bool in_table);

/* exchange.c */
void exchange_begin(struct attempt *attempt, const struct auth_request *request);
void exchange_respond(struct attempt *attempt, struct bytes data);

#endif
