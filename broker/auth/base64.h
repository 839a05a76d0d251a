/* base64 - RFC 4648: the padded alphabet of SCRAM, the unpadded one of PHC strings, the URL one of tokens. Strict: no white space, no stray bits.
 * Threads: any; pure. */
#ifndef KEEL_BROKER_AUTH_BASE64_H
#define KEEL_BROKER_AUTH_BASE64_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum base64_kind { BASE64_PADDED, BASE64_PLAIN, BASE64_URL /* without padding */ };

#define BASE64_ROOM(size) (((size) + 2) / 3 * 4 + 1)

/* Ends with a zero; out has room for BASE64_ROOM(data.size). Returns the length. */
size_t base64_encode(enum base64_kind kind, struct bytes data, char *out);
/* The number of bytes, or ERR_MALFORMED, or ERR_TOO_BIG when they do not fit into room. */
MUST_CHECK int64_t base64_decode(enum base64_kind kind, struct bytes text, uint8_t *out, size_t room);

#endif
