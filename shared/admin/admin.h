/* admin - HTTP for operators, on a thread of its own (libmicrohttpd). What every program answers stands here; what one has beside is handed in.
 *
 *   GET /health   200 "healthy": the process runs
 *   GET /ready    200 "ready", or 503 and the reason
 *   GET a page    200 and what its print() makes: /metrics and the like
 *   a path that changes something: control(), with `Authorization: Bearer TOKEN` when a token is configured, else from this machine only; always with
 *                 the header X-Keel and without Origin, so that no web page can send it
 *
 * Each request runs on a thread of its own and may wait there.
 * Lifetime: started before the threads that it tells of, stopped after them.   Threads: start and stop from main; all functions of the spec are called on
 * HTTP threads, several at once. */
#ifndef KEEL_SHARED_ADMIN_ADMIN_H
#define KEEL_SHARED_ADMIN_ADMIN_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admin;

struct admin_page {
    const char *path; /* NULL: behind the last one */
    const char *type; /* Content-Type */
    /* Its text, allocated with malloc; NULL: there is no memory. */
    char *(*print)(void *ctx, size_t *out_size);
    void *ctx;
};

struct admin_spec {
    const char *address; /* numeric, IPv4 or IPv6 */
    uint16_t    port;    /* 0 picks a free one */
    const char *flag;    /* which says where it listens: "--admin" */
    /* True when requests can be served; else a sentence in why. */
    bool (*ready)(void *ctx, char *why, size_t why_size);
    const struct admin_page *pages; /* copied */
    const char              *paths; /* for people who ask for another one: "/health /ready /metrics" */
    const char              *token; /* NULL or empty: changes from this machine only */
    /* Does the path change something? Then control() carries it out: its HTTP status, and in *out_text a malloc'ed answer or NULL. Both NULL: there are none. */
    bool (*controlled)(const char *path);
    int (*control)(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text);
    void *ctx;
};

#define ADMIN_TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8" /* Prometheus' text format */

/* 0 and *out, or -errno with a sentence in why. */
MUST_CHECK int admin_start(const struct admin_spec *spec, struct admin **out, char *why, size_t why_size);
uint16_t       admin_port(const struct admin *admin);
/* Accepts NULL. */
void admin_stop(struct admin *admin);

#endif
