/* queue.c - requests kept until they are answered. */
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
    uint32_t    open_count; /* requests in it without an answer, shells among them */
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
    *q = (struct queue){.slots = SLOTS_AT_FIRST, .first_id = 1, .next_id = 1, .stopped = true};
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

static struct queue_request *slot(const struct queue *q, uint64_t id)
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

void queue_request(struct queue *q, struct bytes frame, uint16_t kind, uint16_t stripe, void *owner)
{
    ASSERT(owner != NULL);
    if (q->next_id - q->first_id == q->slots) {
        grow_slots(q);
    }
    struct queue_chunk *chunk = put(q, frame);
    chunk->open_count++;
    *slot(q, q->next_id) = (struct queue_request){.owner  = owner,
                                                  .chunk  = chunk,
                                                  .offset = chunk->used - (uint32_t)frame.size,
                                                  .size   = (uint32_t)frame.size,
                                                  .kind   = kind,
                                                  .stripe = stripe};
    q->next_id++;
    q->open_count++;
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

const struct queue_request *queue_find(const struct queue *q, uint64_t id)
{
    return id >= q->first_id && id < q->next_id && slot(q, id)->owner != NULL ? slot(q, id) : NULL;
}

static void free_chunk(struct queue *q, struct queue_chunk *chunk)
{
    q->held_bytes -= chunk->used;
    list_remove(&chunk->link);
    free(chunk);
}

/* Only the place is left of it; without a connection not even that. */
static void forget(struct queue *q, struct queue_request *request)
{
    struct queue_chunk *chunk = request->chunk;
    q->open_count -= request->owner != NULL;
    *request = (struct queue_request){0};
    if (--chunk->open_count == 0 && q->stopped) {
        q->sending    = q->sending == chunk ? chunk_next(q, chunk) : q->sending;
        q->allowed    = q->allowed == chunk ? chunk_next(q, chunk) : q->allowed;
        q->sending_at = 0;
        q->allowed_at = 0;
        free_chunk(q, chunk);
    }
}

static void forget_first(struct queue *q)
{
    while (q->first_id < q->next_id && slot(q, q->first_id)->chunk == NULL) {
        q->first_id++;
    }
}

void queue_answered(struct queue *q, uint64_t id)
{
    if (id < q->first_id || id >= q->next_id || slot(q, id)->chunk == NULL) {
        return;
    }
    struct queue_request *request = slot(q, id);
    q->used_bytes -= request->size < q->used_bytes ? request->size : q->used_bytes;
    forget(q, request);
    forget_first(q);
    drop_front(q);
}

static void leave_shell(struct queue *q, struct queue_request *request)
{
    if (q->stopped) {
        forget(q, request);
        return;
    }
    q->open_count -= request->owner != NULL;
    request->owner = NULL;
}

void queue_abandon(struct queue *q, uint64_t id)
{
    if (queue_find(q, id) != NULL) {
        leave_shell(q, slot(q, id));
        forget_first(q);
    }
}

void queue_take(struct queue *q, const struct queue_taker *taker)
{
    for (uint64_t id = q->first_id; id < q->next_id && q->open_count != 0; id++) {
        struct queue_request *request = slot(q, id);
        if (request->owner == NULL || request->kind != RPC_TXN || !taker->wanted(taker->ctx, request->stripe)) {
            continue;
        }
        taker->take(taker->ctx, request->stripe, bytes_of(request->chunk->data + request->offset, request->size),
                    request->owner);
        leave_shell(q, request);
    }
    forget_first(q);
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
        size_t size = header.size + (size_t)RPC_HEADER_BYTES;
        if (q->used_bytes != 0 && q->used_bytes + size > q->credit_bytes) {
            return;
        }
        q->used_bytes += size;
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

void queue_stop(struct queue *q)
{
    q->stopped    = true;
    q->sending    = list_empty(&q->chunks) ? NULL : chunk_at(q->chunks.next);
    q->allowed    = q->sending;
    q->sending_at = 0;
    q->allowed_at = 0;
    q->used_bytes = 0;
    for (uint64_t id = q->first_id; id < q->next_id; id++) {
        if (slot(q, id)->chunk != NULL && slot(q, id)->owner == NULL) {
            forget(q, slot(q, id));
        }
    }
    forget_first(q);
    LIST_EACH (&q->chunks, link) { /* all answered, and kept for what might be put behind */
        if (chunk_at(link)->open_count == 0) {
            free_chunk(q, chunk_at(link));
        }
    }
    q->sending = list_empty(&q->chunks) ? NULL : chunk_at(q->chunks.next);
    q->allowed = q->sending;
}

void queue_restart(struct queue *q, uint64_t credit_bytes)
{
    queue_stop(q);
    struct list old;
    list_init(&old);
    struct list *link = NULL;
    while ((link = list_pop_front(&q->chunks)) != NULL) {
        list_push_back(&old, link);
    }
    q->stopped      = false;
    q->sending      = NULL;
    q->allowed      = NULL;
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
