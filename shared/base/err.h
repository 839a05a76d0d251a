/* err - one table of what can go wrong.
 * Functions return 0 or a count for success and a negative number for failure: either -errno, passed through from
 * the kernel, or one of the names below. They travel over RPC unchanged, so numbers are never reused.
 * Threads: any. */
#ifndef KEEL_SHARED_BASE_ERR_H
#define KEEL_SHARED_BASE_ERR_H

#include "shared/base/assert.h"

/*        name             number  sentence */
#define ERR_TABLE(X)                                                         \
    X(ERR_FULL, 5001, "no room here now")                                    \
    X(ERR_TOO_BIG, 5002, "larger than the limit allows")                     \
    X(ERR_MALFORMED, 5003, "the bytes do not follow the format")             \
    X(ERR_NOT_FOUND, 5004, "no such thing")                                  \
    X(ERR_EXISTS, 5005, "it exists already")                                 \
    X(ERR_CONFLICT, 5006, "the version is not the expected one")             \
    X(ERR_FENCED, 5007, "a newer owner has taken over")                      \
    X(ERR_CLOSED, 5008, "the connection is closed")                          \
    X(ERR_TIMEOUT, 5009, "no answer within the time allowed")                \
    X(ERR_UNAVAILABLE, 5010, "the stripe cannot serve now")                  \
    X(ERR_CORRUPT, 5011, "a checksum does not match")                        \
    X(ERR_VERSION, 5012, "the peer speaks a version that is not understood") \
    X(ERR_QUOTA, 5013, "a configured limit is reached")                      \
    X(ERR_DISK_FULL, 5014, "the disk is full")                               \
    X(ERR_TRIMMED, 5015, "the offset lies before the start of the stream")   \
    X(ERR_BUSY, 5016, "someone else holds it")                               \
    X(ERR_UNKNOWN, 5017, "the request kind is not known")                    \
    X(ERR_DENIED, 5018, "not allowed")                                       \
    X(ERR_NOT_LEADER, 5019, "another node leads the stripe")

enum err {
#define ERR_ENUM(name, number, sentence) name = -(number),
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

/* The name of an error ("ERR_FULL", "EIO"), for logs. Never NULL. */
const char *err_name(int error);
/* Its sentence, for users. Never NULL. */
const char *err_sentence(int error);

#endif
