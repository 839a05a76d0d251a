/* A follower's side: what it takes, what it promises, how it comes back. */
#include "tests/unit/segstore/raft/raft_desk.h"

#include <criterion/criterion.h>

#define TERMS(...)   ((const uint64_t[]){__VA_ARGS__, 0})
#define HEAR(d, ...) desk_hear(d, (struct raft_message){__VA_ARGS__})
#define DESK(name, self, terms, term)                                \
    struct desk         name;                                        \
    struct raft_members name##_members = desk_members(3, 0);         \
    desk_open(&name, self, &name##_members, terms, term, RAFT_NONE); \
    desk_start(&name)

static const struct raft_message *answer(const struct desk *d)
{
    return desk_sent(d, RAFT_APPEND_ACK, 2);
}

/* ---- what is promised ---- */

Test(raft_append, an_entry_is_acknowledged_when_it_is_durable)
{
    DESK(d, 1, TERMS(1, 1), 1);
    struct raft_taken taken = desk_append(&d, 2, 1, 2, 1, 0, TERMS(1, 1), false);
    cr_assert(taken.take);
    cr_assert_eq(taken.skip, 0);
    raft_flush(d.raft);
    cr_assert_null(answer(&d));
    raft_stable(d.raft, 3, 1);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 3);
    desk_clear(&d);
    raft_flush(d.raft);
    cr_assert_null(answer(&d), "once");
    raft_stable(d.raft, 4, 1);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 4);
    desk_close(&d);
}

Test(raft_append, many_entries_are_acknowledged_at_once)
{
    DESK(d, 1, TERMS(1), 1);
    desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1, 1, 1), false);
    for (uint64_t i = 2; i <= 5; i++) {
        raft_stable(d.raft, i, 1);
    }
    raft_flush(d.raft);
    cr_assert_eq(desk_count(&d, RAFT_APPEND_ACK), 1);
    cr_assert_eq(answer(&d)->index, 5);
    desk_close(&d);
}

Test(raft_append, nothing_is_acknowledged_before_the_term_is_saved)
{
    DESK(d, 1, TERMS(1), 1);
    desk_append(&d, 2, 2, 1, 1, 0, TERMS(2), false);
    raft_stable(d.raft, 2, 2);
    raft_flush(d.raft);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 2);
    cr_assert_eq(d.sent_count, 0);
    desk_saved(&d);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 2);
    desk_close(&d);
}

Test(raft_append, what_was_durable_and_does_not_match_is_not_acknowledged)
{
    DESK(d, 1, TERMS(1, 1, 1, 1), 1);
    desk_append(&d, 2, 2, 2, 1, 0, NULL, false); /* equal up to 2; what is behind that is not known */
    desk_saved(&d);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 2);
    desk_close(&d);
}

Test(raft_append, what_matched_in_one_term_is_not_promised_in_the_next)
{
    DESK(d, 1, TERMS(1), 1);
    desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1, 1), true);
    cr_assert_eq(answer(&d)->index, 4);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .pre = true, .term = 2);
    desk_saved(&d);
    desk_clear(&d);
    desk_append(&d, 2, 2, 1, 1, 4, NULL, true);
    cr_assert_eq(answer(&d)->index, 1);
    cr_assert_eq(raft_commit(d.raft), 1);
    desk_close(&d);
}

Test(raft_append, an_entry_that_was_replaced_is_not_durable_by_its_old_write)
{
    DESK(d, 1, TERMS(1), 1);
    desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1), false);
    desk_append(&d, 3, 2, 1, 1, 0, TERMS(2), false);
    desk_saved(&d);
    raft_stable(d.raft, 2, 1);
    raft_stable(d.raft, 3, 1);
    cr_assert_eq(raft_stable_index(d.raft), 1);
    raft_stable(d.raft, 2, 2);
    cr_assert_eq(raft_stable_index(d.raft), 2);
    raft_flush(d.raft);
    cr_assert_eq(desk_sent(&d, RAFT_APPEND_ACK, 3)->index, 2);
    desk_close(&d);
}

Test(raft_append, a_connection_that_broke_is_told_again)
{
    DESK(d, 1, TERMS(1), 1);
    desk_append(&d, 2, 1, 1, 1, 0, TERMS(1), true);
    desk_clear(&d);
    raft_peer_reset(d.raft, 3);
    raft_flush(d.raft);
    cr_assert_eq(d.sent_count, 0);
    raft_peer_reset(d.raft, 2);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 2);
    desk_close(&d);
}

/* ---- what is taken ---- */

Test(raft_append, entries_that_are_here_are_skipped_and_acknowledged_again)
{
    DESK(d, 1, TERMS(1, 1, 1), 1);
    struct raft_taken taken = desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1, 1), true);
    cr_assert(taken.take);
    cr_assert_eq(taken.skip, 2);
    cr_assert_eq(raft_last(d.raft), 4);
    desk_clear(&d);
    taken = desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1), true);
    cr_assert(!taken.take);
    cr_assert_eq(raft_last(d.raft), 4, "an old message takes nothing away");
    cr_assert_eq(answer(&d)->index, 4);
    desk_close(&d);
}

Test(raft_append, a_conflict_replaces_everything_from_there_on)
{
    DESK(d, 1, TERMS(1, 1, 2, 2, 2), 2);
    struct raft_taken taken = desk_append(&d, 2, 4, 1, 1, 0, TERMS(1, 3, 4), true);
    cr_assert(taken.take);
    cr_assert_eq(taken.skip, 1);
    cr_assert_eq(raft_last(d.raft), 4);
    cr_assert_eq(raft_term_at(d.raft, 3), 3);
    cr_assert_eq(raft_term_at(d.raft, 4), 4);
    cr_assert_eq(answer(&d)->index, 4);
    desk_close(&d);
}

Test(raft_append, what_makes_no_sense_is_dropped)
{
    DESK(d, 1, TERMS(1, 1), 3);
    cr_assert(!desk_append(&d, 2, 3, 2, 1, 0, TERMS(2, 1), false).take, "terms that fall");
    cr_assert(!desk_append(&d, 2, 3, 2, 1, 0, TERMS(4), false).take, "a term that is to come");
    cr_assert(!desk_append(&d, 1, 3, 2, 1, 0, TERMS(3), false).take, "from itself");
    cr_assert(!desk_append(&d, 2, 3, UINT64_MAX, 1, 0, TERMS(3), false).take);
    cr_assert_eq(raft_last(d.raft), 2);
    cr_assert_eq(d.sent_count, 0);
    desk_close(&d);
}

/* Ongaro and Ousterhout, figure 7: the leader of term 8 has 1 1 1 4 4 5 5 6 6 6. */
Test(raft_append, every_log_of_figure_7_becomes_that_of_the_leader)
{
    static const uint64_t leader[]   = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8, 0};
    static const uint64_t logs[][16] = {
        {1, 1, 1, 4, 4, 5, 5, 6, 6},
        {1, 1, 1, 4},
        {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6},
        {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7},
        {1, 1, 1, 4, 4, 4, 4},
        {1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3},
        {0},
    };
    static const size_t rounds[] = {2, 2, 1, 1, 2, 2, 2}; /* of asking: whole terms are passed over */
    for (size_t i = 0; i < sizeof logs / sizeof logs[0]; i++) {
        struct desk         l;
        struct desk         f;
        struct raft_members members   = desk_members(3, 0);
        uint64_t            upto_10[] = {1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 0};
        desk_open(&l, 1, &members, upto_10, 7, RAFT_NONE);
        desk_start(&l);
        desk_elect(&l);
        cr_assert_eq(raft_term(l.raft), 8);
        desk_open(&f, 2, &members, logs[i], 7, RAFT_NONE);
        desk_start(&f);
        struct raft_want want;
        size_t           asked = 0;
        while (desk_replicate(&l, 2, &want)) {
            uint64_t terms[16] = {0};
            cr_assert(++asked < 10);
            for (uint64_t j = want.first; j <= want.last; j++) {
                terms[j - want.first] = raft_term_at(l.raft, j);
            }
            desk_clear(&f);
            desk_append(&f, 1, 8, want.first - 1, want.log_term, 0, terms, true);
            const struct raft_message *m = desk_sent(&f, RAFT_APPEND_ACK, 1);
            cr_assert_not_null(m);
            desk_hear(&l, *m);
        }
        cr_assert_eq(asked, rounds[i], "log %zu took %zu rounds", i, asked);
        cr_assert_eq(raft_last(f.raft), 11);
        for (uint64_t j = 1; j <= 11; j++) {
            cr_assert_eq(raft_term_at(f.raft, j), leader[j - 1]);
        }
        cr_assert_eq(raft_commit(l.raft), 11);
        desk_close(&l);
        desk_close(&f);
    }
}

Test(raft_append, a_refusal_names_the_last_entry_that_may_match)
{
    DESK(d, 1, TERMS(1, 1, 2, 2, 5, 5), 6);
    desk_append(&d, 2, 6, 9, 6, 0, NULL, true);
    const struct raft_message *m = answer(&d);
    cr_assert(m != NULL && m->refused && m->index == 9 && m->hint == 6 && m->log_term == 5);
    desk_append(&d, 2, 6, 6, 4, 0, NULL, true);
    m = answer(&d);
    cr_assert(m->refused && m->index == 6 && m->hint == 4 && m->log_term == 2, "past the whole of term 5");
    desk_close(&d);
}

Test(raft_append, want_of_room_is_told_apart_from_a_conflict)
{
    DESK(d, 1, TERMS(1, 1, 2), 2);
    struct raft_message m = {
        .kind = RAFT_APPEND, .from = 2, .to = 1, .term = 2, .index = 3, .log_term = 2, .count = 1, .terms = TERMS(2)};
    raft_append_refuse(d.raft, &m, d.now_ns);
    cr_assert(answer(&d)->refused && answer(&d)->hint == 3 && answer(&d)->log_term == 2);
    cr_assert_eq(raft_last(d.raft), 3);
    cr_assert_eq(raft_leader(d.raft), 2);
    m.log_term = 1;
    m.terms    = TERMS(1);
    raft_append_refuse(d.raft, &m, d.now_ns);
    cr_assert(answer(&d)->refused && answer(&d)->hint == 2 && answer(&d)->log_term == 1);
    desk_close(&d);
}

/* ---- commit ---- */

Test(raft_append, a_follower_commits_what_it_knows_to_match_and_no_more)
{
    DESK(d, 1, TERMS(1, 1, 1, 1), 1);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 2, .commit = 4);
    cr_assert_eq(raft_commit(d.raft), 0, "its entries may be other ones");
    desk_append(&d, 2, 2, 2, 1, 9, TERMS(1), false);
    cr_assert_eq(raft_commit(d.raft), 3);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 2, .commit = 1);
    cr_assert_eq(raft_commit(d.raft), 3, "it never goes back");
    desk_close(&d);
}

Test(raft_append, what_is_committed_is_never_replaced)
{
    DESK(d, 1, TERMS(1, 1, 1), 1);
    desk_append(&d, 2, 1, 3, 1, 2, NULL, true);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_clear(&d);
    struct raft_taken taken = desk_append(&d, 2, 1, 0, 0, 0, TERMS(1), true);
    cr_assert(!taken.take);
    cr_assert_eq(raft_last(d.raft), 3);
    cr_assert_eq(answer(&d)->index, 3);
    desk_close(&d);
}

/* ---- images ---- */

Test(raft_append, an_image_replaces_the_log_and_is_acknowledged)
{
    DESK(d, 1, TERMS(1, 1), 1);
    struct raft_members members = desk_members(4, 0);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 3);
    desk_saved(&d);
    cr_assert(raft_install(d.raft, 20, 2, &members));
    cr_assert_eq(raft_first(d.raft), 21);
    cr_assert_eq(raft_last(d.raft), 20);
    cr_assert_eq(raft_commit(d.raft), 20);
    cr_assert_eq(raft_term_at(d.raft, 20), 2);
    cr_assert_eq(raft_members(d.raft)->voter_count, 4);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 20);
    cr_assert(desk_append(&d, 2, 3, 20, 2, 0, TERMS(3), true).take);
    cr_assert_eq(answer(&d)->index, 21);
    desk_close(&d);
}

Test(raft_append, an_image_of_what_is_here_takes_nothing_away)
{
    DESK(d, 1, TERMS(1), 1);
    struct raft_members members = desk_members(3, 0);
    desk_append(&d, 2, 1, 1, 1, 0, TERMS(1, 1, 1), true);
    cr_assert_eq(answer(&d)->index, 4);
    cr_assert(!raft_install(d.raft, 3, 1, &members));
    cr_assert_eq(raft_last(d.raft), 4, "entry 4 was acknowledged");
    cr_assert_eq(raft_commit(d.raft), 3, "what is in an image is committed");
    cr_assert(!raft_install(d.raft, 2, 1, &members));
    desk_close(&d);
}

Test(raft_append, an_image_of_what_is_here_is_acknowledged_over_a_restart_too)
{
    DESK(d, 1, TERMS(1, 1, 1), 1);
    struct raft_members members = desk_members(3, 0);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 1);
    cr_assert(!raft_install(d.raft, 3, 1, &members));
    cr_assert_eq(raft_commit(d.raft), 3);
    raft_flush(d.raft);
    cr_assert_eq(answer(&d)->index, 3, "the leader would send it again and again");
    desk_close(&d);
}

/* ---- coming back ---- */

static void restore(struct desk *d, uint64_t applied, uint64_t applied_term, uint64_t term, uint16_t vote)
{
    struct raft_options options = {.self           = 1,
                                   .heartbeat_ns   = 20000000,
                                   .election_ns    = 100000000,
                                   .lease_ns       = 50000000,
                                   .window_entries = 16,
                                   .window_bytes   = 1000};
    struct raft_stored  stored  = {.term         = term,
                                   .vote         = vote,
                                   .commit       = applied,
                                   .applied      = applied,
                                   .applied_term = applied_term,
                                   .members      = desk_members(3, 0)};
    struct raft_hooks   hooks   = {.ctx = d};
    *d                          = (struct desk){.self = 1, .now_ns = 1};
    d->raft                     = raft_new(&options, &hooks);
    raft_restore(d->raft, &stored);
}

Test(raft_append, a_replay_may_begin_before_the_checkpoint)
{
    struct desk d;
    restore(&d, 3, 2, 4, 2);
    raft_restore_state(d.raft, 1, 3);
    cr_assert(raft_restore_entry(d.raft, 1, 1));
    cr_assert(raft_restore_entry(d.raft, 2, 1));
    raft_restore_state(d.raft, 4, RAFT_NONE);
    cr_assert(raft_restore_entry(d.raft, 3, 2));
    cr_assert(raft_restore_entry(d.raft, 4, 4));
    cr_assert_eq(raft_term(d.raft), 4);
    cr_assert_eq(raft_vote(d.raft), 2, "a vote that is known is not forgotten over an older state");
    cr_assert_eq(raft_last(d.raft), 4);
    raft_restore_state(d.raft, 6, 3);
    cr_assert_eq(raft_term(d.raft), 6);
    cr_assert_eq(raft_vote(d.raft), 3);
    desk_close(&d);
}

Test(raft_append, entries_that_come_again_replace_what_was_behind_them)
{
    struct desk d;
    restore(&d, 1, 1, 1, 0);
    cr_assert(raft_restore_entry(d.raft, 2, 1));
    cr_assert(raft_restore_entry(d.raft, 3, 1));
    cr_assert(raft_restore_entry(d.raft, 4, 1));
    cr_assert(raft_restore_entry(d.raft, 3, 2));
    cr_assert_eq(raft_last(d.raft), 3);
    cr_assert_eq(raft_term_at(d.raft, 3), 2);
    cr_assert_eq(raft_stable_index(d.raft), 3);
    cr_assert(!raft_restore_entry(d.raft, 5, 2), "there is a hole");
    desk_close(&d);
}

Test(raft_append, an_entry_that_the_image_holds_still_replaced_what_was_behind_it)
{
    struct desk d;
    restore(&d, 3, 2, 4, 0);
    cr_assert(raft_restore_entry(d.raft, 3, 1));
    cr_assert(raft_restore_entry(d.raft, 4,
                                 3)); /* of a leader that had not got entry 3 of term 2, and lost to one that had */
    cr_assert(raft_restore_entry(d.raft, 3, 2));
    cr_assert_eq(raft_last(d.raft), 3);
    desk_close(&d);
}

Test(raft_append, what_an_image_replaced_does_not_come_back)
{
    struct desk d;
    restore(&d, 20, 3, 3, 0);
    cr_assert(raft_restore_entry(d.raft, 20, 2));
    cr_assert(raft_restore_entry(d.raft, 21, 2));
    cr_assert(raft_restore_entry(d.raft, 22, 2), "no hole: it was left behind");
    cr_assert_eq(raft_last(d.raft), 20);
    cr_assert(raft_restore_entry(d.raft, 21, 3));
    cr_assert_eq(raft_last(d.raft), 21);
    desk_close(&d);
}

Test(raft_append, what_was_committed_is_known_again_as_its_entries_come)
{
    struct desk d;
    restore(&d, 1, 1, 1, 0);
    raft_restore_commit(d.raft, 3);
    cr_assert_eq(raft_commit(d.raft), 1);
    raft_restore_entry(d.raft, 2, 1);
    cr_assert_eq(raft_commit(d.raft), 2);
    raft_restore_entry(d.raft, 3, 1);
    raft_restore_entry(d.raft, 4, 1);
    cr_assert_eq(raft_commit(d.raft), 3);
    desk_close(&d);
}

/* ---- damage ---- */

static void open_damaged(struct desk *d, const uint64_t *terms, uint64_t term)
{
    struct raft_members members = desk_members(3, 0);
    desk_open(d, 1, &members, terms, term, RAFT_NONE);
    raft_damaged(d->raft);
    desk_start(d);
}

Test(raft_append, a_damaged_replica_neither_votes_nor_campaigns)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 5, .index = 9, .log_term = 4);
    cr_assert(desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 6, .pre = true, .index = 9, .log_term = 4);
    cr_assert(desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 6);
    HEAR(&d, .kind = RAFT_TIMEOUT_NOW, .from = 3, .term = 6);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_append, one_that_may_not_campaign_forgets_a_leader_that_is_silent)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 3);
    cr_assert_eq(raft_leader(d.raft), 2);
    desk_wait(&d, DESK_ELECTION_MS - 1);
    cr_assert_eq(raft_leader(d.raft), 2);
    desk_wait(&d, DESK_ELECTION_MS + 1);
    cr_assert_eq(raft_leader(d.raft), RAFT_NONE, "others are told that there is none, and what needs none begins");
    cr_assert_eq(raft_term(d.raft), 3);
    desk_close(&d);
}

Test(raft_append, a_leader_that_is_damaged_steps_down)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_elect(&d);
    raft_damaged(d.raft);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_append, a_damaged_sole_voter_does_not_lead)
{
    struct desk         d;
    struct raft_members members = desk_members(1, 0);
    desk_open(&d, 1, &members, TERMS(1), 1, 1);
    raft_damaged(d.raft);
    desk_start(&d);
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_append, a_damaged_replica_that_is_mended_votes_by_what_it_was_given_back_and_in_a_later_term)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    raft_refill(d.raft, 2, 2); /* one that was replaced in the hole */
    raft_refill(d.raft, 3, 2);
    cr_assert_eq(raft_stable_index(d.raft), 3);
    cr_assert(raft_is_damaged(d.raft));
    raft_mend(d.raft, 5);
    cr_assert_not(raft_is_damaged(d.raft));
    cr_assert_eq(raft_term(d.raft), 5);
    cr_assert_eq(raft_vote(d.raft), RAFT_NONE);
    desk_saved(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .index = 9, .log_term = 4);
    cr_assert(desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 6, .index = 2, .log_term = 2);
    cr_assert(desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    desk_close(&d);
}

Test(raft_append, a_damaged_replica_that_is_mended_is_in_the_term_of_its_last_entry_at_least)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    raft_refill(d.raft, 3, 7);
    raft_mend(d.raft, 0);
    cr_assert_eq(raft_term(d.raft), 7);
    desk_wait(&d, 3 * DESK_ELECTION_MS);
    cr_assert_neq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_append, what_cannot_be_had_any_more_leaves_the_log_and_takes_the_commit_index_back)
{
    struct desk         d;
    struct raft_members members = desk_members(3, 0);
    desk_open(&d, 1, &members, TERMS(1, 1, 2, 2), 2, RAFT_NONE);
    raft_restore_commit(d.raft, 3);
    desk_start(&d);
    raft_applied(d.raft, 1);
    raft_cut(d.raft, 2);
    cr_assert(raft_is_damaged(d.raft));
    cr_assert_eq(raft_last(d.raft), 1);
    cr_assert_eq(raft_stable_index(d.raft), 1);
    cr_assert_eq(raft_commit(d.raft), 1);
    cr_assert_eq(raft_term(d.raft), 2, "votes were not lost");
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    /* What others made of it takes its place, or it comes back. */
    raft_refill(d.raft, 2, 3);
    raft_mend(d.raft, 4);
    desk_saved(&d);
    desk_append(&d, 2, 5, 2, 3, 3, TERMS(5), true);
    cr_assert_eq(raft_last(d.raft), 3);
    cr_assert_eq(raft_commit(d.raft), 3);
    desk_close(&d);
}

Test(raft_append, what_is_cut_off_behind_the_commit_index_leaves_that_as_it_is)
{
    struct desk         d;
    struct raft_members members = desk_members(3, 0);
    desk_open(&d, 1, &members, TERMS(1, 1, 2, 2), 2, RAFT_NONE);
    raft_restore_commit(d.raft, 2);
    desk_start(&d);
    raft_cut(d.raft, 4);
    cr_assert_eq(raft_last(d.raft), 3);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_close(&d);
}

/* A heartbeat of a leader that knows of the damage. */
#define KNOWN(...) HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 3, .damaged = true, __VA_ARGS__)

Test(raft_append, a_damaged_replica_says_so_and_is_whole_when_a_confirmed_leader_has_nothing_that_it_lacks)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    desk_wait(&d, 3 * DESK_ELECTION_MS);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 3, .clock = 100, .hint = 200, .commit = 4);
    desk_saved(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 2, .term = 3, .clock = 110, .hint = 200, .commit = 4);
    cr_assert(desk_sent(&d, RAFT_HEARTBEAT_ACK, 2)->damaged);
    desk_append(&d, 2, 3, 2, 1, 4, TERMS(3, 3), true);
    cr_assert(answer(&d)->damaged && answer(&d)->index == 4);
    cr_assert(raft_is_damaged(d.raft), "the leader did not know");
    KNOWN(.clock = 300, .hint = 290, .commit = 4);
    cr_assert(raft_is_damaged(d.raft), "who confirmed the leader did so before");
    KNOWN(.clock = 320, .hint = 300, .commit = 5);
    cr_assert(raft_is_damaged(d.raft), "it has not got entry 5");
    desk_append(&d, 2, 3, 4, 3, 5, TERMS(3), false);
    cr_assert(raft_is_damaged(d.raft), "not durably");
    raft_stable(d.raft, 5, 3);
    cr_assert(!raft_is_damaged(d.raft));
    desk_clear(&d);
    raft_flush(d.raft);
    cr_assert_null(answer(&d), "its vote is not saved");
    cr_assert_eq(d.save_term, 3);
    cr_assert_eq(d.save_vote, 2, "it counts as having voted for the leader");
    desk_saved(&d);
    raft_flush(d.raft);
    cr_assert(answer(&d)->index == 5 && !answer(&d)->damaged);
    desk_close(&d);
}

Test(raft_append, a_damaged_replica_is_not_whole_by_an_entry_of_an_older_term)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    desk_append(&d, 2, 3, 2, 1, 2, NULL, true);
    desk_wait(&d, 3 * DESK_ELECTION_MS);
    KNOWN(.clock = 300, .hint = 300, .commit = 2);
    cr_assert(raft_is_damaged(d.raft));
    desk_close(&d);
}

Test(raft_append, a_damaged_replica_waits_until_whoever_holds_its_vote_has_given_up)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    desk_append(&d, 2, 3, 2, 1, 3, TERMS(3), true);
    KNOWN(.clock = 300, .hint = 300, .commit = 3);
    cr_assert(raft_is_damaged(d.raft));
    desk_wait(&d, 3 * DESK_ELECTION_MS);
    KNOWN(.clock = 400, .hint = 400, .commit = 3);
    cr_assert(!raft_is_damaged(d.raft));
    desk_close(&d);
}

Test(raft_append, damage_is_not_over_by_what_the_leader_of_an_older_term_said)
{
    struct desk d;
    open_damaged(&d, TERMS(1, 1), 1);
    desk_append(&d, 2, 3, 2, 1, 3, TERMS(3), true);
    KNOWN(.clock = 300, .hint = 300, .commit = 4);
    desk_append(&d, 3, 4, 3, 3, 4, TERMS(4), true);
    desk_wait(&d, 3 * DESK_ELECTION_MS);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 4, .damaged = true, .clock = 50, .hint = 40, .commit = 4);
    cr_assert(raft_is_damaged(d.raft));
    desk_close(&d);
}
