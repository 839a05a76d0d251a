/* shapes - filters with wildcards as keys, so that what matches a topic is found by one look-up for each shape that filters have.
 *
 *     site/+/7/#     shape: 3 levels, the second is '+', and '#'     key: of the shape, "site" at 1 and "7" at 3
 *     site/2/7/x     topic: the key that a filter of this shape has if it matches
 *
 * A fleet's filters have a handful of shapes, whatever their number. The key of a shape is a sum over its fixed levels, so that a topic's levels
 * are hashed once and each shape costs a few additions (tuple space search: Srinivasan, Suri, Varghese 1999). It is seeded at random: nobody
 * outside can aim at a collision; one that happens finds what does not match, never passes over what does.
 *
 * There is room for SHAPES_MAX shapes of at most SHAPE_LEVELS_MAX levels, so that nobody can make publishes slow by making many: filters of others are refused,
 * and go to the filter tree (interest.h). A shape is there as long as filters of it are.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SHAPES_H
#define KEEL_BROKER_KERNEL_SHAPES_H

#include "broker/kernel/kernel.h"

enum { SHAPES_MAX = 64, SHAPE_LEVELS_MAX = 32 };

struct shape {
    uint64_t salt;
    uint32_t plus; /* a bit for each level that is '+', the first one lowest */
    uint8_t  levels;
    bool     rest; /* '#' behind them */
};

struct shapes {
    struct shape list[SHAPES_MAX];
    uint32_t     filters[SHAPES_MAX][SHARDS_MAX]; /* of that shape, of that shard */
    uint32_t     filter_count[SHAPES_MAX];
    uint32_t     count;
    uint32_t     depth; /* levels of the deepest one */
    uint64_t     seed;
};

void shapes_init(struct shapes *shapes, uint64_t seed);
/* One more filter (valid, with wildcards) of that shard; *out_key is what it is known by. False: there is no room for its shape. */
MUST_CHECK bool shapes_enter(struct shapes *shapes, struct bytes filter, unsigned shard, uint64_t *out_key);
/* One that was entered has gone. */
void shapes_leave(struct shapes *shapes, struct bytes filter, unsigned shard);
/* All of one shard. */
void shapes_forget(struct shapes *shapes, unsigned shard);
/* What a filter is known by, whether its shape has room or not. False: it is too deep. */
MUST_CHECK bool shapes_key(const struct shapes *shapes, struct bytes filter, uint64_t *out_key);
/* The keys of all filters, of the shapes that are there, that match the topic, and which shapes these are, until one comes or goes. Returns their number. */
uint32_t shapes_match(const struct shapes *shapes, struct bytes topic, uint64_t out_keys[SHAPES_MAX],
                      uint8_t out_shapes[SHAPES_MAX]);
/* Is it the one filter of that shape, which was a result for this topic, that matches it? A key may be another's by chance. */
bool shapes_fits(const struct shapes *shapes, unsigned shape, struct bytes filter, struct bytes topic);

#endif
