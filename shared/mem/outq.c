/* outq.c - a chain of chunks; small ones for a reply or two, large ones for a stream, and bare ones that point into a buf. */
#include "shared/mem/outq.h"

#include "shared/base/assert.h"
#include "shared/base/err.h"
#include "shared/mem/poison.h"

#include <stdlib.h>

enum chunk_class { CHUNK_SMALL, CHUNK_LARGE, CHUNK_REF, CHUNK_CLASSES };

struct outq_chunk {
    struct outq_chunk *next;
    struct buf        *body;  /* of CHUNK_REF: what it holds a reference of */
    uint8_t           *data;  /* room behind this head, or the bytes of body */
    uint32_t           start; /* data[start .. end) is still to be sent */
    uint32_t           end;
    uint32_t           capacity;
    enum chunk_class class;
};

/* A small chunk with its head fills a page; a large one has room for the largest reservation. */
static const uint32_t chunk_capacity[CHUNK_CLASSES] = {
    [CHUNK_SMALL] = 4096 - sizeof(struct outq_chunk),
    [CHUNK_LARGE] = OUTQ_RESERVE_MAX_BYTES,
    [CHUNK_REF]   = 0,
};

struct outq_pool {
    struct outq_chunk *free[CHUNK_CLASSES];
    size_t             limit_bytes;
    size_t             used_bytes;   /* chunks in queues */
    size_t             cached_bytes; /* chunks on the free lists */
    size_t             cached_max;
};

/* Of the limit, this part stays allocated after a burst; the rest goes back to the system. */
enum { CACHED_PART = 8, CACHED_LEAST_BYTES = 1 << 20 };

struct outq_pool *outq_pool_new(size_t limit_bytes)
{
    struct outq_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        return NULL;
    }
    pool->limit_bytes = limit_bytes;
    pool->cached_max  = limit_bytes / CACHED_PART;
    if (pool->cached_max < CACHED_LEAST_BYTES) {
        pool->cached_max = CACHED_LEAST_BYTES;
    }
    return pool;
}

void outq_pool_free(struct outq_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    ASSERT(pool->used_bytes == 0);
    for (int class = 0; class < CHUNK_CLASSES; class ++) {
        for (struct outq_chunk *chunk = pool->free[class], *next; chunk != NULL; chunk = next) {
            next = chunk->next;
            free(chunk);
        }
    }
    free(pool);
}

size_t outq_pool_used_bytes(const struct outq_pool *pool)
{
    return pool->used_bytes;
}

static size_t chunk_bytes(enum chunk_class class)
{
    return sizeof(struct outq_chunk) + chunk_capacity[class];
}

/* An empty chunk, or NULL when the pool is full. */
static struct outq_chunk *chunk_take(struct outq_pool *pool, enum chunk_class class)
{
    size_t bytes = chunk_bytes(class);
    if (bytes > pool->limit_bytes - pool->used_bytes) {
        return NULL;
    }
    struct outq_chunk *chunk = pool->free[class];
    if (chunk != NULL) {
        pool->free[class] = chunk->next;
        pool->cached_bytes -= bytes;
        unpoison(chunk + 1, chunk_capacity[class]);
    } else {
        chunk = malloc(bytes);
        if (chunk == NULL) {
            return NULL;
        }
    }
    pool->used_bytes += bytes;
    *chunk = (struct outq_chunk){.data = (uint8_t *)(chunk + 1), .capacity = chunk_capacity[class], .class = class};
    return chunk;
}

static void chunk_give(struct outq_pool *pool, struct outq_chunk *chunk)
{
    size_t bytes = chunk_bytes(chunk->class);
    buf_unref(chunk->body);
    pool->used_bytes -= bytes;
    if (pool->cached_bytes + bytes > pool->cached_max) {
        free(chunk);
        return;
    }
    chunk->next              = pool->free[chunk->class];
    pool->free[chunk->class] = chunk;
    pool->cached_bytes += bytes;
    poison(chunk + 1, chunk_capacity[chunk->class]);
}

static void chunks_give(struct outq_pool *pool, struct outq_chunk *chunk)
{
    for (struct outq_chunk *next; chunk != NULL; chunk = next) {
        next = chunk->next;
        chunk_give(pool, chunk);
    }
}

void outq_init(struct outq *q, struct outq_pool *pool, struct list *dirty)
{
    *q = (struct outq){.pool = pool, .dirty = dirty};
}

void outq_fini(struct outq *q)
{
    if (q->pool == NULL) {
        return;
    }
    list_remove(&q->dirty_link);
    chunks_give(q->pool, q->first);
    *q = (struct outq){0};
}

static void outq_append(struct outq *q, struct outq_chunk *chunk)
{
    if (q->last == NULL) {
        q->first = chunk;
    } else {
        q->last->next = chunk;
    }
    q->last = chunk;
}

static void outq_grew(struct outq *q, size_t size)
{
    q->size_bytes += size;
    if (!list_linked(&q->dirty_link)) {
        list_push_back(q->dirty, &q->dirty_link);
    }
}

/* Bytes that fit behind the last one, in place. References have no room. */
static size_t tail_room(const struct outq *q)
{
    return q->last == NULL || q->last->class == CHUNK_REF ? 0 : q->last->capacity - q->last->end;
}

/* The first bytes of a queue get a small chunk, a queue that grows gets large ones: fewer iovecs. */
static enum chunk_class class_for(const struct outq *q, size_t size)
{
    return q->first == NULL && size <= chunk_capacity[CHUNK_SMALL] ? CHUNK_SMALL : CHUNK_LARGE;
}

uint8_t *outq_reserve(struct outq *q, size_t size)
{
    ASSERT(size <= OUTQ_RESERVE_MAX_BYTES);
    if (UNLIKELY(q->last == NULL || tail_room(q) < size)) {
        struct outq_chunk *chunk = chunk_take(q->pool, class_for(q, size));
        if (chunk == NULL) {
            return NULL;
        }
        outq_append(q, chunk);
    }
    return q->last->data + q->last->end;
}

void outq_commit(struct outq *q, size_t size)
{
    ASSERT(q->last != NULL && tail_room(q) >= size);
    q->last->end += (uint32_t)size;
    if (size > 0) {
        outq_grew(q, size);
    } else if (q->size_bytes == 0) { /* nothing came of the reservation: an empty queue holds no memory */
        chunks_give(q->pool, q->first);
        q->first = q->last = NULL;
    }
}

/* Enough empty chunks for size bytes, all or none. */
static int chain_take(struct outq *q, size_t size, struct outq_chunk **out_first)
{
    struct outq_chunk  *first = NULL;
    struct outq_chunk **end   = &first;
    enum chunk_class class    = class_for(q, size);
    for (size_t left = size; left > 0;) {
        struct outq_chunk *chunk = chunk_take(q->pool, class);
        if (chunk == NULL) {
            chunks_give(q->pool, first);
            return ERR_FULL;
        }
        *end = chunk;
        end  = &chunk->next;
        left -= left < chunk->capacity ? left : chunk->capacity;
    }
    *out_first = first;
    return 0;
}

static struct bytes chunk_fill(struct outq_chunk *chunk, struct bytes data)
{
    size_t room = chunk->capacity - chunk->end;
    size_t size = data.size < room ? data.size : room;
    memcpy(chunk->data + chunk->end, data.data, size);
    chunk->end += (uint32_t)size;
    return bytes_of(data.data + size, data.size - size);
}

int outq_put(struct outq *q, struct bytes data)
{
    if (data.size == 0) {
        return 0;
    }
    size_t             size  = data.size;
    size_t             room  = tail_room(q);
    struct outq_chunk *chain = NULL;
    if (size > room) {
        int error = chain_take(q, size - room, &chain);
        if (error != 0) {
            return error;
        }
    }
    if (room > 0) {
        data = chunk_fill(q->last, data);
    }
    while (chain != NULL) {
        struct outq_chunk *next = chain->next;
        data                    = chunk_fill(chain, data);
        chain->next             = NULL;
        outq_append(q, chain);
        chain = next;
    }
    ASSERT(data.size == 0);
    outq_grew(q, size);
    return 0;
}

int outq_ref(struct outq *q, struct buf *b, uint32_t offset, uint32_t size)
{
    ASSERT(offset <= b->size && size <= b->size - offset);
    if (size == 0) {
        return 0;
    }
    struct outq_chunk *chunk = chunk_take(q->pool, CHUNK_REF);
    if (chunk == NULL) {
        return ERR_FULL;
    }
    chunk->body = buf_ref(b);
    chunk->data = b->data + offset;
    chunk->end  = size;
    outq_append(q, chunk);
    outq_grew(q, size);
    return 0;
}

int outq_gather(const struct outq *q, struct iovec *iov, int max)
{
    int count = 0;
    for (const struct outq_chunk *chunk = q->first; chunk != NULL && count < max; chunk = chunk->next) {
        if (chunk->end > chunk->start) { /* a reservation that was not used leaves an empty one */
            iov[count++] = (struct iovec){.iov_base = chunk->data + chunk->start, .iov_len = chunk->end - chunk->start};
        }
    }
    return count;
}

void outq_consume(struct outq *q, size_t size)
{
    ASSERT(size <= q->size_bytes);
    q->size_bytes -= size;
    while (q->first != NULL) {
        struct outq_chunk *chunk = q->first;
        size_t             taken = chunk->end - chunk->start;
        taken                    = taken < size ? taken : size;
        chunk->start += (uint32_t)taken;
        size -= taken;
        if (chunk->start < chunk->end) {
            break;
        }
        q->first = chunk->next;
        chunk_give(q->pool, chunk);
    }
    ASSERT(size == 0);
    if (q->first == NULL) {
        q->last = NULL;
        list_remove(&q->dirty_link);
    }
}
