/* cipher - one key of AES-GCM in one direction, as TLS 1.2 and 1.3 use it, by libIPSec_MB.
 *
 *     none ──iv──▶ given ──aad, data──▶ running ──finish──▶ spent        a message needs an IV of its own:
 *                    ▲─────────────────── iv ─────────────────┘          nothing is done in `none` and `spent`
 *
 *     TLS 1.3: cipher_start(iv), cipher_aad, cipher_data, cipher_finish; the nonce is the caller's.
 *     TLS 1.2: cipher_fix_iv once, then cipher_record_header, cipher_record for each record, in place:
 *              [explicit IV 8][payload][tag 16]; when encrypting the IV is counted here, from a random beginning.
 *
 * What libIPSec_MB does not check or refuses without a word is checked here: it is never given a NULL or a length that it does not take.
 * cipher_data of a message that is decrypted gives out plaintext before its tag is known, as every cipher of this form does: it is the caller's
 * to keep until cipher_finish said yes, and libssl does. cipher_record wipes what does not check.
 * Only IVs of 12 bytes, and AADs of up to CIPHER_AAD_MAX_BYTES.
 * Keys are wiped by cipher_free. Threads: one at a time.   Errors: false, and nothing may be used of what was put out.
 * Source: NIST SP 800-38D; RFC 5288; RFC 8446, 5.2. */
#ifndef KEEL_BROKER_TRANSPORT_GCM_CIPHER_H
#define KEEL_BROKER_TRANSPORT_GCM_CIPHER_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __has_include(<intel-ipsec-mb.h>)
#define CIPHER_BUILT /* else there is cipher_available alone, and it says no */
#endif

enum {
    CIPHER_IV_BYTES       = 12,
    CIPHER_FIXED_BYTES    = 4, /* of the IV, in TLS 1.2 */
    CIPHER_EXPLICIT_BYTES = 8,
    CIPHER_TAG_BYTES      = 16,
    CIPHER_AAD_MAX_BYTES  = 64,
    CIPHER_HEADER_BYTES   = 13, /* sequence, type, version, length: what TLS 1.2 authenticates */
};

/* Can this processor, and did the library pass its own tests? Asked once, before there is a cipher. */
MUST_CHECK bool cipher_available(void);

struct cipher;
/* key_bytes: 16 or 32. NULL: out of memory. */
struct cipher *cipher_new(size_t key_bytes);
void           cipher_free(struct cipher *c);
struct cipher *cipher_copy(const struct cipher *c);
size_t         cipher_key_bytes(const struct cipher *c);

/* A direction, with a new key and a new IV; NULL: as before. A message under way ends when the key or the direction changes. */
void cipher_start(struct cipher *c, bool encrypt, const uint8_t *key, const uint8_t *iv);
/* A key is expanded, to a KiB, when it is used first: of the keys of a connection some never are. Now; false: out of memory, or no key. */
MUST_CHECK bool cipher_expand(struct cipher *c);
/* NULL when there is none yet. CIPHER_IV_BYTES. */
const uint8_t *cipher_iv(const struct cipher *c);

MUST_CHECK bool cipher_aad(struct cipher *c, const uint8_t *aad, size_t size);
/* out: the same as in, or apart from it. */
MUST_CHECK bool cipher_data(struct cipher *c, uint8_t *out, const uint8_t *in, size_t size);
/* Encrypting: makes the tag. Decrypting: true when the tag that was set is the right one. */
MUST_CHECK bool cipher_finish(struct cipher *c);
/* What has to come out; decrypting only. 1 to 16 bytes. */
MUST_CHECK bool cipher_set_tag(struct cipher *c, const uint8_t *tag, size_t size);
/* Of the message that was finished; encrypting only. */
MUST_CHECK bool cipher_get_tag(const struct cipher *c, uint8_t *tag, size_t size);

/* TLS 1.2: how all IVs of this key begin, at least CIPHER_FIXED_BYTES; when encrypting, the rest is random at first. */
MUST_CHECK bool cipher_fix_iv(struct cipher *c, const uint8_t *fixed, size_t size);
/* The whole of an IV that cipher_fix_iv began, as it was. */
void cipher_restore_iv(struct cipher *c, const uint8_t *iv);
/* The next IV is taken into use and its last size bytes given out; encrypting. / The last size bytes of the IV are these; decrypting. */
MUST_CHECK bool cipher_next_iv(struct cipher *c, uint8_t *out, size_t size);
MUST_CHECK bool cipher_given_iv(struct cipher *c, const uint8_t *explicit_iv, size_t size);
/* Of the next record; its length says what lies on the wire without the tag when encrypting, and with it when decrypting. */
MUST_CHECK bool cipher_record_header(struct cipher *c, const uint8_t *header, size_t size);
/* Is the next piece a record of TLS 1.2? */
bool cipher_in_records(const struct cipher *c);
/* *out_size: of the record when encrypting, of the payload when decrypting; it begins CIPHER_EXPLICIT_BYTES behind data. */
MUST_CHECK bool cipher_record(struct cipher *c, uint8_t *data, size_t size, size_t *out_size);

#endif
