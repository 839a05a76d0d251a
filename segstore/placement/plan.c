/* plan.c - one step at a time: each is logged, and can be looked at before the next. */
#include "segstore/placement/plan.h"

#include <stdarg.h>
#include <stdio.h>

enum { PLAN_VERSION = 1, FLAG_DRAINED = 1 };

static bool within(const uint16_t *nodes, size_t count, uint16_t node)
{
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return true;
        }
    }
    return false;
}

const struct plan_place *plan_find(const struct plan *plan, uint16_t node)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->at[i].node == node) {
            return &plan->at[i];
        }
    }
    return NULL;
}

/* What plan_next goes by. */
struct look {
    const struct plan_wish *wish;
    const struct plan_seen *seen;
    size_t                  seen_count;
    char                   *why;
};

static const struct plan_seen *seen_of(const struct look *l, uint16_t node)
{
    for (size_t i = 0; i < l->seen_count; i++) {
        if (l->seen[i].node == node) {
            return &l->seen[i];
        }
    }
    return NULL;
}

static bool drained(const struct look *l, uint16_t node)
{
    return within(l->wish->drained, l->wish->drained_count, node);
}

__attribute__((format(printf, 2, 3))) static void say(const struct look *l, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    vsnprintf(l->why, PLAN_WHY_BYTES, format, list);
    va_end(list);
}

static void leave(struct plan *p, size_t at)
{
    memmove(&p->at[at], &p->at[at + 1], (p->count - at - 1) * sizeof p->at[0]);
    p->count--;
}

static bool key_used(const struct plan *p, uint16_t key)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->at[i].key == key) {
            return true;
        }
    }
    return false;
}

static void enter(struct plan *p, const struct look *l, uint16_t node, uint16_t key)
{
    const struct plan_seen *seen = seen_of(l, node);
    for (uint16_t other = 1; key_used(p, key); other++) {
        key = other;
    }
    p->at[p->count++] = (struct plan_place){.node = node, .key = key, .rack = seen != NULL ? seen->rack : 0};
}

/* ---- named anew ---- */

/* Those who are named and have no place take over from those who are not named any more: of the same rack first. */
static void rename_all(struct plan *p, const struct look *l)
{
    struct plan_place left[PLAN_NODES_MAX];
    size_t            left_count = 0;
    for (size_t i = p->count; i > 0; i--) {
        if (!within(l->wish->nodes, l->wish->count, p->at[i - 1].node)) {
            left[left_count++] = p->at[i - 1];
            leave(p, i - 1);
        }
    }
    for (size_t i = 0; i < l->wish->count; i++) {
        uint16_t                node = l->wish->nodes[i];
        const struct plan_seen *seen = seen_of(l, node);
        if (plan_find(p, node) != NULL || p->count == PLAN_NODES_MAX) {
            continue;
        }
        size_t from = left_count;
        for (size_t k = left_count; k > 0; k--) {
            if (from == left_count || (seen != NULL && left[k - 1].rack == seen->rack)) {
                from = k - 1;
            }
        }
        enter(p, l, node, from < left_count ? left[from].key : node);
        if (from < left_count) {
            left[from] = left[--left_count];
        }
    }
    memcpy(p->home, l->wish->nodes, l->wish->count * sizeof p->home[0]);
    p->home_count = l->wish->count;
    p->basis      = l->wish->basis;
}

/* ---- one by one ---- */

/* Alive, and free: of this rack if there is one, the lowest number. */
static const struct plan_seen *spare(const struct plan *p, const struct look *l, uint16_t rack)
{
    const struct plan_seen *best = NULL;
    for (size_t i = 0; i < l->seen_count; i++) {
        const struct plan_seen *s = &l->seen[i];
        if (!s->alive || drained(l, s->node) || plan_find(p, s->node) != NULL) {
            continue;
        }
        bool nearer = best != NULL && s->rack == rack && best->rack != rack;
        bool lower  = best != NULL && (s->rack == rack) == (best->rack == rack) && s->node < best->node;
        best        = best == NULL || nearer || lower ? s : best;
    }
    return best;
}

/* Somebody else takes the place, or it is given up. False: neither is possible. */
static bool vacate(struct plan *p, const struct look *l, size_t at, const char *because)
{
    uint16_t                node = p->at[at].node;
    const struct plan_seen *s    = spare(p, l, p->at[at].rack);
    if (s != NULL) {
        say(l, "node %u takes the place of node %u, which %s", s->node, node, because);
        p->at[at].node    = s->node;
        p->at[at].rack    = s->rack;
        p->at[at].drained = false;
        return true;
    }
    if (p->count > p->replicas) {
        leave(p, at);
        say(l, "node %u gives its place up, because it %s: its replicas are spread over the other %u nodes", node,
            because, p->count);
        return true;
    }
    return false;
}

static bool step_drained(struct plan *p, const struct look *l)
{
    for (size_t i = 0; i < p->count; i++) {
        bool wanted = drained(l, p->at[i].node);
        if (wanted && vacate(p, l, i, "is drained")) {
            return true;
        }
        if (wanted != p->at[i].drained) {
            p->at[i].drained = wanted;
            say(l,
                wanted ? "node %u is drained and leads nothing; its replicas have no other place"
                       : "node %u is not drained any more",
                p->at[i].node);
            return true;
        }
    }
    return false;
}

static bool step_gone(struct plan *p, const struct look *l)
{
    for (size_t i = 0; i < p->count; i++) {
        const struct plan_seen *s = seen_of(l, p->at[i].node);
        if (s != NULL && s->gone && vacate(p, l, i, "has been away for too long")) {
            return true;
        }
    }
    return false;
}

/* There are fewer places than were wished for. */
static bool step_vacancy(struct plan *p, const struct look *l)
{
    size_t wanted = 0;
    for (size_t i = 0; i < p->home_count; i++) {
        wanted += !drained(l, p->home[i]);
    }
    if (p->count >= wanted || p->count == PLAN_NODES_MAX) {
        return false;
    }
    uint16_t node = 0;
    for (size_t i = 0; i < p->home_count && node == 0; i++) {
        const struct plan_seen *s = seen_of(l, p->home[i]);
        node = s != NULL && s->alive && !drained(l, s->node) && plan_find(p, s->node) == NULL ? s->node : 0;
    }
    const struct plan_seen *s = node == 0 ? spare(p, l, 0) : NULL;
    if (node == 0 && s == NULL) {
        return false;
    }
    say(l, s == NULL ? "node %u is back and gets a place again" : "node %u takes a place that was given up",
        s == NULL ? node : s->node);
    enter(p, l, s == NULL ? node : s->node, s == NULL ? node : s->node);
    return true;
}

static bool step_numbers(struct plan *p, const struct look *l)
{
    bool changed = false;
    for (size_t i = 0; i < p->count; i++) {
        const struct plan_seen *s = seen_of(l, p->at[i].node);
        if (s != NULL && s->rack != p->at[i].rack) {
            p->at[i].rack = s->rack;
            changed       = true;
        }
    }
    if (p->replicas != l->wish->replicas) {
        p->replicas = l->wish->replicas;
        say(l, "each stripe is to have %u replicas on %u nodes", p->replicas < p->count ? p->replicas : p->count,
            p->count);
        changed = true;
    }
    return changed;
}

bool plan_next(const struct plan *now, const struct plan_wish *wish, const struct plan_seen *seen, size_t seen_count,
               struct plan *next, char why[PLAN_WHY_BYTES])
{
    const struct look l = {.wish = wish, .seen = seen, .seen_count = seen_count, .why = why};
    ASSERT(wish->count <= PLAN_NODES_MAX && wish->drained_count <= PLAN_NODES_MAX);
    *next  = *now;
    why[0] = '\0';
    if (wish->count == 0 || wish->replicas == 0) {
        return false;
    }
    if (now->epoch == 0 || now->basis != wish->basis) {
        next->replicas = wish->replicas;
        rename_all(next, &l);
        say(&l, "%u nodes hold the streams from now on, %u replicas of each", next->count,
            next->replicas < next->count ? next->replicas : next->count);
    } else if (!step_numbers(next, &l) && !step_drained(next, &l) && !step_gone(next, &l) && !step_vacancy(next, &l)) {
        return false;
    }
    next->epoch = now->epoch + 1;
    return true;
}

/* ---- as bytes ---- */

void plan_put(struct wire_writer *w, const struct plan *p)
{
    wire_put_u8(w, PLAN_VERSION);
    wire_put_u8(w, p->replicas);
    wire_put_u8(w, p->count);
    wire_put_u8(w, p->home_count);
    wire_put_u64(w, p->epoch);
    wire_put_u64(w, p->basis);
    for (size_t i = 0; i < p->count; i++) {
        wire_put_u16(w, p->at[i].node);
        wire_put_u16(w, p->at[i].key);
        wire_put_u16(w, p->at[i].rack);
        wire_put_u16(w, p->at[i].drained ? FLAG_DRAINED : 0);
    }
    for (size_t i = 0; i < p->home_count; i++) {
        wire_put_u16(w, p->home[i]);
    }
}

bool plan_get(struct bytes row, struct plan *out)
{
    struct wire_reader r       = wire_reader_of(row);
    uint8_t            version = wire_get_u8(&r);
    *out                       = (struct plan){.replicas = wire_get_u8(&r)};
    uint8_t count              = wire_get_u8(&r);
    uint8_t home               = wire_get_u8(&r);
    out->epoch                 = wire_get_u64(&r);
    out->basis                 = wire_get_u64(&r);
    if (r.bad || version != PLAN_VERSION || count == 0 || count > PLAN_NODES_MAX || home > PLAN_NODES_MAX ||
        out->replicas == 0 || out->replicas > PLAN_REPLICAS_MAX || out->epoch == 0) {
        return false;
    }
    for (; out->count < count; out->count++) {
        struct plan_place place = {.node = wire_get_u16(&r), .key = wire_get_u16(&r), .rack = wire_get_u16(&r)};
        place.drained           = (wire_get_u16(&r) & FLAG_DRAINED) != 0;
        if (r.bad || place.node == 0 || plan_find(out, place.node) != NULL || key_used(out, place.key)) {
            return false;
        }
        out->at[out->count] = place;
    }
    for (; out->home_count < home; out->home_count++) {
        out->home[out->home_count] = wire_get_u16(&r);
    }
    return !r.bad && wire_left(&r) == 0;
}
