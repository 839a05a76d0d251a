/* record.c - one published message to bytes and back. */
#include "shared/record/record.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

enum { CHECKSUM_AT = 8, CHECKED_FROM = 16 };

/* Over everything but itself: the eight bytes before it are the seed. */
static uint64_t checksum_of(const uint8_t *data, size_t size)
{
    uint64_t seed = 0;
    memcpy(&seed, data, sizeof seed);
    return hash_bytes_seeded(bytes_of(data + CHECKED_FROM, size - CHECKED_FROM), seed);
}

static void put(uint8_t *out, const void *value, size_t size)
{
    memcpy(out, value, size);
}

static void put_bytes(uint8_t **at, struct bytes bytes)
{
    if (bytes.size != 0) {
        memcpy(*at, bytes.data, bytes.size);
        *at += bytes.size;
    }
}

void record_encode(const struct record *r, uint8_t *out)
{
    ASSERT(r->topic.size <= UINT16_MAX && r->qos <= 2);
    uint32_t size            = (uint32_t)record_size(r);
    uint16_t topic_size      = (uint16_t)r->topic.size;
    uint32_t properties_size = (uint32_t)r->properties.size;
    memset(out, 0, RECORD_HEADER_BYTES);
    put(out, &size, sizeof size);
    out[4] = RECORD_VERSION;
    out[5] = r->qos;
    out[6] = r->flags;
    put(out + 16, &r->publish_wall_ns, sizeof r->publish_wall_ns);
    put(out + 24, &r->expires_wall_ns, sizeof r->expires_wall_ns);
    put(out + 32, &topic_size, sizeof topic_size);
    put(out + 36, &properties_size, sizeof properties_size);
    uint8_t *at = out + RECORD_HEADER_BYTES;
    put_bytes(&at, r->topic);
    put_bytes(&at, r->properties);
    put_bytes(&at, r->payload);
    uint64_t checksum = checksum_of(out, size);
    put(out + CHECKSUM_AT, &checksum, sizeof checksum);
}

int64_t record_peek_size(struct bytes data)
{
    uint32_t size = 0;
    if (data.size < sizeof size) {
        return ERR_MALFORMED;
    }
    memcpy(&size, data.data, sizeof size);
    return size < RECORD_HEADER_BYTES ? ERR_MALFORMED : (int64_t)size;
}

int64_t record_decode(struct bytes data, struct record *out)
{
    int64_t size = record_peek_size(data);
    if (size < 0 || (uint64_t)size > data.size) {
        return ERR_MALFORMED;
    }
    const uint8_t *d        = data.data;
    uint64_t       checksum = 0;
    memcpy(&checksum, d + CHECKSUM_AT, sizeof checksum);
    if (d[4] != RECORD_VERSION || d[5] > 2 || (d[6] & ~RECORD_RETAIN) != 0 || d[7] != 0) {
        return ERR_MALFORMED;
    }
    if (checksum != checksum_of(d, (size_t)size)) {
        return ERR_CORRUPT;
    }
    uint16_t topic_size      = 0;
    uint32_t properties_size = 0;
    memcpy(&topic_size, d + 32, sizeof topic_size);
    memcpy(&properties_size, d + 36, sizeof properties_size);
    size_t body = (size_t)size - RECORD_HEADER_BYTES;
    if (topic_size > body || properties_size > body - topic_size) {
        return ERR_MALFORMED;
    }
    struct record r = {.qos = d[5], .flags = d[6]};
    memcpy(&r.publish_wall_ns, d + 16, sizeof r.publish_wall_ns);
    memcpy(&r.expires_wall_ns, d + 24, sizeof r.expires_wall_ns);
    r.topic      = bytes_of(d + RECORD_HEADER_BYTES, topic_size);
    r.properties = bytes_of(r.topic.data + topic_size, properties_size);
    r.payload    = bytes_of(r.properties.data + properties_size, body - topic_size - properties_size);
    *out         = r;
    return size;
}

struct bytes record_topic(struct bytes record)
{
    uint16_t topic_size = 0;
    ASSERT(record.size >= RECORD_HEADER_BYTES);
    memcpy(&topic_size, record.data + 32, sizeof topic_size);
    ASSERT(topic_size <= record.size - RECORD_HEADER_BYTES);
    return bytes_of(record.data + RECORD_HEADER_BYTES, topic_size);
}
