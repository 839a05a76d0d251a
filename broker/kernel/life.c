/* life - written here, read in tables.h. */
#include "broker/kernel/life.h"

#include "broker/kernel/orphan.h"
#include "broker/kernel/route.h"
#include "shared/rpc/op.h"

static void put(struct wire_writer *w, struct op op)
{
    op_encode(w, &op);
}

uint64_t life_orphan(struct session *s)
{
    return s->shares ? s->who.stream_id : route_shares(s->kernel, session_id(s));
}

static void delete_rows(struct wire_writer *w, struct session *s)
{
    uint8_t     *key = s->kernel->key;
    struct bytes id  = session_id(s);
    put(w, (struct op){.kind = OP_TABLE_DELETE, .table = TABLE_SESSIONS, .name = id});
    struct bytes prefix = tables_sub_key(key, id, (struct bytes){0});
    put(w, (struct op){.kind = OP_TABLE_DELETE_PREFIX, .table = TABLE_SUBSCRIPTIONS, .name = prefix});
    put(w, (struct op){.kind = OP_TABLE_DELETE_PREFIX, .table = TABLE_INBOUND, .name = prefix});
    put(w, (struct op){.kind = OP_TABLE_DELETE_PREFIX, .table = TABLE_CURSORS, .name = prefix});
    uint64_t orphan = life_orphan(s);
    if (orphan != 0) {
        orphan_leave(w, id, orphan);
    } else {
        put(w, (struct op){.kind = OP_STREAM_DELETE, .name = tables_stream(key, id)});
    }
}

void life_expiry(struct wire_writer *w, struct session *s, uint32_t expiry_s)
{
    if (expiry_s == EXPIRY_NEVER) {
        put(w, (struct op){.kind = OP_TIMER_CANCEL, .name = tables_expiry(s->kernel->key, session_id(s))});
        return;
    }
    struct wire_writer action = wire_writer_growing(SIZE_MAX / 2);
    put(&action, (struct op){.kind = OP_TIMER_RUN, .name = tables_will(s->kernel->key, session_id(s))});
    delete_rows(&action, s);
    w->bad = w->bad || action.bad;
    put(w, (struct op){
               .kind     = OP_TIMER_SET,
               .name     = tables_expiry(s->kernel->key, session_id(s)),
               .owner    = store_owner(s->kernel->store),
               .delay_ns = expiry_s * 1000000000ull,
               .value    = wire_written(&action),
           });
    wire_writer_fini(&action);
}

void life_take_over(struct wire_writer *w, struct session *s, struct bytes timer, bool ended)
{
    put(w, (struct op){.kind  = OP_TIMER_TAKE_OVER,
                       .flags = ended ? TIMER_ENDED : 0,
                       .name  = timer,
                       .owner = store_owner(s->kernel->store)});
}

void life_replace(struct wire_writer *w, struct session *s)
{
    life_take_over(w, s, tables_will(s->kernel->key, session_id(s)), true);
    put(w, (struct op){.kind = OP_TIMER_CANCEL, .name = tables_expiry(s->kernel->key, session_id(s))});
    delete_rows(w, s);
}

void life_delete(struct wire_writer *w, struct session *s, bool run_will)
{
    life_will(w, s, run_will ? OP_TIMER_RUN : OP_TIMER_CANCEL);
    put(w, (struct op){.kind = OP_TIMER_CANCEL, .name = tables_expiry(s->kernel->key, session_id(s))});
    delete_rows(w, s);
}

void life_row(struct wire_writer *w, struct session *s, bool open, uint32_t expiry_s)
{
    uint8_t value[SESSION_ROW_BYTES];
    put(w, (struct op){
               .kind  = OP_TABLE_PUT,
               .table = TABLE_SESSIONS,
               .name  = session_id(s),
               .value = session_row_write(
                   value, &(struct session_row){.open         = open,
                                                .inflight_max = (uint16_t)s->kernel->limits.inflight_max,
                                                .expiry_s     = expiry_s}),
           });
}

void life_will(struct wire_writer *w, struct session *s, uint8_t kind)
{
    put(w, (struct op){.kind  = kind,
                       .name  = tables_will(s->kernel->key, session_id(s)),
                       .owner = store_owner(s->kernel->store)});
}

void life_expiry_start(struct wire_writer *w, struct session *s)
{
    put(w, (struct op){.kind  = OP_TIMER_START,
                       .name  = tables_expiry(s->kernel->key, session_id(s)),
                       .owner = store_owner(s->kernel->store)});
}
