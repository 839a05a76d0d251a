/* reader.c - where each subscription to a captured stream is, and what is under way of it. */
#include "broker/kernel/reader.h"

#include "broker/kernel/capture.h"
#include "broker/kernel/delivery.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/message.h"
#include "broker/kernel/position.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/instant.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { ROW_VERSION = 1, CREDIT_MAX = 512, FLIGHTS_MAX = 4096, IDS = 65535 - WINDOW_WIDTH_MAX };
_Static_assert(FLIGHTS_MAX <= IDS, "ids under way are different");

/* Clocks of a broker and a store may differ by so much: looked for earlier, then passed over by the time of each message. */
#define CLOCKS_APART_NS 1000000000ull

enum reader_state { READER_LOOKING, READER_FOUND, READER_READING, READER_WAITING, READER_ABSENT };

struct reader {
    struct list          link;  /* in readers.list */
    struct list          dirty; /* in kernel.cursors */
    struct session      *session;
    struct reader_asker *asker; /* NULL: begun, or forgotten */
    struct store_call    look;
    struct store_call    move;
    struct store_follow  follow;
    struct position      position; /* that was asked for */
    uint64_t             stream_id;
    uint64_t             next;          /* the first offset that was not handed out */
    uint64_t             stored;        /* the position in its row */
    uint64_t             not_before_ns; /* published earlier: passed over */
    uint32_t             credit;        /* given and not used */
    uint32_t             inflight;
    uint32_t             sub_id;
    uint8_t              flags; /* enum sub_flags */
    uint8_t              state;
    bool                 following;
    bool                 looking;
    bool                 moving;
    bool                 begun;
    bool                 dropped; /* freed when the store has answered */
    uint8_t              name_size;
    uint16_t             filter_size;
    uint16_t             spec_size;
    uint8_t              text[]; /* filter (the name in it), then the position's text */
};

/* One QoS 1 delivery that is not acknowledged. */
struct flight {
    struct reader *reader; /* NULL: acknowledged */
    uint64_t       offset;
};

/* All readers of one session. */
struct readers {
    struct list    link; /* in kernel.reading */
    struct list    list;
    struct flight *flights; /* ring of FLIGHTS_MAX at most, a power of two */
    uint32_t       capacity;
    uint64_t       first; /* of a count of flights; id = WINDOW_WIDTH_MAX + 1 + count % IDS */
    uint64_t       end;
    uint32_t       inflight;
    uint32_t       count;
};

static struct readers *readers_of(const struct session *s)
{
    return s->delivery == NULL ? NULL : s->delivery->readers;
}

static struct bytes filter_of(const struct reader *r)
{
    return bytes_of(r->text, r->filter_size);
}

static struct bytes name_of(const struct reader *r)
{
    return bytes_of(r->text + strlen("$stream/"), r->name_size);
}

static struct bytes spec_of(const struct reader *r)
{
    return bytes_of(r->text + r->filter_size, r->spec_size);
}

struct reader *reader_find(const struct session *s, struct bytes filter)
{
    if (readers_of(s) == NULL) {
        return NULL;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader *r = CONTAINER_OF(link, struct reader, link);
        if (!r->dropped && bytes_equal(filter_of(r), filter)) {
            return r;
        }
    }
    return NULL;
}

uint32_t reader_count(const struct session *s)
{
    return readers_of(s) == NULL ? 0 : readers_of(s)->count;
}

void readers_each(const struct session *s, void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx)
{
    if (readers_of(s) == NULL) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        const struct reader *r = CONTAINER_OF(link, struct reader, link);
        if (!r->dropped) {
            each(ctx, filter_of(r), r->flags & SUB_QOS);
        }
    }
}

/* ---- slots of the Receive Maximum --------------------------------------------------------------------------------------- */

uint32_t readers_reserved(const struct session *s)
{
    return readers_of(s) == NULL || readers_of(s)->count == 0 ? 0 : s->receive_max / 2u;
}

static uint32_t own_inflight(const struct session *s)
{
    return s->delivery == NULL ? 0 : s->delivery->inflight;
}

static uint32_t slots(const struct session *s)
{
    uint32_t half = s->receive_max / 2u;
    return half == 0 ? 1 : half < FLIGHTS_MAX ? half : FLIGHTS_MAX;
}

/* With a Receive Maximum of 1 there is nothing to divide. */
bool readers_block_own(const struct session *s)
{
    return readers_of(s) != NULL && s->receive_max == 1 && readers_of(s)->inflight != 0;
}

static bool slot_free(const struct session *s)
{
    const struct readers *all = readers_of(s);
    return all->inflight < slots(s) && all->end - all->first < FLIGHTS_MAX &&
           !(s->receive_max == 1 && own_inflight(s) != 0);
}

static bool flight_room(struct readers *all)
{
    if (all->end - all->first < all->capacity) {
        return true;
    }
    uint32_t       capacity = all->capacity == 0 ? 16 : all->capacity * 2;
    struct flight *flights  = calloc(capacity, sizeof *flights);
    if (flights == NULL) {
        return false;
    }
    for (uint64_t i = all->first; i != all->end; i++) {
        flights[i & (capacity - 1)] = all->flights[i & (all->capacity - 1)];
    }
    free(all->flights);
    all->flights  = flights;
    all->capacity = capacity;
    return true;
}

static uint16_t flight_id(uint64_t count)
{
    return (uint16_t)(WINDOW_WIDTH_MAX + 1 + count % IDS);
}

static struct flight *flight_at(const struct readers *all, uint64_t count)
{
    return &all->flights[count & (all->capacity - 1)];
}

static void flight_end(struct session *s, struct flight *flight)
{
    struct readers *all = readers_of(s);
    flight->reader->inflight--;
    flight->reader = NULL;
    all->inflight--;
    while (all->first != all->end && flight_at(all, all->first)->reader == NULL) {
        all->first++;
    }
}

/* All below is acknowledged. */
static uint64_t position_of(const struct reader *r)
{
    const struct readers *all = readers_of(r->session);
    for (uint64_t i = all->first; r->inflight != 0 && i != all->end; i++) {
        if (flight_at(all, i)->reader == r) {
            return flight_at(all, i)->offset;
        }
    }
    return r->next;
}

static void moved(struct reader *r)
{
    if (session_stored(r->session) && !list_linked(&r->dirty) && !r->moving) {
        list_push_back(&r->session->kernel->cursors, &r->dirty);
    }
}

/* ---- reading ------------------------------------------------------------------------------------------------------------ */

static void stop(struct reader *r, enum reader_state state)
{
    if (r->following) {
        r->following = false;
        store_follow_cancel(r->session->kernel->store, &r->follow);
    }
    r->state = (uint8_t)state;
}

static uint32_t share(const struct reader *r)
{
    uint32_t each = slots(r->session) / readers_of(r->session)->count;
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
        moved(r);
        give_credit(r);
        return;
    }
    r->not_before_ns = 0; /* the first one: what follows it comes, whatever its clock said */
    uint8_t qos      = m.qos < (r->flags & SUB_QOS) ? m.qos : r->flags & SUB_QOS;
    qos              = qos > 1 ? 1 : qos;
    if (qos != 0 && (!slot_free(s) || !flight_room(all))) {
        stop(r, READER_WAITING);
        return;
    }
    enum deliver_result result = give(r, &m, offset, qos, qos == 0 ? 0 : flight_id(all->end));
    if (result == DELIVER_FULL) {
        stop(r, READER_WAITING);
        return;
    }
    if (result == DELIVER_OK && qos != 0) {
        *flight_at(all, all->end++) = (struct flight){.reader = r, .offset = offset};
        r->inflight++;
        all->inflight++;
    }
    r->next = offset + 1;
    if (qos == 0 || result == DELIVER_TOO_BIG) {
        moved(r);
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

static void read_on(struct reader *r)
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
        if (r->state == READER_WAITING && r->begun && slot_free(s) && !(s->delivery != NULL && s->delivery->blocked)) {
            read_on(r);
        } else {
            give_credit(r);
        }
    }
}

int readers_done(struct session *s, uint16_t id)
{
    struct readers *all = readers_of(s);
    if (all == NULL || id <= WINDOW_WIDTH_MAX || all->first == all->end) {
        return ERR_NOT_FOUND;
    }
    uint64_t       ahead  = (id - (uint32_t)flight_id(all->first) + IDS) % IDS;
    struct flight *flight = ahead < all->end - all->first ? flight_at(all, all->first + ahead) : NULL;
    if (flight == NULL || flight->reader == NULL) {
        return ERR_NOT_FOUND;
    }
    moved(flight->reader);
    flight_end(s, flight);
    return 0;
}

static void begin(struct reader *r);

/* ---- where to begin ----------------------------------------------------------------------------------------------------- */

static void answer(struct reader *r, int status)
{
    struct reader_asker *asker = r->asker;
    r->asker                   = NULL;
    if (asker != NULL) {
        asker->found(asker, status);
    }
}

static void reader_free(struct reader *r)
{
    stop(r, READER_ABSENT);
    list_remove(&r->dirty);
    list_remove(&r->link);
    free(r);
}

static void looked(struct store_call *call, int status, struct bytes results)
{
    struct reader     *r     = CONTAINER_OF(call, struct reader, look);
    struct session    *s     = r->session;
    struct wire_reader in    = wire_reader_of(results);
    uint64_t           start = wire_get_u64(&in);
    uint64_t           next  = wire_get_u64(&in);
    (void)wire_get(&in, 4 * sizeof(uint64_t));
    uint64_t found = wire_get_u64(&in);
    r->looking     = false;
    s->busy--;
    if (r->dropped) {
        reader_free(r);
        close_continue(s);
        return;
    }
    if (s->state != SESSION_OPEN) {
        close_continue(s);
        return;
    }
    if (status == 0) {
        r->next          = position_offset(&r->position, start, next, found);
        r->not_before_ns = r->position.kind == POSITION_TIME ? r->position.value : 0;
        r->state         = READER_FOUND;
    }
    if (r->asker != NULL) {
        answer(r, status);
    } else if (status == 0) {
        begin(r);
    } else if (status == ERR_NOT_FOUND) {
        r->state = READER_ABSENT;
    } else {
        session_evict(s, EVICT_UNAVAILABLE);
    }
}

static void look(struct reader *r)
{
    struct kernel *k      = r->session->kernel;
    uint64_t       from   = r->position.kind == POSITION_TIME ? r->position.value : 0;
    from                  = from > CLOCKS_APART_NS ? from - CLOCKS_APART_NS : 0;
    r->state              = READER_LOOKING;
    r->looking            = true;
    r->look.done          = looked;
    struct wire_writer *w = store_txn_begin(k->store, stream_id_stripe(r->stream_id));
    op_encode(w, &(struct op){.kind = OP_STREAM_STAT, .stream_id = r->stream_id, .wall_ns = from});
    r->session->busy++;
    store_txn_end(k->store, &r->look);
}

/* ---- coming and going --------------------------------------------------------------------------------------------------- */

static struct readers *readers_make(struct session *s)
{
    struct delivery_state *d = session_delivery(s);
    if (d == NULL || d->readers != NULL) {
        return d == NULL ? NULL : d->readers;
    }
    d->readers = calloc(1, sizeof *d->readers);
    if (d->readers != NULL) {
        list_init(&d->readers->list);
        list_push_back(&s->kernel->reading, &d->readers->link);
    }
    return d->readers;
}

static struct reader *reader_new(struct session *s, struct bytes filter, struct bytes name, struct bytes spec)
{
    struct readers *all = readers_make(s);
    struct reader  *r   = all == NULL ? NULL : calloc(1, sizeof *r + filter.size + spec.size);
    if (r == NULL) {
        return NULL;
    }
    r->session     = s;
    r->state       = READER_ABSENT;
    r->name_size   = (uint8_t)name.size;
    r->filter_size = (uint16_t)filter.size;
    r->spec_size   = (uint16_t)spec.size;
    memcpy(r->text, filter.data, filter.size);
    if (spec.size != 0) {
        memcpy(r->text + filter.size, spec.data, spec.size);
    }
    list_push_back(&all->list, &r->link);
    all->count++;
    return r;
}

void reader_remove(struct reader *r)
{
    struct session *s   = r->session;
    struct readers *all = readers_of(s);
    for (uint64_t i = all->first; i != all->end; i++) {
        if (flight_at(all, i)->reader == r) {
            flight_at(all, i)->reader = NULL; /* its acknowledgement may still come, and means nothing */
            all->inflight--;
        }
    }
    while (all->first != all->end && flight_at(all, all->first)->reader == NULL) {
        all->first++;
    }
    r->inflight = 0;
    r->dropped  = true;
    all->count--;
    stop(r, READER_ABSENT);
    list_remove(&r->dirty);
    answer(r, ERR_CLOSED);
    if (!r->looking && !r->moving) {
        reader_free(r);
    }
}

int reader_ask(struct session *s, const struct subscription *sub, struct reader_asker *asker)
{
    struct bytes    name;
    struct bytes    spec;
    struct position position;
    if (!position_split(sub->filter, &name, &spec) || !capture_name_valid(name)) {
        return ERR_MALFORMED;
    }
    spec = spec.size != 0 ? spec : sub->from;
    if (!position_read(spec, &position)) {
        return ERR_MALFORMED;
    }
    if (sub->no_local) {
        return ERR_DENIED;
    }
    const struct capture *capture = capture_find(s->kernel, name);
    struct reader        *r       = reader_find(s, sub->filter);
    if (capture == NULL) {
        return ERR_NOT_FOUND;
    }
    if (r != NULL && (r->asker != NULL || r->looking)) {
        return ERR_BUSY; /* two at once for one filter */
    }
    bool same = r != NULL && r->begun && bytes_equal(spec_of(r), spec) && r->stream_id == capture->stream_id;
    if (r != NULL && !same) {
        reader_remove(r);
        r = NULL;
    }
    if (r == NULL) {
        r = reader_new(s, sub->filter, name, spec);
        if (r == NULL) {
            return ERR_QUOTA;
        }
        r->position  = position;
        r->stream_id = capture->stream_id;
        r->asker     = asker;
        look(r);
    }
    r->flags  = (uint8_t)((sub->qos > 1 ? 1 : sub->qos) | (sub->retain_as_published ? SUB_RETAIN_AS_PUBLISHED : 0));
    r->sub_id = sub->id;
    return same;
}

void reader_forget(struct session *s, struct bytes filter)
{
    struct reader *r = reader_find(s, filter);
    if (r != NULL) {
        r->asker = NULL;
        if (!r->begun) {
            reader_remove(r);
        }
    }
}

static void begin(struct reader *r)
{
    r->begun = true;
    delivery_share(r->session);
    read_on(r);
}

void reader_begin(struct session *s, struct bytes filter)
{
    struct reader *r = reader_find(s, filter);
    if (r != NULL && r->state == READER_FOUND) {
        begin(r);
    }
}

void readers_capture_entered(struct kernel *k, const struct capture *c)
{
    LIST_EACH (&k->reading, link) {
        struct readers *all = CONTAINER_OF(link, struct readers, link);
        LIST_EACH (&all->list, at) {
            struct reader *r = CONTAINER_OF(at, struct reader, link);
            if (r->state == READER_ABSENT && r->begun && !r->looking && !r->dropped &&
                r->session->state == SESSION_OPEN && bytes_equal(name_of(r), capture_name(c))) {
                if (r->stream_id != c->stream_id) { /* another stream of that name: all of it is new */
                    r->stream_id = c->stream_id;
                    r->position  = (struct position){.kind = POSITION_FIRST};
                }
                look(r);
            }
        }
    }
}

/* ---- cursors ------------------------------------------------------------------------------------------------------------ */

static void put_row(struct wire_writer *w, struct reader *r)
{
    struct session    *s     = r->session;
    struct wire_writer value = wire_writer_growing(1024);
    r->stored                = position_of(r);
    wire_put_u8(&value, ROW_VERSION);
    wire_put_u64(&value, r->stream_id);
    wire_put_u64(&value, r->stored);
    wire_put_u64(&value, r->not_before_ns);
    wire_put_bytes(&value, spec_of(r));
    op_encode(w, &(struct op){.kind  = OP_TABLE_PUT,
                              .table = TABLE_CURSORS,
                              .name  = tables_sub_key(s->kernel->key, session_id(s), filter_of(r)),
                              .value = wire_written(&value)});
    w->bad = w->bad || value.bad;
    wire_writer_fini(&value);
}

bool reader_put_row(struct wire_writer *w, struct session *s, struct bytes filter)
{
    struct reader *r = reader_find(s, filter);
    if (r != NULL) {
        put_row(w, r);
    }
    return r != NULL;
}

void reader_delete_row(struct wire_writer *w, struct session *s, struct bytes filter)
{
    op_encode(w, &(struct op){.kind  = OP_TABLE_DELETE,
                              .table = TABLE_CURSORS,
                              .name  = tables_sub_key(s->kernel->key, session_id(s), filter)});
}

bool readers_restore(struct session *s, struct bytes filter, const struct sub_row *row)
{
    struct bytes name;
    struct bytes spec;
    if (!position_split(filter, &name, &spec)) {
        log_error("a stored subscription to a captured stream is not understood: passed over");
        return true;
    }
    struct reader *r = reader_new(s, filter, name, spec);
    if (r == NULL) {
        return false;
    }
    r->flags  = row->flags;
    r->sub_id = row->id;
    r->begun  = true;
    return true;
}

void readers_restore_row(struct session *s, struct bytes filter, struct bytes value)
{
    struct reader     *old     = reader_find(s, filter);
    struct wire_reader in      = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&in);
    uint64_t           stream  = wire_get_u64(&in);
    uint64_t           next    = wire_get_u64(&in);
    uint64_t           before  = wire_get_u64(&in);
    struct bytes       spec    = wire_get(&in, wire_left(&in));
    if (in.bad || version != ROW_VERSION || old == NULL) {
        log_error("a stored position in a captured stream is not understood: it is read from the first record");
        return;
    }
    struct reader *r = reader_new(s, filter_of(old), name_of(old), spec);
    if (r == NULL) {
        return;
    }
    r->flags         = old->flags;
    r->sub_id        = old->sub_id;
    r->begun         = true;
    r->stream_id     = stream;
    r->next          = next;
    r->stored        = next;
    r->not_before_ns = before;
    reader_remove(old);
}

void readers_begin(struct session *s)
{
    if (readers_of(s) == NULL) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader        *r       = CONTAINER_OF(link, struct reader, link);
        const struct capture *capture = capture_find(s->kernel, name_of(r));
        if (capture == NULL || r->dropped) {
            continue; /* until there is one */
        }
        if (capture->stream_id == r->stream_id) {
            read_on(r);
        } else {
            r->stream_id = capture->stream_id;
            r->position  = (struct position){.kind = POSITION_FIRST};
            look(r);
        }
    }
}

/* A former owner must not set back its heir's position. */
static void put_fence(struct wire_writer *w, const struct session *s)
{
    op_encode(w, &(struct op){.kind = OP_FENCE, .stream_id = s->who.stream_id, .epoch = s->keep->epoch});
}

static void row_moved(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct reader  *r = CONTAINER_OF(call, struct reader, move);
    struct session *s = r->session;
    r->moving         = false;
    s->busy--;
    if (status == ERR_FENCED || status == ERR_NOT_FOUND) {
        s->keep->fenced = true;
        session_evict(s, EVICT_TAKEN_OVER);
    } else if (status != 0) {
        log_warn("a position in a captured stream could not be recorded: %s", err_sentence(status));
    }
    if (r->dropped) {
        reader_free(r);
    } else if (position_of(r) != r->stored && s->state == SESSION_OPEN) {
        moved(r);
    }
    close_continue(s);
}

void readers_flush(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->cursors)) != NULL) {
        struct reader  *r = CONTAINER_OF(link, struct reader, dirty);
        struct session *s = r->session;
        if (s->state != SESSION_OPEN || position_of(r) == r->stored) {
            continue;
        }
        uint16_t            stripe = session_stripe(s);
        struct wire_writer *w      = store_txn_begin(k->store, stripe);
        put_fence(w, s);
        put_row(w, r);
        r->moving    = true;
        r->move.done = row_moved;
        s->busy++;
        store_txn_end(k->store, &r->move);
    }
}

void readers_close_rows(struct session *s, struct wire_writer *w)
{
    if (readers_of(s) == NULL) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader *r = CONTAINER_OF(link, struct reader, link);
        if (!r->dropped && r->begun && r->stream_id != 0 && position_of(r) != r->stored) {
            put_row(w, r);
        }
    }
}

void readers_stop(struct session *s)
{
    if (readers_of(s) == NULL) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader *r = CONTAINER_OF(link, struct reader, link);
        stop(r, READER_ABSENT);
        list_remove(&r->dirty);
    }
}

void readers_free(struct session *s)
{
    if (readers_of(s) == NULL) {
        return;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        reader_free(CONTAINER_OF(link, struct reader, link));
    }
    list_remove(&readers_of(s)->link);
    free(readers_of(s)->flights);
    free(readers_of(s));
    s->delivery->readers = NULL;
}
