/* filter - does a key match an MQTT topic filter (MQTT 4.7), and if not, which key could be the next that does?
 *
 *   filter  + / temp      keys in order:  a/1  a/temp  a/x  b/1 ..
 *   at a/1: continue at "a/temp"       at a/x: continue at "a0", the first key behind all that begin with "a/"
 *
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_STRIPE_FILTER_H
#define KEEL_SEGSTORE_STRIPE_FILTER_H

#include "shared/base/bytes.h"

enum filter_verdict { FILTER_MATCH, FILTER_SEEK, FILTER_END };

/* Two views whose bytes, one after the other, are a key. */
struct filter_seek {
    struct bytes head; /* into the key */
    struct bytes tail; /* into the filter, or constant */
};

/* FILTER_SEEK: no key between this one and *out_seek (which is greater) matches. FILTER_END: no greater key matches. */
enum filter_verdict filter_step(struct bytes filter, struct bytes key, struct filter_seek *out_seek);

#endif
