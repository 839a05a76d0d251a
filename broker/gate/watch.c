/* watch.c - rows and files into users and rules. */
#include "broker/auth/acl_file.h"
#include "broker/auth/tables.h"
#include "broker/gate/state.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/loop/io.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

static const char user_gone[] = "its user was removed";

/* ---- users ----------------------------------------------------------------------------------------------------------------------- */

static void remove_user(struct gate *gate, struct user *user)
{
    uint8_t      copy[CREDENTIAL_NAME_MAX_BYTES];
    struct bytes name = bytes_of(copy, user->by_name.extra);
    memcpy(copy, user->name, name.size);
    users_remove(&gate->users, user);
    ticket_office_revoke(&gate->office, name, user_gone);
}

/* The first shard that misses it makes it; the others find it there. */
static void secret_made(struct store_call *call, int status, struct bytes results)
{
    struct gate *gate = call->ctx;
    (void)results;
    if (status != 0 && status != ERR_CONFLICT) {
        log_error("the secret for names that nobody has cannot be stored: %s", err_sentence(status));
        gate->secret_known = true; /* it is ours alone, then */
    }                              /* else the watch shows it */
}

static void make_secret(struct gate *gate)
{
    uint8_t row[1 + AUTH_SECRET_BYTES] = {AUTH_ROW_VERSION};
    for (size_t i = 0; i < AUTH_SECRET_BYTES; i += sizeof(uint64_t)) {
        uint64_t random = io_random(gate->io);
        memcpy(row + 1 + i, &random, sizeof random);
    }
    memcpy(gate->secret, row + 1, AUTH_SECRET_BYTES);
    struct wire_writer *w     = store_txn_begin(gate->store, AUTH_STRIPE);
    struct op           check = {.kind = OP_CHECK, .table = TABLE_USERS, .name = bytes_str(AUTH_SECRET_KEY)};
    struct op           put   = {
                    .kind = OP_TABLE_PUT, .table = TABLE_USERS, .name = check.name, .value = bytes_of(row, sizeof row)};
    op_encode(w, &check);
    op_encode(w, &put);
    gate->secret_call = (struct store_call){.done = secret_made, .ctx = gate};
    store_txn_end(gate->store, &gate->secret_call);
}

static void user_changed(struct store_watch *watch, const struct store_item *item)
{
    struct gate      *gate = watch->ctx;
    struct user      *user = users_find(&gate->users, item->key);
    struct credential credential;
    if (bytes_equal(item->key, bytes_str(AUTH_SECRET_KEY))) {
        if (!item->deleted && item->value.size == 1 + AUTH_SECRET_BYTES) {
            memcpy(gate->secret, item->value.data + 1, AUTH_SECRET_BYTES);
            gate->secret_known = true;
        }
        return;
    }
    if (item->deleted) {
        if (user != NULL) {
            remove_user(gate, user);
        }
        return;
    }
    struct bytes text = auth_row_text(item->value);
    const char  *why  = text.size == 0 ? "a version that is not known" : credential_read(text, &credential);
    if (why == NULL && !credential_name_valid(item->key)) {
        why = "a name that is not valid";
    }
    if (why != NULL) { /* an older row of that name does not count any more: nobody comes in by it */
        log_error("the user \"%.*s\" in the store's table has %s: nobody is let in by it",
                  (int)(item->key.size < 64 ? item->key.size : 64), (const char *)item->key.data, why);
        if (user != NULL) {
            remove_user(gate, user);
        }
        return;
    }
    user = users_put(&gate->users, item->key, &credential);
    if (user == NULL) {
        log_error("no memory for a user of the store's table: it is not let in");
        return;
    }
    user->generation = gate->user_generation;
}

static void users_restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count == shard) {
        gate->user_generation++;
    }
}

static void users_synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count != shard) {
        return;
    }
    if (!gate->secret_known && !gate->users_synced) {
        make_secret(gate);
    }
    gate->users_synced = true;
    for (uint32_t bucket = 0; bucket < gate->users.map.bucket_count; bucket++) {
        for (struct hashmap_node *n = gate->users.map.buckets[bucket]; n != NULL;) {
            struct user *user = CONTAINER_OF(n, struct user, by_name);
            n                 = n->next;
            if (user->generation != gate->user_generation) {
                remove_user(gate, user);
            }
        }
    }
}

/* ---- rules ----------------------------------------------------------------------------------------------------------------------- */

/* Where the rule is, or would be. */
static uint32_t rule_place(const struct gate *gate, uint32_t number)
{
    uint32_t low = 0, high = gate->rule_count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (gate->rules[middle].number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void remove_rule(struct gate *gate, uint32_t place)
{
    free((uint8_t *)(uintptr_t)gate->rules[place].text.data);
    gate->rule_count--;
    memmove(gate->rules + place, gate->rules + place + 1, (gate->rule_count - place) * sizeof *gate->rules);
    gate->rules_changed = true;
}

static struct table_rule *insert_rule(struct gate *gate, uint32_t place)
{
    if (gate->rule_count == gate->rule_capacity) {
        uint32_t           capacity = gate->rule_capacity == 0 ? 64 : gate->rule_capacity * 2;
        struct table_rule *rules    = realloc(gate->rules, capacity * sizeof *rules);
        if (rules == NULL) {
            return NULL;
        }
        gate->rules         = rules;
        gate->rule_capacity = capacity;
    }
    memmove(gate->rules + place + 1, gate->rules + place, (gate->rule_count - place) * sizeof *gate->rules);
    gate->rules[place] = (struct table_rule){0};
    gate->rule_count++;
    return &gate->rules[place];
}

static void rule_changed(struct store_watch *watch, const struct store_item *item)
{
    struct gate *gate   = watch->ctx;
    uint32_t     number = acl_key_read(item->key);
    uint32_t     place  = rule_place(gate, number);
    bool         known  = place < gate->rule_count && gate->rules[place].number == number;
    struct bytes text   = auth_row_text(item->value);
    if (item->deleted) {
        if (known) {
            remove_rule(gate, place);
        }
        return;
    }
    uint8_t           *copy = malloc(text.size + 1);
    struct table_rule *rule = copy == NULL ? NULL : known ? &gate->rules[place] : insert_rule(gate, place);
    if (rule == NULL) {
        free(copy);
        log_error("no memory for an access rule of the store's table: it does not count here");
        return;
    }
    if (text.size > 0) {
        memcpy(copy, text.data, text.size);
    }
    free((uint8_t *)(uintptr_t)rule->text.data);
    *rule =
        (struct table_rule){.number = number, .generation = gate->rule_generation, .text = bytes_of(copy, text.size)};
    gate->rules_changed = true;
}

static void rules_restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count == shard) {
        gate->rule_generation++;
    }
}

static void rules_synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct gate *gate = watch->ctx;
    if (AUTH_STRIPE % shard_count != shard) {
        return;
    }
    for (uint32_t i = gate->rule_count; i > 0; i--) {
        if (gate->rules[i - 1].generation != gate->rule_generation) {
            remove_rule(gate, i - 1);
        }
    }
    gate->rules_synced = true;
    if (gate->rules_changed) {
        watch_apply(gate);
    }
}

void watch_start(struct gate *gate)
{
    gate->watching   = true;
    gate->user_watch = (struct store_watch){
        .changed = user_changed, .restarted = users_restarted, .synced = users_synced, .ctx = gate};
    gate->rule_watch = (struct store_watch){
        .changed = rule_changed, .restarted = rules_restarted, .synced = rules_synced, .ctx = gate};
    store_watch_start(gate->store, &gate->user_watch, TABLE_USERS);
    store_watch_start(gate->store, &gate->rule_watch, TABLE_ACL);
}

/* ---- together -------------------------------------------------------------------------------------------------------------------- */

void watch_apply(struct gate *gate)
{
    struct acl_rule **file       = NULL;
    uint32_t          file_count = 0, count = 0;
    char              why[256];
    if (gate->acl_text.size > 0 && !acl_file_read(gate->acl_text, &file, &file_count, why, sizeof why)) {
        log_error("%s:%s: the rules stay as they were", gate->config->acl_name, why);
        gate->rules_changed = false; /* it is no better in the next turn */
        return;
    }
    struct acl_rule **all = malloc((gate->rule_count + file_count + 1) * sizeof(struct acl_rule *));
    struct acl       *acl = NULL;
    for (uint32_t i = 0; all != NULL && i < gate->rule_count; i++) {
        struct acl_rule *rule = acl_rule_read(gate->rules[i].text, why, sizeof why);
        if (rule == NULL) {
            log_error("access rule %u of the store's table does not count: %s", gate->rules[i].number, why);
            continue;
        }
        all[count++] = rule;
    }
    if (all != NULL) {
        if (file_count > 0) {
            memcpy(all + count, file, file_count * sizeof *all);
        }
        acl = acl_new(all, count + file_count);
    }
    if (acl == NULL) {
        log_error("no memory for the access rules: they stay as they were");
        if (all != NULL) {
            acl_file_free(all, count);
        }
        acl_file_free(file, file_count);
        return;
    }
    free(file);
    free(all);
    gate->rules_changed = false;
    ticket_office_rules(&gate->office, acl);
    ticket_office_tell(&gate->office);
}

void gate_files(struct gate *gate, struct bytes password_text, struct bytes acl_text)
{
    char why[256];
    if (!users_read(&gate->file_users, password_text, why, sizeof why)) {
        log_error("%s:%s: the users of the file stay as they were", gate->config->password_name, why);
    }
    uint8_t *copy = malloc(acl_text.size + 1);
    if (copy == NULL) {
        log_error("no memory for the access rules: they stay as they were");
        return;
    }
    if (acl_text.size > 0) {
        memcpy(copy, acl_text.data, acl_text.size);
    }
    free((uint8_t *)(uintptr_t)gate->acl_text.data);
    gate->acl_text      = bytes_of(copy, acl_text.size);
    gate->rules_changed = true;
}

void watch_fini(struct gate *gate)
{
    users_fini(&gate->users);
    users_fini(&gate->file_users);
    while (gate->rule_count > 0) {
        remove_rule(gate, gate->rule_count - 1);
    }
    free(gate->rules);
    free((uint8_t *)(uintptr_t)gate->acl_text.data);
}
