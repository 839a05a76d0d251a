/* gate - one shard's door: joins the decisions of broker/auth with the segment store's tables, the workers and the hooks.
 *
 *     protocol ──auth_port.begin──▶ gate: cert ─▶ password ─▶ jwt ─▶ http ─▶ anonymous?        the chain, in the configured order
 *                                            │        │         │             each says allow, deny, or lets the next one speak
 *                                            └ workers (argon2id, signatures) └ web
 *     segment store ──watch──▶ users, rules ──▶ ticket_office ──▶ every ticket of this shard looks again
 *
 * Users are looked for in the table, then in the password file. Rules of the table come before those of the file.
 * Lifetime: made and freed with its shard, after the connections.   Threads: the shard. */
#ifndef KEEL_BROKER_GATE_GATE_H
#define KEEL_BROKER_GATE_GATE_H

#include "broker/auth/config.h"
#include "broker/auth/port.h"

#include <stdbool.h>
#include <stdint.h>

struct census;
struct desk;
struct gate;
struct io;
struct jwt_keys;
struct store;
struct timer_wheel;
struct web;
struct workers;

struct gate_spec {
    const struct auth_config *config; /* outlives the gate */
    struct io                *io;
    struct store             *store;
    struct timer_wheel       *timers;
    struct desk              *desk; /* of this shard */
    struct workers           *workers;
    struct census            *census; /* of all shards; NULL: nobody counts */
    struct web               *web;    /* NULL when no hook is configured */
};

/* NULL when memory is out. */
struct gate *gate_new(const struct gate_spec *spec);
/* Nobody holds a ticket or waits for an answer any more; works under way are waited for by desk_detach, which comes first. */
void                    gate_free(struct gate *gate);
const struct auth_port *gate_port(struct gate *gate);
/* Users and rules of the store are known: clients may be asked who they are. */
bool gate_ready(const struct gate *gate);
/* Each turn, at its beginning and before the protocol's. */
void gate_turn(struct gate *gate, uint64_t now_ns, uint64_t wall_ns);
/* Files were read again: copies of their texts, size 0 for a file that is not configured. They were found good before. */
void gate_files(struct gate *gate, struct bytes password_text, struct bytes acl_text);
/* Keys of tokens were read again: a share of them, or NULL. Tokens that were let in stay. */
void gate_keys(struct gate *gate, struct jwt_keys *keys);
/* Can anybody be let in who is not anonymous, as far as is known now? For a warning at start. */
bool gate_judges(const struct gate *gate);

struct gate_counters {
    uint64_t denied; /* by rules */
    uint64_t busy;   /* refused because too many waited */
    uint64_t users;
    uint64_t rules;
};
void gate_counters(const struct gate *gate, struct gate_counters *out);

#endif
