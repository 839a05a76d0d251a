/* recall - see recall.h. */
#include "broker/kernel/recall.h"

#include "broker/kernel/topic.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum {
    TOPIC_BYTES_MAX = 256, /* longer topics are not remembered */
    NODES_MAX       = 64,  /* neither are larger results */
};

bool recall_init(struct recall *c, uint32_t slot_count)
{
    ASSERT((slot_count & (slot_count - 1)) == 0);
    *c       = (struct recall){.slot_count = slot_count, .all_version = 1}; /* zeroed slots are old */
    c->slots = slot_count == 0 ? NULL : calloc(slot_count, sizeof *c->slots);
    return slot_count == 0 || c->slots != NULL;
}

void recall_fini(struct recall *c)
{
    for (uint32_t i = 0; i < c->slot_count && c->slots != NULL; i++) {
        free(c->slots[i].nodes);
    }
    free(c->slots);
}

/* Of the region: topics whose first level has the same hash. */
static uint16_t region_of(struct bytes topic)
{
    const uint8_t *slash = topic.size == 0 ? NULL : memchr(topic.data, '/', topic.size);
    struct bytes   first = slash == NULL ? topic : bytes_of(topic.data, (size_t)(slash - topic.data));
    return (uint16_t)(hash_bytes(first) % RECALL_REGIONS);
}

static struct recall_slot *slot_of(const struct recall *c, uint64_t hash)
{
    return &c->slots[hash & (c->slot_count - 1)];
}

void recall_forget(struct recall *c, struct bytes filter)
{
    if (c->slot_count == 0) {
        return;
    }
    if (!topic_filter_wild(filter)) {
        uint64_t            hash = hash_bytes(filter);
        struct recall_slot *slot = slot_of(c, hash);
        if (slot->hash == hash) {
            slot->all_version = c->all_version - 1;
        }
        return;
    }
    if (filter.data[0] == '+' || filter.data[0] == '#') {
        c->all_version++;
        return;
    }
    c->region_versions[region_of(filter)]++;
}

void recall_store(struct recall *c, struct bytes topic, uint64_t hash, const uint32_t *nodes, uint32_t count)
{
    struct recall_slot *slot = slot_of(c, hash);
    size_t              need = count * sizeof *nodes + topic.size;
    if (topic.size > TOPIC_BYTES_MAX || count > NODES_MAX) {
        return;
    }
    if (slot->capacity < need) {
        size_t    room   = (need + 63) & ~(size_t)63;
        uint32_t *memory = realloc(slot->nodes, room);
        if (memory == NULL) {
            return;
        }
        c->memory_bytes += room - slot->capacity;
        slot->nodes    = memory;
        slot->capacity = (uint32_t)room;
    }
    slot->hash       = hash;
    slot->count      = count;
    slot->topic_size = (uint16_t)topic.size;
    if (count != 0) {
        memcpy(slot->nodes, nodes, count * sizeof *nodes);
    }
    memcpy(slot->nodes + count, topic.data, topic.size);
    slot->region         = region_of(topic);
    slot->region_version = c->region_versions[slot->region];
    slot->all_version    = c->all_version;
}

void recall_forget_all(struct recall *c)
{
    c->all_version++;
}
