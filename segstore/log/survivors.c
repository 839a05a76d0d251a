/* survivors.c - sorted chunks, and a heap that merges them. */
#include "segstore/log/survivors.h"

#include <stdlib.h>

enum { CHUNK = 2048 };

struct survivor_chunk {
    size_t          count;
    size_t          at; /* of the first that is left */
    struct survivor them[CHUNK];
};

void survivors_init(struct survivors *s)
{
    *s = (struct survivors){0};
}

void survivors_fini(struct survivors *s)
{
    for (size_t i = 0; i < s->chunk_count; i++) {
        free(s->chunks[i]);
    }
    free(s->chunks);
    *s = (struct survivors){0};
}

static int by_position(const void *a, const void *b)
{
    uint64_t x = ((const struct survivor *)a)->position;
    uint64_t y = ((const struct survivor *)b)->position;
    return x < y ? -1 : x > y;
}

static void sort(struct survivor_chunk *chunk)
{
    qsort(chunk->them, chunk->count, sizeof chunk->them[0], by_position);
}

static struct survivor_chunk *chunk_new(struct survivors *s)
{
    if (s->chunk_count == s->chunk_capacity) {
        s->chunk_capacity = s->chunk_capacity == 0 ? 16 : s->chunk_capacity * 2;
        s->chunks         = realloc(s->chunks, s->chunk_capacity * sizeof(struct survivor_chunk *));
        ASSERT(s->chunks != NULL); /* out of memory */
    }
    struct survivor_chunk *chunk = malloc(sizeof *chunk);
    ASSERT(chunk != NULL); /* out of memory */
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
        sort(chunk);
    }
}

static uint64_t head(const struct survivors *s, size_t i)
{
    return s->chunks[i]->them[s->chunks[i]->at].position;
}

static void sift_down(struct survivors *s, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < s->chunk_count; child++) {
            least = head(s, child) < head(s, least) ? child : least;
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
        sort(s->chunks[s->chunk_count - 1]);
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
