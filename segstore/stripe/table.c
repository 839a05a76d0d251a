/* table.c - keys in order (a skip list per table), found at once (one map), forgotten in time (a heap of expiries). */
#include "segstore/stripe/state.h"

#include "segstore/stripe/filter.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/rpc/schema.h"

#include <stdlib.h>

enum { LEVELS_SEED = 0x6b65656c };

struct bytes item_key(const struct item *item)
{
    return bytes_of(&item->next[item->level], item->key_size);
}

static uint64_t hash_key(uint32_t table, struct bytes key)
{
    return hash_bytes_seeded(key, table);
}

static uint64_t hash_item(const void *entry)
{
    const struct item *item = entry;
    return hash_key(item->table->id, item_key(item));
}

void tables_init(struct stripe *s)
{
    map_init(&s->items, hash_item);
    rand_init(&s->levels, LEVELS_SEED, s->id);
}

bool tables_clear(struct stripe *s, size_t *most)
{
    for (struct table *table; (table = s->tables) != NULL;) {
        for (struct item *item; (item = table->first[0]) != NULL; (*most)--) {
            if (*most == 0) {
                return false;
            }
            table->first[0] = item->next[0];
            free(item->value);
            free(item);
        }
        s->tables = table->following;
        free(table);
    }
    return true;
}

void tables_fini(struct stripe *s)
{
    map_fini(&s->items);
    heap_fini(&s->expiries);
}

static struct table *table_of(const struct stripe *s, uint32_t id)
{
    struct table *table = s->tables;
    while (table != NULL && table->id < id) {
        table = table->following;
    }
    return table != NULL && table->id == id ? table : NULL;
}

static struct table *table_make(struct stripe *s, uint32_t id)
{
    struct table **link = &s->tables;
    while (*link != NULL && (*link)->id < id) {
        link = &(*link)->following;
    }
    if (*link == NULL || (*link)->id != id) {
        struct table *table = calloc(1, sizeof *table);
        ASSERT(table != NULL);
        table->id        = id;
        table->following = *link;
        *link            = table;
    }
    return *link;
}

struct item_key {
    uint32_t     table;
    struct bytes key;
};

static bool is_item(const void *entry, const void *key)
{
    const struct item     *item = entry;
    const struct item_key *k    = key;
    return item->table->id == k->table && bytes_equal(item_key(item), k->key);
}

static struct item *table_find(const struct stripe *s, uint32_t table, struct bytes key)
{
    return map_find(&s->items, hash_key(table, key), is_item, &(struct item_key){table, key});
}

/* Order of the key and head followed by tail. */
static int compare_joined(struct bytes key, struct bytes head, struct bytes tail)
{
    if (key.size <= head.size) {
        int order = bytes_compare(key, head);
        return order != 0 || tail.size == 0 ? order : -1;
    }
    int order = bytes_compare(bytes_of(key.data, head.size), head);
    return order != 0 ? order : bytes_compare(bytes_of(key.data + head.size, key.size - head.size), tail);
}

/* The first item at or behind head followed by tail. links, if wanted: on each level, the pointer that leads there. */
static struct item *seek(const struct table *table, struct bytes head, struct bytes tail,
                         struct item **links[LEVELS_MAX])
{
    struct item *const *nexts = table->first;
    struct item *const *link  = NULL;
    for (int level = LEVELS_MAX; level-- > 0;) {
        link = &nexts[level];
        while (*link != NULL && compare_joined(item_key(*link), head, tail) < 0) {
            nexts = (*link)->next;
            link  = &nexts[level];
        }
        if (links != NULL) {
            links[level] = (struct item **)(uintptr_t)link;
        }
    }
    return *link;
}

static struct item *first_from(const struct table *table, struct bytes key)
{
    return seek(table, key, bytes_of(NULL, 0), NULL);
}

static uint32_t level_drawn(struct stripe *s)
{
    uint64_t drawn = rand_u64(&s->levels);
    uint32_t level = 1;
    for (; level < LEVELS_MAX && (drawn & 3) == 0; drawn >>= 2) { /* each level has a quarter of the one below */
        level++;
    }
    return level;
}

static uint64_t item_bytes(const struct item *item, const struct value *value)
{
    return item->key_size + value->size;
}

static void schedule(struct stripe *s, struct item *item)
{
    heap_remove(&s->expiries, &item->node);
    if (item->value->expires_wall_ns != 0) {
        item->node.due_ns = item->value->expires_wall_ns;
        item->node.order  = item->value->version;
        heap_insert(&s->expiries, &item->node);
    }
}

/* Or takes away: modulo 2^64. */
static void add_bytes(struct stripe *s, const struct item *item, uint64_t bytes)
{
    item->table->bytes += bytes;
    s->table_bytes += bytes;
}

static void link_item(struct stripe *s, struct item *item)
{
    struct item **links[LEVELS_MAX];
    seek(item->table, item_key(item), bytes_of(NULL, 0), links);
    for (uint32_t level = 0; level < item->level; level++) {
        item->next[level] = *links[level];
        *links[level]     = item;
    }
    map_insert(&s->items, item);
    item->table->count++;
    add_bytes(s, item, item_bytes(item, item->value));
    schedule(s, item);
}

static void unlink_item(struct stripe *s, struct item *item)
{
    struct item **links[LEVELS_MAX];
    seek(item->table, item_key(item), bytes_of(NULL, 0), links);
    for (uint32_t level = 0; level < item->level; level++) {
        ASSERT(*links[level] == item);
        *links[level] = item->next[level];
    }
    map_remove(&s->items, item);
    heap_remove(&s->expiries, &item->node);
    item->table->count--;
    add_bytes(s, item, 0 - item_bytes(item, item->value));
}

static struct value *value_make(struct bytes data, uint64_t version, uint64_t expires_wall_ns)
{
    struct value *value = malloc(sizeof *value + data.size);
    ASSERT(value != NULL);
    *value = (struct value){.version = version, .expires_wall_ns = expires_wall_ns, .size = (uint32_t)data.size};
    if (data.size != 0) {
        memcpy(value->data, data.data, data.size);
    }
    return value;
}

static struct item *item_make(struct stripe *s, uint32_t table, struct bytes key, struct value *value)
{
    uint32_t     level = level_drawn(s);
    struct item *item  = malloc(sizeof *item + level * sizeof(struct item *) + key.size);
    ASSERT(item != NULL);
    *item =
        (struct item){.value = value, .table = table_make(s, table), .key_size = (uint32_t)key.size, .level = level};
    if (key.size != 0) {
        memcpy(&item->next[level], key.data, key.size);
    }
    return item;
}

const struct item *table_load_item(struct stripe *s, uint32_t table, struct bytes key, struct bytes value,
                                   uint64_t version, uint64_t expires_wall_ns)
{
    struct item *item = item_make(s, table, key, value_make(value, version, expires_wall_ns));
    link_item(s, item);
    return item;
}

static void tell(struct stripe *s, const struct item *item, const struct value *value, uint64_t version, bool deleted)
{
    if (s->live && s->observer.changed != NULL) {
        struct bytes data = deleted ? bytes_of(NULL, 0) : bytes_of(value->data, value->size);
        s->observer.changed(s->observer.ctx, item->table->id, item_key(item), data, version,
                            deleted ? 0 : value->expires_wall_ns, deleted);
    }
}

static void exchange(struct stripe *s, struct item *item, struct value *value)
{
    add_bytes(s, item, 0 - item_bytes(item, item->value));
    item->value = value;
    add_bytes(s, item, item_bytes(item, item->value));
    schedule(s, item);
}

static struct value *changed_value(const struct change *change)
{
    return (struct value *)(uintptr_t)change->x;
}

static void undo_put(struct stripe *s, const struct change *change)
{
    struct item *item = change->subject;
    if (change->other != NULL) {
        exchange(s, item, change->other);
    } else {
        unlink_item(s, item);
        free(item);
    }
    free(changed_value(change));
}

static void commit_put(struct stripe *s, const struct change *change)
{
    const struct value *value = changed_value(change);
    tell(s, change->subject, value, value->version, false);
    free(change->other);
}

static void undo_delete(struct stripe *s, const struct change *change)
{
    link_item(s, change->subject);
}

static void commit_delete(struct stripe *s, const struct change *change)
{
    struct item *item = change->subject;
    tell(s, item, item->value, change->x, true);
    free(item->value);
    free(item);
}

static bool is_live(const struct item *item, uint64_t now_wall_ns)
{
    return item->value->expires_wall_ns == 0 || item->value->expires_wall_ns > now_wall_ns;
}

/* What readers of the table see at this entry's time: an expired item is absent already. */
static const struct item *find_live(const struct stripe *s, const struct op *op)
{
    const struct item *item = table_find(s, op->table, op->name);
    return item != NULL && is_live(item, s->time_ns) ? item : NULL;
}

int table_check(const struct stripe *s, const struct op *op)
{
    const struct item *item = find_live(s, op);
    return (item != NULL ? item->value->version : 0) == op->version ? 0 : ERR_CONFLICT;
}

/* Would a row that grows from before to after bytes be too much for its table? */
static bool over_bounds(const struct stripe *s, const struct op *op, uint64_t before, uint64_t after)
{
    const struct stripe_limits *limits = &s->limits;
    if (limits->bounded_table == 0 || limits->bounded_table != op->table || after <= before) {
        return false;
    }
    const struct table *table =
        table_of(s, op->table); /* one that was never used is like one that is empty: it is not in an image */
    uint64_t rows  = table != NULL ? table->count : 0;
    uint64_t bytes = table != NULL ? table->bytes : 0;
    return (limits->bounded_rows_max != 0 && before == 0 && rows >= limits->bounded_rows_max) ||
           (limits->bounded_bytes_max != 0 && bytes - before + after > limits->bounded_bytes_max);
}

int table_put(struct stripe *s, const struct op *op, struct wire_writer *results)
{
    struct item *item   = table_find(s, op->table, op->name);
    uint64_t     before = item != NULL ? item_bytes(item, item->value) : 0;
    uint64_t     after  = op->name.size + op->value.size;
    if ((after > before && s->table_bytes - before + after > s->limits.table_bytes_max) ||
        over_bounds(s, op, before, after)) {
        return ERR_QUOTA;
    }
    struct value *value = value_make(op->value, ++s->counters.version, op->wall_ns);
    struct value *old   = NULL;
    if (item != NULL) {
        old = item->value;
        exchange(s, item, value);
    } else {
        item = item_make(s, op->table, op->name, value);
        link_item(s, item);
    }
    *journal_add(&s->journal) = (struct change){
        .undo = undo_put, .commit = commit_put, .subject = item, .other = old, .x = (uint64_t)(uintptr_t)value};
    wire_put_u64(results, value->version);
    return 0;
}

static void delete_item(struct stripe *s, struct item *item)
{
    unlink_item(s, item);
    *journal_add(&s->journal) =
        (struct change){.undo = undo_delete, .commit = commit_delete, .subject = item, .x = ++s->counters.version};
}

void table_delete(struct stripe *s, const struct op *op, struct wire_writer *results)
{
    struct item *item = table_find(s, op->table, op->name);
    wire_put_u8(results, item != NULL && is_live(item, s->time_ns));
    if (item != NULL) {
        delete_item(s, item);
    }
}

void table_delete_prefix(struct stripe *s, const struct op *op, struct wire_writer *results)
{
    uint64_t            count = 0;
    const struct table *table = table_of(s, op->table);
    struct item        *item  = table != NULL ? first_from(table, op->name) : NULL;
    while (item != NULL && bytes_starts_with(item_key(item), op->name)) {
        struct item *next = item->next[0];
        count += is_live(item, s->time_ns);
        delete_item(s, item);
        item = next;
    }
    wire_put_u64(results, count);
}

void table_get(const struct stripe *s, const struct op *op, struct wire_writer *results)
{
    const struct item *item = find_live(s, op);
    wire_put_u64(results, item != NULL ? item->value->version : 0);
    wire_put_blob(results, item != NULL ? bytes_of(item->value->data, item->value->size) : bytes_of(NULL, 0));
}

void table_expire(struct stripe *s, const struct op *op)
{
    struct item *item = table_find(s, op->table, op->name);
    if (item != NULL && item->value->version == op->version) {
        delete_item(s, item);
    }
}

static bool show(const struct item *item, uint64_t now_wall_ns, bool (*each)(void *ctx, const struct stripe_item *item),
                 void *ctx)
{
    struct stripe_item shown = {.key             = item_key(item),
                                .value           = bytes_of(item->value->data, item->value->size),
                                .version         = item->value->version,
                                .expires_wall_ns = item->value->expires_wall_ns};
    return !is_live(item, now_wall_ns) || each(ctx, &shown);
}

/* False: the pace is used up with this item. */
static bool step(struct stripe_pace *pace, const struct item *item)
{
    if (pace == NULL) {
        return true;
    }
    pace->at = item_key(item);
    return --pace->steps_left != 0;
}

static bool scan_filter(const struct table *table, const struct item *item, struct bytes filter, uint64_t now_wall_ns,
                        struct stripe_pace *pace, bool (*each)(void *ctx, const struct stripe_item *item), void *ctx)
{
    while (item != NULL) {
        const struct item *here = item;
        struct filter_seek to;
        switch (filter_step(filter, item_key(item), &to)) {
        case FILTER_MATCH:
            if (!show(item, now_wall_ns, each, ctx)) {
                return false;
            }
            item = item->next[0];
            break;
        case FILTER_SEEK:
            /* Most often the next one is far enough, and looking costs less than a search. */
            item = item->next[0];
            if (item != NULL && compare_joined(item_key(item), to.head, to.tail) < 0) {
                item = seek(table, to.head, to.tail, NULL);
            }
            break;
        case FILTER_END:
            return true;
        }
        if (!step(pace, here)) {
            return false;
        }
    }
    return true;
}

bool stripe_scan(const struct stripe *s, uint32_t table_id, uint8_t kind, struct bytes pattern, struct bytes after,
                 uint64_t now_wall_ns, struct stripe_pace                      *pace,
                 bool (*each)(void *ctx, const struct stripe_item *item), void *ctx)
{
    const struct table *table = table_of(s, table_id);
    if (table == NULL) {
        return true;
    }
    struct bytes       zero = bytes_of("", 1);
    const struct item *item = after.size != 0 ? seek(table, after, zero, NULL) : table->first[0];
    if (kind == RPC_SCAN_FILTER) {
        return scan_filter(table, item, pattern, now_wall_ns, pace, each, ctx);
    }
    if (after.size == 0 || bytes_compare(after, pattern) < 0) {
        item = first_from(table, pattern);
    }
    for (; item != NULL; item = item->next[0]) {
        struct bytes key = item_key(item);
        if (kind == RPC_SCAN_KEY ? !bytes_equal(key, pattern) : !bytes_starts_with(key, pattern)) {
            break;
        }
        if (!show(item, now_wall_ns, each, ctx) || !step(pace, item)) {
            return false;
        }
    }
    return true;
}
