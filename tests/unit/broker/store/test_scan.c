/* test_scan.c - tables are walked page by page, shard after shard, at the pace of the one who asked. */
#include "broker/store/state.h"
#include "shared/base/err.h"
#include "tests/unit/broker/store/far_store.h"

#include <criterion/criterion.h>

struct walker {
    struct store_scan scan;
    char              keys[64];
    int               pause_behind; /* so many items; 0 does not */
    int               items;
    int               done;
    int               status;
};

static bool on_item(struct store_scan *scan, const struct store_item *item)
{
    struct walker *w = scan->ctx;
    strncat(w->keys, (const char *)item->key.data, item->key.size);
    return ++w->items != w->pause_behind;
}

static void on_done(struct store_scan *scan, int status)
{
    struct walker *w = scan->ctx;
    w->done++;
    w->status = status;
}

static void begin(struct far *far, struct walker *w, uint32_t shards, uint16_t stripe)
{
    *w = (struct walker){.scan = {.item = on_item, .done = on_done, .ctx = w}};
    far_init(far);
    far_up(far, shards, 4);
    store_scan_start(far->store, &w->scan, stripe, 1, RPC_SCAN_PREFIX, bytes_str("p"));
    far_turn(far);
}

/* keys: one letter each, of one stripe. next: behind which key the next page is to begin, or NULL. */
static void page_of(struct io_socket *socket, uint64_t id, uint16_t stripe, const char *keys, uint16_t next_stripe,
                    const char *next)
{
    struct wire_writer w = wire_writer_growing(1 << 12);
    wire_put_u8(&w, next != NULL);
    wire_put_u32(&w, (uint32_t)strlen(keys));
    for (; *keys != '\0'; keys++) {
        wire_put_u16(&w, stripe);
        wire_put_u64(&w, 1);
        wire_put_u64(&w, 0);
        wire_put_blob(&w, bytes_of(keys, 1));
        wire_put_blob(&w, bytes_str("v"));
    }
    if (next != NULL) {
        wire_put_u16(&w, next_stripe);
        wire_put_blob(&w, bytes_str(next));
    }
    far_send(socket, RPC_SCAN_DONE, id, wire_written(&w));
    wire_writer_fini(&w);
}

/* Of stripe 1. */
static void page(struct io_socket *socket, uint64_t id, const char *keys, const char *next)
{
    page_of(socket, id, 1, keys, 1, next);
}

/* The stripes of its list, as digits. */
static const char *list_of(const struct frame *f)
{
    static char        list[16];
    struct wire_reader r = wire_reader_of(f->body);
    (void)wire_get(&r, 16);
    (void)wire_get_blob(&r);
    (void)wire_get_u16(&r);
    (void)wire_get_blob(&r);
    struct bytes stripes = wire_get_blob(&r);
    size_t       count   = 0;
    for (size_t i = 0; i < stripes.size; i += 2) {
        list[count++] = (char)('0' + stripes.data[i]);
    }
    list[count] = '\0';
    return list;
}

/* What the page begins behind. */
static bool behind(const struct frame *f, const char *key)
{
    struct wire_reader r = wire_reader_of(f->body);
    (void)wire_get(&r, 16);
    (void)wire_get_blob(&r);
    (void)wire_get_u16(&r);
    return bytes_equal(wire_get_blob(&r), bytes_str(key)) && !r.bad;
}

Test(store_scan, pages_of_all_shards_follow_each_other)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 2, STORE_STRIPE_ALL);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_SCAN);
    cr_assert_str_eq(list_of(&f), "02");
    page_of(far_socket(&far, 0), f.id, 0, "ab", 0, "bb");
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && behind(&f, "bb"));
    page_of(far_socket(&far, 0), f.id, 0, "", 2, "bx"); /* many looked at, none that matches */
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && behind(&f, "bx"));
    cr_assert_str_eq(list_of(&f), "2");
    page_of(far_socket(&far, 0), f.id, 2, "c", 0, NULL);
    cr_assert_eq(w.done, 0);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 1), &f));
    cr_assert_str_eq(list_of(&f), "13");
    page(far_socket(&far, 1), f.id, "d", NULL);
    cr_assert(w.done == 1 && w.status == 0);
    cr_assert_str_eq(w.keys, "abcd");
    far_store_fini(&far);
}

Test(store_scan, one_that_is_paused_goes_on_behind_its_last_item)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    w.pause_behind = 2;
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    page(far_socket(&far, 0), f.id, "abc", NULL);
    far_turn(&far);
    cr_assert(!far_next(&far, far_socket(&far, 0), &f));
    store_scan_resume(far.store, &w.scan);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && behind(&f, "b"));
    page(far_socket(&far, 0), f.id, "c", NULL);
    cr_assert(w.done == 1);
    cr_assert_str_eq(w.keys, "abc");
    far_store_fini(&far);
}

Test(store_scan, a_page_is_asked_for_again_over_a_new_connection)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_break(far_socket(&far, 0));
    far_pass(&far, 2000000000);
    far_up(&far, 1, 4);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_SCAN);
    cr_assert(!far_next(&far, far_socket(&far, 0), &(struct frame){0}), "once");
    page(far_socket(&far, 0), f.id, "a", NULL);
    cr_assert(w.done == 1 && w.status == 0);
    far_store_fini(&far);
}

Test(store_scan, nothing_comes_after_a_cancel)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    store_scan_cancel(far.store, &w.scan);
    page(far_socket(&far, 0), f.id, "abc", "c");
    far_turn(&far);
    cr_assert(w.items == 0 && w.done == 0 && !far_next(&far, far_socket(&far, 0), &f));
    far_store_fini(&far);
}

Test(store_scan, an_answer_that_is_cut_short_ends_it_with_an_error)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_send(far_socket(&far, 0), RPC_SCAN_DONE, f.id, bytes_of("\1\2\0\0\0\0", 6));
    cr_assert(w.done == 1 && w.status == ERR_MALFORMED);
    far_store_fini(&far);
}

/* Three nodes: stripes 0 and 2 are led by the first, 1 and 3 by the second. */
static void begin_nodes(struct far *far, struct walker *w)
{
    *w = (struct walker){.scan = {.item = on_item, .done = on_done, .ctx = w}};
    far_init_nodes(far, 3, 1);
    far_lead(far, 1, 2, 1);
    far_lead(far, 3, 2, 1);
    far_up(far, 1, 4);
    store_scan_start(far->store, &w->scan, STORE_STRIPE_ALL, 1, RPC_SCAN_PREFIX, bytes_str("p"));
    far_turn(far);
}

Test(store_scan, each_leader_is_asked_for_what_it_leads)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin_nodes(&far, &w);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f));
    cr_assert_str_eq(list_of(&f), "02");
    page_of(far_socket_of(&far, 1, 0), f.id, 0, "a", 2,
            "k"); /* amid stripe 2: it goes on there before another is begun */
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f) && behind(&f, "k"));
    cr_assert_str_eq(list_of(&f), "2");
    page_of(far_socket_of(&far, 1, 0), f.id, 2, "l", 0, NULL);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f));
    cr_assert_str_eq(list_of(&f), "13");
    page_of(far_socket_of(&far, 2, 0), f.id, 1, "m", 3, ""); /* it does not lead 3 any more, and is the first to know */
    far_lead(&far, 3, 3, 2);
    far_tell(&far, 3, 3);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 3, 0), &f));
    cr_assert_str_eq(list_of(&f), "3");
    page_of(far_socket_of(&far, 3, 0), f.id, 3, "n", 0, NULL);
    cr_assert(w.done == 1 && w.status == 0);
    cr_assert_str_eq(w.keys, "almn");
    far_store_fini(&far);
}

static void not_leader(struct io_socket *socket, uint64_t id)
{
    uint8_t            bytes[16];
    struct wire_writer e = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&e, (uint32_t)ERR_NOT_LEADER);
    wire_put_blob(&e, bytes_str("no"));
    far_send(socket, RPC_ERROR, id, wire_written(&e));
}

Test(store_scan, a_page_goes_on_where_it_was_at_the_next_leader)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin_nodes(&far, &w);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f));
    page_of(far_socket_of(&far, 1, 0), f.id, 0, "ab", 0, "b");
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f));
    not_leader(far_socket_of(&far, 1, 0), f.id);
    far_turn(&far);
    cr_assert(!far_next(&far, far_socket_of(&far, 1, 0), &f) && w.done == 0, "it is not known who leads");
    far_pass(&far, 150000000); /* its lease was not certain, perhaps */
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f) && behind(&f, "b"));
    far_lead(&far, 0, 3, 2); /* and while that is under way there is an election */
    far_tell(&far, 2, 0);
    far_turn(&far);
    page_of(far_socket_of(&far, 1, 0), f.id, 0, "zz", 0, NULL);
    cr_assert_eq(w.items, 2, "the old leader is not listened to");
    cr_assert(far_next(&far, far_socket_of(&far, 3, 0), &f) && behind(&f, "b"));
    cr_assert_str_eq(list_of(&f), "0");
    page_of(far_socket_of(&far, 3, 0), f.id, 0, "c", 0, NULL);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f));
    cr_assert_str_eq(list_of(&f), "13");
    far_break(far_socket_of(&far, 2, 0));
    far_lead(&far, 1, 1, 2);
    far_tell(&far, 1, 1);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 1, 0), &f));
    cr_assert_str_eq(list_of(&f), "12");
    far_store_fini(&far);
}

/* What is left behind is found by the address sanitizer. */
Test(store_scan, a_client_that_is_freed_forgets_scans_that_wait_are_asked_or_cancelled)
{
    struct far        far;
    struct walker     w;
    struct frame      f;
    struct store_scan scans[3] = {0};
    begin(&far, &w, 1, STORE_STRIPE_ALL);
    for (int i = 0; i < 3; i++) {
        scans[i] = w.scan;
    }
    store_scan_start(far.store, &scans[0], 0, 1, RPC_SCAN_PREFIX, bytes_str("asked and cancelled"));
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && far_next(&far, far_socket(&far, 0), &f));
    store_scan_cancel(far.store, &scans[0]);
    store_scan_start(far.store, &scans[1], 0, 1, RPC_SCAN_KEY, bytes_str("waits"));
    store_scan_start(far.store, &scans[2], 0, 1, RPC_SCAN_KEY, bytes_str("cancelled at once"));
    store_scan_cancel(far.store, &scans[2]);
    memset(scans, 0xff, sizeof scans); /* their owner is gone before the client is */
    far_store_fini(&far);
    cr_assert(w.items == 0 && w.done == 0);
}
