/* buf - a counted block of payload. Fan-out shares it instead of copying it.
 * The count is a plain integer: a buf belongs to one shard. What crosses shards is a copy, made once per target shard.
 * Threads: the shard that made it.   Memory: one malloc for header and payload. */
#ifndef KEEL_SHARED_MEM_BUF_H
#define KEEL_SHARED_MEM_BUF_H

#include "shared/base/bytes.h"

struct buf {
    uint32_t refs;
    uint32_t size;     /* bytes used of data */
    uint32_t capacity; /* bytes in data */
    uint8_t  data[];
};

/* One reference, size 0; NULL when memory is out. */
struct buf               *buf_new(uint32_t capacity);
static inline struct buf *buf_ref(struct buf *b)
{
    b->refs++;
    return b;
}
/* Frees with the last reference; accepts NULL. */
void buf_unref(struct buf *b);

#endif
