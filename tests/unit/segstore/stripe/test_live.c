/* Which positions a stripe holds, what becomes of them when it is replaced, and how they are moved when it comes from another node. */
#include "segstore/stripe/stripe.h"

#include "tests/unit/segstore/stripe/stripe_bench.h"

static const struct stripe_limits limits = {.table_bytes_max = 1000, .streams_max = 10, .writers_max = 3};

struct positions {
    uint64_t at[64];
    int      count;
};

static void note(void *ctx, uint64_t position)
{
    struct positions *p = ctx;
    cr_assert_lt(p->count, 64);
    p->at[p->count++] = position;
}

static int count_between(const struct positions *p, uint64_t from, uint64_t end)
{
    int count = 0;
    for (int i = 0; i < p->count; i++) {
        count += p->at[i] >= from && p->at[i] < end;
    }
    return count;
}

struct world {
    struct bench b;
    uint64_t     log, latest, queue;
    uint64_t     log_at, both_at, latest_at, will_at, plain_at; /* entries */
};

static uint64_t next_at(const struct bench *b)
{
    return 1000 * stripe_applied(b->s);
}

static void append_topic(struct bench *b, uint64_t stream, const char *topic)
{
    struct record record = {.topic = bytes_str(topic), .payload = S("p")};
    size_t        begun  = op_append_begin(&b->ops, 0, 0, 0);
    op_append_target(&b->ops, stream, S(""));
    op_append_end(&b->ops, begun, 1, &record);
    cr_assert_eq(go(b), 0);
}

/* A record in one stream, one in two, one that is the latest of its topic, a will that would append twice, a timer that appends nothing. */
static void build(struct world *w)
{
    struct bench      *b      = &w->b;
    struct wire_writer action = wire_writer_growing(1000);
    setup_limited(b, limits);
    w->log    = create(b, "log", 0);
    w->latest = create(b, "latest", STREAM_LATEST);
    w->queue  = create(b, "queue", STREAM_QUEUE);
    w->log_at = next_at(b);
    cr_assert_eq(append(b, w->log, 0, 0, 0), 0);
    w->both_at = next_at(b);
    put_append(&b->ops, w->log, w->queue, 0, 0, 0);
    cr_assert_eq(go(b), 0);
    append_topic(b, w->latest, "a");
    w->latest_at = next_at(b);
    append_topic(b, w->latest, "a");
    put_append(&action, w->log, 0, 0, 0, 0);
    put_append(&action, w->queue, w->log, 0, 0, 0);
    w->will_at = next_at(b);
    set_timer(b, "will", 7, 30, &action);
    action.size = 0;
    op_encode(&action, &(struct op){.kind = OP_TABLE_PUT, .name = S("k"), .value = S("v")});
    w->plain_at = next_at(b);
    set_timer(b, "plain", 0, 40, &action);
    wire_writer_fini(&action);
}

Test(stripe_live, a_stripe_holds_its_records_and_what_its_timers_would_append)
{
    struct world w;
    build(&w);
    struct positions p = {0};
    stripe_live_positions(w.b.s, note, &p);
    cr_assert_eq(p.count, 6);
    cr_assert_eq(p.count, w.b.told.retained - w.b.told.released);
    cr_assert_eq(count_between(&p, w.log_at, w.log_at + 1000), 1);
    cr_assert_eq(count_between(&p, w.both_at, w.both_at + 1000), 2);
    cr_assert_eq(count_between(&p, w.latest_at, w.latest_at + 1000), 1);
    cr_assert_eq(count_between(&p, w.will_at, w.will_at + 1000), 2, "one for each append of the action");
    teardown(&w.b);
}

/* Moves each entry to a place of its own; what lies at `without` did not come along. */
struct elsewhere {
    uint64_t without;
    uint64_t skewed; /* inside this entry distances are not kept */
    int      asked;
};

static uint64_t moved_to(uint64_t from)
{
    return (1000000 - from / 1000 * 777) * 100 + from % 1000;
}

static bool position(void *ctx, uint64_t from, uint64_t *to)
{
    struct elsewhere *e = ctx;
    e->asked++;
    *to = moved_to(from) + (e->skewed != 0 && from / 1000 == e->skewed / 1000 ? from % 7 : 0);
    return from / 1000 != e->without / 1000;
}

static int load_moved(const struct world *w, struct elsewhere *e, struct bench *out)
{
    struct wire_writer image = wire_writer_growing(1 << 20);
    stripe_save(w->b.s, &image);
    memset(out, 0, sizeof *out);
    out->s =
        stripe_new(1, &(struct stripe_observer){&out->told, on_retained, on_released, on_appended, NULL, NULL, NULL});
    out->ops     = wire_writer_growing(1 << 20);
    out->results = wire_writer_growing(1 << 20);
    int result   = stripe_load(out->s, wire_written(&image), &(struct stripe_moved){.position = position, .ctx = e});
    wire_writer_fini(&image);
    return result;
}

Test(stripe_live, an_image_from_another_node_is_the_same_stripe_with_its_records_elsewhere)
{
    struct world     w;
    struct bench     there;
    struct elsewhere e = {0};
    build(&w);
    cr_assert_eq(load_moved(&w, &e, &there), 0);
    cr_assert_eq(e.asked, 6, "of what is held, and of nothing else");
    cr_assert_eq(stripe_hash(there.s), stripe_hash(w.b.s));
    struct positions here = {0};
    struct positions gone = {0};
    stripe_live_positions(w.b.s, note, &here);
    stripe_live_positions(there.s, note, &gone);
    cr_assert(here.count == gone.count && there.told.retained == here.count && there.told.released == 0);
    for (int i = 0; i < here.count; i++) {
        cr_assert_eq(count_between(&gone, moved_to(here.at[i]), moved_to(here.at[i]) + 1),
                     count_between(&here, here.at[i], here.at[i] + 1));
    }

    /* What the will appends now lies where its copy is. */
    uint64_t  before[8];
    uint64_t  after[8];
    uint64_t  first;
    struct op lost = {.kind = OP_OWNER_LOST, .owner = 7};
    struct op run  = {.kind = OP_TIMER_RUN, .name = S("will")};
    cr_assert(one(&w.b, lost) == 0 && one(&there, lost) == 0 && one(&w.b, run) == 0 && one(&there, run) == 0);
    int count = stripe_positions(w.b.s, w.log, 0, before, 8, &first);
    cr_assert_eq(count, 4);
    cr_assert_eq(stripe_positions(there.s, w.log, 0, after, 8, &first), count);
    for (int i = 0; i < count; i++) {
        cr_assert_eq(after[i], moved_to(before[i]), "record %d", i);
    }
    cr_assert_eq(stripe_hash(there.s), stripe_hash(w.b.s));
    stripe_live_positions(there.s, on_released, &there.told);
    cr_assert_eq(there.told.released, there.told.retained);
    teardown(&there);
    teardown(&w.b);
}

Test(stripe_live, an_image_whose_records_did_not_all_come_along_is_refused)
{
    struct world w;
    build(&w);
    const uint64_t needed[] = {w.log_at, w.both_at, w.latest_at, w.will_at};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        struct bench     there;
        struct elsewhere e = {.without = needed[i]};
        cr_assert_eq(load_moved(&w, &e, &there), ERR_MALFORMED, "%zu", i);
        cr_assert_eq(there.told.retained, 0);
        teardown(&there);
    }
    struct bench     there;
    struct elsewhere e = {.without = w.plain_at};
    cr_assert_eq(load_moved(&w, &e, &there), 0, "a timer that appends nothing needs no body");
    teardown(&there);
    e = (struct elsewhere){.skewed = w.will_at};
    cr_assert_eq(load_moved(&w, &e, &there), ERR_MALFORMED, "what one action appends cannot lie in two places");
    teardown(&there);
    teardown(&w.b);
}
