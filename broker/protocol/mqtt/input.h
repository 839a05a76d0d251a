/* input - what has been received and not been taken yet: nothing for most connections, most of the time.
 *
 *   data   | taken | waiting ........... | room |
 *          0       start                 end    capacity
 *
 * Threads: the shard of the connection.   Units: bytes. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_INPUT_H
#define KEEL_BROKER_PROTOCOL_MQTT_INPUT_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

struct mqtt_input {
    uint8_t *data;
    uint32_t start;
    uint32_t end;
    uint32_t capacity;
};

static inline struct bytes mqtt_input_waiting(const struct mqtt_input *input)
{
    return bytes_of(input->data + input->start, input->end - input->start);
}

static inline bool mqtt_input_empty(const struct mqtt_input *input)
{
    return input->start == input->end;
}

/* Copies bytes behind what waits. expected: how many will wait once the packet is complete (0: not known): memory doubles, but not beyond it.
 * ERR_FULL: out of memory, nothing changed. */
MUST_CHECK int mqtt_input_add(struct mqtt_input *input, struct bytes bytes, uint32_t expected);
/* Drops size bytes from the front; an empty one holds no memory. */
void mqtt_input_take(struct mqtt_input *input, size_t size);
void mqtt_input_fini(struct mqtt_input *input);

#endif
