/* seal - records of TLS 1.3 that are sent, under AES-GCM: made where they lie on the wire, straight from the pieces that hold their payload.
 *
 *     [23][3 3][length 2] [payload, in pieces ──▶ AES-GCM ──▶ ][type 1, encrypted too][tag 16]      one record, in one chunk of the wire
 *      └──── AAD ──────┘
 *     nonce: IV xor the record's number under its key, which goes up by one with every record of whatever type
 *
 * All records of a connection pass here from the moment when it has its key, libssl's own too (alerts, tickets, KeyUpdate): there is one
 * number. Nothing is encrypted before there is room for the whole record, and what was encrypted is on the wire: no number is used twice.
 * A key that is updated (KeyUpdate) comes from the next secret, from which key and IV are derived as libssl does, and counts from 0.
 * A key may seal 2^24.5 full records (RFC 8446, 5.5). After SEAL_RECORDS_MAX it is worn, and whoever sends takes care of another one; after
 * twice as many it seals nothing more.
 * Keys are wiped when they are replaced and by seal_free. Threads: one at a time.   Units: bytes.   Source: RFC 8446, 5.2, 5.3, 7.2, 7.3. */
#ifndef KEEL_BROKER_TRANSPORT_SEAL_H
#define KEEL_BROKER_TRANSPORT_SEAL_H

#include "broker/transport/gcm/cipher.h"
#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/mem/outq.h"

#include <openssl/types.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    SEAL_HEADER_BYTES  = 5,
    SEAL_AROUND_BYTES  = SEAL_HEADER_BYTES + 1 + CIPHER_TAG_BYTES,
    SEAL_PAYLOAD_BYTES = OUTQ_RESERVE_MAX_BYTES - SEAL_AROUND_BYTES, /* of one record at most; RFC 8446 allows 16 KiB */
    SEAL_RECORDS_MAX   = 1 << 23,
};

struct seal {
    struct cipher *cipher;
    uint64_t       number;  /* of the next record under this key */
    uint64_t       records; /* sealed under it */
    bool           keyed;
    uint8_t        iv[CIPHER_IV_BYTES];
};

/* key_bytes: 16 or 32. Without a key. Only where cipher_available said yes. NULL: out of memory. */
struct seal *seal_new(size_t key_bytes);
void         seal_free(struct seal *s);
/* number: of the next record. False: out of memory; then there is no key. */
MUST_CHECK bool seal_key(struct seal *s, const uint8_t *key, const uint8_t iv[CIPHER_IV_BYTES], uint64_t number);
/* The key and IV of a traffic secret, 32 bytes for a key of 16 and 48 for one of 32; its next record has the number 0. False: out of memory,
 * or another length; then there is no key. */
MUST_CHECK bool seal_secret(struct seal *s, struct bytes secret, OSSL_LIB_CTX *library);
/* It wants another key. */
bool seal_worn(const struct seal *s);

/* One record: of the first bytes of data, as many as fit, and how many these were. ERR_FULL: no memory on the wire, or no key; then nothing
 * happened. */
MUST_CHECK int seal_put(struct seal *s, uint8_t type, struct bytes data, struct outq *wire);
/* One record of application data: of what plain begins with, taken away from there. 0 or ERR_FULL, as above. plain: not empty. */
MUST_CHECK int seal_move(struct seal *s, struct outq *plain, struct outq *wire);

#endif
