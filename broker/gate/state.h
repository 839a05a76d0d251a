/* state - what the files of the gate share.
 *
 *   attempt.h   one client that is asked who it is: the chain, its links, exchanges
 *   watch.c     users and rules as the store's tables and the files have them
 *   doorman.c   bans, and how many are let in
 *   control.c   operators change the tables
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_GATE_STATE_H
#define KEEL_BROKER_GATE_STATE_H

#include "broker/auth/acl.h"
#include "broker/auth/bans.h"
#include "broker/auth/tables.h"
#include "broker/auth/ticket.h"
#include "broker/auth/users.h"
#include "broker/gate/gate.h"
#include "broker/kernel/store.h"

struct hook;

/* A rule of the table. */
struct table_rule {
    uint32_t     number;
    uint32_t     generation;
    struct bytes text; /* owned */
};

struct gate {
    struct ticket_office      office;
    struct auth_port          port;
    const struct auth_config *config;
    struct io                *io;
    struct store             *store;
    struct desk              *desk;
    struct workers           *workers;
    struct census            *census;
    struct jwt_keys          *jwt_keys; /* a share of those in force; NULL: none */
    struct hook              *hook;     /* hook.c; NULL: none */
    uint64_t                  now_ns;
    uint64_t                  wall_ns;
    struct list               attempts; /* struct attempt.link */
    uint64_t                  busy;
    char                      nobody[CREDENTIAL_HASH_MAX_BYTES]; /* the hash of a password that nobody has */
    uint8_t                   secret[AUTH_SECRET_BYTES];         /* for salts of names that nobody has */
    bool                      secret_known;
    struct store_call         secret_call;

    struct users       users; /* of the table */
    struct users       file_users;
    struct table_rule *rules; /* of the table, by number */
    uint32_t           rule_count;
    uint32_t           rule_capacity;
    struct bytes       acl_text; /* of the file, owned */
    struct store_watch user_watch;
    struct store_watch rule_watch;
    struct bans        bans;
    struct store_watch ban_watch;
    uint32_t           ban_generation;
    bool               bans_synced;
    uint32_t           user_generation;
    uint32_t           rule_generation;
    bool               watching;
    bool               users_synced;
    bool               rules_synced;
    bool               rules_changed;
};

/* The table's, then the file's. */
const struct user *gate_user(const struct gate *gate, struct bytes name, bool *out_in_table);

/* watch.c */
void watch_start(struct gate *gate);
void watch_fini(struct gate *gate);
/* Makes the set of rules anew and tells those who hold tickets. */
void watch_apply(struct gate *gate);

/* doorman.c */
void doorman_start(struct gate *gate);
/* Is there a ban of it? */
bool doorman_bans(const struct gate *gate, enum ban_kind kind, struct bytes name);
/* Writes a ban; for ever with UINT64_MAX. call->done is set. */
void doorman_put(struct gate *gate, struct store_call *call, struct bytes key, uint64_t until_wall_ns,
                 struct bytes reason);
/* One more CONNECT of this client identifier: are they too many? Then it is banned from now on. */
bool doorman_flaps(struct gate *gate, struct bytes client_id);
/* Counts a client in: NULL, and *counted to be left with; or a sentence why not. */
const char *doorman_enter(struct gate *gate, struct bytes user, struct bytes address, struct bytes client_id,
                          uint8_t *counted);
void doorman_leave(struct gate *gate, uint8_t counted, struct bytes user, struct bytes address, struct bytes client_id);

/* attempt.c */
void attempt_begin(void *ctx, struct auth_attempt *client, const struct auth_request *request);
void attempt_respond(void *ctx, struct auth_attempt *client, struct bytes data);
void attempt_cancel(void *ctx, struct auth_attempt *client);

#endif
