/* test_pushes.c - follows and watches over connections that come and go. */
#include "broker/store/state.h"
#include "shared/base/err.h"
#include "shared/record/record.h"
#include "tests/unit/broker/store/far_store.h"

#include <criterion/criterion.h>

struct seen {
    struct store_follow follow;
    struct store_watch  watch;
    uint64_t            offsets[16];
    int                 count;
    int                 ended;
    char                story[64]; /* of a watch: r restarted, + changed, - deleted, s synced */
};

static void on_record(struct store_follow *follow, uint64_t offset, struct bytes tag, const struct record *record)
{
    struct seen *seen = follow->ctx;
    cr_assert(bytes_equal(tag, bytes_str("tag")) && bytes_equal(record->topic, bytes_str("a/b")));
    seen->offsets[seen->count++] = offset;
}

static void on_ended(struct store_follow *follow, int status)
{
    ((struct seen *)follow->ctx)->ended = status;
}

static void note(struct store_watch *watch, char what)
{
    struct seen *seen = watch->ctx;
    size_t       size = strlen(seen->story);
    cr_assert(size + 1 < sizeof seen->story);
    seen->story[size] = what;
}

static void on_changed(struct store_watch *watch, const struct store_item *item)
{
    note(watch, item->deleted ? '-' : '+');
}

static void on_synced(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    cr_assert(shard < shard_count);
    note(watch, 's');
}

static void on_restarted(struct store_watch *watch, uint32_t shard, uint32_t shard_count)
{
    cr_assert(shard < shard_count);
    note(watch, 'r');
}

static void setup(struct far *far, struct seen *seen, uint32_t shards)
{
    *seen =
        (struct seen){.follow = {.record = on_record, .ended = on_ended, .ctx = seen},
                      .watch  = {.changed = on_changed, .synced = on_synced, .restarted = on_restarted, .ctx = seen}};
    far_init(far);
    far_up(far, shards, 4);
}

static void send_records(struct io_socket *socket, uint64_t id, uint64_t first, uint32_t count, bool damaged)
{
    struct record      record = {.qos = 1, .topic = bytes_str("a/b"), .payload = bytes_str("hello")};
    struct wire_writer w      = wire_writer_growing(1 << 16);
    uint8_t            image[128];
    record_encode(&record, image);
    image[record_size(&record) - 1] ^= damaged;
    wire_put_u32(&w, count);
    wire_put_u64(&w, first + count);
    for (uint32_t i = 0; i < count; i++) {
        wire_put_u64(&w, first + i);
        wire_put_u8(&w, 3);
        wire_put_bytes(&w, bytes_str("tag"));
        wire_put_bytes(&w, bytes_of(image, record_size(&record)));
    }
    far_send(socket, RPC_RECORDS, id, wire_written(&w));
    wire_writer_fini(&w);
}

static void reconnect(struct far *far, uint32_t shards)
{
    far_pass(far, 2000000000);
    far_up(far, shards, 4);
}

static uint64_t from_of(const struct frame *follow)
{
    uint64_t from;
    memcpy(&from, follow->body.data + 16, sizeof from);
    return from;
}

Test(store_pushes, a_follow_goes_on_behind_the_last_record_and_shows_none_twice)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup(&far, &seen, 1);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 10, 8);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_FOLLOW && from_of(&f) == 10);
    send_records(far_socket(&far, 0), f.id, 10, 3, false);
    far_break(far_socket(&far, 0));
    reconnect(&far, 1);
    cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_FOLLOW && from_of(&f) == 13);
    send_records(far_socket(&far, 0), f.id, 11, 4, false); /* two of them again */
    cr_assert(seen.count == 5 && seen.offsets[2] == 12 && seen.offsets[3] == 13 && seen.offsets[4] == 14);
    far_store_fini(&far);
}

Test(store_pushes, what_comes_late_for_a_follow_that_was_cancelled_reaches_nobody)
{
    struct far   far;
    struct seen  seen, heir;
    struct frame f;
    setup(&far, &seen, 1);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 0, 8);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    uint64_t id = f.id;
    store_follow_cancel(far.store, &seen.follow);
    heir        = seen;
    heir.follow = (struct store_follow){.record = on_record, .ended = on_ended, .ctx = &heir};
    store_follow_start(far.store, &heir.follow, (uint64_t)2 << 48 | 10, 1, 0, 8); /* in the same slot */
    send_records(far_socket(&far, 0), id, 0, 2, false);
    cr_assert(seen.count == 0 && heir.count == 0);
    far_store_fini(&far);
}

Test(store_pushes, a_damaged_record_is_asked_for_again_and_ends_the_follow_at_last)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup(&far, &seen, 1);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 0, 8);
    far_turn(&far);
    for (int tries = 0; tries < 3; tries++) {
        cr_assert(seen.ended == 0 && far_socket(&far, 0) != NULL);
        cr_assert(far_next(&far, far_socket(&far, 0), &f) && f.kind == RPC_FOLLOW);
        send_records(far_socket(&far, 0), f.id, 0, 1, true);
        if (tries < 2) {
            cr_assert_null(far_socket(&far, 0));
            reconnect(&far, 1);
        }
    }
    cr_assert(seen.ended == ERR_CORRUPT && seen.count == 0);
    far_store_fini(&far);
}

static void send_change(struct io_socket *socket, uint64_t id, bool synced, bool deleted)
{
    struct wire_writer w = wire_writer_growing(1 << 10);
    wire_put_u8(&w, synced);
    wire_put_u32(&w, 1);
    wire_put_u16(&w, 0);
    wire_put_u8(&w, deleted);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 0);
    wire_put_blob(&w, bytes_str("key"));
    wire_put_blob(&w, bytes_str("value"));
    far_send(socket, RPC_CHANGES, id, wire_written(&w));
    wire_writer_fini(&w);
}

Test(store_pushes, a_watch_begins_anew_with_each_connection)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup(&far, &seen, 2);
    store_watch_start(far.store, &seen.watch, 2);
    far_turn(&far);
    cr_assert_str_eq(seen.story, "rrrr", "once for each stripe");
    for (uint32_t stripe = 0; stripe < 4; stripe++) {
        struct io_socket *socket = far_socket(&far, stripe % 2);
        cr_assert(far_next(&far, socket, &f) && f.kind == RPC_WATCH);
        send_change(socket, f.id, true, false);
    }
    cr_assert_str_eq(seen.story, "rrrr+s+s+s+s");
    far_break(far_socket(&far, 1));
    reconnect(&far, 2);
    memset(seen.story, 0, sizeof seen.story);
    far_turn(&far);
    while (far_next(&far, far_socket(&far, 1), &f) && f.kind != RPC_WATCH) {
    }
    send_change(far_socket(&far, 1), f.id, false, true);
    send_change(far_socket(&far, 1), f.id, true, false);
    cr_assert_str_eq(seen.story + strlen(seen.story) - 3, "-+s");
    far_store_fini(&far);
}

Test(store_pushes, a_push_that_is_cut_short_breaks_the_connection_only)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup(&far, &seen, 1);
    store_watch_start(far.store, &seen.watch, 2);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket(&far, 0), &f));
    far_send(far_socket(&far, 0), RPC_CHANGES, f.id, bytes_of("\0\1\0\0\0\0", 6));
    cr_assert_null(far_socket(&far, 0));
    reconnect(&far, 1);
    cr_assert_not_null(far_socket(&far, 0));
    far_store_fini(&far);
}

static void end_with(struct io_socket *socket, uint16_t kind, uint64_t id, int status)
{
    uint8_t            bytes[16];
    struct wire_writer w = wire_writer_fixed(bytes, sizeof bytes);
    wire_put_u32(&w, (uint32_t)status);
    wire_put_blob(&w, bytes_str("no"));
    far_send(socket, kind, id, wire_written(&w));
}

static void setup_nodes(struct far *far, struct seen *seen)
{
    *seen =
        (struct seen){.follow = {.record = on_record, .ended = on_ended, .ctx = seen},
                      .watch  = {.changed = on_changed, .synced = on_synced, .restarted = on_restarted, .ctx = seen}};
    far_init_nodes(far, 3, 1);
    far_lead(far, 2, 2, 1);
    far_up(far, 1, 4);
}

Test(store_pushes, a_follow_goes_on_at_the_next_leader_behind_the_last_record)
{
    struct far   far;
    struct seen  seen;
    struct frame f, old;
    setup_nodes(&far, &seen);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 10, 8);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &old) && old.kind == RPC_FOLLOW && from_of(&old) == 10);
    uint64_t id = old.id;
    send_records(far_socket_of(&far, 2, 0), id, 10, 2, false);
    far_lead(&far, 2, 3, 2); /* the old leader has not heard of it */
    far_tell(&far, 1, 2);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f) && f.kind == RPC_CANCEL);
    cr_assert(far_next(&far, far_socket_of(&far, 3, 0), &f) && f.kind == RPC_FOLLOW && from_of(&f) == 12);
    send_records(far_socket_of(&far, 2, 0), id, 12, 2, false);
    cr_assert_eq(seen.count, 2, "what comes late from there is passed over");
    end_with(far_socket_of(&far, 2, 0), RPC_ENDED, id, ERR_NOT_LEADER);
    send_records(far_socket_of(&far, 3, 0), f.id, 12, 1, false);
    cr_assert(seen.count == 3 && seen.offsets[2] == 12 && seen.ended == 0);
    store_follow_credit(far.store, &seen.follow, 5);
    far_turn(&far);
    cr_assert(far_next(&far, far_socket_of(&far, 3, 0), &f) && f.kind == RPC_CREDIT);
    far_store_fini(&far);
}

Test(store_pushes, a_follow_that_is_refused_for_the_leader_is_asked_for_again)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup_nodes(&far, &seen);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 10, 8);
    far_turn(&far);
    for (int i = 0; i < 2; i++) {
        cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f) && f.kind == RPC_FOLLOW);
        end_with(far_socket_of(&far, 2, 0), i == 0 ? RPC_ERROR : RPC_ENDED, f.id, ERR_NOT_LEADER);
        far_turn(&far);
        cr_assert(!far_next(&far, far_socket_of(&far, 2, 0), &f) && seen.ended == 0);
        far_pass(&far, 150000000);
        far_turn(&far);
    }
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f) && f.kind == RPC_FOLLOW);
    end_with(far_socket_of(&far, 2, 0), RPC_ENDED, f.id, ERR_FENCED);
    cr_assert_eq(seen.ended, ERR_FENCED);
    far_store_fini(&far);
}

Test(store_pushes, a_late_refusal_does_not_concern_what_was_asked_for_since)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup_nodes(&far, &seen);
    store_follow_start(far.store, &seen.follow, (uint64_t)2 << 48 | 9, 1, 10, 8);
    far_turn(&far);
    struct io_socket *two = far_socket_of(&far, 2, 0);
    cr_assert(far_next(&far, two, &f) && f.kind == RPC_FOLLOW);
    uint64_t id = f.id;
    for (uint64_t term = 2; term <= 3;
         term++) { /* it lost the lead and has it again; others tell, sooner than itself */
        far_lead(&far, 2, term == 2 ? 0 : 2, term);
        far_tell(&far, 1, 2);
        far_turn(&far);
    }
    cr_assert(far_next(&far, two, &f) && f.kind == RPC_CANCEL && f.id == id);
    cr_assert(far_next(&far, two, &f) && f.kind == RPC_FOLLOW && f.id != id);
    end_with(two, RPC_ERROR, id, ERR_NOT_LEADER);
    far_pass(&far, 150000000);
    far_turn(&far);
    uint64_t second = f.id;
    cr_assert(!far_next(&far, two, &f), "it is followed");
    send_records(two, second, 10, 1, false);
    cr_assert(seen.count == 1 && seen.ended == 0);
    far_store_fini(&far);
}

Test(store_pushes, a_watch_of_one_stripe_begins_anew_at_the_next_leader)
{
    struct far   far;
    struct seen  seen;
    struct frame f;
    setup_nodes(&far, &seen);
    store_watch_start(far.store, &seen.watch, 2);
    far_turn(&far);
    cr_assert_str_eq(seen.story, "rrrr");
    cr_assert(far_next(&far, far_socket_of(&far, 2, 0), &f) && f.kind == RPC_WATCH && f.body.data[0] == 2);
    uint64_t id = f.id;
    send_change(far_socket_of(&far, 2, 0), id, true, false);
    far_break(far_socket_of(&far, 2, 0));
    far_turn(&far);
    cr_assert_str_eq(seen.story, "rrrr+s", "it waits for the connection, or a leader");
    far_lead(&far, 2, 3, 2);
    far_tell(&far, 1, 2);
    far_turn(&far);
    cr_assert_str_eq(seen.story, "rrrr+sr");
    cr_assert(far_next(&far, far_socket_of(&far, 3, 0), &f) && f.kind == RPC_WATCH && f.body.data[0] == 2);
    cr_assert_neq(f.id, id);
    send_change(far_socket_of(&far, 3, 0), id, false, false);
    cr_assert_str_eq(seen.story, "rrrr+sr", "of the old one");
    send_change(far_socket_of(&far, 3, 0), f.id, true, true);
    cr_assert_str_eq(seen.story, "rrrr+sr-s");
    end_with(far_socket_of(&far, 3, 0), RPC_ENDED, f.id, ERR_NOT_LEADER);
    far_turn(&far);
    far_lead(&far, 2, 1, 3);
    far_tell(&far, 3, 2);
    far_turn(&far);
    cr_assert_str_eq(seen.story, "rrrr+sr-sr", "at once, as there is news");
    far_store_fini(&far);
}
