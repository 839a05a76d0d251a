/* provider - cipher.h in the form in which OpenSSL takes foreign algorithms (provider-cipher(7)).
 * Threads: any. */
#ifndef KEEL_BROKER_TRANSPORT_GCM_PROVIDER_H
#define KEEL_BROKER_TRANSPORT_GCM_PROVIDER_H

#include <openssl/core.h>

/* For OSSL_PROVIDER_add_builtin. Only where cipher_available said yes. */
int gcm_provider_init(const OSSL_CORE_HANDLE *handle, const OSSL_DISPATCH *in, const OSSL_DISPATCH **out,
                      void **out_context);

#endif
