/* match - a topic is matched level by level with the set of nodes that its first levels lead to: no recursion, whatever the depth. */
#include "broker/kernel/match.h"

#include "broker/kernel/recall.h"
#include "broker/kernel/tree.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct match {
    struct tree   tree;
    struct recall recall;
    uint64_t      misses;
    uint32_t     *found; /* scratch of match_find: result, and the node sets of two levels */
    uint32_t      found_capacity;
    uint32_t     *sets[2];
    uint32_t      set_capacity;
};

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct match *match_new(uint32_t cache_slots)
{
    struct match *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    bool recall = recall_init(&m->recall, cache_slots);
    bool tree   = tree_init(&m->tree);
    if (!recall || !tree) {
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
    tree_fini(&m->tree);
    recall_fini(&m->recall);
    free(m->found);
    free(m->sets[0]);
    free(m->sets[1]);
    free(m);
}

/* ---- filters come and go ------------------------------------------------------------------------------------------ */

static void link_in(struct tree_node *n, uint32_t at, struct match_link *link)
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
    uint32_t at = TREE_ROOT;
    for (size_t pos = 0; pos <= filter.size;) {
        struct bytes level = tree_level(filter, &pos);
        uint64_t     hash  = hash_bytes(level);
        uint32_t     child = tree_child(&m->tree, at, level, hash);
        if (child == MATCH_NONE) {
            child = tree_make_child(&m->tree, at, level, hash);
        }
        if (child == MATCH_NONE) {
            tree_prune(&m->tree, at);
            return ERR_FULL;
        }
        at = child;
    }
    struct tree_node *n = tree_at(&m->tree, at);
    if (n->first == NULL) {
        recall_forget(&m->recall, filter);
    }
    link_in(n, at, link);
    return 0;
}

void match_add_at(struct match *m, uint32_t node, struct match_link *link)
{
    struct tree_node *n = tree_at(&m->tree, node);
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
    if (tree_at(&m->tree, at)->first == NULL) {
        uint8_t filter[1024];
        size_t  size = match_filter(m, at, filter, sizeof filter);
        if (size <= sizeof filter) {
            recall_forget(&m->recall, bytes_of(filter, size));
        } else {
            recall_forget_all(&m->recall);
        }
        tree_prune(&m->tree, at);
    }
}

uint32_t match_node(const struct match *m, struct bytes filter)
{
    uint32_t at = TREE_ROOT;
    for (size_t pos = 0; pos <= filter.size && at != MATCH_NONE;) {
        struct bytes level = tree_level(filter, &pos);
        at                 = tree_child(&m->tree, at, level, hash_bytes(level));
    }
    return at != MATCH_NONE && tree_at(&m->tree, at)->first != NULL ? at : MATCH_NONE;
}

struct match_link *match_first(const struct match *m, uint32_t node)
{
    return tree_at(&m->tree, node)->first;
}

size_t match_filter(const struct match *m, uint32_t node, uint8_t *out, size_t room)
{
    size_t size = 0;
    for (uint32_t at = node; at != TREE_ROOT; at = tree_at(&m->tree, at)->parent) {
        size += tree_at(&m->tree, at)->size + (size_t)(at != node);
    }
    if (size > room) {
        return size;
    }
    size_t end = size;
    for (uint32_t at = node; at != TREE_ROOT; at = tree_at(&m->tree, at)->parent) {
        struct bytes text = tree_text(tree_at(&m->tree, at));
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
    if (tree_at(&m->tree, node)->first == NULL) {
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
    m->sets[0][0] = TREE_ROOT;
    for (size_t pos = 0; pos <= topic.size && width != 0; plain = false) {
        struct bytes level = tree_level(topic, &pos);
        uint64_t     hash  = hash_bytes(level);
        uint32_t     next  = 0;
        if (width * 2 > m->set_capacity && !sets_grow(m, width * 4)) {
            return found;
        }
        for (uint32_t i = 0; i < width; i++) {
            uint32_t                at = m->sets[now][i];
            const struct tree_node *n  = tree_at(&m->tree, at);
            if (n->rest != MATCH_NONE && !plain) {
                found_add(m, n->rest, &found);
            }
            if (n->plus != MATCH_NONE && !plain) {
                m->sets[1 - now][next++] = n->plus;
            }
            if (n->child_count > (uint32_t)(n->plus != MATCH_NONE) + (n->rest != MATCH_NONE)) {
                uint32_t child = tree_child(&m->tree, at, level, hash);
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
        if (tree_at(&m->tree, at)->rest != MATCH_NONE) {
            found_add(m, tree_at(&m->tree, at)->rest, &found);
        }
    }
    return found;
}

uint32_t match_find(struct match *m, struct bytes topic, const uint32_t **out_nodes)
{
    uint64_t hash = 0;
    if (m->recall.slot_count != 0) {
        hash                           = hash_bytes(topic);
        const struct recall_slot *slot = recall_find(&m->recall, topic, hash);
        if (slot != NULL) {
            *out_nodes = slot->nodes;
            return slot->count;
        }
    }
    uint64_t misses = m->misses;
    uint32_t count  = find_in_tree(m, topic);
    if (m->recall.slot_count != 0 && m->misses == misses) {
        recall_store(&m->recall, topic, hash, m->found, count);
    }
    *out_nodes = m->found;
    return count;
}

uint64_t match_nodes(const struct match *m)
{
    return m->tree.node_count;
}

uint64_t match_bytes(const struct match *m)
{
    return sizeof *m + tree_bytes(&m->tree) + (uint64_t)m->recall.slot_count * sizeof *m->recall.slots +
           m->recall.memory_bytes + (uint64_t)m->found_capacity * sizeof *m->found +
           2u * (uint64_t)m->set_capacity * sizeof **m->sets;
}

uint64_t match_misses(const struct match *m)
{
    return m->misses;
}
