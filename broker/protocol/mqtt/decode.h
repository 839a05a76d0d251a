/* decode - bytes to packets. The packets are views into the bytes; nothing is allocated, nothing is copied.
 *
 *   mqtt_frame_read     where does the next packet end?     (before its body has arrived: an oversized one is refused there)
 *   mqtt_decode         the body of one whole packet, every rule of the format checked
 *
 * Checked here is all that one packet alone can violate; what depends on the connection (limits, aliases, packet ids) is client.h.
 * Threads: any; pure. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_DECODE_H
#define KEEL_BROKER_PROTOCOL_MQTT_DECODE_H

#include "broker/protocol/mqtt/packet.h"
#include "broker/protocol/mqtt/property.h"

struct mqtt_frame {
    uint8_t  first;        /* type in the upper four bits, flags in the lower */
    uint8_t  header_bytes; /* 2..5 */
    uint32_t body_bytes;   /* the remaining length */
};

static inline enum mqtt_type mqtt_frame_type(struct mqtt_frame frame)
{
    return (enum mqtt_type)(frame.first >> 4);
}

static inline uint32_t mqtt_frame_bytes(struct mqtt_frame frame)
{
    return frame.header_bytes + frame.body_bytes;
}

/* 1: *out is set; 0: the header goes on behind in; -1: its remaining length is malformed. */
static inline int mqtt_frame_read(struct bytes in, struct mqtt_frame *out)
{
    if (in.size < 2) {
        return 0;
    }
    int size = mqtt_varint_read(bytes_of(in.data + 1, in.size - 1), &out->body_bytes);
    if (size <= 0) {
        return size;
    }
    out->first        = in.data[0];
    out->header_bytes = (uint8_t)(1 + size);
    return 1;
}

/* The body of the packet that frame stands in front of (body.size == frame.body_bytes). version: of the connection; ignored for CONNECT. On a fault
 * *out is set in part, but for CONNECT version is right as far as it was read (0 before). */
MUST_CHECK struct mqtt_fault mqtt_decode(enum mqtt_version version, enum mqtt_sender sender, struct mqtt_frame frame,
                                         struct bytes body, struct mqtt_packet *out);
/* The same for a PUBLISH alone: the hot path. A topic that is empty is let through in MQTT 5 when there is a topic alias. */
MUST_CHECK struct mqtt_fault mqtt_decode_publish(enum mqtt_version version, enum mqtt_sender sender, uint8_t flags,
                                                 struct bytes body, struct mqtt_publish *out);

struct mqtt_filter {
    struct bytes filter;
    uint8_t      qos; /* this and the rest: SUBSCRIBE only, else 0 */
    bool         no_local;
    bool         retain_as_published;
    uint8_t      retain_handling;
};

/* Takes the first filter off the payload of a decoded SUBSCRIBE (options: true) or UNSUBSCRIBE; false when none is left. */
bool mqtt_filter_next(struct bytes *filters, bool options, struct mqtt_filter *out);

/* May a client send this type at all? */
bool mqtt_type_from_client(enum mqtt_type type);

/* The protocol level in the first bytes of the body of a CONNECT, however few there are; 0 when it cannot be told. */
uint8_t mqtt_connect_peek_version(struct bytes body);

#endif
