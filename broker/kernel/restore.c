/* restore - what a stored session has when another connection, on whichever broker, opens it: its subscriptions, the positions of its replays, and the
 * packet ids that its client may send again. See opening.h. */
#include "broker/kernel/assign.h"
#include "broker/kernel/opening.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/route.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/schema.h"

static void announced(struct kernel *k, struct announcement *a)
{
    (void)k;
    open_finish(CONTAINER_OF(a, struct opening, announcement)->session, 0);
}

static bool inbound_item(struct store_scan *scan, const struct store_item *item)
{
    struct opening    *o = scan->ctx;
    struct session    *s = o->session;
    struct inbound_row row;
    struct bytes       key = item->key;
    unsigned           id  = key.size < 3 ? 0 : (unsigned)key.data[key.size - 2] << 8 | key.data[key.size - 1];
    if (id == 0 || !inbound_row_read(item->value, &row)) {
        log_error("a stored packet id is not understood: passed over");
        return true;
    }
    struct publisher  *p    = session_publisher(s);
    struct inbound_id *slot = p == NULL ? NULL : inbound_add(&p->inbound, (uint16_t)id);
    if (slot == NULL) {
        o->error = ERR_QUOTA;
        return true;
    }
    if (row.done) {
        slot->state = INBOUND_DONE;
        return true;
    }
    slot->state        = INBOUND_UNSURE;
    slot->writer_epoch = row.writer_epoch;
    slot->sequence     = row.sequence;
    slot->content      = row.content;
    if (publish_alone(row.writer_epoch) && !lanes_hold(&p->lanes, publish_lane(row.writer_epoch))) {
        o->error = ERR_QUOTA;
    }
    if (row.assigned.size != 0 && !assign_restore(p, (uint16_t)id, row.assigned)) {
        log_error("who has a stored packet id's message is not understood, or there is no memory for it");
        o->error = ERR_QUOTA;
    }
    return true;
}

static void inbound_done(struct store_scan *scan, int status)
{
    struct opening *o     = scan->ctx;
    int             error = status != 0 ? status : o->error;
    if (error != 0) {
        open_finish(o->session, error);
        return;
    }
    /* Other processes need not know before it is open: what it is owed with QoS 1 and 2 lies in its stream. */
    mail_when_confirmed_here(o->session->kernel, &o->announcement, announced);
}

static bool sub_item(struct store_scan *scan, const struct store_item *item)
{
    struct opening *o = scan->ctx;
    struct bytes    client_id;
    struct bytes    filter;
    struct bytes    group;
    struct bytes    rest;
    struct sub_row  row;
    if (!tables_sub_key_split(item->key, &client_id, &filter) || !sub_row_read(item->value, &row) ||
        row.stream_id != o->session->who.stream_id) {
        log_error("a stored subscription is not understood: passed over");
        return true;
    }
    if (reader_filter(filter)) {
        o->error = readers_restore(o->session, filter, &row) ? o->error : ERR_QUOTA;
        return true;
    }
    bool entered = route_known(o->session, filter, &row, item->version);
    if (!entered || (topic_group_split(filter, &group, &rest) &&
                     sub_put(o->session->kernel, &o->session->who, LINK_LIVE, filter, row.flags, row.id) == NULL)) {
        o->error = ERR_QUOTA;
    }
    return true;
}

static void scan_rows(struct opening *o, uint32_t table, bool (*item)(struct store_scan *, const struct store_item *),
                      void (*done)(struct store_scan *, int))
{
    struct session *s = o->session;
    o->scan           = (struct store_scan){.item = item, .done = done, .ctx = o};
    store_scan_start(s->kernel->store, &o->scan, session_stripe(s), table, RPC_SCAN_PREFIX,
                     tables_sub_key(s->kernel->key, session_id(s), (struct bytes){0}));
}

static bool cursor_item(struct store_scan *scan, const struct store_item *item)
{
    struct opening *o = scan->ctx;
    struct bytes    client_id;
    struct bytes    filter;
    if (tables_sub_key_split(item->key, &client_id, &filter)) {
        readers_restore_row(o->session, filter, item->value);
    }
    return true;
}

static void cursors_done(struct store_scan *scan, int status)
{
    struct opening *o = scan->ctx;
    if (status != 0) {
        open_finish(o->session, status);
        return;
    }
    scan_rows(o, TABLE_INBOUND, inbound_item, inbound_done);
}

static void subs_done(struct store_scan *scan, int status)
{
    struct opening *o     = scan->ctx;
    int             error = status != 0 ? status : o->error;
    if (error != 0) {
        open_finish(o->session, error);
        return;
    }
    stored_open(o->session);
    if (reader_count(o->session) != 0) {
        scan_rows(o, TABLE_CURSORS, cursor_item, cursors_done);
        return;
    }
    scan_rows(o, TABLE_INBOUND, inbound_item, inbound_done);
}

void restore_begin(struct session *s)
{
    scan_rows(s->opening, TABLE_SUBSCRIPTIONS, sub_item, subs_done);
}
