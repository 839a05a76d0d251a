/* arena.c - a chain of blocks and a place in the last one. */
#include "shared/mem/arena.h"

#include "shared/base/assert.h"
#include "shared/mem/poison.h"

#include <stdlib.h>

enum { ARENA_ALIGN_BYTES = 16 };

struct arena_block {
    struct arena_block *next;
    size_t              used_bytes;
    size_t              size_bytes; /* of data */
    size_t              padding;
    uint8_t             data[];
};
_Static_assert(sizeof(struct arena_block) % ARENA_ALIGN_BYTES == 0, "the first piece is aligned");

void arena_init(struct arena *arena, size_t block_bytes, size_t limit_bytes)
{
    ASSERT(block_bytes > 0);
    *arena = (struct arena){.block_bytes = block_bytes, .limit_bytes = limit_bytes};
}

static void arena_drop_from(struct arena *arena, struct arena_block *block)
{
    for (struct arena_block *next; block != NULL; block = next) {
        next = block->next;
        arena->held_bytes -= sizeof *block + block->size_bytes;
        unpoison(block->data, block->size_bytes);
        free(block);
    }
}

void arena_fini(struct arena *arena)
{
    arena_drop_from(arena, arena->first);
    arena->first   = NULL;
    arena->current = NULL;
}

/* Puts a block that holds at least size bytes behind the last one. */
static struct arena_block *arena_grow(struct arena *arena, size_t size)
{
    size_t data_bytes = size > arena->block_bytes ? size : arena->block_bytes;
    size_t left_bytes = arena->limit_bytes - arena->held_bytes;
    if (left_bytes < sizeof(struct arena_block) || data_bytes > left_bytes - sizeof(struct arena_block)) {
        return NULL;
    }
    struct arena_block *block = malloc(sizeof *block + data_bytes);
    if (block == NULL) {
        return NULL;
    }
    block->next       = NULL;
    block->used_bytes = 0;
    block->size_bytes = data_bytes;
    block->padding    = 0;
    poison(block->data, data_bytes);
    arena->held_bytes += sizeof *block + data_bytes;
    if (arena->current == NULL) {
        arena->first = block;
    } else {
        arena->current->next = block;
    }
    arena->current = block;
    return block;
}

void *arena_take(struct arena *arena, size_t size)
{
    size_t rounded = (size + ARENA_ALIGN_BYTES - 1) & ~(size_t)(ARENA_ALIGN_BYTES - 1);
    if (rounded < size) {
        return NULL;
    }
    struct arena_block *block = arena->current;
    if (block == NULL || block->size_bytes - block->used_bytes < rounded) {
        block = arena_grow(arena, rounded);
        if (block == NULL) {
            return NULL;
        }
    }
    uint8_t *piece = block->data + block->used_bytes;
    block->used_bytes += rounded;
    unpoison(piece, size);
    return piece;
}

uint8_t *arena_copy(struct arena *arena, struct bytes data)
{
    uint8_t *copy = arena_take(arena, data.size + 1);
    if (copy == NULL) {
        return NULL;
    }
    if (data.size > 0) {
        memcpy(copy, data.data, data.size);
    }
    copy[data.size] = 0;
    return copy;
}

void arena_reset(struct arena *arena)
{
    struct arena_block *first = arena->first;
    if (first == NULL) {
        return;
    }
    if (first->size_bytes != arena->block_bytes) {
        arena_fini(arena);
        return;
    }
    arena_drop_from(arena, first->next);
    first->next       = NULL;
    first->used_bytes = 0;
    arena->current    = first;
    poison(first->data, first->size_bytes);
}
