/* secret - a password in a file of this machine, which nobody but its owner may read.
 * Threads: any; reads a small file, so it is for what happens rarely. */
#ifndef KEEL_BROKER_SHARD_SECRET_H
#define KEEL_BROKER_SHARD_SECRET_H

#include "shared/base/assert.h"

#include <stddef.h>

/* The first line of the file at out, with its end. False, and a sentence in why: it cannot be read, others may read it too, it is empty or the line has room
 * bytes or more. */
MUST_CHECK bool secret_read(const char *path, char *out, size_t room, char *why, size_t why_size);

#endif
