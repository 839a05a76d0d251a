/* tables - what the segment store keeps of who may do what. All of these tables lie in stripe 0, with everything of the cluster itself; brokers watch them.
 *
 *   table               key                          value
 *   16 users            name                         version u8 (1) | the line of credential.h without the name
 *   17 access rules     number u32, big-endian       version u8 (1) | the line of acl.h; rules count in the order of their numbers
 *
 *   18 bans             kind letter ':' name         bans.h; rows of a ban that ends expire by themselves
 *
 * In the table of users the key ":secret" (no name has a colon) holds 32 random bytes behind the version, made once: salts of names that nobody has
 * come from it, so they stay the same on every broker and over restarts.
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_AUTH_TABLES_H
#define KEEL_BROKER_AUTH_TABLES_H

#include "shared/base/bytes.h"

enum {
    TABLE_USERS       = 16,
    TABLE_ACL         = 17,
    TABLE_BANS        = 18,
    AUTH_STRIPE       = 0,
    AUTH_ROW_VERSION  = 1,
    ACL_KEY_BYTES     = 4,
    AUTH_SECRET_BYTES = 32
};
#define AUTH_SECRET_KEY ":secret"

static inline struct bytes acl_key_write(uint8_t out[ACL_KEY_BYTES], uint32_t number)
{
    for (int i = 0; i < ACL_KEY_BYTES; i++) {
        out[i] = (uint8_t)(number >> (24 - 8 * i));
    }
    return bytes_of(out, ACL_KEY_BYTES);
}

static inline uint32_t acl_key_read(struct bytes key)
{
    uint32_t number = 0;
    for (size_t i = 0; i < key.size; i++) {
        number = number << 8 | key.data[i];
    }
    return number;
}

/* The text of a row, or size 0 when it is of a version that is not known. */
static inline struct bytes auth_row_text(struct bytes value)
{
    return value.size > 1 && value.data[0] == AUTH_ROW_VERSION ? bytes_of(value.data + 1, value.size - 1)
                                                               : (struct bytes){0};
}

#endif
