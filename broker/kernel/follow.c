/* follow.c - records of a captured stream on their way from the store to the client. */
#include "broker/kernel/reading.h"

#include "broker/kernel/fanout.h"
#include "broker/kernel/message.h"
#include "shared/base/err.h"
#include "shared/base/instant.h"
#include "shared/base/log.h"

enum { CREDIT_MAX = 512 };

void reader_stop(struct reader *r, enum reader_state state)
{
    if (r->following) {
        r->following = false;
        store_follow_cancel(r->session->kernel->store, &r->follow);
    }
    r->state = (uint8_t)state;
}

static uint32_t share(const struct reader *r)
{
    uint32_t each = readers_slots(r->session) / readers_of(r->session)->count;
    return each == 0 ? 1 : each < CREDIT_MAX ? each : CREDIT_MAX;
}

static void give_credit(struct reader *r)
{
    uint32_t most = share(r);
    most          = most > r->inflight ? most - r->inflight : 0;
    if (r->following && most > r->credit && r->credit <= most / 2) {
        uint32_t more = most - r->credit;
        r->credit     = most;
        store_follow_credit(r->session->kernel->store, &r->follow, more);
    }
}

static void put_property(struct wire_writer *w, const char *key, struct bytes value)
{
    size_t key_size = strlen(key); /* User Property, 2.2.2.2: both strings with their length in front */
    wire_put_u8(w, 0x26);
    wire_put_u8(w, (uint8_t)(key_size >> 8));
    wire_put_u8(w, (uint8_t)key_size);
    wire_put_bytes(w, bytes_str(key));
    wire_put_u8(w, (uint8_t)(value.size >> 8));
    wire_put_u8(w, (uint8_t)value.size);
    wire_put_bytes(w, value);
}

/* What the message had, and where in the stream it is. */
static struct bytes properties_with(struct kernel *k, const struct message *m, uint64_t offset)
{
    struct wire_writer *w = &k->assembled;
    char                number[24];
    char                time[INSTANT_TEXT_BYTES];
    size_t              at = sizeof number;
    do {
        number[--at] = (char)('0' + offset % 10);
        offset /= 10;
    } while (offset != 0);
    instant_write(m->publish_wall_ns, time);
    w->size = 0;
    w->bad  = false;
    wire_put_bytes(w, m->properties);
    put_property(w, "keel-offset", bytes_of(number + at, sizeof number - at));
    put_property(w, "keel-time", bytes_of(time, sizeof time));
    return w->bad ? m->properties : wire_written(w);
}

static enum deliver_result give(struct reader *r, struct message *m, uint64_t offset, uint8_t qos, uint16_t id)
{
    struct session *s          = r->session;
    m->properties              = properties_with(s->kernel, m, offset);
    struct delivery     d      = {.message               = m,
                                  .qos                   = qos,
                                  .retain                = m->retain && (r->flags & SUB_RETAIN_AS_PUBLISHED) != 0,
                                  .id                    = id,
                                  .subscription_id_count = r->sub_id != 0,
                                  .subscription_ids      = &r->sub_id};
    struct fanout       f      = {.message = m, .ops = s->client->ops};
    enum deliver_result result = s->client->ops->deliver(s->client, &d);
    fanout_end(&f);
    s->kernel->counters.deliveries += result == DELIVER_OK;
    s->kernel->counters.replayed += result == DELIVER_OK;
    s->kernel->counters.dropped += result == DELIVER_TOO_BIG;
    return result;
}

static void followed(struct store_follow *follow, uint64_t offset, struct bytes tag, const struct record *record)
{
    (void)tag;
    struct reader  *r   = follow->ctx;
    struct session *s   = r->session;
    struct readers *all = readers_of(s);
    struct message  m   = message_of_record(record);
    r->credit -= r->credit != 0;
    if (s->client == NULL || offset < r->next) {
        return;
    }
    if (m.publish_wall_ns < r->not_before_ns || message_expired(&m, s->kernel->wall_ns)) {
        s->kernel->counters.expired += m.publish_wall_ns >= r->not_before_ns;
        r->next = offset + 1;
        reader_moved(r);
        give_credit(r);
        return;
    }
    r->not_before_ns = 0; /* the first one: what follows it comes, whatever its clock said */
    uint8_t qos      = m.qos < (r->flags & SUB_QOS) ? m.qos : r->flags & SUB_QOS;
    qos              = qos > 1 ? 1 : qos;
    if (qos != 0 && (!readers_slot_free(s) || !flight_room(all))) {
        reader_stop(r, READER_WAITING);
        return;
    }
    enum deliver_result result = give(r, &m, offset, qos, qos == 0 ? 0 : flight_id(all->end));
    if (result == DELIVER_FULL) {
        reader_stop(r, READER_WAITING);
        return;
    }
    if (result == DELIVER_OK && qos != 0) {
        *flight_at(all, all->end++) = (struct flight){.reader = r, .offset = offset};
        r->inflight++;
        all->inflight++;
    }
    r->next = offset + 1;
    if (qos == 0 || result == DELIVER_TOO_BIG) {
        reader_moved(r);
    }
    give_credit(r);
}

static void ended(struct store_follow *follow, int status)
{
    struct reader *r = follow->ctx;
    r->following     = false;
    r->state         = READER_ABSENT;
    if (status != ERR_NOT_FOUND) {
        log_warn("a captured stream cannot be read: %s", err_sentence(status));
        session_evict(r->session, EVICT_UNAVAILABLE);
    }
}

void reader_read_on(struct reader *r)
{
    r->credit    = share(r) > r->inflight ? share(r) - r->inflight : 1;
    r->state     = READER_READING;
    r->following = true;
    r->follow    = (struct store_follow){.record = followed, .ended = ended, .ctx = r};
    store_follow_start(r->session->kernel->store, &r->follow, r->stream_id, 0, r->next, r->credit);
}

void readers_continue(struct session *s)
{
    if (readers_of(s) == NULL || s->client == NULL || s->state != SESSION_OPEN) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader *r = CONTAINER_OF(link, struct reader, link);
        if (r->state == READER_WAITING && r->begun && readers_slot_free(s) &&
            !(s->delivery != NULL && s->delivery->blocked)) {
            reader_read_on(r);
        } else {
            give_credit(r);
        }
    }
}
