/* config - what the shards of a broker are told about who may do what. Filled by main.c from the settings before any shard starts, then constant.
 * Texts of files are read by main.c; each shard takes them in for itself.
 * Threads: any, since it is constant. */
#ifndef KEEL_BROKER_AUTH_CONFIG_H
#define KEEL_BROKER_AUTH_CONFIG_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum auth_link { AUTH_LINK_CERT, AUTH_LINK_PASSWORD, AUTH_LINK_JWT, AUTH_LINK_HTTP, AUTH_LINKS };
enum auth_anonymous { AUTH_ANONYMOUS_LOOPBACK, AUTH_ANONYMOUS_YES, AUTH_ANONYMOUS_NO };
enum auth_hook_down { AUTH_HOOK_DENY, AUTH_HOOK_IGNORE };

struct jwt_keys;

struct auth_config {
    uint8_t  links[AUTH_LINKS]; /* in their order */
    uint8_t  link_count;
    uint8_t  anonymous;     /* enum auth_anonymous */
    uint8_t  hook_down;     /* enum auth_hook_down: what a hook that does not answer means */
    bool     default_allow; /* what no rule speaks of */
    bool     jwt_disconnects;
    uint32_t argon2_memory_kib; /* of hashes made here: for names that nobody has */
    uint32_t argon2_passes;
    uint32_t scram_iterations;
    uint32_t connections_max;         /* of one broker, all shards together; 0: any, as for all below */
    uint32_t connections_per_address; /* of one broker */
    uint32_t connections_per_user;
    /* CONNECTs of one client identifier within flap_window_ns; one more is a ban for flap_ban_ns. */
    uint32_t         flap_connects;
    uint64_t         flap_window_ns;
    uint64_t         flap_ban_ns;
    uint32_t         hook_timeout_ms;
    uint32_t         hook_cache_entries;
    uint32_t         hook_cache_ms;
    const char      *login_url; /* empty: none */
    const char      *access_url;
    const char      *hook_token; /* what hooks are shown; empty: nothing */
    struct jwt_keys *jwt_keys;   /* at start; NULL: none */
    const char      *jwt_issuer; /* empty: any */
    const char      *jwt_audience;
    const char      *jwt_user_claim;
    uint32_t         jwt_leeway_s;
    const char      *password_name; /* of the file, for messages */
    const char      *acl_name;
    struct bytes     password_text; /* size 0: no file */
    struct bytes     acl_text;
};

/* "cert, password, jwt, http" to links. False: a word that is none, or twice; *why is a sentence. */
MUST_CHECK bool auth_chain_read(const char *text, struct auth_config *out, char *why, size_t why_size);

#endif
