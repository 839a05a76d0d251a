/* What a checkpoint says of a hole is believed only where it fits, and however large a hole is, its entries are found when they are durable. */
#include "segstore/node/peers/peers.h"
#include "segstore/node/refill/refill.h"

#include "shared/loop/io.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct node       *node;
static struct node_stripe stripe;
static struct raft       *raft; /* not damaged, as far as it knows, but where a test says so */

static void save(void *ctx, uint64_t term, uint16_t vote)
{
    (void)ctx;
    (void)term;
    (void)vote;
}

static void begin(void)
{
    char             why[1024];
    struct io_config config = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    node                    = calloc(1, sizeof *node);
    node->storage           = calloc(1, sizeof *node->storage);
    cr_assert_eq(io_open(&config, &node->io, why, sizeof why), 0, "%s", why);
    segments_init(&node->storage->segments, 1 << 20);
    list_init(&node->refills);
    const struct raft_options options = {.self = 1, .heartbeat_ns = 100, .election_ns = 1000, .lease_ns = 900};
    raft                              = raft_new(&options, &(struct raft_hooks){.save = save});
    stripe                            = (struct node_stripe){.node = node, .id = 3, .raft = raft};
}

static void end(void)
{
    refill_drop(&stripe);
    segments_fini(&node->storage->segments);
    io_close(node->io);
    free(node->storage);
    raft_free(raft);
    free(node);
}

TestSuite(refill, .init = begin, .fini = end);

/* ---- checkpoints ---- */

/* A change of members behind a hole: its entry says size, and so many bytes follow. */
static bool is_taken(uint32_t size, uint8_t bytes)
{
    static const uint8_t members[UINT8_MAX];
    struct wire_writer   w = wire_writer_growing(1024);
    wire_put_u8(&w, false);
    wire_put_u8(&w, true);
    wire_put_u16(&w, 0);
    wire_put_u32(&w, 0);
    wire_put_u64(&w, 1);
    wire_put_u64(&w, 14);   /* index */
    wire_put_u64(&w, 2);    /* term */
    wire_put_u64(&w, 4096); /* position */
    wire_put_u64(&w, 0);
    wire_put_u64(&w, 77); /* chain */
    wire_put_u32(&w, size);
    wire_put_u16(&w, LOG_MEMBERS);
    wire_put_u8(&w, false);
    wire_put_u8(&w, bytes);
    wire_put_bytes(&w, bytes_of(members, bytes));
    struct wire_reader r     = wire_reader_of(wire_written(&w));
    bool               taken = refill_get(&stripe, &r);
    wire_writer_fini(&w);
    refill_drop(&stripe);
    return taken;
}

Test(refill, members_of_a_checkpoint_are_as_long_as_their_entry_or_it_is_malformed)
{
    cr_assert(is_taken(24, 24));
    cr_assert(is_taken(REFILL_MEMBERS_BYTES, REFILL_MEMBERS_BYTES));
    cr_assert(!is_taken(25, 24), "they would be read behind their end");
    cr_assert(!is_taken(1 << 20, 24));
    cr_assert(!is_taken(23, 24));
    cr_assert(!is_taken(REFILL_MEMBERS_BYTES + 1, REFILL_MEMBERS_BYTES + 1), "no change is so long");
}

/* ---- what was found ---- */

Test(refill, each_of_very_many_entries_of_a_hole_is_found_when_it_is_durable, .timeout = 5)
{
    enum { ENTRIES = 1 << 17, TOGETHER = 256 /* are on their way to the disk */ };
    static uint8_t memory[ENTRIES];
    struct refill *r = calloc(1, sizeof *r);
    r->st            = &stripe;
    r->found         = calloc(ENTRIES, sizeof *r->found);
    stripe.refill    = r;
    list_push_back(&node->refills, &r->link);
    for (uint64_t at = 0; at < ENTRIES; at += TOGETHER) {
        for (uint64_t i = at; i < at + TOGETHER; i++) {
            r->found[r->found_count++] = (struct refill_entry){.index = ENTRIES - i, .slot = {.memory = memory + i}};
        }
        for (uint64_t i = at; i < at + TOGETHER; i++) {
            const struct log_entry body = {.position = 4096 + i, .ops = bytes_of(memory + i, 1)};
            refill_body_durable(&stripe, &body);
            cr_assert(r->found[i].slot.durable);
            cr_assert_eq(r->found[i].slot.position, 4096 + i);
        }
    }
}

/* ---- votes ---- */

Test(refill, a_vote_may_be_in_the_hole_until_a_state_was_written_behind_it)
{
    refill_hole(&stripe);
    cr_assert(stripe.refill->voted && stripe.refill->open);
    refill_state(&stripe);
    cr_assert(!stripe.refill->voted && stripe.refill->open, "the state says nothing of entries");
    refill_hole(&stripe);
    cr_assert(stripe.refill->voted, "another hole");
}

Test(refill, a_checkpoint_tells_whether_a_vote_may_be_missing)
{
    for (int open = 0; open < 2; open++) {
        for (int voted = 0; voted < 2; voted++) {
            struct wire_writer w = wire_writer_growing(1024);
            refill_hole(&stripe);
            stripe.refill->open  = open;
            stripe.refill->voted = voted;
            refill_put(&stripe, &w);
            refill_drop(&stripe);
            struct wire_reader r = wire_reader_of(wire_written(&w));
            cr_assert(refill_get(&stripe, &r));
            cr_assert(stripe.refill->open == open && stripe.refill->voted == voted);
            refill_drop(&stripe);
            wire_writer_fini(&w);
        }
    }
}

/* ---- what a leader gave before it went ---- */

enum { BEFORE = 10 /* entries of term 1; a hole; behind it entries 14 to 16 of term 3 */ };

static struct log_entry entry(uint64_t index, uint64_t term, uint64_t chain)
{
    struct log_entry e = {.stripe = 3, .kind = LOG_OPS, .index = index, .term = term, .position = 4096 * index};
    e.chain            = log_chain(chain, &e);
    return e;
}

static uint64_t chain_to(uint64_t last, uint64_t term)
{
    uint64_t chain = 0;
    for (uint64_t i = 1; i <= last; i++) {
        chain = entry(i, i <= BEFORE ? 1 : term, chain).chain;
    }
    return chain;
}

static void hole(bool known)
{
    const struct raft_stored stored = {.term = 1};
    entries_init(&stripe.entries, 0, 0);
    raft_restore(raft, &stored);
    for (uint64_t i = 1; i <= BEFORE; i++) {
        const struct log_slot slot = {.chain = chain_to(i, 1), .durable = true};
        cr_assert(raft_restore_entry(raft, i, 1));
        entries_push(&stripe.entries, &slot);
    }
    refill_hole(&stripe);
    for (uint64_t i = 14; i <= 16; i++) {
        const struct log_entry e = entry(i, 3, chain_to(i - 1, 3));
        cr_assert(refill_replay(&stripe, &e));
    }
    stripe.refill->known = known;
}

static size_t left(void)
{
    return stripe.refill->count - stripe.refill->first;
}

static void let_go(void)
{
    refill_drop(&stripe);
    entries_fini(&stripe.entries);
}

Test(refill, what_follows_was_written_by_a_whole_replica_or_takes_nothing_away)
{
    const struct log_entry next = entry(BEFORE + 1, 2, chain_to(BEFORE, 1));
    hole(false);
    cr_assert(!refill_replay(&stripe, &next));
    cr_assert_eq(left(), 0, "it replaced what was in the hole and behind it");
    let_go();
    hole(true);
    cr_assert(!refill_replay(&stripe, &next), "it goes to raft");
    cr_assert_eq(left(), 3,
                 "the leader that gave it may have had more to give, and what lies behind the hole was acknowledged");
    let_go();
}

Test(refill, an_entry_of_a_later_term_than_all_behind_the_hole_makes_up_for_it)
{
    const struct log_entry later = entry(BEFORE + 1, 4, chain_to(BEFORE, 1));
    hole(true);
    cr_assert(!refill_replay(&stripe, &later));
    cr_assert_eq(left(), 0);
    let_go();
}

Test(refill, a_leader_makes_up_for_what_lies_behind_the_hole_by_an_entry_of_a_later_term_only)
{
    const struct log_entry same  = entry(BEFORE + 1, 3, chain_to(BEFORE, 1));
    const struct log_entry later = entry(BEFORE + 2, 4, same.chain);
    hole(false);
    raft_damaged(raft);
    cr_assert_eq(refill_term(stripe.refill), 3);
    refill_taken(&stripe, &same);
    cr_assert_eq(left(), 3);
    refill_taken(&stripe, &later);
    cr_assert_eq(left(), 0);
    cr_assert_eq(refill_term(stripe.refill), 0);
    let_go();
}

Test(refill, what_is_given_behind_the_hole_replaces_nothing_of_its_own_or_a_later_term)
{
    const struct log_entry older = entry(15, 2, 77);
    const struct log_entry same  = entry(15, 3, chain_to(14, 3));
    const struct log_entry next  = entry(17, 3, chain_to(16, 3));
    const struct log_entry later = entry(15, 4, chain_to(14, 3));
    hole(true);
    cr_assert(refill_replay(&stripe, &older));
    cr_assert(refill_replay(&stripe, &same));
    cr_assert_eq(left(), 3);
    cr_assert(refill_replay(&stripe, &next));
    cr_assert_eq(left(), 4);
    cr_assert(stripe.refill->behind[3].linked);
    cr_assert(refill_replay(&stripe, &later));
    cr_assert_eq(left(), 2, "14, and that one");
    cr_assert(stripe.refill->behind[1].linked);
    let_go();
}

Test(refill, what_was_written_when_the_damage_was_known_says_nothing_of_the_hole)
{
    const struct log_entry next = entry(BEFORE + 1, 4, chain_to(BEFORE, 1));
    hole(true);
    refill_hole(&stripe);
    refill_state(&stripe);
    cr_assert(!refill_replay(&stripe, &next));
    cr_assert(stripe.refill->open && stripe.refill->voted);
    let_go();
}

Test(refill, a_checkpoint_that_speaks_of_a_hole_was_made_when_the_damage_was_known)
{
    struct wire_writer w = wire_writer_growing(1024);
    refill_hole(&stripe);
    refill_put(&stripe, &w);
    refill_drop(&stripe);
    struct wire_reader r = wire_reader_of(wire_written(&w));
    cr_assert(refill_get(&stripe, &r));
    cr_assert(stripe.refill->known);
    wire_writer_fini(&w);
}

Test(refill, an_image_that_ends_in_a_later_term_makes_up_for_all_behind_the_hole)
{
    hole(false);
    raft_damaged(raft);
    refill_replaced(&stripe, 13, 4, false);
    cr_assert_eq(left(), 0);
    cr_assert(!stripe.refill->open);
    let_go();
}

Test(refill, an_image_takes_the_place_of_what_lies_before_its_end)
{
    hole(false);
    raft_damaged(raft);
    refill_replaced(&stripe, 14, 3, false);
    cr_assert_eq(left(), 2);
    cr_assert_null(refill_find(stripe.refill, 14));
    cr_assert(!stripe.refill->open);
    let_go();
}

Test(refill, an_image_that_takes_the_end_of_the_log_away_leaves_one_that_may_be_missing)
{
    for (int keeps_log = 0; keeps_log < 2; keeps_log++) {
        hole(false);
        raft_damaged(raft);
        refill_replaced(&stripe, BEFORE - 1, 1, keeps_log);
        cr_assert_eq(left(), 3);
        cr_assert_eq(stripe.refill->open, !keeps_log);
        let_go();
        end();
        begin();
    }
}

/* ---- whole again ---- */

enum { OTHERS = 2, VOTED_IN = 7 };

/* It has been without a leader for long. True: it was mended. */
static bool mended(void)
{
    struct segstore_config config = {.node = 1, .election_ns = 1000};
    struct peer            peers[OTHERS];
    list_init(&node->touched);
    for (uint16_t i = 0; i < OTHERS; i++) {
        config.nodes[i].id = (uint16_t)(i + 2);
        peers[i]           = (struct peer){.node = node, .spec = &config.nodes[i]};
    }
    node->config          = &config;
    node->peers           = peers;
    node->peer_count      = OTHERS;
    stripe.refill->led_ns = 0;
    raft_start(raft, io_now_ns(node->io));
    refills_turn(node);
    list_remove(&stripe.touched);
    return !raft_is_damaged(raft);
}

/* Nothing but a vote is missing, perhaps, and these have told their terms. */
static void hole_of_a_vote(bool voted, uint64_t told)
{
    const struct raft_stored stored = {.term = 3, .damaged = true, .members = {.voters = {1, 2, 3}, .voter_count = 3}};
    refill_hole(&stripe);
    stripe.refill->open  = false;
    stripe.refill->voted = voted;
    stripe.refill->term  = VOTED_IN;
    stripe.refill->terms = told;
    raft_restore(raft, &stored);
}

Test(refill, whoever_may_have_voted_in_the_hole_goes_on_above_the_terms_of_all_who_may_have_got_the_vote)
{
    hole_of_a_vote(true, 3);
    cr_assert(mended());
    cr_assert_eq(raft_term(raft), VOTED_IN + 1);
    cr_assert_eq(raft_vote(raft), RAFT_NONE);
}

Test(refill, whoever_may_have_voted_in_the_hole_waits_until_all_have_told_their_terms)
{
    hole_of_a_vote(true, 2);
    cr_assert_not(mended());
}

Test(refill, whoever_knows_its_vote_goes_on_in_its_term)
{
    hole_of_a_vote(false, 0);
    cr_assert(mended());
    cr_assert_eq(raft_term(raft), 3);
}

static void log_goes_on(uint64_t last, uint64_t term)
{
    for (uint64_t i = BEFORE + 1; i <= last; i++) {
        const struct log_slot slot = {.chain = chain_to(i, term), .durable = true};
        cr_assert(raft_restore_entry(raft, i, term));
        entries_push(&stripe.entries, &slot);
    }
}

static void only_entries_are_missing(void)
{
    stripe.refill->voted = false;
    raft_damaged(raft);
}

Test(refill, what_a_leader_gave_before_it_went_is_not_asked_for)
{
    hole(true);
    log_goes_on(16, 3);
    only_entries_are_missing();
    cr_assert(mended());
    cr_assert_eq(raft_last(raft), 16);
    let_go();
}

Test(refill, what_was_replaced_by_what_is_committed_is_not_asked_for)
{
    hole(true);
    log_goes_on(16, 2);
    raft_restore_commit(raft, 16);
    only_entries_are_missing();
    cr_assert(mended());
    cr_assert_eq(raft_last(raft), 16);
    let_go();
}

Test(refill, what_was_not_made_behind_what_is_committed_is_not_asked_for)
{
    hole(true);
    log_goes_on(13, 2); /* 14 was made behind another one */
    raft_restore_commit(raft, 13);
    only_entries_are_missing();
    stripe.refill->last     = entry(14, 3, chain_to(13, 3)); /* as it was read */
    stripe.refill->last_ops = malloc(1);
    cr_assert(mended());
    cr_assert_eq(raft_last(raft), 13);
    let_go();
}

Test(refill, what_lies_behind_the_hole_is_asked_for_while_nothing_proves_that_it_does_not_count)
{
    hole(true);
    log_goes_on(12, 2);
    raft_restore_commit(raft, 12);
    only_entries_are_missing();
    stripe.refill->last     = entry(14, 3, chain_to(13, 3));
    stripe.refill->last_ops = malloc(1);
    cr_assert_not(mended());
    cr_assert_eq(left(), 3);
    let_go();
}

/* ---- what is given up while it runs ---- */

static uint8_t members_bytes[] = {1, 3, 0, 0, 1, 0, 2, 0, 3, 0};

/* The log ends with entry 16, of which 14 is a change of members; up to 12 it is applied, up to 15 committed. */
static void log_runs(void)
{
    const struct raft_stored stored = {.term = 3, .members = {.voters = {1, 2, 3}, .voter_count = 3}};
    entries_init(&stripe.entries, 0, 0);
    raft_restore(raft, &stored);
    list_init(&node->touched);
    for (uint64_t i = 1; i <= 16; i++) {
        struct log_slot slot = {.chain = i, .position = 4096 * i, .durable = true, .kind = LOG_OPS};
        if (i == 14) {
            slot.kind = LOG_MEMBERS;
            slot.size = sizeof members_bytes;
        }
        cr_assert(raft_restore_entry(raft, i, i < 15 ? 2 : 3));
        entries_push(&stripe.entries, &slot);
        stripe.unapplied_bytes += slot.size;
    }
    const struct log_entry change = {.index = 14, .ops = bytes_of(members_bytes, sizeof members_bytes)};
    stripe.stripe                 = stripe_new(3, &(struct stripe_observer){0});
    stripe.repairing              = true;
    stripe.unreadable             = 13;
    changes_appended(&stripe, &change);
    raft_restore_commit(raft, 15);
    raft_start(raft, io_now_ns(node->io));
    raft_applied(raft, 12);
}

static void log_ends(void)
{
    let_go();
    stripe_free(stripe.stripe);
    free(stripe.changes);
    list_remove(&stripe.touched);
}

Test(refill, an_entry_that_is_lost_for_good_is_a_hole_with_what_lies_behind_it)
{
    log_runs();
    cr_assert(refill_cut(&stripe, 13));
    const struct refill *r = stripe.refill;
    cr_assert_eq(raft_last(raft), 12);
    cr_assert_eq(raft_commit(raft), 12);
    cr_assert(raft_is_damaged(raft));
    cr_assert_eq(stripe.entries.end, 13);
    cr_assert_eq(stripe.change_count, 0, "the members that count are those of what is left");
    cr_assert_not(stripe.repairing, "the hole is what stands in its way now");
    cr_assert(!r->open && !r->voted);
    cr_assert_eq(left(), 3);
    for (uint64_t i = 14; i <= 16; i++) {
        const struct refill_entry *e = refill_find(r, i);
        cr_assert(e != NULL && e->term == (i < 15 ? 2u : 3u) && e->slot.position == 4096 * i && e->slot.durable);
        cr_assert_eq(e->linked, i > 14);
        cr_assert_eq(e->members != NULL, i == 14);
    }
    cr_assert_arr_eq(refill_find(r, 14)->members, members_bytes, sizeof members_bytes);
    cr_assert(node->storage->save.wanted, "a restart is to know it");
    log_ends();
}

Test(refill, an_entry_that_is_lost_for_good_and_was_the_last_leaves_a_hole_without_an_end)
{
    log_runs();
    cr_assert(refill_cut(&stripe, 16));
    cr_assert_eq(raft_last(raft), 15);
    cr_assert(stripe.refill->open);
    cr_assert_eq(left(), 0);
    cr_assert_eq(stripe.change_count, 1);
    log_ends();
}

Test(refill, a_log_that_is_being_written_is_not_cut)
{
    log_runs();
    stripe.still = 1; /* its image is being taken */
    cr_assert_not(refill_cut(&stripe, 13));
    cr_assert_eq(raft_last(raft), 16);
    cr_assert(stripe.refill == NULL && stripe.repairing);
    log_ends();
}

/* It gave up what lay behind entry 10 of term 1, and the others have told where their logs end: the longest there. True: it waits for that one. */
static bool waits_for(uint64_t term, uint64_t last, uint64_t term_wanted)
{
    hole(false);
    raft_damaged(raft);
    raft_mend(raft, 0);
    stripe.refill->given_up      = true;
    stripe.refill->given_up_term = term_wanted;
    stripe.refill->terms         = 3;
    stripe.refill->best_term     = term;
    stripe.refill->best_last     = last;
    (void)mended();
    bool waits = stripe.refill != NULL;
    cr_assert_eq(refill_is_open(&stripe), waits, "a restart is to know it");
    cr_assert(!waits || (stripe.refill->terms == 0 && stripe.refill->best_last == 0), "they are asked once more");
    let_go();
    end();
    begin();
    return waits;
}

Test(refill, whoever_gave_up_waits_for_one_that_has_more_as_long_as_it_has)
{
    cr_assert(waits_for(1, BEFORE + 1, 2));
    cr_assert(waits_for(2, BEFORE - 1, 2));
    cr_assert_not(waits_for(1, BEFORE, 2));
    cr_assert_not(waits_for(0, 0, 2));
    cr_assert_not(waits_for(1, BEFORE + 1, 0), "what is committed here is of a leader since");
}
