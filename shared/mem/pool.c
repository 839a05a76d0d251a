/* pool.c - slabs of objects and a list of the free ones. */
#include "shared/mem/pool.h"

#include "shared/base/assert.h"
#include "shared/mem/poison.h"

#include <stdlib.h>
#include <string.h>

enum { POOL_SLAB_BYTES = 64 * 1024, POOL_ALIGN_BYTES = 16 };

struct pool_slab {
    struct pool_slab *next;
    size_t            padding; /* objects begin on a multiple of POOL_ALIGN_BYTES */
};
_Static_assert(sizeof(struct pool_slab) % POOL_ALIGN_BYTES == 0, "the first object is aligned");

struct pool_object {
    struct pool_object *next;
};

struct pool {
    struct pool_object *free;
    struct pool_slab   *slabs;
    size_t              object_bytes; /* rounded up */
    size_t              slab_bytes;   /* all slabs */
    uint32_t            slab_count;   /* objects in one slab */
    uint32_t            made_count;   /* objects in all slabs */
    uint32_t            used_count;
    uint32_t            limit_count;
};

struct pool *pool_new(size_t object_bytes, uint32_t limit_count)
{
    ASSERT(object_bytes > 0 && limit_count > 0);
    struct pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    size_t rounded     = (object_bytes + POOL_ALIGN_BYTES - 1) & ~(size_t)(POOL_ALIGN_BYTES - 1);
    size_t fit         = (POOL_SLAB_BYTES - sizeof(struct pool_slab)) / rounded;
    pool->object_bytes = rounded;
    pool->slab_count   = fit == 0 ? 1 : (uint32_t)fit;
    pool->limit_count  = limit_count;
    return pool;
}

void pool_free(struct pool *pool)
{
    if (pool == NULL) {
        return;
    }
    for (struct pool_slab *slab = pool->slabs, *next; slab != NULL; slab = next) {
        next = slab->next;
        free(slab);
    }
    free(pool);
}

/* A new slab, its objects put on the free list so that the lowest address is taken first. */
static int pool_grow(struct pool *pool)
{
    uint32_t missing = pool->limit_count - pool->made_count;
    uint32_t count   = missing < pool->slab_count ? missing : pool->slab_count;
    size_t   bytes   = sizeof(struct pool_slab) + count * pool->object_bytes;
    if (count == 0) {
        return -1;
    }
    struct pool_slab *slab = malloc(bytes);
    if (slab == NULL) {
        return -1;
    }
    slab->next    = pool->slabs;
    slab->padding = 0;
    pool->slabs   = slab;
    uint8_t *base = (uint8_t *)(slab + 1);
    for (uint32_t i = count; i-- > 0;) {
        struct pool_object *object = (struct pool_object *)(void *)(base + i * pool->object_bytes);
        object->next               = pool->free;
        pool->free                 = object;
        poison(object, pool->object_bytes);
    }
    pool->made_count += count;
    pool->slab_bytes += bytes;
    return 0;
}

void *pool_take_raw(struct pool *pool)
{
    if (pool->free == NULL && pool_grow(pool) != 0) {
        return NULL;
    }
    struct pool_object *object = pool->free;
    unpoison(object, pool->object_bytes);
    pool->free = object->next;
    pool->used_count++;
    return object;
}

void *pool_take(struct pool *pool)
{
    void *object = pool_take_raw(pool);
    return object == NULL ? NULL : memset(object, 0, pool->object_bytes);
}

void pool_give(struct pool *pool, void *object)
{
    if (object == NULL) {
        return;
    }
    ASSERT(pool->used_count > 0);
    struct pool_object *free_object = object;
    free_object->next               = pool->free;
    pool->free                      = free_object;
    pool->used_count--;
    poison(object, pool->object_bytes);
}

uint32_t pool_used_count(const struct pool *pool)
{
    return pool->used_count;
}

size_t pool_slab_bytes(const struct pool *pool)
{
    return pool->slab_bytes;
}
