/* tree - see tree.h. */
#include "broker/kernel/tree.h"

#include "shared/base/hash.h"

#include <stdlib.h>

struct bytes tree_text(const struct tree_node *n)
{
    if (n->size <= TREE_TEXT_INLINE_BYTES) {
        return bytes_of(n->text, n->size);
    }
    const uint8_t *text;
    memcpy(&text, n->text + TREE_TEXT_INLINE_BYTES - sizeof text, sizeof text);
    return bytes_of(text, n->size);
}

static uint32_t edge_hash(uint32_t parent, uint64_t level_hash)
{
    return (uint32_t)hash_u64(level_hash + parent * 0x9e3779b97f4a7c15u);
}

static bool is_text(struct bytes level, char text)
{
    return level.size == 1 && level.data[0] == text;
}

/* ---- buckets: linear hashing. Two more buckets for every node, split off the bucket whose turn it is: no insert moves more than
 * one chain, whatever the size of the tree. ---- */

static uint32_t *bucket_at(const struct tree *m, uint32_t bucket)
{
    return &m->buckets[bucket / TREE_CHUNK_BUCKETS][bucket % TREE_CHUNK_BUCKETS];
}

static uint32_t *bucket_of(const struct tree *m, uint32_t hash)
{
    uint32_t bucket = hash & (2 * m->bucket_base - 1);
    return bucket_at(m, bucket < m->bucket_count ? bucket : hash & (m->bucket_base - 1));
}

static bool bucket_room(struct tree *m)
{
    if (m->bucket_count % TREE_CHUNK_BUCKETS != 0) {
        return true;
    }
    uint32_t   at = m->bucket_count / TREE_CHUNK_BUCKETS;
    uint32_t **buckets =
        (at & (at - 1)) != 0 ? m->buckets : realloc(m->buckets, (at == 0 ? 1 : 2 * at) * sizeof *buckets);
    if (buckets == NULL) {
        return false;
    }
    m->buckets  = buckets;
    buckets[at] = calloc(TREE_CHUNK_BUCKETS, sizeof **buckets);
    return buckets[at] != NULL;
}

static bool bucket_add(struct tree *m)
{
    if (!bucket_room(m)) {
        return false;
    }
    uint32_t *old = bucket_at(m, m->bucket_count - m->bucket_base);
    uint32_t *new = bucket_at(m, m->bucket_count);
    m->bucket_count++;
    for (uint32_t at = *old, next; at != MATCH_NONE; at = next) {
        struct tree_node *n = tree_at(m, at);
        next                = n->chain;
        if (bucket_of(m, n->hash) == new) {
            *old     = next;
            n->chain = *new;
            *new     = at;
        } else {
            old = &n->chain;
        }
    }
    if (m->bucket_count == 2 * m->bucket_base) {
        m->bucket_base = m->bucket_count;
    }
    return true;
}

static uint32_t chain_find(const struct tree *m, uint32_t at, uint32_t hash, uint32_t parent, struct bytes level)
{
    while (at != MATCH_NONE) {
        const struct tree_node *n = tree_at(m, at);
        if (n->hash == hash && n->parent == parent && bytes_equal(tree_text(n), level)) {
            return at;
        }
        at = n->chain;
    }
    return MATCH_NONE;
}

uint32_t tree_child(const struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash)
{
    uint32_t hash = edge_hash(parent, level_hash);
    return chain_find(m, *bucket_of(m, hash), hash, parent, level);
}

void tree_probe_begin(const struct tree *m, struct tree_probe *probe, uint32_t parent, uint64_t level_hash)
{
    probe->parent = parent;
    probe->hash   = edge_hash(parent, level_hash);
    __builtin_prefetch(bucket_of(m, probe->hash));
}

void tree_probe_fetch(const struct tree *m, struct tree_probe *probe)
{
    probe->at = *bucket_of(m, probe->hash);
    if (probe->at != MATCH_NONE) {
        __builtin_prefetch(tree_at(m, probe->at));
    }
}

void tree_probe_text(const struct tree *m, const struct tree_probe *probe)
{
    if (probe->at != MATCH_NONE && tree_at(m, probe->at)->hash == probe->hash) {
        __builtin_prefetch(tree_text(tree_at(m, probe->at)).data);
    }
}

uint32_t tree_probe_end(const struct tree *m, const struct tree_probe *probe, struct bytes level)
{
    return chain_find(m, probe->at, probe->hash, probe->parent, level);
}

/* ---- nodes ---- */

/* A zeroed node, or MATCH_NONE when memory is out. */
static uint32_t tree_take(struct tree *m)
{
    if (m->free_node == MATCH_NONE) {
        if (m->chunk_count >= UINT32_MAX / TREE_CHUNK_NODES) {
            return MATCH_NONE;
        }
        if ((m->chunk_count & (m->chunk_count - 1)) == 0) {
            size_t             room   = m->chunk_count == 0 ? 1 : 2 * (size_t)m->chunk_count;
            struct tree_node **chunks = realloc(m->chunks, room * sizeof *chunks);
            if (chunks == NULL) {
                return MATCH_NONE;
            }
            m->chunks = chunks;
        }
        struct tree_node *chunk = malloc(TREE_CHUNK_NODES * sizeof *chunk);
        if (chunk == NULL) {
            return MATCH_NONE;
        }
        uint32_t first              = m->chunk_count * TREE_CHUNK_NODES;
        m->chunks[m->chunk_count++] = chunk;
        for (uint32_t i = TREE_CHUNK_NODES; i-- > 0;) {
            chunk[i].mark = 0;
            if (first + i != MATCH_NONE) {
                chunk[i].chain = m->free_node;
                m->free_node   = first + i;
            }
        }
    }
    uint32_t          at = m->free_node;
    struct tree_node *n  = tree_at(m, at);
    m->free_node         = n->chain;
    memset(n, 0, sizeof *n);
    m->node_count++;
    return at;
}

static void tree_give(struct tree *m, uint32_t at)
{
    struct tree_node *n = tree_at(m, at);
    if (n->size > TREE_TEXT_INLINE_BYTES) {
        m->text_bytes -= n->size;
        free((void *)(uintptr_t)tree_text(n).data);
    }
    n->mark      = 0;
    n->chain     = m->free_node;
    m->free_node = at;
    m->node_count--;
}

uint32_t tree_make_child(struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash)
{
    while (m->node_count * 2 >= m->bucket_count) { /* chains are short: each step along one is a miss of the cache */
        if (!bucket_add(m)) {
            return MATCH_NONE;
        }
    }
    uint8_t *text = NULL;
    if (level.size > TREE_TEXT_INLINE_BYTES) {
        text = malloc(level.size);
        if (text == NULL) {
            return MATCH_NONE;
        }
        memcpy(text, level.data, level.size);
    }
    uint32_t at = tree_take(m);
    if (at == MATCH_NONE) {
        free(text);
        return MATCH_NONE;
    }
    struct tree_node *n = tree_at(m, at);
    n->size             = (uint16_t)level.size;
    if (text != NULL) {
        memcpy(n->text + TREE_TEXT_INLINE_BYTES - sizeof text, &text, sizeof text);
        m->text_bytes += level.size;
    } else if (level.size != 0) {
        memcpy(n->text, level.data, level.size);
    }
    n->parent           = parent;
    n->hash             = edge_hash(parent, level_hash);
    uint32_t *bucket    = bucket_of(m, n->hash);
    n->chain            = *bucket;
    *bucket             = at;
    struct tree_node *p = tree_at(m, parent);
    p->child_count++;
    p->has_plus |= is_text(level, '+');
    p->has_rest |= is_text(level, '#');
    return at;
}

void tree_prune(struct tree *m, uint32_t at)
{
    while (at > TREE_EXACT) {
        struct tree_node *n = tree_at(m, at);
        if (n->first != NULL || n->child_count != 0) {
            return;
        }
        uint32_t *place = bucket_of(m, n->hash);
        while (*place != at) {
            place = &tree_at(m, *place)->chain;
        }
        *place                   = n->chain;
        uint32_t          parent = n->parent;
        struct tree_node *p      = tree_at(m, parent);
        p->child_count--;
        if (is_text(tree_text(n), '+')) {
            p->has_plus = false;
        } else if (is_text(tree_text(n), '#')) {
            p->has_rest = false;
        }
        tree_give(m, at);
        at = parent;
    }
}

bool tree_init(struct tree *m)
{
    *m = (struct tree){0};
    if (!bucket_room(m)) {
        return false;
    }
    m->bucket_count = TREE_CHUNK_BUCKETS;
    m->bucket_base  = TREE_CHUNK_BUCKETS;
    return tree_take(m) == TREE_ROOT && tree_take(m) == TREE_EXACT;
}

void tree_fini(struct tree *m)
{
    for (uint32_t b = 0; b < m->bucket_count && m->text_bytes != 0; b++) {
        for (uint32_t at = *bucket_at(m, b); at != MATCH_NONE; at = tree_at(m, at)->chain) {
            if (tree_at(m, at)->size > TREE_TEXT_INLINE_BYTES) {
                free((void *)(uintptr_t)tree_text(tree_at(m, at)).data);
            }
        }
    }
    for (uint32_t i = 0; i < m->bucket_count; i += TREE_CHUNK_BUCKETS) {
        free(m->buckets[i / TREE_CHUNK_BUCKETS]);
    }
    for (uint32_t i = 0; i < m->chunk_count; i++) {
        free(m->chunks[i]);
    }
    free(m->chunks);
    free(m->buckets);
}

uint64_t tree_bytes(const struct tree *m)
{
    return (uint64_t)m->chunk_count * (TREE_CHUNK_NODES * sizeof(struct tree_node) + sizeof(void *)) +
           (uint64_t)m->bucket_count * sizeof **m->buckets + m->text_bytes;
}
