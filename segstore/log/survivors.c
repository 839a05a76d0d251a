/* survivors.c - sorted chunks, and a heap that merges them. */
#include "segstore/log/survivors.h"

#include <stdlib.h>

enum { CHUNK = 2048 };

struct survivor_chunk {
    size_t          count;
    size_t          at; /* of the first that is left */
    struct survivor them[CHUNK];
};

void survivors_init(struct survivors *s, enum survivors_order order)
{
    *s = (struct survivors){.order = order};
}

void survivors_fini(struct survivors *s)
{
    for (size_t i = 0; i < s->chunk_count; i++) {
        free(s->chunks[i]);
    }
    free(s->chunks);
    *s = (struct survivors){.order = s->order};
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct survivor *)a)->position;
    uint64_t y = ((const struct survivor *)b)->position;
    return x < y ? -1 : x > y;
}

static int by_stream(const void *a, const void *b)
{
    const struct survivor *x = a;
    const struct survivor *y = b;
    if (x->stripe != y->stripe) {
        return x->stripe < y->stripe ? -1 : 1;
    }
    if (x->stream_id != y->stream_id) {
        return x->stream_id < y->stream_id ? -1 : 1;
    }
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return by_position(a, b);
}

static void sort(const struct survivors *s, struct survivor_chunk *chunk)
{
    qsort(chunk->them, chunk->count, sizeof chunk->them[0],
          s->order == SURVIVORS_BY_POSITION ? by_position : by_stream);
}

static struct survivor_chunk *chunk_new(struct survivors *s)
{
    if (s->chunk_count == s->chunk_capacity) {
        s->chunk_capacity = s->chunk_capacity == 0 ? 16 : s->chunk_capacity * 2;
        s->chunks         = realloc(s->chunks, s->chunk_capacity * sizeof(struct survivor_chunk *));
        ASSERT_MEMORY(s->chunks != NULL);
    }
    struct survivor_chunk *chunk = malloc(sizeof *chunk);
    ASSERT_MEMORY(chunk != NULL);
    chunk->count                = 0;
    chunk->at                   = 0;
    s->chunks[s->chunk_count++] = chunk;
    return chunk;
}

void survivors_add(struct survivors *s, const struct survivor *survivor)
{
    struct survivor_chunk *chunk = s->chunk_count == 0 ? NULL : s->chunks[s->chunk_count - 1];
    if (chunk == NULL || chunk->count == CHUNK) {
        chunk = chunk_new(s);
    }
    chunk->them[chunk->count++] = *survivor;
    s->left++;
    if (chunk->count == CHUNK) {
        sort(s, chunk);
    }
}

static bool is_before(const struct survivors *s, size_t a, size_t b)
{
    const struct survivor *x = &s->chunks[a]->them[s->chunks[a]->at];
    const struct survivor *y = &s->chunks[b]->them[s->chunks[b]->at];
    return s->order == SURVIVORS_BY_POSITION ? x->position < y->position : by_stream(x, y) < 0;
}

static void sift_down(struct survivors *s, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < s->chunk_count; child++) {
            least = is_before(s, child, least) ? child : least;
        }
        if (least == at) {
            return;
        }
        struct survivor_chunk *swap = s->chunks[at];
        s->chunks[at]               = s->chunks[least];
        s->chunks[least]            = swap;
        at                          = least;
    }
}

void survivors_ready(struct survivors *s)
{
    if (s->chunk_count > 0 && s->chunks[s->chunk_count - 1]->count < CHUNK) {
        sort(s, s->chunks[s->chunk_count - 1]);
    }
    for (size_t i = s->chunk_count / 2; i-- > 0;) {
        sift_down(s, i);
    }
}

const struct survivor *survivors_first(const struct survivors *s)
{
    return s->chunk_count == 0 ? NULL : &s->chunks[0]->them[s->chunks[0]->at];
}

void survivors_pop(struct survivors *s)
{
    struct survivor_chunk *first = s->chunks[0];
    s->left--;
    if (++first->at == first->count) {
        free(first);
        s->chunks[0] = s->chunks[--s->chunk_count];
    }
    if (s->chunk_count > 0) {
        sift_down(s, 0);
    }
}
