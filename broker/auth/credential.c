/* credential.c - argon2id for passwords, PBKDF2 for SCRAM's keys, and the line they are kept in. */
#include "broker/auth/credential.h"

#include "broker/auth/base64.h"
#include "broker/auth/prep.h"
#include "shared/base/err.h"

#include <argon2.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>

enum { HASH_BYTES = 32, SHA512_BYTES = 64, MOSQUITTO_SALT_MAX_BYTES = 64, ITERATIONS_MAX = 10000000 };

/* ---- SCRAM keys ------------------------------------------------------------------------------------------------------------ */

bool scram_keys_make(struct bytes password, struct bytes salt, uint32_t iterations, struct scram_keys *out)
{
    uint8_t  salted[SCRAM_KEY_BYTES], client[SCRAM_KEY_BYTES];
    unsigned size = 0;
    ASSERT(salt.size <= SCRAM_SALT_MAX_BYTES && iterations > 0);
    struct scram_keys keys = {.iterations = iterations, .salt_size = (uint8_t)salt.size};
    memcpy(keys.salt, salt.data, salt.size);
    bool made =
        PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.size, salt.data, (int)salt.size, (int)iterations,
                          EVP_sha256(), sizeof salted, salted) == 1 &&
        HMAC(EVP_sha256(), salted, sizeof salted, (const uint8_t *)"Client Key", 10, client, &size) != NULL &&
        EVP_Digest(client, sizeof client, keys.stored, &size, EVP_sha256(), NULL) == 1 &&
        HMAC(EVP_sha256(), salted, sizeof salted, (const uint8_t *)"Server Key", 10, keys.server, &size) != NULL;
    OPENSSL_cleanse(salted, sizeof salted);
    OPENSSL_cleanse(client, sizeof client);
    if (made) {
        *out = keys;
    }
    return made;
}

/* ---- hashes ------------------------------------------------------------------------------------------------------------------ */

int credential_make(struct bytes password, const struct password_cost *cost,
                    const uint8_t salts[2 * CREDENTIAL_SALT_BYTES], struct credential *out)
{
    struct scram_keys scram = {0};
    char              hash[CREDENTIAL_HASH_MAX_BYTES];
    if (cost->scram_iterations != 0) {
        if (prep_check(password) != NULL) {
            return ERR_MALFORMED;
        }
        if (!scram_keys_make(password, bytes_of(salts + CREDENTIAL_SALT_BYTES, CREDENTIAL_SALT_BYTES),
                             cost->scram_iterations, &scram)) {
            return ERR_FULL;
        }
    }
    int result = argon2id_hash_encoded(cost->passes, cost->memory_kib, cost->lanes, password.data, password.size, salts,
                                       CREDENTIAL_SALT_BYTES, HASH_BYTES, hash, sizeof hash);
    if (result != ARGON2_OK) {
        return ERR_FULL;
    }
    out->scram = scram;
    memcpy(out->hash, hash, sizeof hash);
    return 0;
}

/* "$7$iterations$salt$hash": PBKDF2 with SHA-512; "$6$salt$hash": SHA-512 of password and salt. As mosquitto_passwd writes them. */
static bool verify_mosquitto(const char *hash, struct bytes password)
{
    unsigned long iterations = 0;
    const char   *at         = hash + 3;
    uint8_t       salt[MOSQUITTO_SALT_MAX_BYTES], want[SHA512_BYTES], got[SHA512_BYTES];
    if (hash[1] == '7') {
        char *end  = NULL;
        iterations = strtoul(at, &end, 10);
        if (iterations == 0 || iterations > ITERATIONS_MAX || *end != '$') {
            return false;
        }
        at = end + 1;
    }
    const char *dollar = strchr(at, '$');
    if (dollar == NULL) {
        return false;
    }
    int64_t salt_size = base64_decode(BASE64_PADDED, bytes_of(at, (size_t)(dollar - at)), salt, sizeof salt);
    int64_t want_size = base64_decode(BASE64_PADDED, bytes_str(dollar + 1), want, sizeof want);
    if (salt_size < 0 || want_size != SHA512_BYTES) {
        return false;
    }
    bool made = false;
    if (iterations != 0) {
        made = PKCS5_PBKDF2_HMAC((const char *)password.data, (int)password.size, salt, (int)salt_size, (int)iterations,
                                 EVP_sha512(), sizeof got, got) == 1;
    } else {
        EVP_MD_CTX *sum  = EVP_MD_CTX_new();
        unsigned    size = 0;
        made             = sum != NULL && EVP_DigestInit_ex(sum, EVP_sha512(), NULL) == 1 &&
               EVP_DigestUpdate(sum, password.data, password.size) == 1 &&
               EVP_DigestUpdate(sum, salt, (size_t)salt_size) == 1 && EVP_DigestFinal_ex(sum, got, &size) == 1;
        EVP_MD_CTX_free(sum);
    }
    return made && CRYPTO_memcmp(want, got, sizeof want) == 0;
}

bool credential_verify(const char *hash, struct bytes password)
{
    if (strncmp(hash, "$argon2id$", 10) == 0) {
        return argon2id_verify(hash, password.data, password.size) == ARGON2_OK;
    }
    return (strncmp(hash, "$7$", 3) == 0 || strncmp(hash, "$6$", 3) == 0) && verify_mosquitto(hash, password);
}

/* ---- the line ------------------------------------------------------------------------------------------------------------------ */

bool credential_name_valid(struct bytes name)
{
    if (name.size == 0 || name.size > CREDENTIAL_NAME_MAX_BYTES) {
        return false;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] < 0x20 || name.data[i] == ':' || name.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

/* Up to the separator or the end; *text goes behind it. */
static struct bytes cut(struct bytes *text, char separator)
{
    const uint8_t *found = text->size == 0 ? NULL : memchr(text->data, separator, text->size);
    size_t         size  = found != NULL ? (size_t)(found - text->data) : text->size;
    size_t         gone  = found != NULL ? size + 1 : size;
    struct bytes   part  = bytes_of(text->data, size);
    *text                = bytes_of(text->data + gone, text->size - gone);
    return part;
}

static bool read_number(struct bytes text, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(text.data[i] - '0');
        if (value > max) {
            return false;
        }
    }
    *out = (uint32_t)value;
    return text.size > 0;
}

/* m=.. and t=.. of a PHC string: a hash that would take the broker's memory or minutes of its time is refused where it is set. */
static bool cost_sane(const char *hash)
{
    unsigned memory_kib = 0, passes = 0, lanes = 0;
    return sscanf(hash, "$argon2id$v=19$m=%9u,t=%9u,p=%9u$", &memory_kib, &passes, &lanes) == 3 && memory_kib >= 8 &&
           memory_kib <= 4194304 && passes >= 1 && passes <= 1000 && lanes >= 1 && lanes <= 64;
}

static const char *read_hash(struct bytes text, struct credential *out)
{
    if (text.size >= sizeof out->hash) {
        return "a password hash that is too long";
    }
    if (text.size == 0 || memchr(text.data, 0, text.size) != NULL) {
        return "a password hash is missing";
    }
    memcpy(out->hash, text.data, text.size);
    out->hash[text.size] = '\0';
    bool known           = strncmp(out->hash, "$7$", 3) == 0 || strncmp(out->hash, "$6$", 3) == 0 ||
                 (strncmp(out->hash, "$argon2id$", 10) == 0 && cost_sane(out->hash));
    return known ? NULL
                 : "a password hash that is neither argon2id nor one of mosquitto_passwd ($6$, $7$); set it with `keel "
                   "ctl passwd`";
}

static const char *read_scram(struct bytes text, struct scram_keys *out)
{
    static const char wrong[] = "SCRAM keys that are not SCRAM-SHA-256$iterations$salt$StoredKey$ServerKey";
    if (text.size == 0) {
        *out = (struct scram_keys){0};
        return NULL;
    }
    if (!bytes_equal(cut(&text, '$'), bytes_str("SCRAM-SHA-256")) ||
        !read_number(cut(&text, '$'), SCRAM_ITERATIONS_MAX, &out->iterations) ||
        out->iterations < SCRAM_ITERATIONS_MIN) {
        return wrong;
    }
    int64_t salt   = base64_decode(BASE64_PADDED, cut(&text, '$'), out->salt, sizeof out->salt);
    int64_t stored = base64_decode(BASE64_PADDED, cut(&text, '$'), out->stored, sizeof out->stored);
    int64_t server = base64_decode(BASE64_PADDED, text, out->server, sizeof out->server);
    if (salt <= 0 || stored != SCRAM_KEY_BYTES || server != SCRAM_KEY_BYTES) {
        return wrong;
    }
    out->salt_size = (uint8_t)salt;
    return NULL;
}

static const char *read_groups(struct bytes text, struct credential *out)
{
    if (text.size >= sizeof out->groups) {
        return "too many groups";
    }
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] <= 0x20 || text.data[i] == ':') {
            return "a group's name with a blank in it";
        }
    }
    memset(out->groups, 0, sizeof out->groups);
    if (text.size > 0) {
        memcpy(out->groups, text.data, text.size);
    }
    return NULL;
}

const char *credential_read(struct bytes text, struct credential *out)
{
    struct credential read = {0};
    const char       *why  = read_hash(cut(&text, ':'), &read);
    if (why == NULL) {
        why = read_scram(cut(&text, ':'), &read.scram);
    }
    if (why == NULL) {
        why = read_groups(text, &read);
    }
    if (why == NULL) {
        *out = read;
    }
    return why;
}

size_t credential_write(const struct credential *credential, char *out)
{
    char                     salt[BASE64_ROOM(SCRAM_SALT_MAX_BYTES)];
    char                     stored[BASE64_ROOM(SCRAM_KEY_BYTES)];
    char                     server[BASE64_ROOM(SCRAM_KEY_BYTES)];
    char                     scram[256] = "";
    const struct scram_keys *keys       = &credential->scram;
    if (keys->iterations != 0) {
        base64_encode(BASE64_PADDED, bytes_of(keys->salt, keys->salt_size), salt);
        base64_encode(BASE64_PADDED, bytes_of(keys->stored, sizeof keys->stored), stored);
        base64_encode(BASE64_PADDED, bytes_of(keys->server, sizeof keys->server), server);
        snprintf(scram, sizeof scram, "SCRAM-SHA-256$%u$%s$%s$%s", keys->iterations, salt, stored, server);
    }
    int size = snprintf(out, CREDENTIAL_LINE_MAX_BYTES, "%s:%s:%s", credential->hash, scram, credential->groups);
    ASSERT(size > 0 && size < CREDENTIAL_LINE_MAX_BYTES);
    return (size_t)size;
}

bool credential_in_group(const char *groups, struct bytes group)
{
    struct bytes left = bytes_str(groups);
    while (left.size > 0) {
        if (bytes_equal(cut(&left, ','), group)) {
            return true;
        }
    }
    return false;
}
