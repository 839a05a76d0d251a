/* rows - see rows.h. */
#include "broker/kernel/rows.h"

#include <stdlib.h>

enum { SET_MIN = 4, CELL_BYTES = 8 };

_Static_assert(offsetof(struct row, text) == ROW_TEXT_AT, "millions of them are counted");

/* ---- cells ---------------------------------------------------------------------------------------------------------- */

static uint32_t cells_of(size_t filter_size)
{
    size_t text = filter_size <= ROW_INLINE_BYTES ? filter_size : sizeof(uint8_t *);
    return (uint32_t)((ROW_TEXT_AT + text + CELL_BYTES - 1) / CELL_BYTES);
}

static bool chunk_add(struct rows *x)
{
    if (x->chunk_count == UINT32_MAX / ROWS_CHUNK_CELLS) {
        return false;
    }
    if ((x->chunk_count & (x->chunk_count - 1)) == 0) {
        size_t     room   = x->chunk_count == 0 ? 1 : 2 * (size_t)x->chunk_count;
        uint64_t **chunks = realloc(x->chunks, room * sizeof *chunks);
        if (chunks == NULL) {
            return false;
        }
        x->chunks = chunks;
    }
    uint64_t *chunk = malloc(ROWS_CHUNK_CELLS * sizeof *chunk);
    if (chunk == NULL) {
        return false;
    }
    x->chunks[x->chunk_count] = chunk;
    x->fresh                  = x->chunk_count++ * ROWS_CHUNK_CELLS;
    x->fresh += x->fresh == ROWS_NONE;
    return true;
}

static void cells_give(struct rows *x, uint32_t at, uint32_t cells)
{
    memcpy(rows_at(x, at), &x->given[cells], sizeof at);
    x->given[cells] = at;
}

static uint32_t cells_take(struct rows *x, uint32_t cells)
{
    uint32_t at = x->given[cells];
    if (at != ROWS_NONE) {
        memcpy(&x->given[cells], rows_at(x, at), sizeof at);
        return at;
    }
    uint32_t left = x->chunk_count * ROWS_CHUNK_CELLS - x->fresh;
    if (left < cells) {
        uint32_t rest = x->fresh;
        if (!chunk_add(x)) {
            return ROWS_NONE;
        }
        if (left != 0) {
            cells_give(x, rest, left);
        }
    }
    at = x->fresh;
    x->fresh += cells;
    return at;
}

/* ---- filters: linear hashing, as in tree.c. A bucket for every filter, split off the bucket whose turn it is. ---- */

static uint32_t *bucket_at(const struct rows *x, uint32_t bucket)
{
    return &x->buckets[bucket / ROWS_CHUNK_BUCKETS][bucket % ROWS_CHUNK_BUCKETS];
}

static uint32_t *bucket_of(const struct rows *x, uint32_t hash)
{
    uint32_t bucket = hash & (2 * x->bucket_base - 1);
    return bucket_at(x, bucket < x->bucket_count ? bucket : hash & (x->bucket_base - 1));
}

static bool bucket_room(struct rows *x)
{
    if (x->bucket_count % ROWS_CHUNK_BUCKETS != 0) {
        return true;
    }
    uint32_t   at      = x->bucket_count / ROWS_CHUNK_BUCKETS;
    uint32_t **buckets = x->buckets;
    if ((at & (at - 1)) == 0) {
        buckets = realloc(x->buckets, (at == 0 ? 1 : 2 * (size_t)at) * sizeof *buckets);
    }
    if (buckets == NULL) {
        return false;
    }
    x->buckets  = buckets;
    buckets[at] = calloc(ROWS_CHUNK_BUCKETS, sizeof **buckets);
    return buckets[at] != NULL;
}

static bool bucket_add(struct rows *x)
{
    if (!bucket_room(x)) {
        return false;
    }
    if (x->bucket_count == 0) {
        x->bucket_base  = ROWS_CHUNK_BUCKETS;
        x->bucket_count = ROWS_CHUNK_BUCKETS;
        return true;
    }
    uint32_t *old = bucket_at(x, x->bucket_count - x->bucket_base);
    uint32_t *new = bucket_at(x, x->bucket_count);
    x->bucket_count++;
    for (uint32_t at = *old, next; at != ROWS_NONE; at = next) {
        struct row *row = rows_at(x, at);
        next            = row->chain;
        if (bucket_of(x, row->hash) == new) {
            *old       = next;
            row->chain = *new;
            *new       = at;
        } else {
            old = &row->chain;
        }
    }
    if (x->bucket_count == 2 * x->bucket_base) {
        x->bucket_base = x->bucket_count;
    }
    return true;
}

static uint32_t chain_find(const struct rows *x, uint32_t at, uint32_t hash)
{
    while (at != ROWS_NONE && rows_at(x, at)->hash != hash) {
        at = rows_at(x, at)->chain;
    }
    return at;
}

static void enter(struct rows *x, uint32_t at)
{
    struct row  *row    = rows_at(x, at);
    struct bytes filter = row_filter(row);
    for (uint32_t other = rows_first(x, row->hash); other != ROWS_NONE; other = rows_other(x, other)) {
        struct row *head = rows_at(x, other);
        if (bytes_equal(row_filter(head), filter)) {
            row->chain                   = ROW_BEHIND;
            row->prev                    = other;
            row->next                    = head->next;
            rows_at(x, head->next)->prev = at;
            head->next                   = at;
            return;
        }
    }
    uint32_t *bucket = bucket_of(x, row->hash);
    row->chain       = *bucket;
    row->next        = at;
    row->prev        = at;
    *bucket          = at;
    x->filter_count++;
}

static void leave(struct rows *x, uint32_t at)
{
    struct row *row             = rows_at(x, at);
    rows_at(x, row->next)->prev = row->prev;
    rows_at(x, row->prev)->next = row->next;
    if (row->chain == ROW_BEHIND) {
        return;
    }
    uint32_t *place = bucket_of(x, row->hash);
    while (*place != at) {
        place = &rows_at(x, *place)->chain;
    }
    if (row->next == at) {
        *place = row->chain;
        x->filter_count--;
    } else {
        *place                       = row->next;
        rows_at(x, row->next)->chain = row->chain;
    }
}

/* ---- owners ---------------------------------------------------------------------------------------------------------- */

static uint32_t home(const struct row_set *set, uint32_t hash)
{
    return (uint32_t)((uint64_t)hash * set->size >> 32);
}

static uint32_t after(const struct row_set *set, uint32_t at)
{
    return at + 1 == set->size ? 0 : at + 1;
}

/* At least size, as 4, 5, 6 or 7 times a power of two: the sizes that the allocator has. */
static uint32_t fitting(uint32_t size)
{
    uint32_t step = SET_MIN / 4;
    while (size > 7 * step) {
        step *= 2;
    }
    return size <= SET_MIN ? SET_MIN : (size + step - 1) / step * step;
}

static void set_put(const struct rows *x, struct row_set *set, uint32_t row)
{
    uint32_t at = home(set, rows_at(x, row)->hash);
    while (set->slots[at] != ROWS_NONE) {
        at = after(set, at);
    }
    set->slots[at] = row;
}

static bool set_resize(const struct rows *x, struct row_set *set, uint32_t size)
{
    struct row_set other = {.slots = calloc(size, sizeof *other.slots), .size = size, .count = set->count};
    if (other.slots == NULL) {
        return false;
    }
    for (uint32_t i = 0; i < set->size; i++) {
        if (set->slots[i] != ROWS_NONE) {
            set_put(x, &other, set->slots[i]);
        }
    }
    free(set->slots);
    *set = other;
    return true;
}

/* One slot stays free, so that every search ends. */
static bool set_room(const struct rows *x, struct row_set *set)
{
    bool crowded = (set->count + 1) * 5ull > set->size * 4ull;
    return !crowded || set_resize(x, set, fitting((set->count + 1) * 4 / 3 + 1)) || set->count + 1 < set->size;
}

static void set_remove(const struct rows *x, struct row_set *set, uint32_t row)
{
    uint32_t hole = home(set, rows_at(x, row)->hash);
    while (set->slots[hole] != row) {
        hole = after(set, hole);
    }
    for (uint32_t at = after(set, hole); set->slots[at] != ROWS_NONE; at = after(set, at)) {
        uint32_t from  = home(set, rows_at(x, set->slots[at])->hash);
        bool     stays = hole <= at ? hole < from && from <= at : hole < from || from <= at;
        if (!stays) {
            set->slots[hole] = set->slots[at];
            hole             = at;
        }
    }
    set->slots[hole] = ROWS_NONE;
    set->count--;
    if (set->count == 0) {
        free(set->slots);
        *set = (struct row_set){0};
    } else if (set->size > SET_MIN && set->count * 3 < set->size) {
        (void)set_resize(x, set,
                         fitting(set->count * 3 / 2 + 1)); /* as it is, if there is no memory to make it smaller */
    }
}

/* ---- rows ------------------------------------------------------------------------------------------------------------ */

struct bytes row_filter(const struct row *row)
{
    if (row->size <= ROW_INLINE_BYTES) {
        return bytes_of(row->text, row->size);
    }
    const uint8_t *text;
    memcpy(&text, row->text, sizeof text);
    return bytes_of(text, row->size);
}

uint32_t rows_find(const struct rows *x, const struct row_set *owner, uint32_t hash, struct bytes filter)
{
    if (owner->count == 0) {
        return ROWS_NONE;
    }
    for (uint32_t at = home(owner, hash); owner->slots[at] != ROWS_NONE; at = after(owner, at)) {
        const struct row *row = rows_at(x, owner->slots[at]);
        if (row->hash == hash && bytes_equal(row_filter(row), filter)) {
            return owner->slots[at];
        }
    }
    return ROWS_NONE;
}

static bool text_put(struct rows *x, struct row *row, struct bytes filter)
{
    uint8_t *text = row->text;
    if (filter.size > ROW_INLINE_BYTES) {
        text = malloc(filter.size);
        if (text == NULL) {
            return false;
        }
        memcpy(row->text, &text, sizeof text);
        x->text_bytes += filter.size;
    }
    memcpy(text, filter.data, filter.size);
    row->size = (uint16_t)filter.size;
    return true;
}

uint32_t rows_add(struct rows *x, struct row_set *owner, uint32_t hash, struct bytes filter)
{
    ASSERT(filter.size != 0 && filter.size <= UINT16_MAX);
    if (!set_room(x, owner) || (x->filter_count >= x->bucket_count && !bucket_add(x) && x->bucket_count == 0)) {
        return ROWS_NONE;
    }
    uint32_t cells = cells_of(filter.size);
    uint32_t at    = cells_take(x, cells);
    if (at == ROWS_NONE) {
        return ROWS_NONE;
    }
    struct row *row = rows_at(x, at);
    *row            = (struct row){.owner = owner, .hash = hash};
    if (!text_put(x, row, filter)) {
        cells_give(x, at, cells);
        return ROWS_NONE;
    }
    enter(x, at);
    set_put(x, owner, at);
    owner->count++;
    x->count++;
    return at;
}

void rows_remove(struct rows *x, uint32_t at)
{
    struct row *row = rows_at(x, at);
    leave(x, at);
    set_remove(x, row->owner, at);
    if (row->size > ROW_INLINE_BYTES) {
        x->text_bytes -= row->size;
        free((void *)(uintptr_t)row_filter(row).data);
    }
    cells_give(x, at, cells_of(row->size));
    if (--x->count == 0) {
        rows_fini(x);
    }
}

void rows_fetch(const struct rows *x, uint32_t hash)
{
    if (x->count != 0) {
        __builtin_prefetch(bucket_of(x, hash));
    }
}

void rows_fetch_first(const struct rows *x, uint32_t hash)
{
    uint32_t at = x->count == 0 ? ROWS_NONE : *bucket_of(x, hash);
    if (at != ROWS_NONE) {
        __builtin_prefetch(rows_at(x, at));
    }
}

uint32_t rows_first(const struct rows *x, uint32_t hash)
{
    return x->bucket_count == 0 ? ROWS_NONE : chain_find(x, *bucket_of(x, hash), hash);
}

uint32_t rows_other(const struct rows *x, uint32_t row)
{
    return chain_find(x, rows_at(x, row)->chain, rows_at(x, row)->hash);
}

uint64_t rows_bytes(const struct rows *x)
{
    return x->chunk_count * (ROWS_CHUNK_CELLS * sizeof **x->chunks + sizeof *x->chunks) +
           x->bucket_count * sizeof **x->buckets + x->text_bytes;
}

void rows_fini(struct rows *x)
{
    for (uint32_t b = 0; b < x->bucket_count && x->text_bytes != 0; b++) {
        for (uint32_t head = *bucket_at(x, b); head != ROWS_NONE; head = rows_at(x, head)->chain) {
            uint32_t at = head;
            do {
                const struct row *row = rows_at(x, at);
                if (row->size > ROW_INLINE_BYTES) {
                    free((void *)(uintptr_t)row_filter(row).data);
                }
                at = row->next;
            } while (at != head);
        }
    }
    for (uint32_t i = 0; i < x->bucket_count; i += ROWS_CHUNK_BUCKETS) {
        free(x->buckets[i / ROWS_CHUNK_BUCKETS]);
    }
    for (uint32_t i = 0; i < x->chunk_count; i++) {
        free(x->chunks[i]);
    }
    free(x->chunks);
    free(x->buckets);
    *x = (struct rows){0};
}
