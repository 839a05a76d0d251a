/* super.c - four copies, two votes. */
#include "segstore/log/super.h"

#include "shared/base/hash.h"
#include "shared/base/wire.h"

#define SUPER_MAGIC 0x5055534bu /* "KSUP" */

void super_encode(const struct super *super, uint8_t out[SUPER_BYTES])
{
    memset(out, 0, SUPER_BYTES);
    struct wire_writer w = wire_writer_fixed(out, SUPER_COPY_BYTES);
    wire_put_u32(&w, SUPER_MAGIC);
    wire_put_u16(&w, SUPER_VERSION);
    wire_put_u16(&w, 0);
    wire_put(&w, super->id.bytes, sizeof super->id.bytes);
    wire_put_u64(&w, super->cluster);
    wire_put_u64(&w, super->segment_bytes);
    wire_put_u32(&w, super->shard);
    wire_put_u32(&w, super->shard_count);
    wire_put_u32(&w, super->stripe_count);
    wire_put_u16(&w, super->node);
    wire_put_u16(&w, super->member_count);
    wire_put_u64(&w, super->formatted_wall_ns);
    for (size_t i = 0; i < SUPER_MEMBERS; i++) {
        wire_put_u16(&w, super->members[i]);
    }
    wire_put_u64(&w, hash_bytes(wire_written(&w)));
    for (size_t i = 1; i < SUPER_COPIES; i++) {
        memcpy(out + i * SUPER_COPY_BYTES, out, SUPER_COPY_BYTES);
    }
}

/* 1 valid, 0 not, ERR-like -1 another version. */
static int copy_decode(struct bytes copy, struct super *out)
{
    struct wire_reader r       = wire_reader_of(copy);
    uint32_t           magic   = wire_get_u32(&r);
    uint16_t           version = wire_get_u16(&r);
    (void)wire_get_u16(&r);
    struct bytes id     = wire_get(&r, sizeof out->id.bytes);
    struct super s      = {0};
    s.cluster           = wire_get_u64(&r);
    s.segment_bytes     = wire_get_u64(&r);
    s.shard             = wire_get_u32(&r);
    s.shard_count       = wire_get_u32(&r);
    s.stripe_count      = wire_get_u32(&r);
    s.node              = wire_get_u16(&r);
    s.member_count      = wire_get_u16(&r);
    s.formatted_wall_ns = wire_get_u64(&r);
    if (r.bad || magic != SUPER_MAGIC) {
        return 0;
    }
    if (version < SUPER_VERSION_FIRST || version > SUPER_VERSION) {
        return -1;
    }
    for (size_t i = 0; version > 1 && i < SUPER_MEMBERS; i++) {
        s.members[i] = wire_get_u16(&r);
    }
    if (version == 1) {
        s.node         = 1;
        s.member_count = 1;
        s.members[0]   = 1;
    }
    size_t summed = copy.size - wire_left(&r);
    if (s.node == 0 || s.member_count > SUPER_MEMBERS) {
        return 0;
    }
    if (wire_get_u64(&r) != hash_bytes(bytes_of(copy.data, summed)) || r.bad || s.segment_bytes == 0 ||
        s.segment_bytes % BLOCK_PAGE_BYTES != 0 || s.shard >= s.shard_count || s.stripe_count == 0) {
        return 0;
    }
    memcpy(s.id.bytes, id.data, id.size);
    *out = s;
    return 1;
}

enum super_state super_decode(struct bytes file, struct super *out)
{
    struct bytes good[SUPER_COPIES];
    int          good_count = 0;
    int          other      = 0;
    bool         zero       = true;
    for (size_t i = 0; i < SUPER_COPIES && (i + 1) * SUPER_COPY_BYTES <= file.size; i++) {
        struct bytes copy = bytes_of(file.data + i * SUPER_COPY_BYTES, SUPER_COPY_BYTES);
        struct super s;
        int          state = copy_decode(copy, &s);
        other += state < 0;
        if (state > 0) {
            good[good_count++] = copy;
        }
        zero = zero && copy.data[0] == 0 && memcmp(copy.data, copy.data + 1, copy.size - 1) == 0;
    }
    for (int i = 0; i < good_count; i++) {
        for (int j = i + 1; j < good_count; j++) {
            if (bytes_equal(good[i], good[j])) {
                return copy_decode(good[i], out) > 0 ? SUPER_VALID : SUPER_UNREADABLE;
            }
        }
    }
    return other >= 2 ? SUPER_VERSION_OTHER : zero ? SUPER_EMPTY : SUPER_UNREADABLE;
}
