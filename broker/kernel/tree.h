/* tree - the nodes of the filter tree and the edges between them, drawn in match.h. Stands under match.c; nobody else uses it.
 *
 * Nodes lie in chunks and never move; children are found through one hash table of all edges (parent, level) -> child, which
 * grows by two buckets for each node (linear hashing: Litwin 1980), so that no subscription pays for the growth of the table.
 * Threads: the shard that owns the tree. */
#ifndef KEEL_BROKER_KERNEL_TREE_H
#define KEEL_BROKER_KERNEL_TREE_H

#include "broker/kernel/match.h"

/* Below TREE_ROOT a node is a level of filters with wildcards; below TREE_EXACT it is a whole filter without any. */
enum { TREE_ROOT = 1, TREE_EXACT = 2, TREE_CHUNK_NODES = 1024, TREE_CHUNK_BUCKETS = 4096, TREE_TEXT_INLINE_BYTES = 14 };

struct tree_node {
    uint32_t           parent;
    uint32_t           chain;           /* next in the bucket of edges; next free node */
    uint32_t           hash;            /* of the edge */
    uint32_t           has_plus    : 1; /* a child '+' */
    uint32_t           has_rest    : 1; /* a child '#' */
    uint32_t           mark        : 2; /* match_mark */
    uint32_t           child_count : 28;
    struct match_link *first;
    uint16_t           size;                         /* of the text */
    uint8_t            text[TREE_TEXT_INLINE_BYTES]; /* or, at its last 8 bytes, a pointer */
};
_Static_assert(sizeof(struct tree_node) == 40, "millions of them are counted");

struct tree {
    struct tree_node **chunks;
    uint32_t           chunk_count;
    uint32_t           node_count; /* in use, both roots included */
    uint32_t           free_node;
    uint32_t         **buckets; /* in chunks */
    uint32_t           bucket_count;
    uint32_t           bucket_base; /* a power of two: buckets below bucket_count - bucket_base are split already */
    uint64_t           text_bytes;  /* of texts that do not fit in their node */
};

/* False when memory is out; to be ended all the same. */
MUST_CHECK bool tree_init(struct tree *tree);
void            tree_fini(struct tree *tree);

static inline struct tree_node *tree_at(const struct tree *m, uint32_t node)
{
    return &m->chunks[node / TREE_CHUNK_NODES][node % TREE_CHUNK_NODES];
}

struct bytes tree_text(const struct tree_node *n);
/* The child of that name, or MATCH_NONE. */
uint32_t tree_child(const struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash);
/* The same in three steps, for several at a time, so that their misses of the cache overlap: the bucket is fetched, then the first
 * node of its chain, then the chain is walked. */
struct tree_probe {
    uint32_t parent;
    uint32_t hash;
    uint32_t at;   /* first node of the chain */
    uint32_t kind; /* the caller's */
};
void tree_probe_begin(const struct tree *m, struct tree_probe *probe, uint32_t parent, uint64_t level_hash);
void tree_probe_fetch(const struct tree *m, struct tree_probe *probe);
/* Between fetch and end, if there is time: brings the text of the first node, too. */
void     tree_probe_text(const struct tree *m, const struct tree_probe *probe);
uint32_t tree_probe_end(const struct tree *m, const struct tree_probe *probe, struct bytes level);
/* Makes it; MATCH_NONE when memory is out. */
uint32_t tree_make_child(struct tree *m, uint32_t parent, struct bytes level, uint64_t level_hash);
/* Gives back a node without links and children, and its parents that become so. */
void     tree_prune(struct tree *m, uint32_t at);
uint64_t tree_bytes(const struct tree *m);

#endif
