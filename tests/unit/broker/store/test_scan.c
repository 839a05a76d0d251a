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

/* keys: one letter each. next: behind which key the next page is to begin, or NULL. */
static void page(struct io_socket *socket, uint64_t id, const char *keys, const char *next)
{
    struct wire_writer w = wire_writer_growing(1 << 12);
    wire_put_u8(&w, next != NULL);
    wire_put_u32(&w, (uint32_t)strlen(keys));
    for (; *keys != '\0'; keys++) {
        wire_put_u16(&w, 1);
        wire_put_u64(&w, 1);
        wire_put_u64(&w, 0);
        wire_put_blob(&w, bytes_of(keys, 1));
        wire_put_blob(&w, bytes_str("v"));
    }
    if (next != NULL) {
        wire_put_u16(&w, 1);
        wire_put_blob(&w, bytes_str(next));
    }
    far_send(socket, RPC_SCAN_DONE, id, wire_written(&w));
    wire_writer_fini(&w);
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

Test(scan, pages_of_all_shards_follow_each_other)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 2, STORE_STRIPE_ALL);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_SCAN);
    page(far_socket(&far, 0), f.id, "ab", "bb");
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && behind(&f, "bb"));
    page(far_socket(&far, 0), f.id, "", "bx"); /* many looked at, none that matches */
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && behind(&f, "bx"));
    page(far_socket(&far, 0), f.id, "c", NULL);
    cr_assert_eq(w.done, 0);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 1), &f));
    page(far_socket(&far, 1), f.id, "d", NULL);
    cr_assert(w.done == 1 && w.status == 0);
    cr_assert_str_eq(w.keys, "abcd");
    far_fini(&far);
}

Test(scan, one_that_is_paused_goes_on_behind_its_last_item)
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
    far_fini(&far);
}

Test(scan, a_page_is_asked_for_again_over_a_new_connection)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    uint64_t id = f.id;
    far_break(far_socket(&far, 0));
    far_pass(&far, 2000000000);
    far_up(&far, 1, 4);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.id == id);
    page(far_socket(&far, 0), f.id, "a", NULL);
    cr_assert(w.done == 1 && w.status == 0);
    far_fini(&far);
}

Test(scan, nothing_comes_after_a_cancel)
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
    far_fini(&far);
}

Test(scan, an_answer_that_is_cut_short_ends_it_with_an_error)
{
    struct far    far;
    struct walker w;
    struct frame  f;
    begin(&far, &w, 1, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_send(far_socket(&far, 0), RPC_SCAN_DONE, f.id, bytes_of("\1\2\0\0\0\0", 6));
    cr_assert(w.done == 1 && w.status == ERR_MALFORMED);
    far_fini(&far);
}
