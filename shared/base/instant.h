/* instant - a moment of the wall clock as people write it (RFC 3339): "2026-01-31T23:59:59.250Z".
 * Threads: any; pure.   Units: ns since 1970, UTC. */
#ifndef KEEL_SHARED_BASE_INSTANT_H
#define KEEL_SHARED_BASE_INSTANT_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { INSTANT_TEXT_BYTES = 24 };

/* Date, 'T' or a space, hours, minutes, then if wanted seconds and a fraction, then 'Z' or an offset "+02:00". Years 1970 to 2261. */
MUST_CHECK bool instant_read(struct bytes text, uint64_t *out_ns);
/* With milliseconds, exactly INSTANT_TEXT_BYTES, no end mark. */
void instant_write(uint64_t ns, char out[INSTANT_TEXT_BYTES]);

#endif
