/* automatic - subscriptions that every client has from its CONNECT on, because an operator says so.
 *
 *     FILTER [qos=0..2] [nl=0|1] [rap=0|1] [rh=0..2]        clients/%c/commands qos=1 rh=1
 *
 * %c and %u are filled in; a client whose identifier (or user name) is more than one level, or that has none, does not get that one.
 * Threads: any; constant once the broker runs. */
#ifndef KEEL_BROKER_TOPIC_AUTOMATIC_H
#define KEEL_BROKER_TOPIC_AUTOMATIC_H

#include "broker/topic/template.h"
#include "shared/base/assert.h"

enum { AUTOMATIC_MAX = 64 };

struct automatic_item {
    struct bytes filter; /* a template */
    uint8_t      qos;
    bool         no_local;
    bool         retain_as_published;
    uint8_t      retain_handling;
};

struct automatic {
    struct automatic_item items[AUTOMATIC_MAX];
    unsigned              count;
};

/* Borrows text, which ends with a zero. 0, or ERR_MALFORMED with a sentence about it. */
MUST_CHECK int automatic_add(struct automatic *automatic, const char *text, char *why, size_t why_size);
bool           automatic_wants_user(const struct automatic *automatic);

#endif
