/* guard.c - files, keys, desks and workers, for main.c. */
#include "broker/guard.h"

#include "broker/auth/acl_file.h"
#include "broker/auth/jwt.h"
#include "broker/auth/users.h"
#include "broker/gate/census.h"
#include "broker/gate/control.h"
#include "broker/gate/gate.h"
#include "broker/reload.h"
#include "broker/shard/bridges.h"
#include "broker/shard/config.h"
#include "broker/shard/drain.h"
#include "broker/shard/shard.h"
#include "broker/shard/streams.h"
#include "shared/base/log.h"
#include "shared/config/settings.h"
#include "shared/loop/desk.h"
#include "shared/loop/web.h"
#include "shared/loop/workers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { AUTH_FILE_MAX = 16 * 1024 * 1024 };

/* A file of the settings: malloc'ed, size 0 when none is configured. */
static bool read_file(const char *path, struct bytes *out, char *why, size_t why_size)
{
    uint8_t *text = NULL;
    *out          = (struct bytes){0};
    if (*path == '\0') {
        return true;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL || (text = malloc(AUTH_FILE_MAX)) == NULL) {
        snprintf(why, why_size, "%s: cannot be read: %s", path, strerror(errno));
        if (file != NULL) {
            fclose(file);
        }
        return false;
    }
    size_t size = fread(text, 1, AUTH_FILE_MAX, file);
    bool   good = ferror(file) == 0 && size < AUTH_FILE_MAX;
    fclose(file);
    if (!good) {
        snprintf(why, why_size, "%s: cannot be read, or is larger than 16 MiB", path);
        free(text);
        return false;
    }
    *out = bytes_of(text, size);
    return true;
}

/* Both files, found good; or a sentence in why and nothing read. */
static bool read_auth_files(const struct settings *settings, struct bytes *password, struct bytes *acl, char *why,
                            size_t why_size)
{
    struct users      users = {0};
    struct acl_rule **rules = NULL;
    uint32_t          count = 0;
    char              line[300];
    *acl = (struct bytes){0};
    if (!read_file(settings->auth_password_file, password, why, why_size)) {
        return false;
    }
    bool good = read_file(settings->acl_file, acl, why, why_size);
    if (good && !users_read(&users, *password, line, sizeof line)) {
        snprintf(why, why_size, "%s:%s", settings->auth_password_file, line);
        good = false;
    }
    users_fini(&users);
    if (good && acl->size > 0) {
        good = acl_file_read(*acl, &rules, &count, line, sizeof line);
        if (good) {
            acl_file_free(rules, count);
        } else {
            snprintf(why, why_size, "%s:%s", settings->acl_file, line);
        }
    }
    if (!good) {
        free((uint8_t *)(uintptr_t)password->data);
        free((uint8_t *)(uintptr_t)acl->data);
    }
    return good;
}

/* Keys of tokens. False after a sentence in why. */
static bool read_jwt_keys(const struct settings *settings, struct jwt_keys **out, char *why, size_t why_size)
{
    struct bytes file   = {0};
    struct bytes secret = bytes_str(settings->jwt_secret);
    char         wrong[200];
    *out = NULL;
    if (*settings->jwt_key_file == '\0' && secret.size == 0) {
        return true;
    }
    if (!read_file(settings->jwt_key_file, &file, why, why_size)) {
        return false;
    }
    *out = jwt_keys_new(secret, file, wrong, sizeof wrong);
    free((uint8_t *)(uintptr_t)file.data);
    if (*out == NULL) {
        snprintf(why, why_size, "%s: %s; auth.jwt_key_file wants PEM with public keys or certificates, or a JWKS",
                 settings->jwt_key_file, wrong);
    }
    return *out != NULL;
}

/* main -> shard: files were read again. */
struct reload {
    struct desk_item item;
    struct gate    **gate;
    struct jwt_keys *keys; /* a share */
    size_t           password_size;
    size_t           acl_size;
    uint8_t          texts[];
};

static void run_reload(struct desk_item *item)
{
    struct reload *reload = (struct reload *)item;
    if (*reload->gate != NULL) {
        gate_keys(*reload->gate, reload->keys);
        reload->keys = NULL;
        gate_files(*reload->gate, bytes_of(reload->texts, reload->password_size),
                   bytes_of(reload->texts + reload->password_size, reload->acl_size));
    }
    jwt_keys_free(reload->keys);
    free(reload);
}

bool guard_reload(struct broker *broker, const struct settings *settings, char *why, size_t why_size)
{
    struct bytes     password, acl;
    struct jwt_keys *keys;
    if (!read_auth_files(settings, &password, &acl, why, why_size)) {
        return false;
    }
    if (!read_jwt_keys(settings, &keys, why, why_size)) {
        free((uint8_t *)(uintptr_t)password.data);
        free((uint8_t *)(uintptr_t)acl.data);
        return false;
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        struct reload *reload = malloc(sizeof *reload + password.size + acl.size);
        if (reload == NULL) {
            continue;
        }
        reload->item.run      = run_reload;
        reload->gate          = &broker->gates[i];
        reload->keys          = jwt_keys_ref(keys);
        reload->password_size = password.size;
        reload->acl_size      = acl.size;
        memcpy(reload->texts, password.data != NULL ? password.data : (const uint8_t *)"", password.size);
        memcpy(reload->texts + password.size, acl.data != NULL ? acl.data : (const uint8_t *)"", acl.size);
        if (!desk_post(broker->desks[i], &reload->item)) {
            jwt_keys_free(reload->keys);
            free(reload);
        }
    }
    jwt_keys_free(keys);
    free((uint8_t *)(uintptr_t)password.data);
    free((uint8_t *)(uintptr_t)acl.data);
    return true;
}

/* For the admin threads. */
int guard_control(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text)
{
    struct broker *broker = ctx;
    if (strncmp(path, "/streams", 8) == 0) {
        return streams_handle(broker->desks[0], &broker->kernels[0], method, path, bytes_of(body, size), out_text);
    }
    if (strncmp(path, "/bridges", 8) == 0) {
        return bridges_handle(broker->desks, broker->bridges, broker->shard_count, method, path, bytes_of(body, size),
                              out_text);
    }
    if (strcmp(path, "/reload") == 0) {
        return reload_handle(broker, method, out_text);
    }
    if (strcmp(path, "/drain") == 0) {
        return drain_handle(broker, method, bytes_of(body, size), out_text);
    }
    struct control_answer answer =
        control_handle(broker->desks[0], &broker->gates[0], method, path, bytes_of(body, size));
    *out_text = answer.text;
    return answer.status;
}

void guard_open(struct broker *broker, const struct settings *settings)
{
    broker->desks   = calloc(broker->shard_count, sizeof(struct desk *));
    broker->gates   = calloc(broker->shard_count, sizeof(struct gate *));
    broker->kernels = calloc(broker->shard_count, sizeof(struct kernel *));
    broker->bridges = calloc(broker->shard_count, sizeof(struct bridges *));
    ASSERT(broker->kernels != NULL && broker->bridges != NULL);
    broker->census  = census_new();
    broker->workers = workers_new((unsigned)settings->auth_threads, (unsigned)settings->auth_queue_max);
    ASSERT(broker->desks != NULL && broker->gates != NULL && broker->workers != NULL && broker->census != NULL);
    if (*settings->auth_http_url != '\0' || *settings->acl_http_url != '\0') {
        broker->web = web_new((unsigned)settings->hook_waiting_max);
        ASSERT(broker->web != NULL);
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        broker->desks[i] = desk_new();
        ASSERT(broker->desks[i] != NULL);
    }
}

void guard_close(struct broker *broker, const struct broker_config *config)
{
    workers_free(broker->workers);
    census_free(broker->census);
    web_free(broker->web);
    for (unsigned i = 0; i < broker->shard_count; i++) {
        desk_free(broker->desks[i]);
    }
    drain_free(broker);
    free(broker->bridges);
    free(broker->kernels);
    free(broker->desks);
    free(broker->gates);
    jwt_keys_free(config->auth.jwt_keys);
    free((uint8_t *)(uintptr_t)config->auth.password_text.data);
    free((uint8_t *)(uintptr_t)config->auth.acl_text.data);
}

/* What an operator must know about who is let in. */
static void say_who_comes_in(const struct settings *settings, const struct broker_config *config)
{
    for (int kind = 0; kind < TRANSPORT_KINDS; kind++) {
        struct config_address at = {.port = config->listen[kind].port};
        char                  where[80];
        if (config->listen[kind].address[0] == '\0' || kind == TRANSPORT_UNIX) {
            continue;
        }
        snprintf(at.host, sizeof at.host, "%.63s", config->listen[kind].address);
        config_address_text(&at, where, sizeof where);
        if (config->auth.anonymous == AUTH_ANONYMOUS_YES && !config->loopback[kind]) {
            log_warn("anyone who reaches %s is let in without a name: auth.anonymous is true", where);
        } else if (config->auth.anonymous == AUTH_ANONYMOUS_LOOPBACK && !config->loopback[kind]) {
            log_info("clients on %s need a name and a password (`keel ctl passwd NAME`), a token or a certificate; "
                     "auth.anonymous: "
                     "true would let everybody in",
                     where);
        } else if (config->auth.anonymous == AUTH_ANONYMOUS_LOOPBACK) {
            log_info(
                "clients without a name are let in on %s, which is reached from this machine only (auth.anonymous)",
                where);
        }
    }
    if (*settings->acl_file != '\0' && config->auth.default_allow) {
        log_info("what no access rule speaks of is allowed (acl.default)");
    }
}

bool guard_read(const struct settings *settings, struct broker_config *config, char *why, size_t why_size)
{
    struct jwt_keys *keys = NULL;
    if (!auth_chain_read(settings->auth_chain, &config->auth, why, why_size) ||
        !read_jwt_keys(settings, &keys, why, why_size)) {
        return false;
    }
    config->auth.jwt_keys = keys;
    if (!read_auth_files(settings, &config->auth.password_text, &config->auth.acl_text, why, why_size)) {
        return false;
    }
    say_who_comes_in(settings, config);
    return true;
}
