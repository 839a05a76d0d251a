/* tables - each row written and read next to each other. */
#include "broker/kernel/tables.h"

enum { ROW_VERSION = 1, ROW_VERSION_APART = 2, ROW_VERSION_CONTENT = 3 };

struct bytes tables_name(uint8_t *out, const char *prefix, struct bytes client_id)
{
    struct wire_writer w = wire_writer_fixed(out, NAME_MAX_BYTES);
    wire_put_bytes(&w, bytes_str(prefix));
    wire_put_bytes(&w, client_id);
    ASSERT(!w.bad);
    return wire_written(&w);
}

struct bytes tables_sub_key(uint8_t *out, struct bytes client_id, struct bytes filter)
{
    struct wire_writer w = wire_writer_fixed(out, SUB_KEY_MAX_BYTES);
    wire_put_bytes(&w, client_id);
    wire_put_u8(&w, 0);
    wire_put_bytes(&w, filter);
    ASSERT(!w.bad);
    return wire_written(&w);
}

bool tables_sub_key_split(struct bytes key, struct bytes *out_client_id, struct bytes *out_filter)
{
    const uint8_t *zero = key.size == 0 ? NULL : memchr(key.data, 0, key.size);
    if (zero == NULL) {
        return false;
    }
    *out_client_id = bytes_of(key.data, (size_t)(zero - key.data));
    *out_filter    = bytes_of(zero + 1, key.size - out_client_id->size - 1);
    return true;
}

struct bytes tables_inbound_key(uint8_t *out, struct bytes client_id, uint16_t id)
{
    const uint8_t number[2] = {(uint8_t)(id >> 8), (uint8_t)id};
    return tables_sub_key(out, client_id, bytes_of(number, sizeof number));
}

struct bytes session_row_write(uint8_t out[SESSION_ROW_BYTES], const struct session_row *row)
{
    struct wire_writer w = wire_writer_fixed(out, SESSION_ROW_BYTES);
    wire_put_u8(&w, ROW_VERSION);
    wire_put_u8(&w, row->open);
    wire_put_u16(&w, row->inflight_max);
    wire_put_u32(&w, row->expiry_s);
    return wire_written(&w);
}

bool session_row_read(struct bytes value, struct session_row *out)
{
    struct wire_reader r       = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&r);
    out->open                  = wire_get_u8(&r) != 0;
    out->inflight_max          = wire_get_u16(&r);
    out->expiry_s              = wire_get_u32(&r);
    return !r.bad && version == ROW_VERSION;
}

struct bytes sub_row_write(uint8_t out[SUB_ROW_BYTES], const struct sub_row *row)
{
    struct wire_writer w = wire_writer_fixed(out, SUB_ROW_BYTES);
    wire_put_u8(&w, ROW_VERSION);
    wire_put_u8(&w, row->flags);
    wire_put_u32(&w, row->id);
    wire_put_u64(&w, row->stream_id);
    return wire_written(&w);
}

bool sub_row_read(struct bytes value, struct sub_row *out)
{
    struct wire_reader r       = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&r);
    out->flags                 = wire_get_u8(&r);
    out->id                    = wire_get_u32(&r);
    out->stream_id             = wire_get_u64(&r);
    return !r.bad && version == ROW_VERSION && (out->flags & SUB_QOS) <= 2;
}

static uint8_t inbound_version(const struct inbound_row *row)
{
    return (row->writer_epoch & INBOUND_APART) == 0 ? ROW_VERSION : ROW_VERSION_APART;
}

struct bytes inbound_row_write(uint8_t out[INBOUND_ROW_MAX_BYTES], const struct inbound_row *row)
{
    struct wire_writer w = wire_writer_fixed(out, INBOUND_ROW_MAX_BYTES);
    wire_put_u8(&w, row->content != 0 ? ROW_VERSION_CONTENT : inbound_version(row));
    wire_put_u8(&w, row->done);
    wire_put_u64(&w, row->writer_epoch);
    wire_put_u64(&w, row->sequence);
    if (row->content != 0) {
        wire_put_u64(&w, row->content);
    }
    return wire_written(&w);
}

bool inbound_row_read(struct bytes value, struct inbound_row *out)
{
    struct wire_reader r       = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&r);
    out->done                  = wire_get_u8(&r) != 0;
    out->writer_epoch          = wire_get_u64(&r);
    out->sequence              = wire_get_u64(&r);
    out->content               = version == ROW_VERSION_CONTENT ? wire_get_u64(&r) : 0;
    out->assigned              = wire_get(&r, wire_left(&r));
    return !r.bad && (version == ROW_VERSION_CONTENT || version == inbound_version(out));
}

enum { TAG_GROUP = 0x80 };

struct bytes delivery_tag_write(uint8_t out[DELIVERY_TAG_MAX_BYTES], const struct delivery_tag *tag)
{
    struct wire_writer w = wire_writer_fixed(out, DELIVERY_TAG_MAX_BYTES);
    wire_put_u8(&w, (uint8_t)(tag->qos | (tag->group != 0 ? TAG_GROUP : 0)));
    wire_put_u8(&w, tag->retain);
    if (tag->group != 0) {
        wire_put_u64(&w, tag->group);
    }
    for (int i = 0; i < tag->count; i++) {
        wire_put_u32(&w, tag->ids[i]);
    }
    ASSERT(!w.bad);
    return wire_written(&w);
}

bool delivery_tag_read(struct bytes tag, struct delivery_tag *out)
{
    struct wire_reader r = wire_reader_of(tag);
    out->qos             = wire_get_u8(&r);
    out->retain          = wire_get_u8(&r) != 0;
    out->group           = (out->qos & TAG_GROUP) != 0 ? wire_get_u64(&r) : 0;
    out->qos &= (uint8_t)~TAG_GROUP;
    out->count = 0;
    while (!r.bad && wire_left(&r) >= 4 && out->count < SUBSCRIPTION_IDS_MAX) {
        out->ids[out->count++] = wire_get_u32(&r);
    }
    return !r.bad && wire_left(&r) == 0 && (out->qos == 1 || out->qos == 2);
}
