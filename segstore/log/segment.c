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
    free(s->slots);
    *s = (struct segments){0};
}

static void grow(struct segments *s, uint64_t count)
{
    if (count <= s->capacity) {
        return;
    }
    uint64_t capacity = s->capacity == 0 ? 16 : s->capacity;
    while (capacity < count) {
        capacity *= 2;
    }
    s->slots = realloc(s->slots, capacity * sizeof *s->slots);
    ASSERT(s->slots != NULL); /* out of memory */
    s->capacity = capacity;
}

struct log_segment *segments_at(struct segments *s, uint64_t number)
{
    if (s->count == 0) {
        s->first = number;
    }
    if (number < s->first) { /* rare: a checkpoint holds records older than all seen so far */
        uint64_t more = s->first - number;
        grow(s, s->count + more);
        memmove(s->slots + more, s->slots, s->count * sizeof *s->slots);
        for (uint64_t i = 0; i < more; i++) {
            s->slots[i] = (struct log_segment){.number = number + i};
        }
        s->first = number;
        s->count += more;
    }
    while (number >= s->first + s->count) {
        grow(s, s->count + 1);
        s->slots[s->count] = (struct log_segment){.number = s->first + s->count};
        s->count++;
    }
    return &s->slots[number - s->first];
}

struct log_segment *segments_find(const struct segments *s, uint64_t number)
{
    return number < s->first || number >= s->first + s->count ? NULL : &s->slots[number - s->first];
}

struct log_segment *segments_next(const struct segments *s, uint64_t number)
{
    for (uint64_t i = number < s->first ? 0 : number - s->first; i < s->count; i++) {
        if (s->slots[i].exists) {
            return &s->slots[i];
        }
    }
    return NULL;
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

bool segments_forgettable(const struct segments *s, const struct log_segment *segment, uint64_t replay_position)
{
    return segment->exists && segment->live == 0 && segment->number < segments_number(s, replay_position);
}

void segments_compact(struct segments *s)
{
    uint64_t gone = 0;
    while (gone < s->count && !s->slots[gone].exists && s->slots[gone].live == 0) {
        gone++;
    }
    if (gone > 0 && gone < s->count) { /* the last one stays, so that `first` stays near */
        memmove(s->slots, s->slots + gone, (s->count - gone) * sizeof *s->slots);
        s->first += gone;
        s->count -= gone;
    }
}
