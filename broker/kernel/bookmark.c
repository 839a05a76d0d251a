/* bookmark.c - the position of a stored session's readers: rows of the table of cursors, and what becomes of them when the session comes back. */
#include "broker/kernel/reading.h"

#include "broker/kernel/capture.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

enum { ROW_VERSION = 1 };

void reader_moved(struct reader *r)
{
    if (session_stored(r->session) && !list_linked(&r->dirty) && !r->moving) {
        list_push_back(&r->session->kernel->cursors, &r->dirty);
    }
}

static void put_row(struct wire_writer *w, struct reader *r)
{
    struct session    *s     = r->session;
    struct wire_writer value = wire_writer_growing(1024);
    r->stored                = reader_position(r);
    wire_put_u8(&value, ROW_VERSION);
    wire_put_u64(&value, r->stream_id);
    wire_put_u64(&value, r->stored);
    wire_put_u64(&value, r->not_before_ns);
    wire_put_bytes(&value, reader_spec_of(r));
    op_encode(w, &(struct op){.kind  = OP_TABLE_PUT,
                              .table = TABLE_CURSORS,
                              .name  = tables_sub_key(s->kernel->key, session_id(s), reader_filter_of(r)),
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
    struct reader *r = reader_new(s, reader_filter_of(old), reader_name_of(old), spec);
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
        const struct capture *capture = capture_find(s->kernel, reader_name_of(r));
        if (capture == NULL || r->dropped) {
            continue; /* until there is one */
        }
        if (capture->stream_id == r->stream_id) {
            reader_read_on(r);
        } else {
            r->stream_id = capture->stream_id;
            r->position  = (struct position){.kind = POSITION_FIRST};
            reader_look(r);
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
    } else if (reader_position(r) != r->stored && s->state == SESSION_OPEN) {
        reader_moved(r);
    }
    close_continue(s);
}

void readers_flush(struct kernel *k)
{
    struct list *link;
    while ((link = list_pop_front(&k->cursors)) != NULL) {
        struct reader  *r = CONTAINER_OF(link, struct reader, dirty);
        struct session *s = r->session;
        if (s->state != SESSION_OPEN || reader_position(r) == r->stored) {
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
        if (!r->dropped && r->begun && r->stream_id != 0 && reader_position(r) != r->stored) {
            put_row(w, r);
        }
    }
}
