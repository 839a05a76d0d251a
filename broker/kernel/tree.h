/* tree - the nodes of the filter tree and the edges between them, drawn in match.h. Stands under match.c; nobody else uses it.
 *
 * Nodes lie in chunks and never move; children are found through one hash table of all edges (parent, level) -> child.
 * Threads: the shard that owns the tree. */
#ifndef KEEL_BROKER_KERNEL_TREE_H
#define KEEL_BROKER_KERNEL_TREE_H

#include "broker/kernel/match.h"

enum { TREE_ROOT = 1, TREE_CHUNK_NODES = 1024, TREE_TEXT_INLINE_BYTES = 14 };

struct tree_node {
    uint32_t           parent;
    uint32_t           chain; /* next in the bucket of edges; next free node */
    uint32_t           hash;  /* of the edge */
    uint32_t           plus;  /* child '+' */
    uint32_t           rest;  /* child '#' */
    uint32_t           child_count;
    struct match_link *first;
    uint16_t           size;                         /* of the level's text */
    uint8_t            text[TREE_TEXT_INLINE_BYTES]; /* or, at its last 8 bytes, a pointer */
};
_Static_assert(sizeof(struct tree_node) == 48, "a node is three quarters of a cache line");

struct tree {
    struct tree_node **chunks;
    uint32_t           chunk_count;
    uint32_t           node_count; /* in use, root included */
    uint32_t           free_node;
    uint32_t          *buckets;
    uint32_t           bucket_count; /* a power of two */
    uint64_t           text_bytes;   /* of levels that do not fit in their node */
};

/* False when memory is out; to be ended all the same. */
MUST_CHECK bool tree_init(struct tree *tree);
void            tree_fini(struct tree *tree);

static inline struct tree_node *tree_at(const struct tree *m, uint32_t node)
{
    return &m->chunks[node / TREE_CHUNK_NODES][node % TREE_CHUNK_NODES];
}

struct bytes tree_text(const struct tree_node *n);
/* The level that begins at *at; moves *at behind it and its '/', or beyond size at the end. */
struct bytes tree_level(struct bytes topic, size_t *at);
/* The child of that name, or MATCH_NONE. */
uint32_t tree_child(const struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash);
/* Makes it; MATCH_NONE when memory is out. */
uint32_t tree_make_child(struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash);
/* Gives back a node without links and children, and its parents that become so. */
void     tree_prune(struct tree *m, uint32_t at);
uint64_t tree_bytes(const struct tree *m);

#endif
