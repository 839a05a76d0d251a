/* capture.c - rows into LINK_CAPTURE, and the operator's changes into rows. */
#include "broker/kernel/capture.h"

#include "broker/kernel/reader.h"
#include "broker/kernel/topic.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { ROW_VERSION = 1, ROW_FIXED_BYTES = 2 + 6 * 8 };

struct rule_row {
    bool         latest;
    uint64_t     stream_id;
    uint64_t     max_age_ns;
    uint64_t     max_bytes;
    uint64_t     max_count;
    uint64_t     created_wall_ns;
    struct bytes filter;
};

static void row_write(struct wire_writer *w, const struct rule_row *row)
{
    wire_put_u8(w, ROW_VERSION);
    wire_put_u8(w, row->latest);
    wire_put_u64(w, row->stream_id);
    wire_put_u64(w, row->max_age_ns);
    wire_put_u64(w, row->max_bytes);
    wire_put_u64(w, row->max_count);
    wire_put_u64(w, row->created_wall_ns);
    wire_put_bytes(w, row->filter);
}

static bool row_read(struct bytes value, struct rule_row *out)
{
    struct wire_reader r       = wire_reader_of(value);
    uint8_t            version = wire_get_u8(&r);
    out->latest                = wire_get_u8(&r) != 0;
    out->stream_id             = wire_get_u64(&r);
    out->max_age_ns            = wire_get_u64(&r);
    out->max_bytes             = wire_get_u64(&r);
    out->max_count             = wire_get_u64(&r);
    out->created_wall_ns       = wire_get_u64(&r);
    out->filter                = wire_get(&r, wire_left(&r));
    return !r.bad && version == ROW_VERSION && out->filter.size <= CAPTURE_FILTER_MAX &&
           topic_filter_valid(out->filter);
}

bool capture_name_valid(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        uint8_t c = name.data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
              c == '.')) {
            return false;
        }
    }
    return name.size >= 1 && name.size <= CAPTURE_NAME_MAX;
}

struct capture *capture_find(const struct kernel *k, struct bytes name)
{
    for (const struct list *link = k->captures.next; link != &k->captures; link = link->next) {
        struct capture *c = CONTAINER_OF((struct list *)(uintptr_t)link, struct capture, all);
        if (bytes_equal(capture_name(c), name)) {
            return c;
        }
    }
    return NULL;
}

static void capture_free(struct kernel *k, struct capture *c)
{
    match_remove(k->tree, &c->link);
    list_remove(&c->all);
    free(c);
}

static void enter(struct kernel *k, struct bytes name, const struct rule_row *row, uint64_t version)
{
    uint16_t        stripe     = stream_id_stripe(row->stream_id);
    struct capture *old        = capture_find(k, name);
    uint16_t        generation = k->capture_shards == 0 ? 0 : k->capture_generations[stripe % k->capture_shards];
    if (old != NULL && old->version >= version) {
        old->generation = generation;
        return;
    }
    struct capture *c = calloc(1, sizeof *c + name.size + row->filter.size);
    if (c == NULL || match_add(k->tree, row->filter, &c->link) != 0) {
        log_error("no memory for a capture rule: what it matches is not captured");
        free(c);
        return;
    }
    c->link.kind       = LINK_CAPTURE;
    c->stream_id       = row->stream_id;
    c->version         = version;
    c->max_age_ns      = row->max_age_ns;
    c->max_bytes       = row->max_bytes;
    c->max_count       = row->max_count;
    c->created_wall_ns = row->created_wall_ns;
    c->latest          = row->latest;
    c->generation      = generation;
    c->name_size       = (uint8_t)name.size;
    c->filter_size     = (uint16_t)row->filter.size;
    memcpy(c->text, name.data, name.size);
    memcpy(c->text + name.size, row->filter.data, row->filter.size);
    list_push_back(&k->captures, &c->all);
    if (old != NULL) {
        capture_free(k, old);
    }
    readers_capture_entered(k, c);
}

static void leave(struct kernel *k, struct bytes name, uint64_t version)
{
    struct capture *c = capture_find(k, name);
    if (c != NULL && c->version <= version) {
        capture_free(k, c);
    }
}

/* ---- the watch ---- */

static void changed(struct store_watch *watch, const struct store_item *item)
{
    struct kernel  *k = watch->ctx;
    struct rule_row row;
    if (item->deleted) {
        leave(k, item->key, item->version);
        return;
    }
    if (!capture_name_valid(item->key) || !row_read(item->value, &row) || !kernel_has_stripe(k, row.stream_id)) {
        log_error("a capture rule is not understood: what it matches is not captured");
        return;
    }
    enter(k, item->key, &row, item->version);
}

static void restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct kernel *k = watch->ctx;
    if (k->capture_shards == 0) {
        k->capture_generations = calloc(shard_count, sizeof *k->capture_generations);
        k->capture_seen        = calloc(shard_count, sizeof *k->capture_seen);
        ASSERT(k->capture_generations != NULL && k->capture_seen != NULL);
        k->capture_shards = shard_count;
        k->capture_unseen = shard_count;
    }
    k->capture_generations[shard]++;
}

static void synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    struct kernel *k = watch->ctx;
    k->capture_unseen -= !k->capture_seen[shard];
    k->capture_seen[shard] = true;
    LIST_EACH (&k->captures, link) {
        struct capture *c = CONTAINER_OF(link, struct capture, all);
        if (stream_id_stripe(c->stream_id) % shard_count == shard && c->generation != k->capture_generations[shard]) {
            capture_free(k, c);
        }
    }
}

void capture_start(struct kernel *k)
{
    k->capture_watch = (struct store_watch){.changed = changed, .synced = synced, .restarted = restarted, .ctx = k};
    store_watch_start(k->store, &k->capture_watch, TABLE_CAPTURES);
}

bool capture_synced(const struct kernel *k)
{
    return k->capture_shards != 0 && k->capture_unseen == 0;
}

void capture_fini(struct kernel *k)
{
    LIST_EACH (&k->captures, link) {
        capture_free(k, CONTAINER_OF(link, struct capture, all));
    }
    free(k->capture_generations);
    free(k->capture_seen);
}

/* ---- an operator's change ---- */

static struct bytes name_of(const struct capture_request *r)
{
    return bytes_of(r->rule.name, r->rule.name_size);
}

static struct bytes filter_of(const struct capture_request *r)
{
    return bytes_of(r->rule.filter, r->rule.filter_size);
}

static struct bytes stream_name(struct kernel *k, const struct capture_request *r)
{
    return tables_name(k->key, "capture/", name_of(r));
}

static void confirmed(struct kernel *k, struct announcement *a)
{
    (void)k;
    struct capture_request *r = CONTAINER_OF(a, struct capture_request, announcement);
    r->done(r, 0);
}

/* Here, and told to the others; answered when all have taken it in. */
static void announce(struct capture_request *r, const struct rule_row *row, uint64_t version)
{
    struct kernel *k = r->kernel;
    if (row != NULL) {
        enter(k, name_of(r), row, version);
    } else {
        leave(k, name_of(r), UINT64_MAX);
    }
    if (k->shard_count > 1) {
        struct wire_writer w = mail_begin();
        wire_put_u8(&w, row == NULL);
        wire_put_blob(&w, name_of(r));
        if (row != NULL) {
            row_write(&w, row);
        }
        mail_announce(k, MAIL_CAPTURE, version, &w);
    }
    mail_when_confirmed(k, &r->announcement, confirmed);
}

void capture_receive(struct kernel *k, const struct kernel_mail *mail)
{
    struct wire_reader r       = mail_read(mail);
    bool               deleted = wire_get_u8(&r) != 0;
    struct bytes       name    = wire_get_blob(&r);
    struct rule_row    row;
    ASSERT(!r.bad);
    if (deleted) {
        leave(k, name, UINT64_MAX);
        return;
    }
    bool read = row_read(wire_get(&r, wire_left(&r)), &row);
    ASSERT(read);
    if (k->capture_shards != 0) {
        enter(k, name, &row, mail->value);
    } /* else the watch has not begun here: it will show the row */
}

static struct rule_row row_of(const struct capture_request *r, uint64_t stream_id)
{
    return (struct rule_row){.latest          = r->rule.latest,
                             .stream_id       = stream_id,
                             .max_age_ns      = r->rule.max_age_ns,
                             .max_bytes       = r->rule.max_bytes,
                             .max_count       = r->rule.max_count,
                             .created_wall_ns = r->kernel->wall_ns,
                             .filter          = filter_of(r)};
}

static void row_put_done(struct store_call *call, int status, struct bytes results)
{
    struct capture_request *r  = CONTAINER_OF(call, struct capture_request, call);
    struct wire_reader      in = wire_reader_of(results);
    if (status != 0) {
        r->done(r, status);
        return;
    }
    struct rule_row row = row_of(r, r->stat.next);
    announce(r, &row, wire_get_u64(&in));
}

static void stream_made(struct store_call *call, int status, struct bytes results)
{
    struct capture_request *r  = CONTAINER_OF(call, struct capture_request, call);
    struct kernel          *k  = r->kernel;
    struct wire_reader      in = wire_reader_of(results);
    if (status != 0) {
        r->done(r, status);
        return;
    }
    r->stat.next             = wire_get_u64(&in); /* the stream's id, until the row is written */
    struct rule_row    row   = row_of(r, r->stat.next);
    struct wire_writer value = wire_writer_growing(ROW_FIXED_BYTES + CAPTURE_FILTER_MAX);
    row_write(&value, &row);
    uint16_t            stripe = stream_id_stripe(row.stream_id);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    op_encode(w, &(struct op){
                     .kind = OP_TABLE_PUT, .table = TABLE_CAPTURES, .name = name_of(r), .value = wire_written(&value)});
    w->bad = w->bad || value.bad;
    wire_writer_fini(&value);
    r->call.done = row_put_done;
    store_txn_end(k->store, &r->call);
}

void capture_put(struct kernel *k, struct capture_request *r)
{
    r->kernel = k;
    struct bytes group;
    struct bytes rest;
    bool         valid = capture_name_valid(name_of(r)) && topic_filter_valid(filter_of(r)) &&
                 !topic_share_split(filter_of(r), &group, &rest);
    const struct capture *old = valid ? capture_find(k, name_of(r)) : NULL;
    if (!valid || (old != NULL && old->latest != r->rule.latest) || !store_known(k->store)) {
        r->done(r, !valid ? ERR_MALFORMED : old != NULL ? ERR_EXISTS : ERR_UNAVAILABLE);
        return;
    }
    struct bytes        name   = stream_name(k, r);
    uint16_t            stripe = store_stripe(k->store, name);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    op_encode(w, &(struct op){.kind = OP_STREAM_CREATE, .flags = r->rule.latest ? STREAM_LATEST : 0, .name = name});
    op_encode(w, &(struct op){.kind       = OP_STREAM_KEEP,
                              .stream_id  = OP_STREAM_LAST,
                              .max_age_ns = r->rule.max_age_ns,
                              .max_bytes  = r->rule.max_bytes,
                              .max_count  = r->rule.max_count});
    r->call.done = stream_made;
    store_txn_end(k->store, &r->call);
}

static void deleted_done(struct store_call *call, int status, struct bytes results)
{
    (void)results;
    struct capture_request *r = CONTAINER_OF(call, struct capture_request, call);
    if (status != 0) {
        r->done(r, status);
        return;
    }
    announce(r, NULL, 0);
}

void capture_delete(struct kernel *k, struct capture_request *r)
{
    r->kernel = k;
    if (capture_find(k, name_of(r)) == NULL) {
        r->done(r, ERR_NOT_FOUND);
        return;
    }
    struct bytes        name   = stream_name(k, r);
    uint16_t            stripe = store_stripe(k->store, name);
    struct wire_writer *w      = store_txn_begin(k->store, stripe);
    op_encode(w, &(struct op){.kind = OP_TABLE_DELETE, .table = TABLE_CAPTURES, .name = name_of(r)});
    op_encode(w, &(struct op){.kind = OP_STREAM_DELETE, .name = name});
    r->call.done = deleted_done;
    store_txn_end(k->store, &r->call);
}

static void stat_done(struct store_call *call, int status, struct bytes results)
{
    struct capture_request *r  = CONTAINER_OF(call, struct capture_request, call);
    struct wire_reader      in = wire_reader_of(results);
    r->stat.start              = wire_get_u64(&in);
    r->stat.next               = wire_get_u64(&in);
    r->stat.count              = wire_get_u64(&in);
    r->stat.bytes              = wire_get_u64(&in);
    r->stat.first_ns           = wire_get_u64(&in);
    r->stat.last_ns            = wire_get_u64(&in);
    r->done(r, status);
}

void capture_stat(struct kernel *k, struct capture_request *r)
{
    r->kernel               = k;
    const struct capture *c = capture_find(k, name_of(r));
    if (c == NULL) {
        r->done(r, ERR_NOT_FOUND);
        return;
    }
    struct wire_writer *w = store_txn_begin(k->store, stream_id_stripe(c->stream_id));
    op_encode(w, &(struct op){.kind = OP_STREAM_STAT, .stream_id = c->stream_id, .wall_ns = UINT64_MAX});
    r->call.done = stat_done;
    store_txn_end(k->store, &r->call);
}
