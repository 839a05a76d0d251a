/* fuzz_scram - what a client says in an exchange: the first byte tells where the first message ends. */
#include "broker/auth/scram.h"
#include "shared/base/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct scram_keys keys                             = {.iterations = 4096, .salt_size = 4};
    static const uint8_t           secret[32]                       = {1};
    static const uint8_t           own_nonce[SCRAM_OWN_NONCE_BYTES] = {2};
    char                           out[64];
    size_t                         out_size = 0;
    if (size == 0) {
        return 0;
    }
    size_t        first = data[0] < size - 1 ? data[0] : size - 1;
    struct scram *scram = calloc(1, sizeof *scram);
    ASSERT(scram != NULL);
    if (scram_first(scram, bytes_of(data + 1, first)) == NULL) {
        struct bytes said = scram_challenge(scram, data[0] % 2 == 0 ? &keys : NULL, secret, 4096, own_nonce);
        ASSERT(said.size > 0 && said.size <= SCRAM_MESSAGE_MAX_BYTES);
        const char *why = scram_final(scram, bytes_of(data + 1 + first, size - 1 - first), out, &out_size);
        ASSERT(why != NULL); /* nobody can prove what keys of zeroes belong to */
    }
    free(scram);
    return 0;
}
