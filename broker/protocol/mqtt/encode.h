/* encode - packets to bytes, in the shortest form the version allows: reason code 0 without properties is left out of PUBACK and its like,
 * DISCONNECT and AUTH. The properties of a packet are written from properties.raw (property.h has writers for it).
 * PUBLISH has a way of its own, because it is the hot path: its size is known first, then it is written in place, for a delivery that adds
 * remaining expiry, alias and subscription identifiers to properties that pass through.
 * Threads: any; pure. Nothing is allocated. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_ENCODE_H
#define KEEL_BROKER_PROTOCOL_MQTT_ENCODE_H

#include "broker/protocol/mqtt/packet.h"
#include "shared/base/assert.h"

/* Bytes that the packet takes, header included; 0 when it is more than the format can say. */
size_t mqtt_encode_size(enum mqtt_version version, const struct mqtt_packet *packet);
/* Writes them. out has room for mqtt_encode_size(). */
void mqtt_encode(enum mqtt_version version, const struct mqtt_packet *packet, uint8_t *out);

/* PUBACK, PUBREC, PUBREL, PUBCOMP without properties: 4 or 5 bytes. Returns how many. */
size_t mqtt_encode_ack(enum mqtt_version version, enum mqtt_type type, uint16_t packet_id, uint8_t reason_code,
                       uint8_t out[MQTT_ACK_BYTES_MAX]);

/* A PUBLISH from the server. */
struct mqtt_outgoing {
    enum mqtt_version version;
    uint8_t           qos;
    bool              duplicate;
    bool              retain;
    uint16_t          packet_id;
    struct bytes      topic;      /* empty: the alias stands for it */
    struct bytes      properties; /* pass through */
    struct bytes      payload;
    uint16_t          alias; /* 0: none */
    bool              expires;
    uint32_t          expiry_s; /* left */
    const uint32_t   *subscription_ids;
    uint32_t          subscription_id_count;
    uint32_t          properties_bytes; /* set by mqtt_publish_size, as the next one */
    uint32_t          body_bytes;
};

/* The size of the whole packet; 0 when it is more than the format can say. */
size_t mqtt_publish_size(struct mqtt_outgoing *p);
/* Writes it behind mqtt_publish_size. Returns the end. *out_packet_id (may be NULL) is where the packet id lies, unless qos is 0. */
uint8_t *mqtt_publish_write(const struct mqtt_outgoing *p, uint8_t *out, uint8_t **out_packet_id);

#endif
