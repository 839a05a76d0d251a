/* match - the filter tree: which filters match a topic (MQTT 5.0, 4.7).
 *
 *     root ─ "home" ─ "+" ─ "light" ● ●        ● a link: somebody who wants what this filter matches
 *                   └ "#" ●
 *     one node per level, 40 bytes, named by a 32-bit number; children are found through one hash table of all
 *     edges (parent, level) -> child, so a node without children pays nothing for having none
 *     exact ─ "home/hall/light" ●    a filter without wildcards is one node, found by the hash of the whole topic
 *
 * '#' matches its parent level too; neither wildcard matches a first level that begins with '$'.
 *
 * In front of the tree lies a cache topic -> matching nodes. A filter without wildcards that comes or goes forgets one topic;
 * one whose first level is plain forgets the topics below that level; only "+/.." and "#" forget all.
 *
 * Links belong to their owners and are embedded in what they link; a node lives as long as it has links or children.
 * Threads: the shard that owns the tree. */
#ifndef KEEL_BROKER_KERNEL_MATCH_H
#define KEEL_BROKER_KERNEL_MATCH_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

struct match;

enum { MATCH_NONE = 0, MATCH_MARK_MAX = 3 }; /* no node; see match_mark */

struct match_link {
    struct match_link  *next;
    struct match_link **place; /* what points to this link */
    uint32_t            node;  /* MATCH_NONE: in no tree */
    uint8_t             kind;  /* the owner's: what the link is embedded in */
    uint8_t             flags; /* the owner's */
    uint16_t            spare; /* the owner's */
};

/* cache_slots: topics remembered, a power of two, 0: none. NULL when memory is out. */
struct match *match_new(uint32_t cache_slots);
/* Links that are still in the tree are left as they are and must not be used with it again. */
void match_free(struct match *match);

/* Adds a link to a filter (valid, not a shared one: of that, the last part). 0, or ERR_FULL when memory is out. */
MUST_CHECK int match_add(struct match *match, struct bytes filter, struct match_link *link);
/* As match_add, to a node that has links. */
void match_add_at(struct match *match, uint32_t node, struct match_link *link);
/* Takes a link out; does nothing when it is in no tree. */
void match_remove(struct match *match, struct match_link *link);
/* The node of a filter that has links, or MATCH_NONE. */
uint32_t match_node(const struct match *match, struct bytes filter);
/* First of the links of a node. */
struct match_link *match_first(const struct match *match, uint32_t node);
/* What the owner of the tree notes on a node that has links; 0 on a new one. */
unsigned match_mark(const struct match *match, uint32_t node);
void     match_set_mark(struct match *match, uint32_t node, unsigned mark);
/* The next node behind this one (MATCH_NONE: the first of all) whose mark is not 0, or MATCH_NONE: in the order of their numbers, which does not
 * depend on where anything lies. Looks at every node there is. */
uint32_t match_next_marked(const struct match *match, uint32_t node);
/* Writes the filter of a node at out if its size is at most room; returns the size. */
size_t match_filter(const struct match *match, uint32_t node, uint8_t *out, size_t room);

/* All nodes with links whose filter matches the topic: each once. Returns their number; *out_nodes is valid until the next
 * call that takes a match that is not const. When memory is out the result may be short: counted in match_misses. */
uint32_t match_find(struct match *match, struct bytes topic, const uint32_t **out_nodes);

uint64_t match_nodes(const struct match *match);  /* that exist, both roots included */
uint64_t match_bytes(const struct match *match);  /* of memory, cache included */
uint64_t match_misses(const struct match *match); /* results cut short for want of memory */

#endif
