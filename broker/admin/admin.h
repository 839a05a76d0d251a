/* admin - the broker's HTTP for operators, on a thread of its own (libmicrohttpd).
 *
 *   GET /health   200 "healthy": the process runs
 *   GET /ready    200 "ready", or 503 and the reason: clients are let in, or why not
 *   GET /metrics  200, Prometheus' text format
 *   /streams..    capture rules (broker/shard/streams.h), and /bridges.. (broker/shard/bridges.h), guarded as is
 *   /auth/..      users and access rules (broker/gate/control.h): with `Authorization: Bearer TOKEN` when a token is configured, else from this
 *                 machine only; always with the header X-Keel and without Origin, so that no web page can send it
 *
 * Reads only what shards publish (metrics.h) and asks ready() for a verdict; what is changed waits for the store, each request on a thread of its own.
 * Lifetime: started after the shards, stopped before them.   Threads: start and stop from main; ready() is called on the HTTP thread. */
#ifndef KEEL_BROKER_ADMIN_ADMIN_H
#define KEEL_BROKER_ADMIN_ADMIN_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admin;
struct metrics;

struct admin_spec {
    const char           *address; /* numeric, IPv4 or IPv6 */
    uint16_t              port;    /* 0 picks a free one */
    const struct metrics *metrics; /* outlives the admin */
    /* True when clients can be served; else a sentence in why. */
    bool (*ready)(void *ctx, char *why, size_t why_size);
    const char *token; /* empty: from this machine only */
    /* Carries out a request below /auth or /streams: its HTTP status, and in *out_text a malloc'ed answer or NULL. NULL: there is none. */
    int (*control)(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text);
    void *ctx;
};

/* 0 and *out, or -errno with a sentence in why. */
MUST_CHECK int admin_start(const struct admin_spec *spec, struct admin **out, char *why, size_t why_size);
uint16_t       admin_port(const struct admin *admin);
/* Accepts NULL. */
void admin_stop(struct admin *admin);

#endif
