/* match - a topic is matched level by level with the set of nodes that its first levels lead to: no recursion, whatever the depth. */
#include "broker/kernel/match.h"

#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum {
    ROOT               = 1,
    CHUNK_NODES        = 1024,
    TEXT_INLINE_BYTES  = 14,
    BUCKETS_MIN        = 256,
    REGIONS            = 1024, /* of first levels, for forgetting topics */
    CACHE_TOPIC_BYTES  = 256,  /* longer topics are not remembered */
    CACHE_RESULT_NODES = 64,   /* neither are larger results */
};

struct match_node {
    uint32_t           parent;
    uint32_t           chain; /* next in the bucket of edges; next free node */
    uint32_t           hash;  /* of the edge */
    uint32_t           plus;  /* child '+' */
    uint32_t           rest;  /* child '#' */
    uint32_t           child_count;
    struct match_link *first;
    uint16_t           size;                    /* of the level's text */
    uint8_t            text[TEXT_INLINE_BYTES]; /* or, at its last 8 bytes, a pointer */
};
_Static_assert(sizeof(struct match_node) == 48, "a node is three quarters of a cache line");

struct cache_slot {
    uint64_t  hash;
    uint32_t *nodes; /* room for capacity bytes: the nodes, then the topic */
    uint32_t  capacity;
    uint32_t  all_version;
    uint32_t  region_version;
    uint16_t  region;
    uint16_t  topic_size;
    uint32_t  count;
};

struct match {
    struct match_node **chunks;
    uint32_t            chunk_count;
    uint32_t            node_count; /* in use, root included */
    uint32_t            free_node;
    uint32_t           *buckets;
    uint32_t            bucket_count; /* a power of two */
    struct cache_slot  *cache;
    uint32_t            cache_slots;
    uint32_t            all_version;
    uint32_t            region_versions[REGIONS];
    uint64_t            cache_bytes;
    uint64_t            text_bytes; /* of levels that do not fit in their node */
    uint64_t            misses;
    uint32_t           *found; /* scratch of match_find: result, and the node sets of two levels */
    uint32_t            found_capacity;
    uint32_t           *sets[2];
    uint32_t            set_capacity;
};

/* ---- nodes ------------------------------------------------------------------------------------------------------ */

static struct match_node *node_at(const struct match *m, uint32_t node)
{
    return &m->chunks[node / CHUNK_NODES][node % CHUNK_NODES];
}

static struct bytes node_text(const struct match_node *n)
{
    if (n->size <= TEXT_INLINE_BYTES) {
        return bytes_of(n->text, n->size);
    }
    const uint8_t *text;
    memcpy(&text, n->text + TEXT_INLINE_BYTES - sizeof text, sizeof text);
    return bytes_of(text, n->size);
}

static uint32_t edge_hash(uint32_t parent, uint64_t level_hash)
{
    return (uint32_t)hash_u64(level_hash + parent * 0x9e3779b97f4a7c15u);
}

static uint32_t child_find(const struct match *m, uint32_t parent, struct bytes level, uint64_t level_hash)
{
    uint32_t hash = edge_hash(parent, level_hash);
    for (uint32_t at = m->buckets[hash & (m->bucket_count - 1)]; at != MATCH_NONE;) {
        const struct match_node *n = node_at(m, at);
        if (n->hash == hash && n->parent == parent && bytes_equal(node_text(n), level)) {
            return at;
        }
        at = n->chain;
    }
    return MATCH_NONE;
}

static bool buckets_grow(struct match *m, uint32_t count)
{
    uint32_t *buckets = calloc(count, sizeof *buckets);
    if (buckets == NULL) {
        return false;
    }
    for (uint32_t b = 0; b < m->bucket_count; b++) {
        for (uint32_t at = m->buckets[b]; at != MATCH_NONE;) {
            struct match_node *n           = node_at(m, at);
            uint32_t           chain       = n->chain;
            n->chain                       = buckets[n->hash & (count - 1)];
            buckets[n->hash & (count - 1)] = at;
            at                             = chain;
        }
    }
    free(m->buckets);
    m->buckets      = buckets;
    m->bucket_count = count;
    return true;
}

/* A zeroed node, or MATCH_NONE when memory is out. */
static uint32_t node_take(struct match *m)
{
    if (m->free_node == MATCH_NONE) {
        if (m->chunk_count >= UINT32_MAX / CHUNK_NODES) {
            return MATCH_NONE;
        }
        if ((m->chunk_count & (m->chunk_count - 1)) == 0) {
            size_t              room   = m->chunk_count == 0 ? 1 : 2 * (size_t)m->chunk_count;
            struct match_node **chunks = realloc(m->chunks, room * sizeof *chunks);
            if (chunks == NULL) {
                return MATCH_NONE;
            }
            m->chunks = chunks;
        }
        struct match_node *chunk = malloc(CHUNK_NODES * sizeof *chunk);
        if (chunk == NULL) {
            return MATCH_NONE;
        }
        uint32_t first              = m->chunk_count * CHUNK_NODES;
        m->chunks[m->chunk_count++] = chunk;
        for (uint32_t i = CHUNK_NODES; i-- > 0;) {
            if (first + i != MATCH_NONE) {
                chunk[i].chain = m->free_node;
                m->free_node   = first + i;
            }
        }
    }
    uint32_t           at = m->free_node;
    struct match_node *n  = node_at(m, at);
    m->free_node          = n->chain;
    memset(n, 0, sizeof *n);
    m->node_count++;
    return at;
}

static void node_give(struct match *m, uint32_t at)
{
    struct match_node *n = node_at(m, at);
    if (n->size > TEXT_INLINE_BYTES) {
        m->text_bytes -= n->size;
        free((void *)(uintptr_t)node_text(n).data);
    }
    n->chain     = m->free_node;
    m->free_node = at;
    m->node_count--;
}

static uint32_t child_make(struct match *m, uint32_t parent, struct bytes level, uint64_t level_hash)
{
    if (m->node_count >= m->bucket_count && !buckets_grow(m, m->bucket_count * 2)) {
        return MATCH_NONE;
    }
    uint8_t *text = NULL;
    if (level.size > TEXT_INLINE_BYTES) {
        text = malloc(level.size);
        if (text == NULL) {
            return MATCH_NONE;
        }
        memcpy(text, level.data, level.size);
    }
    uint32_t at = node_take(m);
    if (at == MATCH_NONE) {
        free(text);
        return MATCH_NONE;
    }
    struct match_node *n = node_at(m, at);
    n->size              = (uint16_t)level.size;
    if (text != NULL) {
        memcpy(n->text + TEXT_INLINE_BYTES - sizeof text, &text, sizeof text);
        m->text_bytes += level.size;
    } else if (level.size != 0) {
        memcpy(n->text, level.data, level.size);
    }
    n->parent                                   = parent;
    n->hash                                     = edge_hash(parent, level_hash);
    n->chain                                    = m->buckets[n->hash & (m->bucket_count - 1)];
    m->buckets[n->hash & (m->bucket_count - 1)] = at;
    struct match_node *p                        = node_at(m, parent);
    p->child_count++;
    if (level.size == 1 && level.data[0] == '+') {
        p->plus = at;
    } else if (level.size == 1 && level.data[0] == '#') {
        p->rest = at;
    }
    return at;
}

/* Gives back a node without links and children, and its parents that become so. */
static void node_prune(struct match *m, uint32_t at)
{
    while (at != ROOT) {
        struct match_node *n = node_at(m, at);
        if (n->first != NULL || n->child_count != 0) {
            return;
        }
        uint32_t *place = &m->buckets[n->hash & (m->bucket_count - 1)];
        while (*place != at) {
            place = &node_at(m, *place)->chain;
        }
        *place                    = n->chain;
        uint32_t           parent = n->parent;
        struct match_node *p      = node_at(m, parent);
        p->child_count--;
        if (p->plus == at) {
            p->plus = MATCH_NONE;
        } else if (p->rest == at) {
            p->rest = MATCH_NONE;
        }
        node_give(m, at);
        at = parent;
    }
}

/* The level that begins at *at; moves *at behind it and its '/', or beyond size at the end. */
static struct bytes level_next(struct bytes topic, size_t *at)
{
    const uint8_t *begin = topic.data + *at;
    size_t         left  = topic.size - *at;
    const uint8_t *slash = left == 0 ? NULL : memchr(begin, '/', left);
    size_t         size  = slash == NULL ? left : (size_t)(slash - begin);
    *at += size + 1;
    return bytes_of(begin, size);
}

static struct bytes level_first(struct bytes topic)
{
    size_t at = 0;
    return level_next(topic, &at);
}

/* ---- cache ------------------------------------------------------------------------------------------------------ */

static uint16_t region_of(struct bytes topic)
{
    return (uint16_t)(hash_bytes(level_first(topic)) % REGIONS);
}

static struct cache_slot *slot_of(const struct match *m, uint64_t hash)
{
    return &m->cache[hash & (m->cache_slots - 1)];
}

static struct bytes slot_topic(const struct cache_slot *slot)
{
    return bytes_of(slot->nodes + slot->count, slot->topic_size);
}

/* A filter came or went: what is remembered about the topics it may match is old. */
static void cache_forget(struct match *m, struct bytes filter)
{
    if (m->cache_slots == 0) {
        return;
    }
    if (!topic_filter_wild(filter)) {
        uint64_t           hash = hash_bytes(filter);
        struct cache_slot *slot = slot_of(m, hash);
        if (slot->hash == hash) {
            slot->all_version = m->all_version - 1;
        }
        return;
    }
    if (filter.data[0] == '+' || filter.data[0] == '#') {
        m->all_version++;
        return;
    }
    m->region_versions[region_of(filter)]++;
}

static void cache_store(struct match *m, struct bytes topic, uint64_t hash, const uint32_t *nodes, uint32_t count)
{
    struct cache_slot *slot = slot_of(m, hash);
    size_t             need = count * sizeof *nodes + topic.size;
    if (topic.size > CACHE_TOPIC_BYTES || count > CACHE_RESULT_NODES) {
        return;
    }
    if (slot->capacity < need) {
        size_t    room   = (need + 63) & ~(size_t)63;
        uint32_t *memory = realloc(slot->nodes, room);
        if (memory == NULL) {
            return;
        }
        m->cache_bytes += room - slot->capacity;
        slot->nodes    = memory;
        slot->capacity = (uint32_t)room;
    }
    slot->hash       = hash;
    slot->count      = count;
    slot->topic_size = (uint16_t)topic.size;
    if (count != 0) {
        memcpy(slot->nodes, nodes, count * sizeof *nodes);
    }
    memcpy(slot->nodes + count, topic.data, topic.size);
    slot->region         = region_of(topic);
    slot->region_version = m->region_versions[slot->region];
    slot->all_version    = m->all_version;
}

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct match *match_new(uint32_t cache_slots)
{
    ASSERT((cache_slots & (cache_slots - 1)) == 0);
    struct match *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    m->all_version = 1; /* zeroed slots are old */
    m->cache_slots = cache_slots;
    m->cache       = cache_slots == 0 ? NULL : calloc(cache_slots, sizeof *m->cache);
    if ((cache_slots != 0 && m->cache == NULL) || !buckets_grow(m, BUCKETS_MIN) || node_take(m) != ROOT) {
        match_free(m);
        return NULL;
    }
    return m;
}

void match_free(struct match *m)
{
    if (m == NULL) {
        return;
    }
    for (uint32_t b = 0; b < m->bucket_count && m->text_bytes != 0; b++) {
        for (uint32_t at = m->buckets[b]; at != MATCH_NONE; at = node_at(m, at)->chain) {
            if (node_at(m, at)->size > TEXT_INLINE_BYTES) {
                free((void *)(uintptr_t)node_text(node_at(m, at)).data);
            }
        }
    }
    for (uint32_t i = 0; i < m->chunk_count; i++) {
        free(m->chunks[i]);
    }
    for (uint32_t i = 0; i < m->cache_slots && m->cache != NULL; i++) {
        free(m->cache[i].nodes);
    }
    free(m->chunks);
    free(m->cache);
    free(m->buckets);
    free(m->found);
    free(m->sets[0]);
    free(m->sets[1]);
    free(m);
}

static void link_in(struct match_node *n, uint32_t at, struct match_link *link)
{
    link->node  = at;
    link->next  = n->first;
    link->place = &n->first;
    if (link->next != NULL) {
        link->next->place = &link->next;
    }
    n->first = link;
}

int match_add(struct match *m, struct bytes filter, struct match_link *link)
{
    ASSERT(link->node == MATCH_NONE);
    uint32_t at = ROOT;
    for (size_t pos = 0; pos <= filter.size;) {
        struct bytes level = level_next(filter, &pos);
        uint64_t     hash  = hash_bytes(level);
        uint32_t     child = child_find(m, at, level, hash);
        if (child == MATCH_NONE) {
            child = child_make(m, at, level, hash);
        }
        if (child == MATCH_NONE) {
            node_prune(m, at);
            return ERR_FULL;
        }
        at = child;
    }
    struct match_node *n = node_at(m, at);
    if (n->first == NULL) {
        cache_forget(m, filter);
    }
    link_in(n, at, link);
    return 0;
}

void match_add_at(struct match *m, uint32_t node, struct match_link *link)
{
    struct match_node *n = node_at(m, node);
    ASSERT(link->node == MATCH_NONE && n->first != NULL);
    link_in(n, node, link);
}

void match_remove(struct match *m, struct match_link *link)
{
    uint32_t at = link->node;
    if (at == MATCH_NONE) {
        return;
    }
    *link->place = link->next;
    if (link->next != NULL) {
        link->next->place = link->place;
    }
    link->node  = MATCH_NONE;
    link->next  = NULL;
    link->place = NULL;
    if (node_at(m, at)->first == NULL) {
        uint8_t filter[1024];
        size_t  size = match_filter(m, at, filter, sizeof filter);
        if (size <= sizeof filter) {
            cache_forget(m, bytes_of(filter, size));
        } else {
            m->all_version++;
        }
        node_prune(m, at);
    }
}

uint32_t match_node(const struct match *m, struct bytes filter)
{
    uint32_t at = ROOT;
    for (size_t pos = 0; pos <= filter.size && at != MATCH_NONE;) {
        struct bytes level = level_next(filter, &pos);
        at                 = child_find(m, at, level, hash_bytes(level));
    }
    return at != MATCH_NONE && node_at(m, at)->first != NULL ? at : MATCH_NONE;
}

struct match_link *match_first(const struct match *m, uint32_t node)
{
    return node_at(m, node)->first;
}

size_t match_filter(const struct match *m, uint32_t node, uint8_t *out, size_t room)
{
    size_t size = 0;
    for (uint32_t at = node; at != ROOT; at = node_at(m, at)->parent) {
        size += node_at(m, at)->size + (size_t)(at != node);
    }
    if (size > room) {
        return size;
    }
    size_t end = size;
    for (uint32_t at = node; at != ROOT; at = node_at(m, at)->parent) {
        struct bytes text = node_text(node_at(m, at));
        end -= text.size;
        if (text.size != 0) {
            memcpy(out + end, text.data, text.size);
        }
        if (end != 0) {
            out[--end] = '/';
        }
    }
    return size;
}

/* ---- find ------------------------------------------------------------------------------------------------------- */

static void found_add(struct match *m, uint32_t node, uint32_t *count)
{
    if (node_at(m, node)->first == NULL) {
        return;
    }
    if (*count == m->found_capacity) {
        uint32_t  room  = m->found_capacity == 0 ? 64 : m->found_capacity * 2;
        uint32_t *found = realloc(m->found, room * sizeof *found);
        if (found == NULL) {
            m->misses++;
            return;
        }
        m->found          = found;
        m->found_capacity = room;
    }
    m->found[(*count)++] = node;
}

static bool sets_grow(struct match *m, uint32_t room)
{
    for (int i = 0; i < 2; i++) {
        uint32_t *set = realloc(m->sets[i], room * sizeof *set);
        if (set == NULL) {
            m->misses++;
            return false;
        }
        m->sets[i] = set;
    }
    m->set_capacity = room;
    return true;
}

static uint32_t find_in_tree(struct match *m, struct bytes topic)
{
    uint32_t found = 0;
    uint32_t width = 1;
    int      now   = 0;
    bool     plain = topic.size != 0 && topic.data[0] == '$'; /* [MQTT-4.7.2-1] */
    if (m->set_capacity == 0 && !sets_grow(m, 64)) {
        return 0;
    }
    m->sets[0][0] = ROOT;
    for (size_t pos = 0; pos <= topic.size && width != 0; plain = false) {
        struct bytes level = level_next(topic, &pos);
        uint64_t     hash  = hash_bytes(level);
        uint32_t     next  = 0;
        if (width * 2 > m->set_capacity && !sets_grow(m, width * 4)) {
            return found;
        }
        for (uint32_t i = 0; i < width; i++) {
            uint32_t                 at = m->sets[now][i];
            const struct match_node *n  = node_at(m, at);
            if (n->rest != MATCH_NONE && !plain) {
                found_add(m, n->rest, &found);
            }
            if (n->plus != MATCH_NONE && !plain) {
                m->sets[1 - now][next++] = n->plus;
            }
            if (n->child_count > (uint32_t)(n->plus != MATCH_NONE) + (n->rest != MATCH_NONE)) {
                uint32_t child = child_find(m, at, level, hash);
                if (child != MATCH_NONE) {
                    m->sets[1 - now][next++] = child;
                }
            }
        }
        now   = 1 - now;
        width = next;
    }
    for (uint32_t i = 0; i < width; i++) {
        uint32_t at = m->sets[now][i];
        found_add(m, at, &found);
        if (node_at(m, at)->rest != MATCH_NONE) {
            found_add(m, node_at(m, at)->rest, &found);
        }
    }
    return found;
}

uint32_t match_find(struct match *m, struct bytes topic, const uint32_t **out_nodes)
{
    uint64_t hash = 0;
    if (m->cache_slots != 0) {
        hash                          = hash_bytes(topic);
        const struct cache_slot *slot = slot_of(m, hash);
        if (slot->hash == hash && slot->all_version == m->all_version &&
            slot->region_version == m->region_versions[slot->region] && bytes_equal(slot_topic(slot), topic)) {
            *out_nodes = slot->nodes;
            return slot->count;
        }
    }
    uint64_t misses = m->misses;
    uint32_t count  = find_in_tree(m, topic);
    if (m->cache_slots != 0 && m->misses == misses) {
        cache_store(m, topic, hash, m->found, count);
    }
    *out_nodes = m->found;
    return count;
}

uint64_t match_nodes(const struct match *m)
{
    return m->node_count;
}

uint64_t match_bytes(const struct match *m)
{
    return sizeof *m + (uint64_t)m->chunk_count * (CHUNK_NODES * sizeof(struct match_node) + sizeof(void *)) +
           (uint64_t)m->bucket_count * sizeof *m->buckets + m->text_bytes +
           (uint64_t)m->cache_slots * sizeof *m->cache + m->cache_bytes +
           (uint64_t)m->found_capacity * sizeof *m->found + 2u * (uint64_t)m->set_capacity * sizeof **m->sets;
}

uint64_t match_misses(const struct match *m)
{
    return m->misses;
}
