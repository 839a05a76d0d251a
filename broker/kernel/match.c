/* match - a filter without wildcards is found by one look-up of the whole topic; those with wildcards level by level, with the set
 * of nodes that the topic's first levels lead to: no recursion, whatever the depth. */
#include "broker/kernel/match.h"

#include "broker/kernel/recall.h"
#include "broker/kernel/topic.h"
#include "broker/kernel/tree.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct match {
    struct tree        tree;
    struct recall      recall;
    uint64_t           misses;
    uint32_t          *found; /* scratch of match_find: the result */
    uint32_t           found_capacity;
    uint32_t          *set; /* nodes that the levels so far lead to */
    uint32_t           set_capacity;
    struct tree_probe *probes; /* of one level: three for each of them, and one */
    uint64_t           plus_hash;
    uint64_t           rest_hash;
};

enum probe_kind { PROBE_LEVEL, PROBE_PLUS, PROBE_REST };

/* ---- life ------------------------------------------------------------------------------------------------------- */

struct match *match_new(uint32_t cache_slots)
{
    struct match *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    m->plus_hash = hash_bytes(bytes_str("+"));
    m->rest_hash = hash_bytes(bytes_str("#"));
    bool recall  = recall_init(&m->recall, cache_slots);
    bool tree    = tree_init(&m->tree);
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
    free(m->set);
    free(m->probes);
    free(m);
}

/* ---- filters come and go ------------------------------------------------------------------------------------------ */

static uint32_t root_of(struct bytes filter)
{
    return topic_filter_wild(filter) ? TREE_ROOT : TREE_EXACT;
}

/* The text of the next edge from this node; moves *at behind it. */
static struct bytes edge_of(uint32_t node, struct bytes filter, size_t *at)
{
    if (node == TREE_EXACT) {
        *at = filter.size + 1;
        return filter;
    }
    return topic_level(filter, at);
}

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
    uint32_t at = root_of(filter);
    for (size_t pos = 0; pos <= filter.size;) {
        struct bytes level = edge_of(at, filter, &pos);
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
    uint32_t at = root_of(filter);
    for (size_t pos = 0; pos <= filter.size && at != MATCH_NONE;) {
        struct bytes level = edge_of(at, filter, &pos);
        at                 = tree_child(&m->tree, at, level, hash_bytes(level));
    }
    return at != MATCH_NONE && tree_at(&m->tree, at)->first != NULL ? at : MATCH_NONE;
}

unsigned match_mark(const struct match *m, uint32_t node)
{
    return tree_at(&m->tree, node)->mark;
}

void match_set_mark(struct match *m, uint32_t node, unsigned mark)
{
    tree_at(&m->tree, node)->mark = mark & MATCH_MARK_MAX;
}

uint32_t match_next_marked(const struct match *m, uint32_t node)
{
    uint32_t end = m->tree.chunk_count * TREE_CHUNK_NODES;
    for (uint32_t at = node + 1; at < end; at++) {
        if (tree_at(&m->tree, at)->mark != 0) {
            return at;
        }
    }
    return MATCH_NONE;
}

struct match_link *match_first(const struct match *m, uint32_t node)
{
    return tree_at(&m->tree, node)->first;
}

size_t match_filter(const struct match *m, uint32_t node, uint8_t *out, size_t room)
{
    size_t size = 0;
    for (uint32_t at = node; at > TREE_EXACT; at = tree_at(&m->tree, at)->parent) {
        size += tree_at(&m->tree, at)->size + (size_t)(at != node);
    }
    if (size > room) {
        return size;
    }
    size_t end = size;
    for (uint32_t at = node; at > TREE_EXACT; at = tree_at(&m->tree, at)->parent) {
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
    __builtin_prefetch(tree_at(&m->tree, node)->first);
    m->found[(*count)++] = node;
}

static bool set_grow(struct match *m, uint32_t room)
{
    uint32_t *set             = realloc(m->set, room * sizeof *set);
    m->set                    = set != NULL ? set : m->set;
    struct tree_probe *probes = set == NULL ? NULL : realloc(m->probes, (3 * (size_t)room + 1) * sizeof *probes);
    if (probes == NULL) {
        m->misses++;
        return false;
    }
    m->probes       = probes;
    m->set_capacity = room;
    return true;
}

static void probe(struct match *m, uint32_t *count, enum probe_kind kind, uint32_t parent, uint64_t level_hash)
{
    struct tree_probe *p = &m->probes[(*count)++];
    p->kind              = kind;
    tree_probe_begin(&m->tree, p, parent, level_hash);
}

/* Carries out the probes; what they find is a result, or belongs to the next set, whose size is returned. */
static uint32_t probes_end(struct match *m, uint32_t count, struct bytes level, uint32_t *found)
{
    uint32_t width = 0;
    for (uint32_t i = 0; i < count; i++) {
        tree_probe_fetch(&m->tree, &m->probes[i]);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tree_probe *p = &m->probes[i];
        struct bytes text[] = {[PROBE_LEVEL] = level, [PROBE_PLUS] = bytes_str("+"), [PROBE_REST] = bytes_str("#")};
        uint32_t     node   = tree_probe_end(&m->tree, p, text[p->kind]);
        if (node == MATCH_NONE) {
            continue;
        }
        if (p->kind == PROBE_REST) {
            found_add(m, node, found);
        } else {
            m->set[width++] = node;
        }
    }
    return width;
}

static uint32_t find_in_tree(struct match *m, struct bytes topic, uint64_t topic_hash)
{
    uint32_t found = 0;
    uint32_t width = 1;
    uint32_t count = 0;
    bool     plain = topic.size != 0 && topic.data[0] == '$'; /* [MQTT-4.7.2-1] */
    if (m->set_capacity == 0 && !set_grow(m, 64)) {
        return 0;
    }
    /* The filter that is the topic: one step further with each level, so that its misses of the cache cost nothing. */
    struct tree_probe exact;
    uint32_t          steps = 0;
    tree_probe_begin(&m->tree, &exact, TREE_EXACT, topic_hash);
    m->set[0]          = TREE_ROOT;
    struct bytes level = {0};
    for (size_t pos = 0; pos <= topic.size && width != 0; plain = false) {
        level         = topic_level(topic, &pos);
        uint64_t hash = hash_bytes(level);
        if (2 * width > m->set_capacity && !set_grow(m, width * 4)) {
            return found;
        }
        for (uint32_t i = 0; i < width; i++) {
            uint32_t                at = m->set[i];
            const struct tree_node *n  = tree_at(&m->tree, at);
            if (n->has_rest && !plain) {
                probe(m, &count, PROBE_REST, at, m->rest_hash);
            }
            if (n->has_plus && !plain) {
                probe(m, &count, PROBE_PLUS, at, m->plus_hash);
            }
            if (n->child_count > (uint32_t)n->has_plus + n->has_rest) {
                probe(m, &count, PROBE_LEVEL, at, hash);
            }
        }
        width = probes_end(m, count, level, &found);
        count = 0;
        if (steps == 0) {
            tree_probe_fetch(&m->tree, &exact);
        } else if (steps == 1) {
            tree_probe_text(&m->tree, &exact);
        }
        steps++;
    }
    for (uint32_t i = 0; i < width; i++) {
        found_add(m, m->set[i], &found);
        if (tree_at(&m->tree, m->set[i])->has_rest) {
            probe(m, &count, PROBE_REST, m->set[i], m->rest_hash);
        }
    }
    (void)probes_end(m, count, level, &found);
    uint32_t node = tree_probe_end(&m->tree, &exact, topic);
    if (node != MATCH_NONE) {
        found_add(m, node, &found);
    }
    return found;
}

uint32_t match_find(struct match *m, struct bytes topic, const uint32_t **out_nodes)
{
    uint64_t hash = hash_bytes(topic);
    if (m->recall.slot_count != 0) {
        const struct recall_slot *slot = recall_find(&m->recall, topic, hash);
        if (slot != NULL) {
            *out_nodes = slot->nodes;
            return slot->count;
        }
    }
    uint64_t misses = m->misses;
    uint32_t count  = find_in_tree(m, topic, hash);
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
           (uint64_t)m->set_capacity * (sizeof *m->set + 3 * sizeof *m->probes);
}

uint64_t match_misses(const struct match *m)
{
    return m->misses;
}
