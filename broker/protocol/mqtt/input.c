/* input.c - a buffer that exists only while something waits in it. */
#include "broker/protocol/mqtt/input.h"

#include "shared/base/err.h"

#include <stdlib.h>

static int make_room(struct mqtt_input *input, size_t size, uint32_t expected)
{
    size_t waiting = input->end - input->start;
    size_t needed  = waiting + size;
    if (needed > UINT32_MAX / 2) {
        return ERR_FULL;
    }
    if (input->start > 0) { /* close the gap at the front before asking for more */
        memmove(input->data, input->data + input->start, waiting);
        input->start = 0;
        input->end   = (uint32_t)waiting;
    }
    if (needed <= input->capacity) {
        return 0;
    }
    size_t capacity = 2 * (size_t)input->capacity;
    if (expected > 0 && capacity > expected) {
        capacity = expected;
    }
    if (capacity < needed) {
        capacity = needed;
    }
    uint8_t *data = realloc(input->data, capacity);
    if (data == NULL) {
        return ERR_FULL;
    }
    input->data     = data;
    input->capacity = (uint32_t)capacity;
    return 0;
}

int mqtt_input_add(struct mqtt_input *input, struct bytes bytes, uint32_t expected)
{
    if (bytes.size == 0) {
        return 0;
    }
    if (input->capacity - input->end < bytes.size) {
        int error = make_room(input, bytes.size, expected);
        if (error != 0) {
            return error;
        }
    }
    memcpy(input->data + input->end, bytes.data, bytes.size);
    input->end += (uint32_t)bytes.size;
    return 0;
}

void mqtt_input_take(struct mqtt_input *input, size_t size)
{
    ASSERT(size <= input->end - input->start);
    input->start += (uint32_t)size;
    if (mqtt_input_empty(input)) {
        mqtt_input_fini(input);
    }
}

void mqtt_input_fini(struct mqtt_input *input)
{
    free(input->data);
    *input = (struct mqtt_input){0};
}
