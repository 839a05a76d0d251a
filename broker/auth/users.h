/* users - the names that are known and what is kept of their passwords: one set from the store's table, one from the password file.
 * Threads: the shard that owns the set. */
#ifndef KEEL_BROKER_AUTH_USERS_H
#define KEEL_BROKER_AUTH_USERS_H

#include "broker/auth/credential.h"
#include "broker/kernel/hashmap.h"

struct user {
    struct hashmap_node by_name; /* extra: size of name */
    struct credential   credential;
    uint32_t            generation; /* the owner's */
    uint8_t             name[];
};

struct users { /* zeroed is empty */
    struct hashmap map;
};

void         users_fini(struct users *users);
struct user *users_find(const struct users *users, struct bytes name);
/* Adds or replaces. NULL when memory is out. */
struct user *users_put(struct users *users, struct bytes name, const struct credential *credential);
void         users_remove(struct users *users, struct user *user);
/* Takes the lines of a password file (credential.h; empty ones and those that begin with '#' are passed over) in place of all that is there.
 * True; or false, with nothing changed and a sentence in why that begins with the line's number. */
MUST_CHECK bool users_read(struct users *users, struct bytes text, char *why, size_t why_size);

#endif
