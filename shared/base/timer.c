/* timer.c - four wheels of 256 slots, 1 ms, 256 ms, 65 s and 4.7 h wide; a timer moves down a wheel when its slot begins.
 * Each wheel has a bit per slot that is not empty, so a sleep of hours is crossed in a few steps and the next
 * deadline is found without walking. After Varghese and Lauck, "Hashed and hierarchical timing wheels" (1987). */
#include "shared/base/timer.h"

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stdlib.h>

enum { LEVELS = 4, SLOT_BITS = 8, SLOTS = 1 << SLOT_BITS, SLOT_MASK = SLOTS - 1, WORDS = SLOTS / 64 };

static const uint64_t tick_ns   = 1000000;
static const uint64_t tick_none = UINT64_MAX;
static const uint64_t reach =
    (1ull << (LEVELS * SLOT_BITS)) - 1; /* ticks; farther timers wait in the last slot and are placed again */

struct timer_wheel {
    uint64_t    now_tick;      /* every slot up to here has been emptied */
    uint64_t    earliest_tick; /* where a timer that is due already is put: never into the tick being fired */
    uint64_t    occupied[LEVELS][WORDS];
    struct list slots[LEVELS][SLOTS];
};

_Static_assert(sizeof(struct timer) == 32, "a timer is small enough to have one per connection");

struct timer_wheel *timer_wheel_new(uint64_t now_ns)
{
    struct timer_wheel *wheel = calloc(1, sizeof *wheel);
    if (wheel == NULL) {
        return NULL;
    }
    wheel->now_tick      = now_ns / tick_ns;
    wheel->earliest_tick = wheel->now_tick + 1;
    for (int level = 0; level < LEVELS; level++) {
        for (int slot = 0; slot < SLOTS; slot++) {
            list_init(&wheel->slots[level][slot]);
        }
    }
    return wheel;
}

void timer_wheel_free(struct timer_wheel *wheel)
{
    free(wheel);
}

/* The first tick at which the deadline has passed: rounded up, so that nothing fires early. */
static uint64_t deadline_tick(uint64_t deadline_ns)
{
    return deadline_ns / tick_ns + (deadline_ns % tick_ns != 0);
}

static void place(struct timer_wheel *wheel, struct timer *timer, uint64_t tick)
{
    uint64_t distance = tick - wheel->now_tick;
    if (distance > reach) {
        distance = reach;
        tick     = wheel->now_tick + reach;
    }
    unsigned level = distance < SLOTS ? 0 : (63u - (unsigned)__builtin_clzll(distance)) / SLOT_BITS;
    unsigned slot  = (unsigned)(tick >> (level * SLOT_BITS)) & SLOT_MASK;
    list_push_back(&wheel->slots[level][slot], &timer->link);
    wheel->occupied[level][slot / 64] |= 1ull << (slot % 64);
}

void timer_arm(struct timer_wheel *wheel, struct timer *timer, uint64_t deadline_ns,
               void (*expired)(struct timer *, uint64_t))
{
    ASSERT(expired != NULL);
    timer_cancel(wheel, timer);
    uint64_t tick = deadline_tick(deadline_ns);
    if (tick <
        wheel
            ->earliest_tick) { /* due already: the next call of timer_expire fires it, not the one that may be running */
        tick        = wheel->earliest_tick;
        deadline_ns = tick * tick_ns;
    }
    timer->deadline_ns = deadline_ns;
    timer->expired     = expired;
    place(wheel, timer, tick);
}

void timer_cancel(struct timer_wheel *wheel, struct timer *timer)
{
    if (!list_linked(&timer->link)) {
        return;
    }
    /* Alone in its list: the only neighbour is the head, and when that is a slot, the slot becomes empty.
     * Otherwise the head is the list of those that are being fired. */
    struct list *head = timer->link.next == timer->link.prev ? timer->link.next : NULL;
    list_remove(&timer->link);
    uintptr_t place_bytes = (uintptr_t)head - (uintptr_t)&wheel->slots[0][0];
    if (head != NULL && place_bytes < sizeof wheel->slots) {
        size_t index = place_bytes / sizeof(struct list);
        wheel->occupied[index / SLOTS][index % SLOTS / 64] &= ~(1ull << (index % 64));
    }
}

/* How many slots after position the next one with a timer is, going round: 1 to SLOTS, or 0 when there is none. */
static unsigned next_occupied(const uint64_t words[WORDS], unsigned position)
{
    unsigned start = (position + 1) & SLOT_MASK;
    uint64_t word  = words[start / 64] & (UINT64_MAX << (start % 64));
    for (unsigned i = 0; i <= WORDS; i++) {
        if (word != 0) {
            unsigned slot = ((start / 64 + i) % WORDS) * 64 + (unsigned)__builtin_ctzll(word);
            return ((slot - start) & SLOT_MASK) + 1;
        }
        word = words[(start / 64 + i + 1) % WORDS];
    }
    return 0;
}

/* The next tick at which a slot begins that holds timers. */
static uint64_t next_tick(const struct timer_wheel *wheel)
{
    uint64_t next = tick_none;
    for (unsigned level = 0; level < LEVELS; level++) {
        uint64_t position = wheel->now_tick >> (level * SLOT_BITS);
        unsigned distance = next_occupied(wheel->occupied[level], (unsigned)position & SLOT_MASK);
        if (distance != 0) {
            uint64_t tick = (position + distance) << (level * SLOT_BITS);
            next          = tick < next ? tick : next;
        }
    }
    return next;
}

/* Moves a whole slot to the end of the list to. */
static void take_slot(struct timer_wheel *wheel, unsigned level, unsigned slot, struct list *to)
{
    struct list *head = &wheel->slots[level][slot];
    list_init(to);
    if (!list_empty(head)) {
        *to            = *head;
        to->next->prev = to;
        to->prev->next = to;
        list_init(head);
    }
    wheel->occupied[level][slot / 64] &= ~(1ull << (slot % 64));
}

/* Timers of the slots that begin now move to finer wheels. */
static void cascade(struct timer_wheel *wheel)
{
    for (unsigned level = LEVELS - 1; level > 0; level--) {
        unsigned shift = level * SLOT_BITS;
        if ((wheel->now_tick & ((1ull << shift) - 1)) != 0) {
            continue;
        }
        struct list moving;
        take_slot(wheel, level, (unsigned)(wheel->now_tick >> shift) & SLOT_MASK, &moving);
        for (struct list *link; (link = list_pop_front(&moving)) != NULL;) {
            struct timer *timer = CONTAINER_OF(link, struct timer, link);
            place(wheel, timer, deadline_tick(timer->deadline_ns));
        }
    }
}

static void fire(struct timer_wheel *wheel, uint64_t now_ns)
{
    struct list due;
    take_slot(wheel, 0, (unsigned)wheel->now_tick & SLOT_MASK, &due);
    for (struct list *link; (link = list_pop_front(&due)) != NULL;) {
        struct timer *timer = CONTAINER_OF(link, struct timer, link);
        ASSERT(timer->deadline_ns <= now_ns);
        timer->expired(timer, now_ns);
    }
}

void timer_expire(struct timer_wheel *wheel, uint64_t now_ns)
{
    uint64_t target_tick = now_ns / tick_ns;
    if (target_tick <= wheel->now_tick) {
        return;
    }
    wheel->earliest_tick = target_tick + 1;
    for (uint64_t tick; (tick = next_tick(wheel)) <= target_tick;) {
        wheel->now_tick = tick;
        cascade(wheel);
        fire(wheel, now_ns);
    }
    wheel->now_tick = target_tick;
}

uint64_t timer_next_ns(const struct timer_wheel *wheel)
{
    uint64_t tick = next_tick(wheel);
    return tick == tick_none ? UINT64_MAX : tick * tick_ns;
}
