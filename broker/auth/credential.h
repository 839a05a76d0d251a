/* credential - what is kept of a user's password, and never the password itself.
 *
 *   one user, in the password file and in the table of users (broker/auth/tables.h):
 *
 *     NAME:$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>:SCRAM-SHA-256$4096$<salt>$<StoredKey>$<ServerKey>:group,group
 *          '--- PHC string, unpadded base64 ----------'  '--- RFC 5802, padded base64; may be empty -----'  '-- may be left out
 *
 * Hashes that mosquitto_passwd wrote ($6$ and $7$) are taken too, so that its password files go on working; they have no SCRAM keys.
 * Threads: any; pure. credential_verify and credential_make take tens of milliseconds: never on a shard. */
#ifndef KEEL_BROKER_AUTH_CREDENTIAL_H
#define KEEL_BROKER_AUTH_CREDENTIAL_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum {
    CREDENTIAL_HASH_MAX_BYTES   = 256, /* its zero included */
    CREDENTIAL_GROUPS_MAX_BYTES = 256,
    CREDENTIAL_NAME_MAX_BYTES   = 1024,
    CREDENTIAL_LINE_MAX_BYTES   = 2048,
    CREDENTIAL_SALT_BYTES       = 16,
    SCRAM_KEY_BYTES             = 32,
    SCRAM_SALT_MAX_BYTES        = 32,
    SCRAM_ITERATIONS_MIN        = 4096, /* RFC 7677 */
    SCRAM_ITERATIONS_MAX        = 10000000,
};

struct scram_keys {
    uint32_t iterations; /* 0: there are none */
    uint8_t  salt_size;
    uint8_t  salt[SCRAM_SALT_MAX_BYTES];
    uint8_t  stored[SCRAM_KEY_BYTES];
    uint8_t  server[SCRAM_KEY_BYTES];
};

struct credential {
    char              hash[CREDENTIAL_HASH_MAX_BYTES];
    struct scram_keys scram;
    char              groups[CREDENTIAL_GROUPS_MAX_BYTES]; /* "a,b"; empty: none */
};

struct password_cost {
    uint32_t memory_kib;
    uint32_t passes;
    uint32_t lanes;
    uint32_t scram_iterations; /* 0: no SCRAM keys */
};

/* From a new password. groups is left as it is. 0; ERR_MALFORMED: SCRAM cannot take this password (a control character), ERR_FULL: no memory. */
MUST_CHECK int credential_make(struct bytes password, const struct password_cost *cost,
                               const uint8_t salts[2 * CREDENTIAL_SALT_BYTES], struct credential *out);
/* Does the hash belong to the password? Hashes that are not understood belong to none. */
bool credential_verify(const char *hash, struct bytes password);

/* A name that can stand in a line: not empty, no ':' and no control character, UTF-8 assumed. */
bool credential_name_valid(struct bytes name);
/* "hash:scram:groups", the line without its name. NULL, or why not. *out is set on success only. */
const char *credential_read(struct bytes text, struct credential *out);
/* The line without its name, ended by a zero. room: CREDENTIAL_LINE_MAX_BYTES. Returns its length. */
size_t credential_write(const struct credential *credential, char *out);
/* Is group one of "a,b"? */
bool credential_in_group(const char *groups, struct bytes group);

/* StoredKey and ServerKey of a prepared password (RFC 5802, 3). False: OpenSSL has no memory. */
MUST_CHECK bool scram_keys_make(struct bytes password, struct bytes salt, uint32_t iterations, struct scram_keys *out);

#endif
