/* record - one published message, byte for byte the same in the broker, on the wire, on disk and on its way back.
 *
 *   0        4       5     6       7       8          16            24             32           34   36               40
 *   | size   | ver 1 | qos | flags | zero  | checksum | publish_ns  | expires_ns   | topic_size | 0  | properties_size | topic properties payload
 *     u32      u8      u8    u8      u8      u64        u64 wall      u64 wall, 0=never u16        u16  u32
 *
 * checksum is XXH3-64 of everything behind it, seeded with the eight bytes before it. The broker makes it at receipt; the segment store checks it when it arrives and
 * when it is read; the broker checks it again before delivery. size counts the whole record.
 * properties: content type, response topic, correlation data, payload format indicator and user properties in the
 * encoding of MQTT 5 (2.2.2), without the length in front; message expiry, alias and subscription id are never in it.
 * Threads: any; pure.   Units: bytes, ns since 1970. */
#ifndef KEEL_SHARED_RECORD_RECORD_H
#define KEEL_SHARED_RECORD_RECORD_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum { RECORD_HEADER_BYTES = 40, RECORD_VERSION = 1 };
enum record_flags { RECORD_RETAIN = 1 /* was published with RETAIN */ };

struct record {
    uint8_t      qos;   /* as published, 0 to 2 */
    uint8_t      flags; /* enum record_flags */
    uint64_t     publish_wall_ns;
    uint64_t     expires_wall_ns; /* 0: never */
    struct bytes topic;           /* at most 65535 bytes */
    struct bytes properties;
    struct bytes payload;
};

static inline size_t record_size(const struct record *r)
{
    return RECORD_HEADER_BYTES + r->topic.size + r->properties.size + r->payload.size;
}

/* Writes record_size(r) bytes at out, checksum included. */
void record_encode(const struct record *r, uint8_t *out);
/* Views into data, which holds at least one whole record; the rest of data is ignored. Returns its size in bytes, or
 *   ERR_MALFORMED   lengths or version are wrong
 *   ERR_CORRUPT     the checksum does not match */
MUST_CHECK int64_t record_decode(struct bytes data, struct record *out);
/* The size a record that starts with these bytes claims, or ERR_MALFORMED; needs 4 bytes. Checks nothing else. */
MUST_CHECK int64_t record_peek_size(struct bytes data);
/* The topic of a whole record that was decoded before. */
struct bytes record_topic(struct bytes record);

#endif
