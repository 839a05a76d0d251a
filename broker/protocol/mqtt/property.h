/* property - the properties of MQTT 5 (2.2.2): which there are, where each may stand, bytes to values and back.
 *
 *   | length, variable byte integer | id | value | id | value | ..
 *
 * Reading checks all the standard asks: known id (else 0x81), right packet and sender, once only, value in range (else 0x82).
 * Threads: any; pure. Nothing is allocated. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_PROPERTY_H
#define KEEL_BROKER_PROTOCOL_MQTT_PROPERTY_H

#include "broker/protocol/mqtt/packet.h"
#include "shared/base/assert.h"
#include "shared/base/wire.h"

/* raw: the section without its length. type: whose properties they are (MQTT_WILL for a will). Sets all of *out, or only part of it with a fault. */
MUST_CHECK struct mqtt_fault mqtt_properties_decode(struct bytes raw, enum mqtt_type type, enum mqtt_sender sender,
                                                    struct mqtt_properties *out);

/* Of the properties of a PUBLISH or a will, those that travel with the message: all but message expiry, topic alias, subscription identifier and
 * will delay, in their order. A view into p->raw when they lie together, else a copy in scratch (p->raw.size bytes are enough). */
struct bytes mqtt_properties_forward(const struct mqtt_properties *p, uint8_t *scratch);
/* The value of the first user property of that name. False: there is none. */
MUST_CHECK bool mqtt_user_property(const struct mqtt_properties *p, struct bytes name, struct bytes *out);
/* Must mqtt_properties_forward be given scratch? */
bool mqtt_properties_scattered(const struct mqtt_properties *p);

/* Writers append one property to a section; a full writer turns bad. */
void mqtt_property_put_u8(struct wire_writer *w, enum mqtt_property id, uint8_t value);
void mqtt_property_put_u16(struct wire_writer *w, enum mqtt_property id, uint16_t value);
void mqtt_property_put_u32(struct wire_writer *w, enum mqtt_property id, uint32_t value);
void mqtt_property_put_bytes(struct wire_writer *w, enum mqtt_property id, struct bytes value);

/* ---- variable byte integers (1.5.5) -------------------------------------------------------------------------------- */

static inline size_t mqtt_varint_size(uint32_t value)
{
    return value < 128 ? 1 : value < 16384 ? 2 : value < 2097152 ? 3 : 4;
}

/* Writes value (<= MQTT_REMAINING_MAX) and returns what is behind it. */
static inline uint8_t *mqtt_varint_write(uint8_t *out, uint32_t value)
{
    while (value >= 128) {
        *out++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *out++ = (uint8_t)value;
    return out;
}

/* How many bytes the number at data takes: 1..4 and *out_value; 0 when it goes on behind data; -1 when it is longer than four bytes or than it
 * needs to be [MQTT-1.5.5-1]. */
static inline int mqtt_varint_read(struct bytes data, uint32_t *out_value)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++) {
        if (i == data.size) {
            return 0;
        }
        value |= (uint32_t)(data.data[i] & 0x7f) << (7 * i);
        if ((data.data[i] & 0x80) == 0) {
            *out_value = value;
            return i > 0 && data.data[i] == 0 ? -1 : (int)i + 1;
        }
    }
    return -1;
}

#endif
