/* scram - the server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), without channel binding.
 *
 *     client-first  n,,n=user,r=nonce            scram_first
 *     server-first  r=nonce+ours,s=salt,i=count  scram_challenge
 *     client-final  c=biws,r=nonce+ours,p=proof  scram_final
 *     server-final  v=signature                  what it returns
 *
 * For a name that nobody has the exchange goes on with a salt that stays the same for that name, and fails at the proof.
 * Lifetime: one exchange.   Threads: those of the owner; pure. */
#ifndef KEEL_BROKER_AUTH_SCRAM_H
#define KEEL_BROKER_AUTH_SCRAM_H

#include "broker/auth/credential.h"

enum { SCRAM_MESSAGE_MAX_BYTES = 1024, SCRAM_NONCE_MAX_BYTES = 256, SCRAM_OWN_NONCE_BYTES = 18 };

#define SCRAM_METHOD "SCRAM-SHA-256"

struct scram {
    struct scram_keys keys;
    bool              nobody; /* no proof can be right */
    uint32_t          bare_size, nonce_size, challenge_size, header_size, user_size;
    char              user[SCRAM_MESSAGE_MAX_BYTES];
    char              header[SCRAM_MESSAGE_MAX_BYTES]; /* gs2 */
    char              bare[SCRAM_MESSAGE_MAX_BYTES];   /* client-first without the header */
    char              nonce[SCRAM_NONCE_MAX_BYTES + 32];
    char              challenge[SCRAM_MESSAGE_MAX_BYTES];
};

/* NULL and the user's name in scram->user, or why the exchange cannot go on. */
const char *scram_first(struct scram *scram, struct bytes message);
/* keys: NULL when nobody has the name; then salt and count come from secret. Returns server-first, inside scram; size 0: OpenSSL fails. */
struct bytes scram_challenge(struct scram *scram, const struct scram_keys *keys, const uint8_t secret[32],
                             uint32_t iterations, const uint8_t own_nonce[SCRAM_OWN_NONCE_BYTES]);
/* NULL and server-final in out (its size in *out_size), or why the client is not who it says. */
const char *scram_final(struct scram *scram, struct bytes message, char out[64], size_t *out_size);

#endif
