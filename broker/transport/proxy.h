/* proxy - the header that a load balancer puts in front of a connection: where the client really is (PROXY protocol, versions 1 and 2,
 * haproxy.org/download/2.8/doc/proxy-protocol.txt).
 *
 *   1:  PROXY TCP4 192.0.2.1 198.51.100.7 56324 1883\r\n                      at most 107 bytes
 *   2:  | signature, 12 bytes | version, command | family | length u16 | addresses | TLVs |     at most PROXY_MAX_BYTES
 *
 * Pure: bytes in, split anywhere; nothing behind the header is taken. Threads: the shard of the connection. */
#ifndef KEEL_BROKER_TRANSPORT_PROXY_H
#define KEEL_BROKER_TRANSPORT_PROXY_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { PROXY_MAX_BYTES = 2048, PROXY_ADDRESS_BYTES = 46 };

/* Zeroed: waits for its first byte. */
struct proxy {
    uint16_t size;
    uint16_t port;
    char     address
        [PROXY_ADDRESS_BYTES]; /* of the client, numeric; empty: it is not said (a health check of the proxy itself, or a Unix socket) */
    uint8_t data[PROXY_MAX_BYTES];
};

/* Takes from *in what belongs to the header. 1: it is whole, 0: more is needed, ERR_MALFORMED: it is none. */
MUST_CHECK int proxy_feed(struct proxy *proxy, struct bytes *in);

#endif
