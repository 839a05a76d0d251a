/* ids.c - linear probing; removal closes the gap, so no tombstones. */
#include "broker/protocol/mqtt/ids.h"

#include "shared/base/err.h"

#include <stdlib.h>

/* Clients count up: the id itself spreads well enough. */
static uint32_t home(const struct mqtt_ids *ids, uint16_t id)
{
    return id & (ids->capacity - 1);
}

/* The slot that holds id, or the empty one where it would go. */
static uint32_t find(const struct mqtt_ids *ids, uint16_t id)
{
    uint32_t at = home(ids, id);
    while (ids->slots[at] != 0 && ids->slots[at] != id) {
        at = (at + 1) & (ids->capacity - 1);
    }
    return at;
}

bool mqtt_ids_has(const struct mqtt_ids *ids, uint16_t id)
{
    return ids->count > 0 && ids->slots[find(ids, id)] == id;
}

static int grow(struct mqtt_ids *ids)
{
    struct mqtt_ids larger = {.capacity = ids->capacity == 0 ? 8 : ids->capacity * 2, .count = ids->count};
    larger.slots           = calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return ERR_FULL;
    }
    for (uint32_t i = 0; i < ids->capacity; i++) {
        if (ids->slots[i] != 0) {
            larger.slots[find(&larger, ids->slots[i])] = ids->slots[i];
        }
    }
    free(ids->slots);
    *ids = larger;
    return 0;
}

int mqtt_ids_add(struct mqtt_ids *ids, uint16_t id)
{
    ASSERT(id != 0);
    if ((ids->count + 1) * 4 > ids->capacity * 3) {
        int error = grow(ids);
        if (error != 0) {
            return error;
        }
    }
    uint32_t at = find(ids, id);
    ids->count += ids->slots[at] == 0;
    ids->slots[at] = id;
    return 0;
}

void mqtt_ids_remove(struct mqtt_ids *ids, uint16_t id)
{
    if (!mqtt_ids_has(ids, id)) {
        return;
    }
    uint32_t mask = ids->capacity - 1;
    uint32_t gap  = find(ids, id);
    for (uint32_t at = (gap + 1) & mask; ids->slots[at] != 0; at = (at + 1) & mask) {
        uint32_t wanted = home(ids, ids->slots[at]);
        if (((at - wanted) & mask) >= ((at - gap) & mask)) { /* it may move back to the gap */
            ids->slots[gap] = ids->slots[at];
            gap             = at;
        }
    }
    ids->slots[gap] = 0;
    ids->count--;
    if (ids->count == 0) {
        mqtt_ids_fini(ids);
    }
}

void mqtt_ids_fini(struct mqtt_ids *ids)
{
    free(ids->slots);
    *ids = (struct mqtt_ids){0};
}
