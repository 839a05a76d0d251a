/* doorman.c - who is not let in whatever it can show: the banned, those whose address or user has enough connections, those who come again and again. */
#include "broker/gate/census.h"
#include "broker/gate/state.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

/* ---- bans ------------------------------------------------------------------------------------------------------------------------ */

bool doorman_bans(const struct gate *gate, enum ban_kind kind, struct bytes name)
{
    return bans_find(&gate->bans, kind, name, gate->wall_ns) != NULL;
}

static void ban_changed(struct store_watch *watch, const struct store_item *item)
{
    struct gate  *gate = watch->ctx;
    enum ban_kind kind;
    struct bytes  name;
    if (item->deleted) {
        bans_remove(&gate->bans, item->key);
        return;
    }
    struct ban *ban = bans_put(&gate->bans, item->key, item->value);
    if (ban == NULL || !ban_key_read(item->key, &kind, &name)) {
        log_error("a ban of the store's table is not understood, or there is no memory for it: it does not count here");
        return;
    }
    ban->generation = gate->ban_generation;
    ticket_office_ban(&gate->office, kind == BAN_CLIENT ? name : (struct bytes){0},
                      kind == BAN_USER ? name : (struct bytes){0}, kind == BAN_ADDRESS ? name : (struct bytes){0},
                      "it was banned");
}

static void bans_restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count == shard) {
        gate->ban_generation++;
    }
}

static void bans_synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count != shard) {
        return;
    }
    for (uint32_t chain = 0; chain < hashmap_chains(&gate->bans.map); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&gate->bans.map, chain); n != NULL;) {
            struct ban *ban = CONTAINER_OF(n, struct ban, by_key);
            n               = n->next;
            if (ban->generation != gate->ban_generation) {
                bans_remove(&gate->bans, bytes_of(ban->key, ban->by_key.extra));
            }
        }
    }
    gate->bans_synced = true;
}

void doorman_start(struct gate *gate)
{
    gate->ban_watch =
        (struct store_watch){.changed = ban_changed, .restarted = bans_restarted, .synced = bans_synced, .ctx = gate};
    store_watch_start(gate->store, &gate->ban_watch, TABLE_BANS);
}

void doorman_put(struct gate *gate, struct store_call *call, struct bytes key, uint64_t until_wall_ns,
                 struct bytes reason)
{
    uint8_t             value[BAN_REASON_MAX_BYTES + 9];
    struct wire_writer *w  = store_txn_begin(gate->store, AUTH_STRIPE);
    const struct op     op = {.kind    = OP_TABLE_PUT,
                              .table   = TABLE_BANS,
                              .name    = key,
                              .value   = ban_value(value, until_wall_ns, reason),
                              .wall_ns = until_wall_ns == UINT64_MAX ? 0 : until_wall_ns};
    op_encode(w, &op);
    store_txn_end(gate->store, call);
}

/* ---- those who come again and again ------------------------------------------------------------------------------------------- */

static void flapper_banned(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    if (status != 0) {
        log_warn("a client that connects again and again cannot be banned: %s", err_sentence(status));
    }
    free(call);
}

bool doorman_flaps(struct gate *gate, struct bytes client_id)
{
    const struct auth_config *config = gate->config;
    const struct census_limit limit  = {.comings = config->flap_connects, .window_ns = config->flap_window_ns};
    bool                      counted;
    if (config->flap_connects == 0 || gate->census == NULL) {
        return false;
    }
    if (census_enter(gate->census, BAN_CLIENT, client_id, client_id, limit, gate->now_ns, &counted) != CENSUS_FLAPS) {
        if (counted) {
            census_leave(gate->census, BAN_CLIENT, client_id, client_id);
        }
        return false;
    }
    uint8_t            room[BAN_KEY_MAX_BYTES];
    struct store_call *call = calloc(1, sizeof *call);
    log_warn("client \"%.*s\" connects again and again: banned for %llu s (flapping.ban)",
             (int)(client_id.size < 64 ? client_id.size : 64), (const char *)client_id.data,
             (unsigned long long)(config->flap_ban_ns / 1000000000u));
    if (call != NULL) {
        call->done = flapper_banned;
        doorman_put(gate, call, ban_key(room, BAN_CLIENT, client_id), gate->wall_ns + config->flap_ban_ns,
                    bytes_str("it connected again and again (flapping)"));
    }
    return true;
}

/* ---- how many are here ------------------------------------------------------------------------------------------------------------ */

enum { COUNTED_ALL = 1 << BAN_KINDS }; /* beside a bit of each kind */

static bool enter(struct gate *gate, enum ban_kind kind, struct bytes name, struct bytes client_id, uint32_t limit,
                  uint8_t *counted)
{
    bool                in      = false;
    enum census_verdict verdict = limit == 0 || name.size == 0 || gate->census == NULL
                                      ? CENSUS_IN
                                      : census_enter(gate->census, kind, name, client_id,
                                                     (struct census_limit){.connections = limit}, gate->now_ns, &in);
    *counted |= (uint8_t)(in ? 1u << kind : 0);
    return verdict == CENSUS_IN;
}

void doorman_leave(struct gate *gate, uint8_t counted, struct bytes user, struct bytes address, struct bytes client_id)
{
    if ((counted & 1u << BAN_ADDRESS) != 0) {
        census_leave(gate->census, BAN_ADDRESS, address, client_id);
    }
    if ((counted & 1u << BAN_USER) != 0) {
        census_leave(gate->census, BAN_USER, user, client_id);
    }
    if ((counted & COUNTED_ALL) != 0) {
        census_leave_all(gate->census);
    }
}

const char *doorman_enter(struct gate *gate, struct bytes user, struct bytes address, struct bytes client_id,
                          uint8_t *counted)
{
    const struct auth_config *config = gate->config;
    *counted                         = 0;
    if (config->connections_max != 0 && gate->census != NULL) {
        if (!census_enter_all(gate->census, config->connections_max)) {
            return "there are as many connections as there may be (mqtt.connections_max)";
        }
        *counted = COUNTED_ALL;
    }
    if (!enter(gate, BAN_ADDRESS, address, client_id, config->connections_per_address, counted)) {
        doorman_leave(gate, *counted, user, address, client_id);
        return "its address has as many connections as it may (mqtt.connections_per_address)";
    }
    if (!enter(gate, BAN_USER, user, client_id, config->connections_per_user, counted)) {
        doorman_leave(gate, *counted, user, address, client_id);
        return "its user has as many connections as it may (mqtt.connections_per_user)";
    }
    return NULL;
}
