/* message - fields in the order of the picture. */
#include "broker/kernel/message.h"

static size_t message_size(const struct message *m)
{
    return 8 + 8 + 1 + 1 + 4 + m->topic.size + 4 + m->properties.size + 4 + m->payload.size;
}

void message_write(struct wire_writer *w, const struct message *m)
{
    wire_put_u64(w, m->publish_wall_ns);
    wire_put_u64(w, m->expires_wall_ns);
    wire_put_u8(w, m->qos);
    wire_put_u8(w, m->retain);
    wire_put_blob(w, m->topic);
    wire_put_blob(w, m->properties);
    wire_put_blob(w, m->payload);
}

struct message message_read(struct wire_reader *r)
{
    struct message m  = {0};
    m.publish_wall_ns = wire_get_u64(r);
    m.expires_wall_ns = wire_get_u64(r);
    m.qos             = wire_get_u8(r);
    m.retain          = wire_get_u8(r) != 0;
    m.topic           = wire_get_blob(r);
    m.properties      = wire_get_blob(r);
    m.payload         = wire_get_blob(r);
    return m;
}

struct buf *message_keep(const struct message *m)
{
    size_t size = message_size(m);
    if (size > UINT32_MAX) {
        return NULL;
    }
    struct buf *kept = buf_new((uint32_t)size);
    if (kept == NULL) {
        return NULL;
    }
    struct wire_writer w = wire_writer_fixed(kept->data, kept->capacity);
    message_write(&w, m);
    ASSERT(!w.bad && w.size == size);
    kept->size = (uint32_t)size;
    return kept;
}

struct message message_of(const struct buf *kept)
{
    struct wire_reader r = wire_reader_of(bytes_of(kept->data, kept->size));
    struct message     m = message_read(&r);
    ASSERT(!r.bad);
    return m;
}

struct record message_record(const struct message *m)
{
    return (struct record){
        .qos             = m->qos,
        .flags           = m->retain ? RECORD_RETAIN : 0,
        .publish_wall_ns = m->publish_wall_ns,
        .expires_wall_ns = m->expires_wall_ns,
        .topic           = m->topic,
        .properties      = m->properties,
        .payload         = m->payload,
    };
}

struct message message_of_record(const struct record *record)
{
    return (struct message){
        .topic           = record->topic,
        .properties      = record->properties,
        .payload         = record->payload,
        .qos             = record->qos,
        .retain          = (record->flags & RECORD_RETAIN) != 0,
        .publish_wall_ns = record->publish_wall_ns,
        .expires_wall_ns = record->expires_wall_ns,
    };
}
