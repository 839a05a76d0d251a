/* gcm - see gcm.h. */
#include "broker/transport/gcm/gcm.h"

#include "broker/transport/gcm/cipher.h"
#include "broker/transport/gcm/provider.h"

#include <openssl/conf.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <pthread.h>

static OSSL_LIB_CTX *library; /* NULL: the default one, without ours */

#ifdef CIPHER_BUILT

/* As the default context is set up, with ours beside: retained, so that OpenSSL's default provider comes by itself unless openssl.cnf names
 * others. */
static OSSL_LIB_CTX *make(void)
{
    OSSL_LIB_CTX *made = OSSL_LIB_CTX_new();
    char         *path = CONF_get1_default_config_file();
    if (made != NULL && path != NULL) {
        (void)OSSL_LIB_CTX_load_config(made, path); /* there need not be one */
    }
    OPENSSL_free(path);
    if (made != NULL && (OSSL_PROVIDER_add_builtin(made, "keel", gcm_provider_init) != 1 ||
                         OSSL_PROVIDER_try_load(made, "keel", 1) == NULL)) {
        OSSL_LIB_CTX_free(made);
        made = NULL;
    }
    ERR_clear_error();
    return made;
}

#else

static OSSL_LIB_CTX *make(void)
{
    return NULL;
}

#endif

static void begin(void)
{
    if (cipher_available()) {
        library = make();
    }
}

OSSL_LIB_CTX *gcm_library(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, begin);
    return library;
}

/* "?": preferred, for what it has. */
const char *gcm_properties(void)
{
    return gcm_library() == NULL ? NULL : "?provider=keel";
}

const char *gcm_maker(void)
{
    return gcm_library() == NULL ? "OpenSSL" : "Intel Multi-Buffer Crypto (VAES)";
}
