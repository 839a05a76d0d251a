/* reader.c - which subscriptions to captured streams a session has, and where each begins. */
#include "broker/kernel/reading.h"

#include "broker/kernel/capture.h"
#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

/* Clocks of a broker and a store may differ by so much: looked for earlier, then passed over by the time of each message. */
#define CLOCKS_APART_NS 1000000000ull

struct reader *reader_find(const struct session *s, struct bytes filter)
{
    if (readers_of(s) == NULL) {
        return NULL;
    }
    LIST_EACH (&readers_of(s)->list, link) {
        struct reader *r = CONTAINER_OF(link, struct reader, link);
        if (!r->dropped && bytes_equal(reader_filter_of(r), filter)) {
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
            each(ctx, reader_filter_of(r), r->flags & SUB_QOS);
        }
    }
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

void reader_free(struct reader *r)
{
    reader_stop(r, READER_ABSENT);
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

void reader_look(struct reader *r)
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

struct reader *reader_new(struct session *s, struct bytes filter, struct bytes name, struct bytes spec)
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
    reader_stop(r, READER_ABSENT);
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
    bool same = r != NULL && r->begun && bytes_equal(reader_spec_of(r), spec) && r->stream_id == capture->stream_id;
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
        reader_look(r);
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
    reader_read_on(r);
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
                r->session->state == SESSION_OPEN && bytes_equal(reader_name_of(r), capture_name(c))) {
                if (r->stream_id != c->stream_id) { /* another stream of that name: all of it is new */
                    r->stream_id = c->stream_id;
                    r->position  = (struct position){.kind = POSITION_FIRST};
                }
                reader_look(r);
            }
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
        reader_stop(r, READER_ABSENT);
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
