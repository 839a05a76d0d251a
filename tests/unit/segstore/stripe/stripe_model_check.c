/* stripe_model_check.c - the stripe and the model say the same. */
#include "tests/unit/segstore/stripe/stripe_model.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/record/record.h"
#include "shared/rpc/schema.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

void on_retained(void *ctx, uint64_t position)
{
    struct balance *b = ctx;
    b->count++;
    b->sum += hash_u64(position + 1);
}

void on_released(void *ctx, uint64_t position)
{
    struct balance *b = ctx;
    b->count--;
    b->sum -= hash_u64(position + 1);
}

static struct balance recount(const struct model *m)
{
    struct balance b = {0};
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        for (uint64_t o = st->start; st->there && o < st->next; o++) {
            if (st->position[o] != UINT64_MAX) {
                on_retained(&b, st->position[o]);
            }
        }
    }
    for (int i = 0; i < TIMERS; i++) {
        const struct m_timer *t = &m->timers[i];
        struct wire_reader    r = wire_reader_of(bytes_of(t->action, t->there ? t->action_size : 0));
        struct op             op;
        while (op_next(&r, &op) > 0) {
            if (op.kind == OP_APPEND) {
                on_retained(&b, t->position + (uint64_t)(op.items.data - t->action));
            }
        }
    }
    return b;
}

struct seen {
    const struct model *model;
    struct bytes        last;
    uint8_t             memory[8];
    uint32_t            table;
    uint64_t            count;
};

static bool on_item(void *ctx, const struct stripe_item *item)
{
    struct seen         *seen = ctx;
    const struct m_item *it   = m_item_of((struct model *)(uintptr_t)seen->model, seen->table, item->key);
    cr_assert(it != NULL && it->version == item->version && it->expires == item->expires_wall_ns);
    cr_assert(bytes_equal(item->value, bytes_of(it->value, it->value_size)));
    cr_assert(seen->count == 0 || bytes_compare(seen->last, item->key) < 0);
    memcpy(seen->memory, item->key.data, item->key.size);
    seen->last = bytes_of(seen->memory, item->key.size);
    seen->count++;
    return true;
}

void compare(const struct stripe *s, const struct model *m, const struct balance *balance)
{
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        struct stripe_stream   out;
        cr_assert_eq(stripe_stream(s, st->id, &out), st->there ? 0 : ERR_NOT_FOUND);
        if (!st->there) {
            continue;
        }
        cr_assert(out.start_offset == st->start && out.next_offset == st->next && out.epoch == st->epoch &&
                  out.flags == st->flags);
        uint64_t positions[OFFSETS];
        uint64_t first;
        uint64_t at = 0;
        int      count;
        while (m_is_latest(st) && (count = stripe_positions(s, st->id, at, positions, 3, &first)) > 0) {
            for (; at < first + (uint64_t)count; at++) {
                cr_assert(at < st->start || st->position[at] == (at < first ? UINT64_MAX : positions[at - first]));
            }
        }
        for (; m_is_latest(st) && at < st->next; at++) {
            cr_assert(at < st->start || st->position[at] == UINT64_MAX);
        }
        if (m_is_latest(st)) {
            continue;
        }
        count = stripe_positions(s, st->id, 0, positions, OFFSETS, &first);
        cr_assert(first == st->start && (uint64_t)count == st->next - st->start);
        cr_assert(count == 0 || memcmp(positions, st->position + first, (size_t)count * 8) == 0);
    }
    for (uint32_t table = 0; table < 2; table++) {
        struct seen seen  = {.model = m, .table = table};
        uint64_t    count = 0;
        cr_assert(
            stripe_scan(s, table, RPC_SCAN_PREFIX, bytes_of(NULL, 0), bytes_of(NULL, 0), 0, NULL, on_item, &seen));
        for (int i = 0; i < ITEMS; i++) {
            count += m->items[i].there && m->items[i].table == table;
        }
        cr_assert_eq(seen.count, count);
    }
    uint64_t due = UINT64_MAX;
    for (int i = 0; i < TIMERS; i++) {
        due = m->timers[i].there && m->timers[i].owner == 0 && m->timers[i].due < due ? m->timers[i].due : due;
    }
    for (int i = 0; i < ITEMS; i++) {
        due = m->items[i].there && m->items[i].expires != 0 && m->items[i].expires < due ? m->items[i].expires : due;
    }
    for (int i = 0; i < STREAMS; i++) {
        const struct m_stream *st = &m->streams[i];
        uint64_t               first;
        uint64_t               end;
        if (st->there && st->max_age != 0 && m_oldest(st, &first, &end)) {
            due = st->time[end - 1] + st->max_age < due ? st->time[end - 1] + st->max_age : due;
        }
    }
    cr_assert_eq(stripe_next_due_ns(s), due, "due %lu, expected %lu, time %lu", stripe_next_due_ns(s), due, m->time);
    cr_assert_eq(stripe_actions_failed(s), m->failed);
    struct balance counted = recount(m);
    cr_assert(counted.count == balance->count && counted.sum == balance->sum);
}
