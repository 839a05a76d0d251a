/* gcm - who encrypts TLS: AES-GCM of Intel's Multi-Buffer Crypto library where the processor has wide AES (VAES and AVX-512), which is
 * three times as fast as OpenSSL 3.0's for a full record and five times for a KiB; OpenSSL itself for everything else and elsewhere.
 *
 *     SSL_CTX_new_ex(gcm_library(), gcm_properties(), ..)
 *            │ handshakes, certificates, other ciphers ──▶ OpenSSL's default provider
 *            └ AES-128-GCM, AES-256-GCM ────────────────▶ provider "keel" (provider.c) ──▶ cipher.c ──▶ libIPSec_MB
 *
 * The provider lives in a library context of its own, which reads openssl.cnf as the default one does. Nobody who does not ask for it (tokens,
 * passwords, HTTP clients) gets it: it serves what TLS asks for and refuses the rest of what AES-GCM can be.
 * Built without libipsec-mb, or run on another processor, gcm_library and gcm_properties are NULL: OpenSSL's own.
 * Threads: any; made with the first call and kept until the program ends. */
#ifndef KEEL_BROKER_TRANSPORT_GCM_GCM_H
#define KEEL_BROKER_TRANSPORT_GCM_GCM_H

#include <openssl/types.h>

OSSL_LIB_CTX *gcm_library(void);
const char   *gcm_properties(void);
/* For the log: who encrypts. */
const char *gcm_maker(void);

#endif
