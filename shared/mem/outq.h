/* outq - what one connection still has to send, in order.
 *
 *     small packets are copied into chunks      [chunk 4 KiB][chunk 16 KiB] ..
 *     large bodies are referenced (struct buf)  [chunk][buf ref][chunk]
 *
 * Writers: outq_reserve + outq_commit for bytes encoded in place, outq_put to copy, outq_ref for a shared body.
 * The first byte put into a clean queue links it into the shard's dirty list; at the end of the loop turn the shard
 * takes iovecs (outq_gather), sends once, and drops what the kernel took (outq_consume).
 * While a send is in flight the gathered bytes stay where they are; new ones go behind.
 * An empty queue holds no memory but itself. Chunks come from a pool of the shard.
 * Threads: the owning shard.   Units: bytes. */
#ifndef KEEL_SHARED_MEM_OUTQ_H
#define KEEL_SHARED_MEM_OUTQ_H

#include "shared/base/bytes.h"
#include "shared/base/list.h"
#include "shared/mem/buf.h"

#include <sys/uio.h>

enum { OUTQ_RESERVE_MAX_BYTES = 16 * 1024, OUTQ_REF_MIN_BYTES = 2048 };

struct outq_pool; /* chunks of one shard */

struct outq_pool *outq_pool_new(size_t limit_bytes);
void              outq_pool_free(struct outq_pool *pool);
/* Bytes in chunks that queues of this pool hold now. */
size_t outq_pool_used_bytes(const struct outq_pool *pool);

struct outq {
    struct outq_pool  *pool;
    struct list       *dirty;      /* the shard's list of queues with something to send */
    struct list        dirty_link; /* in *dirty */
    struct outq_chunk *first;
    struct outq_chunk *last;
    size_t             size_bytes; /* queued, in flight included */
};

void outq_init(struct outq *q, struct outq_pool *pool, struct list *dirty);
void outq_fini(struct outq *q);
/* Room for size (<= OUTQ_RESERVE_MAX_BYTES) contiguous bytes, or NULL when the pool is full; commit how many were written. */
uint8_t *outq_reserve(struct outq *q, size_t size);
void     outq_commit(struct outq *q, size_t size);
/* Copies; 0 or ERR_FULL (then nothing was queued). */
int outq_put(struct outq *q, struct bytes data);
/* Queues data[offset .. offset+size) of b by reference, taking one of its own; 0 or ERR_FULL. */
int outq_ref(struct outq *q, struct buf *b, uint32_t offset, uint32_t size);
/* Fills up to max iovecs from the front; returns how many. */
int outq_gather(const struct outq *q, struct iovec *iov, int max);
/* Drops size bytes from the front and gives their memory back. */
void outq_consume(struct outq *q, size_t size);

#endif
