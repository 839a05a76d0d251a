/* request - HTTP to the admin of a broker or of a segment store, with libcurl.
 * Threads: one. */
#ifndef KEEL_KEEL_REQUEST_H
#define KEEL_KEEL_REQUEST_H

#include <stddef.h>

struct settings;

struct answer {
    char   text[8 * 1024 * 1024]; /* large: keep it static */
    size_t size;
};

/* The HTTP status and its text, or -1 after a message. body NULL: none. */
long request_send(const struct settings *settings, const char *method, const char *path, const char *body,
                  struct answer *answer);

struct config_address;
/* GET from a segment store. The HTTP status, or -1 with a sentence in why. */
long request_get(const struct config_address *from, const char *path, struct answer *answer, char *why,
                 size_t why_size);

#endif
