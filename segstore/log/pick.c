/* pick.c - two ascending sequences side by side. */
#include "segstore/log/pick.h"

void pick_init(struct pick *p, uint16_t stripe, const uint64_t *live, size_t count)
{
    *p = (struct pick){.live = live, .count = count, .stripe = stripe};
}

/* How many live positions from `at` on lie before end. */
static size_t count_before(const struct pick *p, uint64_t end)
{
    size_t at = p->at;
    while (at < p->count && p->live[at] < end) {
        ASSERT_SLOW(at == 0 || p->live[at - 1] <= p->live[at]);
        at++;
    }
    return at - p->at;
}

bool pick_next(struct pick *p, struct block_cursor *c, struct log_entry *out)
{
    struct log_entry entry;
    while (p->at < p->count && block_next(c, &entry)) {
        if (entry.stripe != p->stripe) {
            continue;
        }
        size_t before = count_before(p, entry.position);
        p->at += before;
        p->missed += before;
        size_t inside = count_before(p, entry.position + entry.ops.size);
        p->at += inside;
        if (inside > 0) {
            *out = entry;
            return true;
        }
    }
    return false;
}

uint64_t pick_position(const struct pick *p)
{
    return p->at == p->count ? UINT64_MAX : p->live[p->at];
}

void pick_end(struct pick *p)
{
    p->missed += p->count - p->at;
    p->at = p->count;
}
