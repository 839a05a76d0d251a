/* bans - see bans.h. */
#include "broker/auth/bans.h"

#include "shared/base/hash.h"
#include "shared/base/list.h"
#include "shared/base/wire.h"

#include <stdlib.h>

enum { ROW_VERSION = 1 };

static const char *const kind_names[BAN_KINDS] = {
    [BAN_CLIENT] = "client", [BAN_USER] = "user", [BAN_ADDRESS] = "address"};

enum ban_kind ban_kind_of(struct bytes word)
{
    unsigned kind = 0;
    while (kind < BAN_KINDS && !bytes_equal(word, bytes_str(kind_names[kind]))) {
        kind++;
    }
    return (enum ban_kind)kind;
}

const char *ban_kind_name(enum ban_kind kind)
{
    return kind_names[kind];
}

struct bytes ban_key(uint8_t out[BAN_KEY_MAX_BYTES], enum ban_kind kind, struct bytes name)
{
    if (name.size == 0 || name.size > BAN_NAME_MAX_BYTES) {
        return (struct bytes){0};
    }
    out[0] = (uint8_t)kind_names[kind][0];
    out[1] = ':';
    memcpy(out + 2, name.data, name.size);
    return bytes_of(out, name.size + 2);
}

bool ban_key_read(struct bytes key, enum ban_kind *kind, struct bytes *name)
{
    for (unsigned i = 0; i < BAN_KINDS && key.size > 2 && key.size <= BAN_KEY_MAX_BYTES && key.data[1] == ':'; i++) {
        if (key.data[0] == (uint8_t)kind_names[i][0]) {
            *kind = (enum ban_kind)i;
            *name = bytes_of(key.data + 2, key.size - 2);
            return true;
        }
    }
    return false;
}

struct bytes ban_value(uint8_t out[BAN_REASON_MAX_BYTES + 9], uint64_t until_wall_ns, struct bytes reason)
{
    struct wire_writer w = wire_writer_fixed(out, BAN_REASON_MAX_BYTES + 9);
    wire_put_u8(&w, ROW_VERSION);
    wire_put_u64(&w, until_wall_ns);
    wire_put_bytes(&w, bytes_of(reason.data, reason.size < BAN_REASON_MAX_BYTES ? reason.size : BAN_REASON_MAX_BYTES));
    return wire_written(&w);
}

static bool ban_value_read(struct bytes value, uint64_t *until_wall_ns, struct bytes *reason)
{
    struct wire_reader r       = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&r);
    *until_wall_ns             = wire_get_u64(&r);
    *reason                    = wire_get(&r, wire_left(&r));
    return !r.bad && version == ROW_VERSION && reason->size <= BAN_REASON_MAX_BYTES;
}

void bans_fini(struct bans *bans)
{
    struct hashmap_node *node;
    while ((node = hashmap_any(&bans->map)) != NULL) {
        hashmap_remove(&bans->map, node);
        free(CONTAINER_OF(node, struct ban, by_key));
    }
    hashmap_fini(&bans->map);
    *bans = (struct bans){0};
}

static struct ban *find(const struct bans *bans, struct bytes key)
{
    for (struct hashmap_node *n = hashmap_first(&bans->map, hash_bytes(key)); n != NULL; n = hashmap_next(n)) {
        struct ban *ban = CONTAINER_OF(n, struct ban, by_key);
        if (bytes_equal(bytes_of(ban->key, n->extra), key)) {
            return ban;
        }
    }
    return NULL;
}

const struct ban *bans_find(const struct bans *bans, enum ban_kind kind, struct bytes name, uint64_t wall_ns)
{
    uint8_t room[BAN_KEY_MAX_BYTES];
    if (bans->map.count == 0) {
        return NULL;
    }
    struct bytes      key = ban_key(room, kind, name);
    const struct ban *ban = key.size == 0 ? NULL : find(bans, key);
    return ban != NULL && ban->until_wall_ns > wall_ns ? ban : NULL;
}

struct ban *bans_put(struct bans *bans, struct bytes key, struct bytes value)
{
    enum ban_kind kind;
    uint64_t      until_wall_ns;
    struct bytes  name;
    struct bytes  reason;
    struct ban   *ban = find(bans, key);
    if (!ban_key_read(key, &kind, &name) || !ban_value_read(value, &until_wall_ns, &reason)) {
        return NULL;
    }
    if (ban == NULL) {
        ban = calloc(1, sizeof *ban + key.size);
        if (ban == NULL || hashmap_insert(&bans->map, &ban->by_key, hash_bytes(key)) != 0) {
            free(ban);
            return NULL;
        }
        ban->by_key.extra = (uint32_t)key.size;
        memcpy(ban->key, key.data, key.size);
    }
    ban->until_wall_ns = until_wall_ns;
    memset(ban->reason, 0, sizeof ban->reason);
    if (reason.size > 0) {
        memcpy(ban->reason, reason.data, reason.size);
    }
    return ban;
}

void bans_remove(struct bans *bans, struct bytes key)
{
    struct ban *ban = find(bans, key);
    if (ban != NULL) {
        hashmap_remove(&bans->map, &ban->by_key);
        free(ban);
    }
}
