/* tls_private - between tls.c and tls_context.c.
 * Threads: as tls.h. */
#ifndef KEEL_BROKER_TRANSPORT_TLS_PRIVATE_H
#define KEEL_BROKER_TRANSPORT_TLS_PRIVATE_H

#include "broker/transport/tls.h"

#include <openssl/ssl.h>

/* Made for the side that accepts. context: NULL for none. Takes ssl over, which is freed when memory is out. */
struct tls *tls_over(SSL *ssl, struct tls_context *context, enum tls_name name);
/* Makes what all connections share; called once before there are any. */
void *tls_wire_method(void);

#endif
