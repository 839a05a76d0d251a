/* tls_wire - what OpenSSL takes for its socket, and where its records are taken out of its hands.
 *
 *     bytes of the peer, where they lie ──▶ OpenSSL
 *     OpenSSL ──records──▶ out                                    before it has the key for data, and with what seal.h cannot do
 *     OpenSSL ──its own words, their type──▶ seal ──records──▶ out  afterwards: alerts, tickets, KeyUpdate;
 *     tls_send ──────the client's data─────▶ seal ──records──▶ out  and all data goes past it
 *
 * OpenSSL 3.0 can leave records to a kernel that knows TLS (SSL_OP_ENABLE_KTLS). This socket says that it does, for TLS 1.3 with AES-GCM where
 * gcm.h has it, and is handed key, IV and number when the handshake comes to data. Of a new key (KeyUpdate) OpenSSL 3.0 does not tell a kernel;
 * it tells whoever keeps a log of secrets, between the last record under the old key and the first one under the new.
 * Receiving stays with OpenSSL: its 3.0 gives no keys of TLS 1.3 away for that.
 * Threads: as tls.h. */
#ifndef KEEL_BROKER_TRANSPORT_TLS_WIRE_H
#define KEEL_BROKER_TRANSPORT_TLS_WIRE_H

#include "broker/transport/seal.h"
#include "shared/base/bytes.h"
#include "shared/mem/outq.h"

#include <openssl/types.h>

struct tls_wire {
    struct bytes in;   /* while tls_receive runs */
    struct outq *out;  /* while a call runs */
    struct seal *seal; /* makes all records that are sent from now on; NULL: OpenSSL does */
    uint8_t      type; /* of the record that OpenSSL has sealed next */
};

/* What all connections share; called once before there are any. */
void tls_wire_prepare(void);
/* Connections of this context are taken over when they can be. Only under an OpenSSL that is known to hand out keys as told above (3.0, 3.1). */
void tls_wire_offload(SSL_CTX *context);
/* For SSL_set_bio; wire outlives it. NULL: out of memory. */
BIO *tls_wire_bio(struct tls_wire *wire);
void tls_wire_fini(struct tls_wire *wire);

#endif
