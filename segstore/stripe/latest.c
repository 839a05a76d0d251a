/* latest.c - one array by offset, one map by topic. */
#include "segstore/stripe/latest.h"

#include "segstore/stripe/state.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum { SLOTS_MIN = 16 };

static struct bytes name_of(const struct topic *topic)
{
    return bytes_of(topic->name, topic->name_size);
}

static uint64_t hash_topic(const void *entry)
{
    return hash_bytes(name_of(entry));
}

struct latest *latest_new(void)
{
    struct latest *l = calloc(1, sizeof *l);
    ASSERT(l != NULL);
    map_init(&l->topics, hash_topic);
    return l;
}

void latest_free(struct latest *l)
{
    if (l == NULL) {
        return;
    }
    MAP_EACH(&l->topics, struct topic, topic)
    {
        free(topic);
    }
    map_fini(&l->topics);
    free(l->slots);
    free(l);
}

static bool is_topic(const void *entry, const void *name)
{
    return bytes_equal(name_of(entry), *(const struct bytes *)name);
}

static struct topic *find(const struct latest *l, struct bytes name)
{
    return map_find(&l->topics, hash_bytes(name), is_topic, &name);
}

static struct topic *topic_make(struct bytes name)
{
    struct topic *topic = malloc(sizeof *topic + name.size);
    ASSERT(topic != NULL);
    *topic = (struct topic){.name_size = (uint32_t)name.size};
    if (name.size != 0) {
        memcpy(topic->name, name.data, name.size);
    }
    return topic;
}

/* The first slot at or behind offset, dead or not; count: none. */
static size_t slot_at(const struct latest *l, uint64_t offset)
{
    size_t low  = 0;
    size_t high = l->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (l->slots[middle].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static const struct slot *live_from(const struct latest *l, size_t at)
{
    while (at < l->count && l->slots[at].topic == NULL) {
        at++;
    }
    return at < l->count ? &l->slots[at] : NULL;
}

const struct slot *latest_from(const struct latest *l, uint64_t offset)
{
    size_t at = slot_at(l, offset);
    return live_from(l, at > l->first ? at : l->first);
}

const struct slot *latest_after(const struct latest *l, const struct slot *slot)
{
    return live_from(l, (size_t)(slot - l->slots) + 1);
}

/* Dead slots go when they are half of all. */
static void squeeze(struct latest *l)
{
    while (l->first < l->count && l->slots[l->first].topic == NULL) {
        l->first++;
    }
    if (l->count < SLOTS_MIN || l->count < 2 * l->topics.count) {
        return;
    }
    size_t kept = 0;
    for (size_t i = l->first; i < l->count; i++) {
        if (l->slots[i].topic != NULL) {
            l->slots[kept++] = l->slots[i];
        }
    }
    l->count = kept;
    l->first = 0;
    if (l->capacity > SLOTS_MIN && kept < l->capacity / 4) {
        l->capacity /= 2;
        l->slots = realloc(l->slots, l->capacity * sizeof *l->slots);
        ASSERT(l->slots != NULL);
    }
}

static void push(struct latest *l, uint64_t offset, uint64_t position, struct topic *topic)
{
    if (l->count == l->capacity) {
        l->capacity = l->capacity == 0 ? SLOTS_MIN : l->capacity * 2;
        l->slots    = realloc(l->slots, l->capacity * sizeof *l->slots);
        ASSERT(l->slots != NULL);
    }
    l->slots[l->count++] = (struct slot){.offset = offset, .position = position, .topic = topic};
    l->bytes += topic->record_bytes;
}

static void released(const struct stripe *s, uint64_t position)
{
    if (s->observer.released != NULL) {
        s->observer.released(s->observer.ctx, position);
    }
}

/* ---- a record is the first of its topic ---- */

static void undo_first(struct stripe *s, const struct change *change)
{
    (void)s;
    struct latest *l     = change->other;
    struct topic  *topic = change->subject;
    l->count--;
    l->bytes -= topic->record_bytes;
    map_remove(&l->topics, topic);
    free(topic);
}

/* ---- or takes the place of another ---- */

static void undo_again(struct stripe *s, const struct change *change)
{
    struct latest *l     = change->other;
    struct topic  *topic = change->subject;
    l->count--;
    l->bytes -= topic->record_bytes;
    memcpy(topic, s->journal.saved + change->x, sizeof *topic);
    l->bytes += topic->record_bytes;
    l->slots[slot_at(l, topic->offset)].topic = topic;
    l->first                                  = 0;
}

static void commit_again(struct stripe *s, const struct change *change)
{
    released(s, change->y);
    squeeze(change->other);
}

void latest_append(struct stripe *s, struct stream *stream, struct bytes name, uint64_t record_bytes, uint64_t position)
{
    struct latest *l     = stream->keeping->latest;
    struct topic  *topic = find(l, name);
    if (topic == NULL) {
        topic = topic_make(name);
        map_insert(&l->topics, topic);
        *journal_add(&s->journal) = (struct change){.undo = undo_first, .subject = topic, .other = l};
    } else {
        struct slot *old          = &l->slots[slot_at(l, topic->offset)];
        size_t       saved        = journal_save(&s->journal, topic, sizeof *topic);
        *journal_add(&s->journal) = (struct change){
            .undo = undo_again, .commit = commit_again, .subject = topic, .other = l, .x = saved, .y = old->position};
        old->topic = NULL;
        l->bytes -= topic->record_bytes;
    }
    topic->offset       = stream->next;
    topic->time_ns      = s->time_ns;
    topic->record_bytes = (uint32_t)record_bytes;
    push(l, stream->next, position, topic);
}

/* ---- trim ---- */

static void undo_drop(struct stripe *s, const struct change *change)
{
    (void)s;
    struct latest *l     = change->other;
    struct topic  *topic = change->subject;
    map_insert(&l->topics, topic);
    l->slots[slot_at(l, topic->offset)].topic = topic;
    l->bytes += topic->record_bytes;
    l->first = 0;
}

static void commit_drop(struct stripe *s, const struct change *change)
{
    released(s, change->x);
    free(change->subject);
    squeeze(change->other);
}

void latest_trim(struct stripe *s, struct stream *stream, uint64_t offset)
{
    struct latest *l = stream->keeping->latest;
    for (const struct slot *slot = live_from(l, l->first); slot != NULL && slot->offset < offset;
         slot                    = latest_after(l, slot)) {
        struct topic *topic       = slot->topic;
        *journal_add(&s->journal) = (struct change){
            .undo = undo_drop, .commit = commit_drop, .subject = topic, .other = l, .x = slot->position};
        l->slots[slot - l->slots].topic = NULL;
        l->bytes -= topic->record_bytes;
        map_remove(&l->topics, topic);
    }
}

uint64_t *latest_position(struct latest *l, uint64_t offset)
{
    size_t at = slot_at(l, offset);
    return at < l->count && l->slots[at].offset == offset && l->slots[at].topic != NULL ? &l->slots[at].position : NULL;
}

bool latest_load(struct latest *l, struct bytes name, uint64_t offset, uint64_t position, uint64_t time_ns,
                 uint32_t record_bytes)
{
    if (find(l, name) != NULL) {
        return false;
    }
    struct topic *topic = topic_make(name);
    topic->offset       = offset;
    topic->time_ns      = time_ns;
    topic->record_bytes = record_bytes;
    map_insert(&l->topics, topic);
    push(l, offset, position, topic);
    return true;
}
