/* identity - what is known of a peer before it says a word: filled by the transport, asked by those who decide who is let in.
 * Lifetime: of the peer; constant from the first byte that the protocol is given.   Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_IDENTITY_H
#define KEEL_BROKER_PROTOCOL_MQTT_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

struct peer_identity {
    char        address[48]; /* numeric, without brackets; empty: none (a Unix socket) */
    uint16_t    port;
    bool        loopback;         /* its listener is reached from this machine only */
    const char *listener;         /* its name, or NULL */
    const char *certificate_user; /* the user name that its checked certificate carries, or NULL */
};

#endif
