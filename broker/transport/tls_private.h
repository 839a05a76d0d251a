/* tls_private - between tls.c, tls_context.c, tls_client.c and their tests.
 * Threads: as tls.h. */
#ifndef KEEL_BROKER_TRANSPORT_TLS_PRIVATE_H
#define KEEL_BROKER_TRANSPORT_TLS_PRIVATE_H

#include "broker/transport/tls.h"
#include "broker/transport/tls_wire.h"

#include <openssl/ssl.h>

struct tls {
    SSL                *ssl;
    struct tls_context *context; /* the choice of a certificate may still look into it */
    struct tls_wire     wire;
    enum tls_name       name;
    bool                established; /* the first handshake is through */
    bool                broken;      /* nothing more may be asked of OpenSSL */
    char               *why;         /* NULL until there is something to say, which most never have */
    char               *user;        /* NULL: none */
};

/* Made for the side that accepts. context: NULL for none. Takes ssl over, which is freed when memory is out. */
struct tls *tls_over(SSL *ssl, struct tls_context *context, enum tls_name name);

#endif
