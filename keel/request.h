/* request - HTTP to the admin of a broker, with libcurl.
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

#endif
