/* fuzz_mqtt - any bytes: a packet that decodes is encoded and decoded again, and is the same packet.
 *   byte 0: version and sender   rest: one packet */
#include "broker/protocol/mqtt/decode.h"
#include "broker/protocol/mqtt/encode.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct bytes encode(enum mqtt_version version, const struct mqtt_packet *packet)
{
    size_t   size = mqtt_encode_size(version, packet);
    uint8_t *out  = malloc(size);
    ASSERT(size >= 2 && out != NULL);
    mqtt_encode(version, packet, out);
    return bytes_of(out, size);
}

static void decode(enum mqtt_version version, enum mqtt_sender sender, struct bytes in, struct mqtt_packet *out)
{
    struct mqtt_frame frame;
    ASSERT(mqtt_frame_read(in, &frame) == 1 && mqtt_frame_bytes(frame) == in.size);
    struct mqtt_fault fault =
        mqtt_decode(version, sender, frame, bytes_of(in.data + frame.header_bytes, frame.body_bytes), out);
    ASSERT(fault.why == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5, MQTT_V5};
    enum mqtt_version              version    = versions[data[0] & 3];
    enum mqtt_sender               sender     = (data[0] & 4) != 0 ? MQTT_FROM_SERVER : MQTT_FROM_CLIENT;
    struct bytes                   in         = bytes_of(data + 1, size - 1);
    struct mqtt_frame              frame;
    struct mqtt_packet             packet;
    if (mqtt_frame_read(in, &frame) != 1 || mqtt_frame_bytes(frame) > in.size) {
        (void)mqtt_connect_peek_version(in);
        return 0;
    }
    struct mqtt_fault fault =
        mqtt_decode(version, sender, frame, bytes_of(in.data + frame.header_bytes, frame.body_bytes), &packet);
    if (fault.why != NULL) {
        ASSERT(fault.reason_code >= MQTT_UNSPECIFIED_ERROR);
        return 0;
    }
    if (packet.type == MQTT_SUBSCRIBE || packet.type == MQTT_UNSUBSCRIBE) {
        struct bytes       left = packet.subscribe.filters;
        struct mqtt_filter filter;
        uint32_t           count = 0;
        while (mqtt_filter_next(&left, packet.type == MQTT_SUBSCRIBE, &filter)) {
            count++;
        }
        ASSERT(count == packet.subscribe.count);
    }
    if (packet.type == MQTT_PUBLISH) {
        uint8_t     *scratch = malloc(packet.publish.properties.raw.size + 1);
        struct bytes forward = mqtt_properties_forward(&packet.publish.properties, scratch);
        ASSERT(forward.size <= packet.publish.properties.raw.size);
        free(scratch);
    }
    struct mqtt_packet again;
    struct bytes       first = encode(version, &packet);
    decode(version, sender, first, &again);
    struct bytes second = encode(version, &again);
    ASSERT(bytes_equal(first, second)); /* the encoding names every field, so packets are equal when theirs is */
    ASSERT(again.type == packet.type);
    free((void *)(uintptr_t)first.data);
    free((void *)(uintptr_t)second.data);
    return 0;
}
