/* queue.c - frames kept until they are answered. */
#include "broker/store/queue.h"

#include "shared/base/assert.h"
#include "shared/base/buggify.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { CHUNK_BYTES = 64 * 1024, SLOTS_AT_FIRST = 256 };

struct queue_chunk {
    struct list link;
    uint32_t    capacity;
    uint32_t    used;
    uint32_t    open_count; /* requests in it without an answer */
    uint8_t     data[];
};

static struct queue_chunk *chunk_at(struct list *link)
{
    return CONTAINER_OF(link, struct queue_chunk, link);
}

static struct queue_chunk *chunk_next(const struct queue *q, struct queue_chunk *chunk)
{
    return chunk->link.next == &q->chunks ? NULL : chunk_at(chunk->link.next);
}

static struct queue_chunk *chunk_add(struct queue *q, size_t size)
{
    size_t              capacity = size > CHUNK_BYTES ? size : CHUNK_BYTES;
    struct queue_chunk *chunk    = malloc(sizeof *chunk + capacity);
    ASSERT(chunk != NULL);
    chunk->capacity   = (uint32_t)capacity;
    chunk->used       = 0;
    chunk->open_count = 0;
    list_push_back(&q->chunks, &chunk->link);
    if (q->sending == NULL) {
        q->sending    = chunk;
        q->sending_at = 0;
    }
    if (q->allowed == NULL) {
        q->allowed    = chunk;
        q->allowed_at = 0;
    }
    return chunk;
}

void queue_init(struct queue *q)
{
    *q = (struct queue){.slots = SLOTS_AT_FIRST, .first_id = 1, .next_id = 1};
    list_init(&q->chunks);
    q->requests = calloc(q->slots, sizeof *q->requests);
    ASSERT(q->requests != NULL);
}

static void free_chunks(struct list *chunks)
{
    struct list *link = NULL;
    while ((link = list_pop_front(chunks)) != NULL) {
        free(chunk_at(link));
    }
}

void queue_fini(struct queue *q)
{
    if (q->requests != NULL) {
        free_chunks(&q->chunks);
        free(q->requests);
    }
    *q = (struct queue){0};
}

uint64_t queue_next_id(const struct queue *q)
{
    return q->next_id;
}

static struct queue_request *slot(struct queue *q, uint64_t id)
{
    return &q->requests[id & (q->slots - 1)];
}

static void grow_slots(struct queue *q)
{
    struct queue_request *grown = calloc((size_t)q->slots * 2, sizeof *grown);
    ASSERT(grown != NULL);
    for (uint64_t id = q->first_id; id < q->next_id; id++) {
        grown[id & (q->slots * 2 - 1)] = *slot(q, id);
    }
    free(q->requests);
    q->requests = grown;
    q->slots *= 2;
}

static struct queue_chunk *put(struct queue *q, struct bytes frame)
{
    struct queue_chunk *chunk = list_empty(&q->chunks) ? NULL : chunk_at(q->chunks.prev);
    if (chunk == NULL || chunk->capacity - chunk->used < frame.size) {
        chunk = chunk_add(q, frame.size);
    }
    memcpy(chunk->data + chunk->used, frame.data, frame.size);
    chunk->used += (uint32_t)frame.size;
    q->held_bytes += frame.size;
    return chunk;
}

void queue_request(struct queue *q, struct bytes frame, uint16_t kind, void *owner)
{
    if (q->next_id - q->first_id == q->slots) {
        grow_slots(q);
    }
    struct queue_chunk *chunk = put(q, frame);
    chunk->open_count++;
    *slot(q, q->next_id) = (struct queue_request){.owner  = owner,
                                                  .chunk  = chunk,
                                                  .offset = chunk->used - (uint32_t)frame.size,
                                                  .size   = (uint32_t)frame.size,
                                                  .kind   = kind};
    q->next_id++;
    q->open_count++;
}

void queue_notice(struct queue *q, struct bytes frame)
{
    (void)put(q, frame);
}

/* Frees chunks at the front that were sent whole and hold no open request. */
static void drop_front(struct queue *q)
{
    while (!list_empty(&q->chunks)) {
        struct queue_chunk *chunk = chunk_at(q->chunks.next);
        bool                sent  = q->sending != chunk || q->sending_at == chunk->used;
        bool                last  = chunk_next(q, chunk) == NULL;
        if (!sent || chunk->open_count != 0 || (last && chunk->used < chunk->capacity / 2)) {
            return;
        }
        if (q->sending == chunk) {
            q->sending    = chunk_next(q, chunk);
            q->sending_at = 0;
        }
        if (q->allowed == chunk) {
            q->allowed    = chunk_next(q, chunk);
            q->allowed_at = 0;
        }
        q->held_bytes -= chunk->used;
        list_remove(&chunk->link);
        free(chunk);
    }
}

void *queue_answered(struct queue *q, uint64_t id, uint16_t *out_kind)
{
    if (id < q->first_id || id >= q->next_id || slot(q, id)->chunk == NULL) {
        return NULL;
    }
    struct queue_request *request = slot(q, id);
    void                 *owner   = request->owner;
    *out_kind                     = request->kind;
    request->chunk->open_count--;
    q->used_bytes -= request->size < q->used_bytes ? request->size : q->used_bytes;
    q->open_count--;
    *request = (struct queue_request){0};
    while (q->first_id < q->next_id && slot(q, q->first_id)->chunk == NULL) {
        q->first_id++;
    }
    drop_front(q);
    return owner;
}

void queue_abandon(struct queue *q, uint64_t id)
{
    if (id >= q->first_id && id < q->next_id) {
        slot(q, id)->owner = NULL;
    }
}

/* Moves the place up to which frames may be sent; one frame may pass the credit when nothing is under way, so that none
 * waits for ever. */
static void allow(struct queue *q)
{
    while (q->allowed != NULL) {
        if (q->allowed_at == q->allowed->used) {
            struct queue_chunk *next = chunk_next(q, q->allowed);
            if (next == NULL) {
                return;
            }
            q->allowed    = next;
            q->allowed_at = 0;
            continue;
        }
        struct rpc_header header;
        memcpy(&header, q->allowed->data + q->allowed_at, sizeof header);
        size_t size   = header.size + (size_t)RPC_HEADER_BYTES;
        size_t counts = header.kind == RPC_RESUME ? 0 : size;
        if (q->used_bytes != 0 && q->used_bytes + counts > q->credit_bytes) {
            return;
        }
        q->used_bytes += counts;
        q->allowed_at += size;
    }
}

int queue_gather(struct queue *q, struct iovec *iov, int max, size_t *out_size)
{
    allow(q);
    int                 count = 0;
    size_t              size  = 0;
    struct queue_chunk *chunk = q->sending;
    size_t              at    = q->sending_at;
    while (chunk != NULL && count < max) {
        size_t end = chunk == q->allowed ? q->allowed_at : chunk->used;
        if (end > at) {
            iov[count++] = (struct iovec){.iov_base = chunk->data + at, .iov_len = end - at};
            size += end - at;
        }
        if (chunk == q->allowed) {
            break;
        }
        chunk = chunk_next(q, chunk);
        at    = 0;
    }
    *out_size = size;
    return count;
}

void queue_sent(struct queue *q, size_t size)
{
    while (size != 0) {
        size_t left = q->sending->used - q->sending_at;
        size_t step = size < left ? size : left;
        q->sending_at += step;
        size -= step;
        if (q->sending_at == q->sending->used && chunk_next(q, q->sending) != NULL) {
            q->sending    = chunk_next(q, q->sending);
            q->sending_at = 0;
        }
    }
    drop_front(q);
}

void queue_restart(struct queue *q, uint64_t credit_bytes)
{
    struct list old;
    list_init(&old);
    struct list *link = NULL;
    while ((link = list_pop_front(&q->chunks)) != NULL) {
        list_push_back(&old, link);
    }
    q->sending      = NULL;
    q->allowed      = NULL;
    q->sending_at   = 0;
    q->allowed_at   = 0;
    q->used_bytes   = 0;
    q->held_bytes   = 0;
    q->credit_bytes = BUGGIFY("queue: short credit", 2) ? 1 : credit_bytes;
    for (uint64_t id = q->first_id; id < q->next_id; id++) {
        struct queue_request *request = slot(q, id);
        if (request->chunk == NULL) {
            continue;
        }
        struct queue_chunk *chunk = put(q, bytes_of(request->chunk->data + request->offset, request->size));
        chunk->open_count++;
        request->chunk  = chunk;
        request->offset = chunk->used - request->size;
    }
    free_chunks(&old);
}
