/* bans - who is not let in for a time, whatever it can show: a client identifier, a user name or an address. One row of the store's table of bans
 * (tables.h) each; every shard of every broker has them all.
 * Pure. Threads: the shard that owns the set.   Units: ns of the wall clock. */
#ifndef KEEL_BROKER_AUTH_BANS_H
#define KEEL_BROKER_AUTH_BANS_H

#include "broker/kernel/hashmap.h"
#include "shared/base/bytes.h"

enum ban_kind { BAN_CLIENT, BAN_USER, BAN_ADDRESS, BAN_KINDS };
enum { BAN_NAME_MAX_BYTES = 1024, BAN_REASON_MAX_BYTES = 255, BAN_KEY_MAX_BYTES = BAN_NAME_MAX_BYTES + 2 };

struct ban {
    struct hashmap_node by_key;        /* extra: size of the key */
    uint64_t            until_wall_ns; /* UINT64_MAX: for ever */
    uint32_t            generation;    /* the owner's */
    char                reason[BAN_REASON_MAX_BYTES + 1];
    uint8_t             key[];
};

struct bans { /* zeroed is empty */
    struct hashmap map;
};

/* "client", "user", "address"; BAN_KINDS: none of them. */
enum ban_kind ban_kind_of(struct bytes word);
const char   *ban_kind_name(enum ban_kind kind);
/* The key of a row: a letter for the kind, ':' and the name. Size 0: the name is empty or too long. */
struct bytes ban_key(uint8_t out[BAN_KEY_MAX_BYTES], enum ban_kind kind, struct bytes name);
/* Of a key: false when it is none. */
bool ban_key_read(struct bytes key, enum ban_kind *kind, struct bytes *name);
/* The value of a row: version u8 = 1 | until u64 | reason. */
struct bytes ban_value(uint8_t out[BAN_REASON_MAX_BYTES + 9], uint64_t until_wall_ns, struct bytes reason);

void bans_fini(struct bans *bans);
/* One that is in force, or NULL. */
const struct ban *bans_find(const struct bans *bans, enum ban_kind kind, struct bytes name, uint64_t wall_ns);
/* Adds or replaces what a row says. NULL when memory is out or the row is not understood. */
struct ban *bans_put(struct bans *bans, struct bytes key, struct bytes value);
void        bans_remove(struct bans *bans, struct bytes key);

#endif
