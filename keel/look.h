/* look - what the nodes of a cluster say of it (GET /cluster of segstore.admin): for those `keel ctl` verbs that wait for something, or refuse what cannot be.
 * Lifetime: what is in a look lasts until look_end.   Threads: the one that there is. */
#ifndef KEEL_KEEL_LOOK_H
#define KEEL_KEEL_LOOK_H

#include "shared/config/settings.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum { LOOK_STRIPES_MAX = 4096 };

/* Of all nodes that answer: of each stripe what the highest term says, and the newest plan. */
struct look {
    json_t    *said[CONFIG_ADDRESSES_MAX];
    uint32_t   said_count;
    json_t    *stripes[LOOK_STRIPES_MAX]; /* borrowed from said */
    json_t    *plan;                      /* NULL: there is none yet */
    json_int_t epoch;
};

/* False after a message: nobody answers, or a segment store that stands alone does. */
bool look_at(const struct settings *settings, struct look *look);
void look_end(struct look *look);
/* Every node that answers must name it in segstore.nodes: any of them may be the one that has to give it something. False after a message. */
bool look_all_name(const struct look *look, unsigned node);
/* Somebody names it, or it keeps streams. False after a message. */
bool look_knows(const struct look *look, unsigned node);

json_int_t look_number(const json_t *object, const char *key);
bool       look_has(const json_t *list, json_int_t wanted);

#endif
