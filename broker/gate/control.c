/* control.c - a request goes over the desk to the shard, from there to the store, and back. */
#include "broker/gate/control.h"

#include "broker/auth/tables.h"
#include "broker/gate/members.h"
#include "broker/gate/state.h"
#include "shared/base/err.h"
#include "shared/base/instant.h"
#include "shared/loop/desk.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { WAIT_S = 5, RULE_STEP = 10, TRIES_MAX = 8 };

/* Belongs to both sides; the one that lets go last frees it. */
struct control {
    struct desk_item    item;
    struct store_call   call;
    struct gate *const *gate_at;
    struct gate        *gate;
    pthread_mutex_t     lock;
    pthread_cond_t      settled;
    bool                done;
    bool                abandoned;
    int                 status;
    char               *text;
    unsigned            tries;
    bool                numbered;
    uint32_t            number;
    char               *method;
    char               *path;
    uint8_t            *body;
    size_t              body_size;
};

static void control_free(struct control *c)
{
    pthread_cond_destroy(&c->settled);
    pthread_mutex_destroy(&c->lock);
    free(c->text);
    free(c->method);
    free(c->path);
    free(c->body);
    free(c);
}

static void settle(struct control *c, int status, char *text)
{
    pthread_mutex_lock(&c->lock);
    bool abandoned = c->abandoned;
    c->done        = true;
    c->status      = status;
    c->text        = text;
    pthread_cond_signal(&c->settled);
    pthread_mutex_unlock(&c->lock);
    if (abandoned) {
        control_free(c);
    }
}

static void settle_say(struct control *c, int status, const char *sentence)
{
    char *text = NULL;
    if (asprintf(&text, "%s\n", sentence) < 0) {
        text = NULL;
    }
    settle(c, status, text);
}

/* ---- lists ------------------------------------------------------------------------------------------------------------------------ */

static void list_users(struct control *c)
{
    char               *text   = NULL;
    size_t              size   = 0;
    FILE               *to     = open_memstream(&text, &size);
    struct gate        *gate   = c->gate;
    const struct users *sets[] = {&gate->users, &gate->file_users};
    if (to == NULL) {
        settle(c, 500, NULL);
        return;
    }
    for (int set = 0; set < 2; set++) {
        for (uint32_t bucket = 0; bucket < sets[set]->map.bucket_count; bucket++) {
            for (struct hashmap_node *n = sets[set]->map.buckets[bucket]; n != NULL; n = n->next) {
                const struct user *user = CONTAINER_OF(n, struct user, by_name);
                fprintf(to, "%.*s\t%s%s%s\n", (int)n->extra, (const char *)user->name, user->credential.groups,
                        user->credential.scram.iterations != 0 ? "\tscram" : "\t", set == 1 ? "\tfile" : "\t");
            }
        }
    }
    fclose(to);
    settle(c, 200, text);
}

static void list_rules(struct control *c)
{
    char        *text = NULL;
    size_t       size = 0;
    FILE        *to   = open_memstream(&text, &size);
    struct gate *gate = c->gate;
    if (to == NULL) {
        settle(c, 500, NULL);
        return;
    }
    for (uint32_t i = 0; i < gate->rule_count; i++) {
        fprintf(to, "%u\t%.*s\n", gate->rules[i].number, (int)gate->rules[i].text.size,
                (const char *)gate->rules[i].text.data);
    }
    for (uint32_t i = gate->rule_count; i < gate->office.acl->count; i++) {
        struct bytes rule = gate->office.acl->rules[i]->text;
        fprintf(to, "file\t%.*s\n", (int)rule.size, (const char *)rule.data);
    }
    fclose(to);
    settle(c, 200, text);
}

/* ---- changes ---------------------------------------------------------------------------------------------------------------------- */

static void add_rule(struct control *c);

static void written(struct store_call *call, int status, struct bytes results)
{
    struct control *c = CONTAINER_OF(call, struct control, call);
    char            number[32];
    (void)results;
    if (status == ERR_CONFLICT && !c->numbered && ++c->tries < TRIES_MAX) { /* somebody else took the number */
        c->number += RULE_STEP;
        add_rule(c);
    } else if (status == ERR_CONFLICT) {
        settle_say(c, 409, "a rule has this number already; remove it first, or take another");
    } else if (status != 0) {
        settle_say(c, 503, err_sentence(status));
    } else if (c->number != 0) {
        snprintf(number, sizeof number, "%u", c->number);
        settle_say(c, 200, number);
    } else {
        settle_say(c, 200, "done");
    }
}

/* A put, with value, or a delete. fresh: only when the key is not there yet. */
static void write_row(struct control *c, uint32_t table, struct bytes key, struct bytes text, bool put, bool fresh)
{
    struct gate        *gate = c->gate;
    uint8_t             row[1 + ACL_RULE_MAX_BYTES];
    struct wire_writer *w = store_txn_begin(gate->store, AUTH_STRIPE);
    ASSERT(text.size < sizeof row);
    row[0] = AUTH_ROW_VERSION;
    if (text.size > 0) {
        memcpy(row + 1, text.data, text.size);
    }
    if (fresh) {
        const struct op check = {.kind = OP_CHECK, .table = table, .name = key};
        op_encode(w, &check);
    }
    const struct op op = {.kind  = put ? OP_TABLE_PUT : OP_TABLE_DELETE,
                          .table = table,
                          .name  = key,
                          .value = put ? bytes_of(row, text.size + 1) : (struct bytes){0}};
    op_encode(w, &op);
    c->call.done = written;
    store_txn_end(gate->store, &c->call);
}

static void add_rule(struct control *c)
{
    uint8_t key[ACL_KEY_BYTES];
    write_row(c, TABLE_ACL, acl_key_write(key, c->number), bytes_of(c->body, c->body_size), true, true);
}

static void change_rule(struct control *c, const char *number)
{
    struct gate *gate = c->gate;
    char         why[256];
    char        *end = NULL;
    uint8_t      key[ACL_KEY_BYTES];
    uint64_t     wanted = number == NULL ? 0 : strtoull(number, &end, 10);
    if (number != NULL && (*number < '0' || *number > '9' || *end != '\0' || wanted == 0 || wanted > UINT32_MAX)) {
        settle_say(c, 400, "the number of a rule is from 1 to 4294967295");
        return;
    }
    c->numbered = number != NULL;
    c->number   = (uint32_t)wanted;
    if (strcmp(c->method, "DELETE") == 0) {
        bool known = false;
        for (uint32_t i = 0; i < gate->rule_count; i++) {
            known = known || gate->rules[i].number == c->number;
        }
        if (!known) {
            settle_say(c, 404,
                       "there is no rule of this number in the store; `keel ctl acl list` shows those that are");
            return;
        }
        c->number = 0;
        write_row(c, TABLE_ACL, acl_key_write(key, (uint32_t)wanted), (struct bytes){0}, false, false);
        return;
    }
    struct acl_rule *rule = acl_rule_read(bytes_of(c->body, c->body_size), why, sizeof why);
    if (rule == NULL) {
        settle_say(c, 400, why);
        return;
    }
    acl_rule_free(rule);
    if (!c->numbered) {
        uint32_t last = gate->rule_count == 0 ? 0 : gate->rules[gate->rule_count - 1].number;
        if (last > UINT32_MAX - RULE_STEP) {
            settle_say(c, 409, "the numbers are used up; say --at N");
            return;
        }
        c->number = last - last % RULE_STEP + RULE_STEP;
    }
    add_rule(c);
}

static void change_user(struct control *c, const char *name)
{
    struct bytes      key = bytes_str(name);
    struct credential credential;
    if (!credential_name_valid(key)) {
        settle_say(c, 400, "a user name has 1 to 1024 bytes and neither ':' nor control characters");
        return;
    }
    if (strcmp(c->method, "DELETE") == 0) {
        if (users_find(&c->gate->users, key) == NULL) {
            settle_say(c, 404, "there is no user of this name in the store");
            return;
        }
        write_row(c, TABLE_USERS, key, (struct bytes){0}, false, false);
        return;
    }
    struct bytes text = bytes_of(c->body, c->body_size);
    const char  *why  = text.size >= CREDENTIAL_LINE_MAX_BYTES ? "it is too long" : credential_read(text, &credential);
    if (why != NULL) {
        settle_say(c, 400, why);
        return;
    }
    write_row(c, TABLE_USERS, key, text, true, false);
}

/* ---- bans ------------------------------------------------------------------------------------------------------------------------ */

static void list_bans(struct control *c)
{
    char        *text = NULL;
    size_t       size = 0;
    FILE        *to   = open_memstream(&text, &size);
    struct gate *gate = c->gate;
    if (to == NULL) {
        settle(c, 500, NULL);
        return;
    }
    for (uint32_t chain = 0; chain < hashmap_chains(&gate->bans.map); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&gate->bans.map, chain); n != NULL; n = n->next) {
            const struct ban *ban = CONTAINER_OF(n, struct ban, by_key);
            char              until[INSTANT_TEXT_BYTES];
            enum ban_kind     kind;
            struct bytes      name;
            if (!ban_key_read(bytes_of(ban->key, n->extra), &kind, &name) || ban->until_wall_ns <= gate->wall_ns) {
                continue;
            }
            bool ends = ban->until_wall_ns != UINT64_MAX;
            if (ends) {
                instant_write(ban->until_wall_ns, until);
            }
            fprintf(to, "%s\t%.*s\t%.*s\t%s\n", ban_kind_name(kind), (int)name.size, (const char *)name.data,
                    ends ? INSTANT_TEXT_BYTES : 1, ends ? until : "-", ban->reason);
        }
    }
    fclose(to);
    settle(c, 200, text);
}

static void change_ban(struct control *c, const char *path)
{
    const char   *slash = strchr(path, '/');
    enum ban_kind kind  = slash == NULL ? BAN_KINDS : ban_kind_of(bytes_of(path, (size_t)(slash - path)));
    uint8_t       room[BAN_KEY_MAX_BYTES];
    struct bytes  key = kind == BAN_KINDS ? (struct bytes){0} : ban_key(room, kind, bytes_str(slash + 1));
    if (key.size == 0) {
        settle_say(c, 400, "a ban is of client, user or address, and a name of 1 to 1024 bytes");
        return;
    }
    c->call.done = written;
    if (strcmp(c->method, "DELETE") == 0) {
        struct bytes name = bytes_str(slash + 1);
        if (bans_find(&c->gate->bans, kind, name, 0) == NULL) {
            settle_say(c, 404, "there is no such ban; `keel ctl ban list` shows those that are");
            return;
        }
        const struct op     op = {.kind = OP_TABLE_DELETE, .table = TABLE_BANS, .name = key};
        struct wire_writer *w  = store_txn_begin(c->gate->store, AUTH_STRIPE);
        op_encode(w, &op);
        store_txn_end(c->gate->store, &c->call);
        return;
    }
    uint64_t seconds = 0;
    size_t   at      = 0;
    for (; at < c->body_size && at < 10 && c->body[at] >= '0' && c->body[at] <= '9'; at++) {
        seconds = seconds * 10 + (uint64_t)(c->body[at] - '0');
    }
    if (at == 0 || (at < c->body_size && c->body[at] != ' ') || c->body_size > at + 1 + BAN_REASON_MAX_BYTES) {
        settle_say(c, 400, "the body is a number of seconds (0: for ever), then a blank and why, at most 255 bytes");
        return;
    }
    struct bytes reason = at < c->body_size ? bytes_of(c->body + at + 1, c->body_size - at - 1) : (struct bytes){0};
    doorman_put(c->gate, &c->call, key, seconds == 0 ? UINT64_MAX : c->gate->wall_ns + seconds * 1000000000u, reason);
}

/* ---- nodes ------------------------------------------------------------------------------------------------------------------------ */

/* What an operator wants of the nodes: a row of its own each (shared/rpc/schema.h). value empty: it is deleted. */
static void change_row(struct control *c, const char *name, struct bytes value)
{
    const struct op     op = {.kind  = value.size > 0 ? OP_TABLE_PUT : OP_TABLE_DELETE,
                              .table = RPC_TABLE_CLUSTER,
                              .name  = bytes_str(name),
                              .value = value};
    struct wire_writer *w  = store_txn_begin(c->gate->store, 0);
    op_encode(w, &op);
    c->call.done = written;
    store_txn_end(c->gate->store, &c->call);
}

static void change_members(struct control *c)
{
    uint8_t            row[MEMBERS_ROW_MAX_BYTES];
    struct wire_writer value = wire_writer_fixed(row, sizeof row);
    const char        *why   = members_row(bytes_of(c->body, c->body_size), &value);
    if (why != NULL) {
        settle_say(c, 400, why);
        return;
    }
    change_row(c, "members", wire_written(&value));
}

static void change_drain(struct control *c, struct bytes node, bool drained)
{
    uint8_t            row[2];
    char               name[24];
    struct wire_writer value  = wire_writer_fixed(row, sizeof row);
    uint32_t           number = members_number(node, UINT16_MAX);
    if (number == 0) {
        settle_say(c, 400, "a node is a number from 1 to 65535");
        return;
    }
    snprintf(name, sizeof name, "drain/%u", number);
    if (drained) {
        wire_put_u16(&value, (uint16_t)number);
    }
    change_row(c, name, wire_written(&value));
}

static void change_replicas(struct control *c)
{
    uint8_t            row[2];
    struct wire_writer value  = wire_writer_fixed(row, sizeof row);
    uint32_t           number = members_number(bytes_of(c->body, c->body_size), MEMBERS_REPLICAS_MAX);
    if (number == 0) {
        settle_say(c, 400, "the number of replicas of a stripe is from 1 to 7");
        return;
    }
    wire_put_u16(&value, (uint16_t)number);
    change_row(c, "replicas", wire_written(&value));
}

/* ---- between the threads ------------------------------------------------------------------------------------------------------------- */

static void run(struct desk_item *item)
{
    struct control *c = CONTAINER_OF(item, struct control, item);
    c->gate           = *c->gate_at;
    bool get          = strcmp(c->method, "GET") == 0;
    bool put          = strcmp(c->method, "PUT") == 0;
    bool post         = strcmp(c->method, "POST") == 0;
    bool delete       = strcmp(c->method, "DELETE") == 0;
    if (c->gate == NULL || !gate_ready(c->gate)) {
        settle_say(c, 503, "the broker waits for the segment store");
    } else if (get && strcmp(c->path, "/auth/users") == 0) {
        list_users(c);
    } else if (get && strcmp(c->path, "/auth/rules") == 0) {
        list_rules(c);
    } else if ((put || delete) && strncmp(c->path, "/auth/users/", 12) == 0) {
        change_user(c, c->path + 12);
    } else if (get && strcmp(c->path, "/auth/bans") == 0) {
        list_bans(c);
    } else if ((put || delete) && strncmp(c->path, "/auth/bans/", 11) == 0) {
        change_ban(c, c->path + 11);
    } else if (post && strcmp(c->path, "/auth/rules") == 0) {
        change_rule(c, NULL);
    } else if ((post || delete) && strncmp(c->path, "/auth/rules/", 12) == 0) {
        change_rule(c, c->path + 12);
    } else if (put && strcmp(c->path, "/cluster/members") == 0) {
        change_members(c);
    } else if (put && strcmp(c->path, "/cluster/replicas") == 0) {
        change_replicas(c);
    } else if ((put || delete) && strncmp(c->path, "/cluster/drain/", 15) == 0) {
        change_drain(c, bytes_str(c->path + 15), put);
    } else {
        settle_say(c, 404,
                   "paths: GET /auth/users, PUT and DELETE /auth/users/NAME, GET and POST /auth/rules, DELETE "
                   "/auth/rules/NUMBER, GET /auth/bans, PUT and DELETE /auth/bans/KIND/NAME, PUT /cluster/members, PUT "
                   "/cluster/replicas, PUT and DELETE /cluster/drain/NODE");
    }
}

static struct control *control_new(const char *method, const char *path, struct bytes body)
{
    struct control *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->settled, &attributes);
    pthread_condattr_destroy(&attributes);
    c->method    = strdup(method);
    c->path      = strdup(path);
    c->body      = malloc(body.size + 1);
    c->body_size = body.size;
    if (c->method == NULL || c->path == NULL || c->body == NULL) {
        control_free(c);
        return NULL;
    }
    if (body.size > 0) {
        memcpy(c->body, body.data, body.size);
    }
    return c;
}

struct control_answer control_handle(struct desk *desk, struct gate *const *gate, const char *method, const char *path,
                                     struct bytes body)
{
    static const char not_there[] = "the broker starts or stops\n";
    static const char too_late[]  = "no answer from the segment store within 5 s; whether it was done is not known\n";
    struct timespec   until;
    struct control   *c = control_new(method, path, body);
    if (c == NULL) {
        return (struct control_answer){.status = 500};
    }
    c->gate_at  = gate;
    c->item.run = run;
    if (!desk_post(desk, &c->item)) {
        control_free(c);
        return (struct control_answer){.status = 503, .text = strdup(not_there)};
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&c->lock);
    int late = 0;
    while (!c->done && late != ETIMEDOUT) {
        late = pthread_cond_timedwait(&c->settled, &c->lock, &until);
    }
    if (!c->done) {
        c->abandoned = true;
        pthread_mutex_unlock(&c->lock);
        return (struct control_answer){.status = 504, .text = strdup(too_late)};
    }
    struct control_answer answer = {.status = c->status, .text = c->text};
    c->text                      = NULL;
    pthread_mutex_unlock(&c->lock);
    control_free(c);
    return answer;
}
