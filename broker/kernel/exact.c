/* exact - see exact.h. */
#include "broker/kernel/exact.h"

#include <stdlib.h>

enum { SIZE_MIN = 16 };

static uint64_t named(uint64_t hash)
{
    return hash == 0 ? 1 : hash;
}

static struct exact_part *part_of(const struct exact *x, uint64_t hash)
{
    return (struct exact_part *)(uintptr_t)&x->parts[hash % EXACT_PARTS];
}

static uint32_t home(const struct exact_part *p, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * p->size) >> 32);
}

static uint32_t after(const struct exact_part *p, uint32_t at)
{
    return at + 1 == p->size ? 0 : at + 1;
}

void exact_fini(struct exact *x)
{
    for (unsigned i = 0; i < EXACT_PARTS; i++) {
        free(x->parts[i].entries);
        x->parts[i] = (struct exact_part){0};
    }
}

/* The first free entry from the home of hash on. */
static struct exact_entry *vacant(const struct exact_part *p, uint64_t hash)
{
    uint32_t at = home(p, hash);
    while (p->entries[at].hash != 0) {
        at = after(p, at);
    }
    return &p->entries[at];
}

static bool resize(struct exact_part *p, uint32_t size)
{
    struct exact_part bigger = {.entries = calloc(size, sizeof *bigger.entries), .size = size, .used = p->used};
    if (bigger.entries == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < p->size; i++) {
        if (p->entries[i].hash != 0) {
            *vacant(&bigger, p->entries[i].hash) = p->entries[i];
        }
    }
    free(p->entries);
    *p = bigger;
    return true;
}

struct exact_entry *exact_find(const struct exact *x, uint64_t hash, unsigned shard)
{
    hash                       = named(hash);
    const struct exact_part *p = part_of(x, hash);
    if (p->used == 0) {
        return NULL;
    }
    for (uint32_t at = home(p, hash); p->entries[at].hash != 0; at = after(p, at)) {
        if (p->entries[at].hash == hash && p->entries[at].shard == shard) {
            return &p->entries[at];
        }
    }
    return NULL;
}

struct exact_entry *exact_make(struct exact *x, uint64_t hash, unsigned shard)
{
    struct exact_entry *entry = exact_find(x, hash, shard);
    if (entry != NULL) {
        return entry;
    }
    hash                       = named(hash);
    struct exact_part *p       = part_of(x, hash);
    bool               crowded = (p->used + 1) * 5ull > p->size * 4ull;
    if (crowded && !resize(p, p->size < SIZE_MIN ? SIZE_MIN : p->size + p->size / 4) && p->used + 1 >= p->size) {
        return NULL; /* one stays free, so that every search ends */
    }
    entry  = vacant(p, hash);
    *entry = (struct exact_entry){.hash = hash, .shard = shard & 63};
    p->used++;
    return entry;
}

/* What was pushed behind the entry moves up, so that no search ends too soon. */
void exact_drop(struct exact *x, struct exact_entry *entry)
{
    struct exact_part *p    = part_of(x, entry->hash);
    uint32_t           hole = (uint32_t)(entry - p->entries);
    for (uint32_t at = after(p, hole); p->entries[at].hash != 0; at = after(p, at)) {
        uint32_t from  = home(p, p->entries[at].hash);
        bool     stays = hole <= at ? hole < from && from <= at : hole < from || from <= at;
        if (!stays) {
            p->entries[hole] = p->entries[at];
            hole             = at;
        }
    }
    p->entries[hole] = (struct exact_entry){0};
    p->used--;
    if (p->used == 0) {
        free(p->entries);
        *p = (struct exact_part){0};
    } else if (p->size > SIZE_MIN && p->used * 3 < p->size) {
        (void)resize(p, p->used * 3 / 2 + SIZE_MIN); /* as it is, if there is no memory to make it smaller */
    }
}

static bool forget_some(struct exact *x, struct exact_part *p, unsigned shard)
{
    bool any = false;
    for (uint32_t at = 0; at < p->size; at++) {
        uint32_t size = p->size;
        while (p->size == size && p->entries[at].hash != 0 && p->entries[at].shard == shard) {
            exact_drop(x, &p->entries[at]);
            any = true;
        }
        if (p->size != size) {
            return true; /* it was made smaller */
        }
    }
    return any;
}

void exact_forget(struct exact *x, unsigned shard)
{
    for (unsigned part = 0; part < EXACT_PARTS; part++) {
        while (forget_some(x, &x->parts[part], shard)) {
            /* What moved into a hole may have passed by: once more. */
        }
    }
}

uint64_t exact_shards(const struct exact *x, uint64_t hash, unsigned self, bool quality)
{
    uint64_t shards            = 0;
    hash                       = named(hash);
    const struct exact_part *p = part_of(x, hash);
    if (p->used == 0) {
        return 0;
    }
    for (uint32_t at = home(p, hash); p->entries[at].hash != 0; at = after(p, at)) {
        const struct exact_entry *e = &p->entries[at];
        if (e->hash == hash && e->shard != self && (!quality || e->quality != 0)) {
            shards |= 1ull << e->shard;
        }
    }
    return shards;
}

uint64_t exact_bytes(const struct exact *x)
{
    uint64_t bytes = sizeof *x;
    for (unsigned i = 0; i < EXACT_PARTS; i++) {
        bytes += x->parts[i].size * sizeof(struct exact_entry);
    }
    return bytes;
}
