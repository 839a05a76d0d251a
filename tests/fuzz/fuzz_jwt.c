/* fuzz_jwt - tokens, their claims, key files and answers of hooks: the first byte chooses which. */
#include "broker/auth/claims.h"
#include "broker/auth/jwt.h"
#include "broker/auth/message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct jwt_wants wants = {.issuer = "", .audience = "", .user_claim = "sub"};

static void check_claims(struct bytes text)
{
    struct jwt_claims claims;
    json_t           *json = json_loadb((const char *)text.data, text.size, 0, NULL);
    if (json_is_object(json) && claims_check(json, &wants, 1000000000ull * 1000, &claims) == NULL) {
        jwt_claims_fini(&claims);
    }
    json_decref(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              why[128];
    struct jwt_claims claims;
    if (size == 0) {
        return 0;
    }
    struct bytes     text = bytes_of(data + 1, size - 1);
    struct jwt_keys *keys = NULL;
    switch (data[0] % 4) {
    case 0:
        keys = jwt_keys_new(bytes_str("secret"), (struct bytes){0}, why, sizeof why);
        if (jwt_check(keys, &wants, text, 1, &claims) == NULL) {
            jwt_claims_fini(&claims);
        }
        break;
    case 1:
        keys = jwt_keys_new((struct bytes){0}, text, why, sizeof why);
        break;
    case 2:
        check_claims(text);
        break;
    default:
        if (message_answer(200, text, 1, &claims) == HOOK_ALLOW) {
            jwt_claims_fini(&claims);
        }
        break;
    }
    jwt_keys_free(keys);
    return 0;
}
