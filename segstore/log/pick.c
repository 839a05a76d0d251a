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

static bool is_lost(struct pick *p, uint64_t position)
{
    while (p->lost_at < p->lost_count && p->lost[p->lost_at] < position) {
        p->lost_at++;
    }
    return p->lost_at < p->lost_count && p->lost[p->lost_at] == position;
}

bool pick_lost(struct pick *p, uint64_t end, struct log_entry *out)
{
    static const uint8_t zeros[PICK_LOST_BYTES];
    uint64_t             position = pick_position(p);
    if (position >= end || !is_lost(p, position)) {
        return false;
    }
    p->at += count_before(p, position + 1);
    *out = (struct log_entry){
        .stripe = p->stripe, .kind = LOG_BODY, .position = position, .ops = bytes_of(zeros, sizeof zeros)};
    return true;
}

/* Those before an entry: what was lost among them is picked (true), the others were missed. */
static bool pick_before(struct pick *p, uint64_t position, struct log_entry *out)
{
    while (pick_position(p) < position) {
        if (pick_lost(p, position, out)) {
            return true;
        }
        p->at++;
        p->missed++;
    }
    return false;
}

bool pick_next(struct pick *p, struct block_cursor *c, struct log_entry *out)
{
    struct log_entry entry;
    for (struct block_cursor here = *c; p->at < p->count && block_next(c, &entry); here = *c) {
        if (entry.stripe != p->stripe) {
            continue;
        }
        if (pick_before(p, entry.position, out)) {
            *c = here; /* the entry is looked at once more */
            return true;
        }
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
