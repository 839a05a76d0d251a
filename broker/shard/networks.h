/* networks - a list of addresses and prefixes: "10.0.0.0/8, 192.0.2.7, fd00::/8".
 * Lifetime: filled at start-up, then constant.   Threads: any. */
#ifndef KEEL_BROKER_SHARD_NETWORKS_H
#define KEEL_BROKER_SHARD_NETWORKS_H

#include "broker/auth/acl.h"

enum { NETWORKS_MAX = 64 };

struct networks {
    uint32_t count;
    struct {
        uint8_t address[ACL_ADDRESS_BYTES];
        uint8_t bits;
    } each[NETWORKS_MAX];
};

/* False with a sentence in why. */
MUST_CHECK bool networks_read(const char *text, struct networks *out, char *why, size_t why_size);
/* address: numeric. */
bool networks_have(const struct networks *networks, const char *address);
/* Is it an address of this machine alone: 127.0.0.0/8 or ::1? */
bool network_is_loopback(const char *address);

#endif
