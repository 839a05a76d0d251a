/* pool - objects of one size, taken and given back in constant time.
 *
 *     slab  [object][object][object] ..     64 KiB each, allocated when the free list is empty, kept until pool_free
 *     free  object -> object -> object      the last one given back is the next one taken: it is still in the cache
 *
 * The limit is in objects and fixed at start-up; reaching it is an answer (NULL). Under asan, objects that are not
 * taken are poisoned.
 * Threads: the owning shard.   Units: object_bytes in bytes, counts in objects. */
#ifndef KEEL_SHARED_MEM_POOL_H
#define KEEL_SHARED_MEM_POOL_H

#include <stddef.h>
#include <stdint.h>

struct pool;

/* Objects are aligned to 16 bytes. NULL when memory is out. */
struct pool *pool_new(size_t object_bytes, uint32_t limit_count);
/* Frees every object, taken or not; accepts NULL. */
void pool_free(struct pool *pool);

/* An object full of zeroes, or NULL when limit_count objects are taken or memory is out. */
void *pool_take(struct pool *pool);
/* The same, contents undefined: for large objects that are filled anyway. */
void *pool_take_raw(struct pool *pool);
/* Gives an object of this pool back; accepts NULL. */
void pool_give(struct pool *pool, void *object);

/* Objects taken now. */
uint32_t pool_used_count(const struct pool *pool);
/* Bytes that the slabs occupy now. */
size_t pool_slab_bytes(const struct pool *pool);

#endif
