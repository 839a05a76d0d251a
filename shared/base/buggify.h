/* buggify - unlikely branches that the simulator makes likely: a batch of one, a buffer that is full, a timeout that comes early.
 *
 *     if (BUGGIFY("checkpoint early", 200)) ...      true once in 200 times, in those seeded runs that have chosen this place
 *
 * Only what could happen anyway may stand behind it: the code must be right both ways. Files that use it are compiled a second time
 * for the simulator; everywhere else it is `false`, and nothing of it is left.
 * Threads: the simulator's one. */
#ifndef KEEL_SHARED_BASE_BUGGIFY_H
#define KEEL_SHARED_BASE_BUGGIFY_H

#include <stdbool.h>
#include <stdint.h>

#ifdef KEEL_BUGGIFY
bool buggify(const char *place, uint32_t one_in); /* tests/sim/buggify.c */
#define BUGGIFY(place, one_in) buggify(place, one_in)
#else
#define BUGGIFY(place, one_in) false
#endif

#endif
