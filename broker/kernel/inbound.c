/* inbound - linear probing; a removal closes the gap it leaves. */
#include "broker/kernel/inbound.h"

#include <stdlib.h>

static uint32_t home_of(const struct inbound *in, uint16_t id)
{
    return (id * 40503u) & (in->capacity - 1);
}

void inbound_fini(struct inbound *in)
{
    free(in->slots);
    *in = (struct inbound){0};
}

struct inbound_id *inbound_find(const struct inbound *in, uint16_t id)
{
    if (in->count == 0) {
        return NULL;
    }
    for (uint32_t at = home_of(in, id); in->slots[at].id != 0; at = (at + 1) & (in->capacity - 1)) {
        if (in->slots[at].id == id) {
            return &in->slots[at];
        }
    }
    return NULL;
}

static struct inbound_id *place(struct inbound *in, uint16_t id)
{
    uint32_t at = home_of(in, id);
    while (in->slots[at].id != 0) {
        at = (at + 1) & (in->capacity - 1);
    }
    return &in->slots[at];
}

static bool grow(struct inbound *in)
{
    struct inbound old  = *in;
    uint32_t       room = old.capacity == 0 ? 4 : old.capacity * 2;
    in->slots           = calloc(room, sizeof *in->slots);
    if (in->slots == NULL) {
        *in = old;
        return false;
    }
    in->capacity = room;
    for (uint32_t i = 0; i < old.capacity; i++) {
        if (old.slots[i].id != 0) {
            *place(in, old.slots[i].id) = old.slots[i];
        }
    }
    free(old.slots);
    return true;
}

struct inbound_id *inbound_add(struct inbound *in, uint16_t id)
{
    ASSERT(id != 0 && inbound_find(in, id) == NULL);
    if (in->count * 2 >= in->capacity && !grow(in)) {
        return NULL;
    }
    struct inbound_id *slot = place(in, id);
    slot->id                = id;
    in->count++;
    return slot;
}

void inbound_remove(struct inbound *in, uint16_t id)
{
    struct inbound_id *gone = inbound_find(in, id);
    if (gone == NULL) {
        return;
    }
    uint32_t mask = in->capacity - 1;
    uint32_t hole = (uint32_t)(gone - in->slots);
    for (uint32_t at = (hole + 1) & mask; in->slots[at].id != 0; at = (at + 1) & mask) {
        uint32_t home = home_of(in, in->slots[at].id);
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            in->slots[hole] = in->slots[at];
            hole            = at;
        }
    }
    in->slots[hole] = (struct inbound_id){0};
    in->count--;
}
