/* wants - see wants.h. */
#include "broker/kernel/wants.h"

#include <stdlib.h>

enum { SIZE_MIN = 16 };

/* 0 stands for nothing. */
static uint64_t named(uint64_t key)
{
    return key == 0 ? 1 : key;
}

static struct wants_part *part_of(const struct wants *x, uint64_t key)
{
    return (struct wants_part *)(uintptr_t)&x->parts[key % WANTS_PARTS];
}

static uint32_t home(const struct wants_part *p, uint64_t key)
{
    return (uint32_t)(((key >> 32) * p->size) >> 32);
}

static uint32_t after(const struct wants_part *p, uint32_t at)
{
    return at + 1 == p->size ? 0 : at + 1;
}

void wants_fini(struct wants *x)
{
    for (unsigned i = 0; i < WANTS_PARTS; i++) {
        free(x->parts[i].entries);
    }
    *x = (struct wants){0};
}

/* The first free entry from the home of key on. */
static struct want *vacant(const struct wants_part *p, uint64_t key)
{
    uint32_t at = home(p, key);
    while (p->entries[at].key != 0) {
        at = after(p, at);
    }
    return &p->entries[at];
}

/* At least size, as 4, 5, 6 or 7 times a power of two: the sizes that the allocator has. */
static uint32_t fitting(uint32_t size)
{
    uint32_t step = SIZE_MIN / 4;
    while (size > 7 * step) {
        step *= 2;
    }
    return (size + step - 1) / step * step;
}

static bool resize(struct wants_part *p, uint32_t size)
{
    struct wants_part bigger = {.entries = calloc(size, sizeof *bigger.entries), .size = size, .used = p->used};
    if (bigger.entries == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < p->size; i++) {
        if (p->entries[i].key != 0) {
            *vacant(&bigger, p->entries[i].key) = p->entries[i];
        }
    }
    free(p->entries);
    *p = bigger;
    return true;
}

struct want *wants_find(const struct wants *x, uint64_t key, unsigned shard)
{
    key                        = named(key);
    const struct wants_part *p = part_of(x, key);
    if (p->used == 0) {
        return NULL;
    }
    for (uint32_t at = home(p, key); p->entries[at].key != 0; at = after(p, at)) {
        if (p->entries[at].key == key && p->entries[at].shard == shard) {
            return &p->entries[at];
        }
    }
    return NULL;
}

struct want *wants_make(struct wants *x, uint64_t key, unsigned shard)
{
    struct want *entry = wants_find(x, key, shard);
    if (entry != NULL) {
        return entry;
    }
    key                        = named(key);
    struct wants_part *p       = part_of(x, key);
    bool               crowded = (p->used + 1) * 5ull > p->size * 4ull;
    if (crowded && !resize(p, fitting(p->size < SIZE_MIN ? SIZE_MIN : p->size + 1)) && p->used + 1 >= p->size) {
        return NULL; /* one stays free, so that every search ends */
    }
    entry  = vacant(p, key);
    *entry = (struct want){.key = key, .shard = shard & 63};
    p->used++;
    x->count++;
    return entry;
}

/* What was pushed behind the entry moves up, so that no search ends too soon. */
void wants_drop(struct wants *x, struct want *entry)
{
    struct wants_part *p    = part_of(x, entry->key);
    uint32_t           hole = (uint32_t)(entry - p->entries);
    for (uint32_t at = after(p, hole); p->entries[at].key != 0; at = after(p, at)) {
        uint32_t from  = home(p, p->entries[at].key);
        bool     stays = hole <= at ? hole < from && from <= at : hole < from || from <= at;
        if (!stays) {
            p->entries[hole] = p->entries[at];
            hole             = at;
        }
    }
    p->entries[hole] = (struct want){0};
    p->used--;
    x->count--;
    if (p->used == 0) {
        free(p->entries);
        *p = (struct wants_part){0};
    } else if (p->size > SIZE_MIN && p->used * 3 < p->size) {
        (void)resize(p, fitting(p->used * 3 / 2 + SIZE_MIN)); /* as it is, if there is no memory to make it smaller */
    }
}

static bool forget_some(struct wants *x, struct wants_part *p, unsigned shard)
{
    bool any = false;
    for (uint32_t at = 0; at < p->size; at++) {
        uint32_t size = p->size;
        while (p->size == size && p->entries[at].key != 0 && p->entries[at].shard == shard) {
            wants_drop(x, &p->entries[at]);
            any = true;
        }
        if (p->size != size) {
            return true; /* it was made smaller */
        }
    }
    return any;
}

void wants_forget(struct wants *x, unsigned shard)
{
    for (unsigned part = 0; part < WANTS_PARTS; part++) {
        while (forget_some(x, &x->parts[part], shard)) {
            /* What moved into a hole may have passed by: once more. */
        }
    }
}

void wants_fetch(const struct wants *x, uint64_t key)
{
    key                        = named(key);
    const struct wants_part *p = part_of(x, key);
    if (p->used != 0) {
        __builtin_prefetch(&p->entries[home(p, key)]);
    }
}

uint64_t wants_shards(const struct wants *x, uint64_t key, bool quality)
{
    uint64_t shards            = 0;
    key                        = named(key);
    const struct wants_part *p = part_of(x, key);
    if (p->used == 0) {
        return 0;
    }
    for (uint32_t at = home(p, key); p->entries[at].key != 0; at = after(p, at)) {
        const struct want *e = &p->entries[at];
        if (e->key == key && (!quality || e->quality != 0)) {
            shards |= 1ull << e->shard;
        }
    }
    return shards;
}

uint64_t wants_bytes(const struct wants *x)
{
    uint64_t bytes = sizeof *x;
    for (unsigned i = 0; i < WANTS_PARTS; i++) {
        bytes += x->parts[i].size * sizeof(struct want);
    }
    return bytes;
}
