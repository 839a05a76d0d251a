/* lanes - a count for each lane. */
#include "broker/kernel/lanes.h"

#include <stdlib.h>
#include <string.h>

void lanes_fini(struct lanes *l)
{
    free(l->holders);
    *l = (struct lanes){0};
}

static bool reach(struct lanes *l, uint32_t lane)
{
    if (lane < l->capacity) {
        return true;
    }
    uint32_t capacity = l->capacity == 0 ? 4 : l->capacity;
    while (capacity <= lane) {
        capacity *= 2;
    }
    uint16_t *holders = lane < LANES_MAX ? realloc(l->holders, capacity * sizeof *holders) : NULL;
    if (holders == NULL) {
        return false;
    }
    memset(holders + l->capacity, 0, (capacity - l->capacity) * sizeof *holders);
    l->holders  = holders;
    l->capacity = capacity;
    return true;
}

bool lanes_hold(struct lanes *l, uint32_t lane)
{
    if (!reach(l, lane) || l->holders[lane] == UINT16_MAX) {
        return false;
    }
    l->holders[lane]++;
    return true;
}

bool lanes_take(struct lanes *l, uint32_t *out_lane)
{
    while (l->lowest < l->capacity && l->holders[l->lowest] != 0) {
        l->lowest++;
    }
    if (!lanes_hold(l, l->lowest)) {
        return false;
    }
    *out_lane = l->lowest;
    return true;
}

void lanes_let_go(struct lanes *l, uint32_t lane)
{
    ASSERT(lane < l->capacity && l->holders[lane] != 0);
    l->holders[lane]--;
    if (l->holders[lane] == 0 && lane < l->lowest) {
        l->lowest = lane;
    }
}
