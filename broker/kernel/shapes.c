/* shapes - see shapes.h. */
#include "broker/kernel/shapes.h"

#include "broker/kernel/topic.h"
#include "shared/base/hash.h"

void shapes_init(struct shapes *s, uint64_t seed)
{
    *s = (struct shapes){.seed = seed};
}

/* What a level adds to the key at its place. */
static uint64_t term(const struct shapes *s, struct bytes level, uint32_t place)
{
    return hash_u64(hash_bytes_seeded(level, s->seed) + place * 0x9e3779b97f4a7c15u);
}

/* The shape of a filter, and the sum of its fixed levels. False: it is too deep. */
static bool read_filter(const struct shapes *s, struct bytes filter, struct shape *out, uint64_t *out_sum)
{
    uint64_t sum = 0;
    *out         = (struct shape){0};
    for (size_t at = 0; at <= filter.size;) {
        struct bytes level = topic_level(filter, &at);
        uint8_t      wild  = level.size == 1 ? level.data[0] : 0;
        if (wild == '#') {
            out->rest = true;
            break;
        }
        if (out->levels == SHAPE_LEVELS_MAX) {
            return false;
        }
        if (wild == '+') {
            out->plus |= 1u << out->levels;
        } else {
            sum += term(s, level, out->levels);
        }
        out->levels++;
    }
    out->salt = hash_u64(s->seed ^ ((uint64_t)out->plus << 8 | (uint64_t)out->levels << 1 | out->rest));
    *out_sum  = sum;
    return true;
}

static uint64_t key_of(const struct shape *shape, uint64_t sum)
{
    return hash_u64(sum + shape->salt);
}

static uint32_t find(const struct shapes *s, const struct shape *shape)
{
    uint32_t at = 0;
    while (at < s->count && (s->list[at].plus != shape->plus || s->list[at].levels != shape->levels ||
                             s->list[at].rest != shape->rest)) {
        at++;
    }
    return at;
}

bool shapes_key(const struct shapes *s, struct bytes filter, uint64_t *out_key)
{
    struct shape shape;
    uint64_t     sum;
    if (!read_filter(s, filter, &shape, &sum)) {
        return false;
    }
    *out_key = key_of(&shape, sum);
    return true;
}

bool shapes_enter(struct shapes *s, struct bytes filter, unsigned shard, uint64_t *out_key)
{
    struct shape shape;
    uint64_t     sum;
    if (!read_filter(s, filter, &shape, &sum)) {
        return false;
    }
    uint32_t at = find(s, &shape);
    if (at == SHAPES_MAX) {
        return false;
    }
    if (at == s->count) {
        s->list[s->count++] = shape;
        s->depth            = shape.levels > s->depth ? shape.levels : s->depth;
    }
    s->filters[at][shard]++;
    s->filter_count[at]++;
    *out_key = key_of(&shape, sum);
    return true;
}

/* The last one takes the place of a shape that nobody has any more. */
static void retire(struct shapes *s, uint32_t at)
{
    uint32_t last = --s->count;
    s->list[at]   = s->list[last];
    memcpy(s->filters[at], s->filters[last], sizeof s->filters[at]);
    s->filter_count[at] = s->filter_count[last];
    memset(s->filters[last], 0, sizeof s->filters[last]);
    s->filter_count[last] = 0;
    s->depth              = 0;
    for (uint32_t i = 0; i < s->count; i++) {
        s->depth = s->list[i].levels > s->depth ? s->list[i].levels : s->depth;
    }
}

void shapes_leave(struct shapes *s, struct bytes filter, unsigned shard)
{
    struct shape shape;
    uint64_t     sum;
    bool         shallow = read_filter(s, filter, &shape, &sum);
    ASSERT(shallow);
    uint32_t at = find(s, &shape);
    ASSERT(at < s->count && s->filters[at][shard] != 0);
    s->filters[at][shard]--;
    if (--s->filter_count[at] == 0) {
        retire(s, at);
    }
}

void shapes_forget(struct shapes *s, unsigned shard)
{
    for (uint32_t at = s->count; at-- > 0;) {
        s->filter_count[at] -= s->filters[at][shard];
        s->filters[at][shard] = 0;
        if (s->filter_count[at] == 0) {
            retire(s, at);
        }
    }
}

uint32_t shapes_match(const struct shapes *s, struct bytes topic, uint64_t out_keys[SHAPES_MAX],
                      uint8_t out_shapes[SHAPES_MAX])
{
    uint64_t terms[SHAPE_LEVELS_MAX];
    uint64_t sums[SHAPE_LEVELS_MAX + 1]; /* of the levels before this one */
    uint32_t levels = 0;
    uint32_t found  = 0;
    bool     plain  = topic.size != 0 && topic.data[0] == '$'; /* [MQTT-4.7.2-1] */
    size_t   at     = 0;
    sums[0]         = 0;
    while (at <= topic.size && levels < s->depth) {
        terms[levels]    = term(s, topic_level(topic, &at), levels);
        sums[levels + 1] = sums[levels] + terms[levels];
        levels++;
    }
    bool all = at > topic.size; /* it has no further levels */
    for (uint32_t i = 0; i < s->count; i++) {
        const struct shape *shape = &s->list[i];
        bool                deep  = shape->rest ? shape->levels <= levels : shape->levels == levels && all;
        if (!deep || (plain && (shape->levels == 0 || (shape->plus & 1) != 0))) {
            continue;
        }
        uint64_t sum = sums[shape->levels];
        for (uint32_t plus = shape->plus; plus != 0; plus &= plus - 1) {
            sum -= terms[__builtin_ctz(plus)];
        }
        out_keys[found]     = key_of(shape, sum);
        out_shapes[found++] = (uint8_t)i;
    }
    return found;
}

/* Passes over the level of a topic that begins at *t, and over the same text of a filter, or its '+', at *f. */
static bool level_fits(struct bytes filter, size_t *f, struct bytes topic, size_t *t, bool plus)
{
    if (plus && (*f == filter.size || filter.data[(*f)++] != '+')) {
        return false;
    }
    for (; *t < topic.size && topic.data[*t] != '/'; ++*t) {
        if (!plus && (*f == filter.size || filter.data[(*f)++] != topic.data[*t])) {
            return false;
        }
    }
    return *f == filter.size || filter.data[*f] == '/';
}

bool shapes_fits(const struct shapes *s, unsigned shape, struct bytes filter, struct bytes topic)
{
    const struct shape *is = &s->list[shape];
    size_t              f  = 0;
    size_t              t  = 0;
    for (uint32_t level = 0; level < is->levels; level++) {
        if (level != 0 && (f++ == filter.size || t++ == topic.size)) { /* the '/' */
            return false;
        }
        if (!level_fits(filter, &f, topic, &t, (is->plus >> level & 1) != 0)) {
            return false;
        }
    }
    if (!is->rest) {
        return f == filter.size && t == topic.size;
    }
    struct bytes rest = bytes_of(filter.data + f, filter.size - f);
    return bytes_equal(rest, is->levels == 0 ? bytes_str("#") : bytes_str("/#"));
}
