/* gate.c - made, turned, freed. */
#include "broker/gate/gate.h"

#include "broker/auth/jwt.h"
#include "broker/gate/hook.h"
#include "broker/gate/state.h"

#include <stdio.h>
#include <stdlib.h>

static void left(struct ticket_office *office, const struct ticket *ticket)
{
    doorman_leave(CONTAINER_OF(office, struct gate, office), ticket->counted, ticket->who.user,
                  bytes_str(ticket->address != NULL ? ticket->address : ""), ticket->who.client);
}

static bool fill_office(struct gate *gate, const struct gate_spec *spec)
{
    gate->office =
        (struct ticket_office){.default_allow = spec->config->default_allow, .timers = spec->timers, .left = left};
    list_init(&gate->office.tickets);
    gate->office.acl = acl_new(NULL, 0);
    return gate->office.acl != NULL;
}

struct gate *gate_new(const struct gate_spec *spec)
{
    struct gate *gate = calloc(1, sizeof *gate);
    if (gate == NULL) {
        return NULL;
    }
    const struct auth_config *config = spec->config;
    gate->config                     = config;
    gate->io                         = spec->io;
    gate->store                      = spec->store;
    gate->desk                       = spec->desk;
    gate->workers                    = spec->workers;
    gate->census                     = spec->census;
    gate->port =
        (struct auth_port){.ctx = gate, .begin = attempt_begin, .respond = attempt_respond, .cancel = attempt_cancel};
    gate->jwt_keys = jwt_keys_ref(config->jwt_keys);
    list_init(&gate->attempts);
    snprintf(gate->nobody, sizeof gate->nobody,
             "$argon2id$v=19$m=%u,t=%u,p=1$bm9ib2R5IGtub3dzIGl0$ei2Fqt3cM0JXBSN5M3ZsbAbYbmhSK7kSr4HbVXxtmLM",
             config->argon2_memory_kib, config->argon2_passes);
    if (!fill_office(gate, spec)) {
        jwt_keys_free(gate->jwt_keys);
        free(gate);
        return NULL;
    }
    if (spec->web != NULL) {
        gate->hook = hook_new(gate, spec->web);
        if (gate->hook == NULL) {
            gate_free(gate);
            return NULL;
        }
    }
    gate_files(gate, config->password_text, config->acl_text);
    return gate;
}

void gate_free(struct gate *gate)
{
    if (gate == NULL) {
        return;
    }
    ASSERT(list_empty(&gate->office.tickets) && list_empty(&gate->attempts));
    hook_free(gate->hook);
    watch_fini(gate);
    bans_fini(&gate->bans);
    jwt_keys_free(gate->jwt_keys);
    acl_unref(gate->office.acl);
    free(gate);
}

void gate_keys(struct gate *gate, struct jwt_keys *keys)
{
    jwt_keys_free(gate->jwt_keys);
    gate->jwt_keys = keys;
}

const struct auth_port *gate_port(struct gate *gate)
{
    return &gate->port;
}

bool gate_ready(const struct gate *gate)
{
    return gate->users_synced && gate->rules_synced && gate->bans_synced && gate->secret_known;
}

void gate_turn(struct gate *gate, uint64_t now_ns, uint64_t wall_ns)
{
    gate->now_ns  = now_ns;
    gate->wall_ns = wall_ns;
    if (UNLIKELY(!gate->watching) && store_known(gate->store)) {
        watch_start(gate);
        doorman_start(gate);
    }
    if (UNLIKELY(gate->rules_changed) && gate->rules_synced) {
        watch_apply(gate);
    }
}

bool gate_judges(const struct gate *gate)
{
    const struct auth_config *config = gate->config;
    for (unsigned i = 0; i < config->link_count; i++) {
        switch ((enum auth_link)config->links[i]) {
        case AUTH_LINK_PASSWORD:
            if (gate->users.map.count > 0 || config->password_text.size > 0) {
                return true;
            }
            break;
        case AUTH_LINK_JWT:
            if (gate->jwt_keys != NULL) {
                return true;
            }
            break;
        case AUTH_LINK_HTTP:
            if (gate->hook != NULL && config->login_url[0] != '\0') {
                return true;
            }
            break;
        default:
            break;
        }
    }
    return false;
}

const struct user *gate_user(const struct gate *gate, struct bytes name, bool *out_in_table)
{
    const struct user *user = users_find(&gate->users, name);
    *out_in_table           = user != NULL;
    return user != NULL ? user : users_find(&gate->file_users, name);
}

void gate_counters(const struct gate *gate, struct gate_counters *out)
{
    *out = (struct gate_counters){.denied = gate->office.denied,
                                  .busy   = gate->busy,
                                  .users  = gate->users.map.count + gate->file_users.map.count,
                                  .rules  = gate->office.acl->count};
}
