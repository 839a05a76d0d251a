/* prep - SASLprep (RFC 4013) as far as it can be had without tables of Unicode: names and passwords of ASCII are what they are; of the rest, what the
 * profile prohibits is refused and what it would map or normalise is refused too, so nobody is let in under a name that looks like another.
 *
 *   refused   control characters, U+0080..9F, U+00A0 and other spaces, U+00AD and others that are mapped to nothing, private use, surrogates,
 *             non-characters, U+FFF9..FFFD, direction marks and tags
 *   allowed   everything else, compared byte by byte
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_AUTH_PREP_H
#define KEEL_BROKER_AUTH_PREP_H

#include "shared/base/bytes.h"

/* NULL, or why the text cannot be a name or password of SCRAM. */
const char *prep_check(struct bytes text);

#endif
