/* segment.c - a table by number, and who still needs what. */
#include "segstore/log/segment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void segment_name(uint64_t number, char name[SEGMENT_NAME_BYTES])
{
    snprintf(name, SEGMENT_NAME_BYTES, "%012llu", (unsigned long long)number);
}

bool segment_parse(const char *name, uint64_t *out_number)
{
    uint64_t number = 0;
    size_t   size   = strlen(name);
    if (size < 12 || size > 18) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (name[i] < '0' || name[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(name[i] - '0');
    }
    *out_number = number;
    return true;
}

void segments_init(struct segments *s, uint64_t segment_bytes)
{
    *s = (struct segments){.segment_bytes = segment_bytes};
}

void segments_fini(struct segments *s)
{
    free(s->log.slots);
    free(s->runs.slots);
    *s = (struct segments){0};
}

static void grow(struct segment_table *t, uint64_t count)
{
    if (count <= t->capacity) {
        return;
    }
    uint64_t capacity = t->capacity == 0 ? 16 : t->capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    t->slots = realloc(t->slots, capacity * sizeof *t->slots);
    ASSERT_MEMORY(t->slots != NULL);
    t->capacity = capacity;
}

static struct log_segment *table_at(struct segment_table *t, uint64_t number)
{
    if (t->count == 0) {
        t->first = number;
    }
    if (number < t->first) { /* rare: a checkpoint holds records older than all seen so far */
        uint64_t more = t->first - number;
        grow(t, t->count + more);
        memmove(t->slots + more, t->slots, t->count * sizeof *t->slots);
        for (uint64_t i = 0; i < more; i++) {
            t->slots[i] = (struct log_segment){.number = number + i};
        }
        t->first = number;
        t->count += more;
    }
    while (number >= t->first + t->count) {
        grow(t, t->count + 1);
        t->slots[t->count] = (struct log_segment){.number = t->first + t->count};
        t->count++;
    }
    return &t->slots[number - t->first];
}

struct log_segment *segments_at(struct segments *s, uint64_t number)
{
    return table_at(segment_is_run(number) ? &s->runs : &s->log, number);
}

struct log_segment *segments_find(const struct segments *s, uint64_t number)
{
    const struct segment_table *t = segment_is_run(number) ? &s->runs : &s->log;
    return number < t->first || number >= t->first + t->count ? NULL : &t->slots[number - t->first];
}

static struct log_segment *table_next(const struct segment_table *t, uint64_t number)
{
    for (uint64_t i = number < t->first ? 0 : number - t->first; i < t->count; i++) {
        if (t->slots[i].exists) {
            return &t->slots[i];
        }
    }
    return NULL;
}

struct log_segment *segments_next(const struct segments *s, uint64_t number)
{
    struct log_segment *next = segment_is_run(number) ? NULL : table_next(&s->log, number);
    return next != NULL ? next : table_next(&s->runs, number);
}

/* Most records lie in the segment of the one before: no division then. */
static uint64_t number_near(struct segments *s, struct segments_near *near, uint64_t position)
{
    if (UNLIKELY(position - near->position >= s->segment_bytes)) {
        near->number   = segments_number(s, position);
        near->position = segments_position(s, near->number);
    }
    return near->number;
}

void segments_add(struct segments *s, uint64_t position)
{
    struct log_segment *segment = segments_at(s, number_near(s, &s->retained, position));
    segment->live++;
    segment->total++;
}

void segments_retain(struct segments *s, uint64_t position)
{
    segments_at(s, number_near(s, &s->retained, position))->live++;
}

void segments_release(struct segments *s, uint64_t position)
{
    struct log_segment *segment = segments_find(s, number_near(s, &s->released, position));
    ASSERT(segment != NULL && segment->live > 0);
    segment->live--;
}

uint64_t segments_durable(const struct segments *s, uint64_t position, uint64_t log_position)
{
    uint64_t number = segments_number(s, position);
    if (!segment_is_run(number)) {
        return log_position;
    }
    const struct log_segment *segment = segments_find(s, number);
    return segments_position(s, number) + (segment == NULL ? 0 : segment->bytes);
}

bool segments_forgettable(const struct segments *s, const struct log_segment *segment, uint64_t replay_position,
                          uint64_t checkpoint)
{
    return segment->exists && segment->live == 0 && segment->moved <= checkpoint &&
           (segment_is_run(segment->number) || segment->number < segments_number(s, replay_position));
}

static void compact(struct segment_table *t)
{
    uint64_t gone = 0;
    while (gone < t->count && !t->slots[gone].exists && t->slots[gone].live == 0) {
        gone++;
    }
    if (gone > 0 && gone < t->count) { /* the last one stays, so that `first` stays near */
        memmove(t->slots, t->slots + gone, (t->count - gone) * sizeof *t->slots);
        t->first += gone;
        t->count -= gone;
    }
}

void segments_compact(struct segments *s)
{
    compact(&s->log);
    compact(&s->runs);
}
