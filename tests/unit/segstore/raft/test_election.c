/* Who may lead, and what must be on a disk before anybody hears of it. */
#include "tests/unit/segstore/raft/raft_desk.h"

#include <criterion/criterion.h>

#define TERMS(...)   ((const uint64_t[]){__VA_ARGS__, 0})
#define HEAR(d, ...) desk_hear(d, (struct raft_message){__VA_ARGS__})

/* The hooks know where the desk lies: it is opened in place. */
#define DESK(name, self, terms, term)                        \
    struct desk         name;                                \
    struct raft_members name##_members = desk_members(3, 0); \
    desk_open(&name, self, &name##_members, terms, term, RAFT_NONE)

/* ---- votes ---- */

Test(raft_election, a_follower_asks_whether_it_would_be_elected_before_it_begins_a_term)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_wait(&d, DESK_ELECTION_MS - 1);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER, "not before a whole election timeout");
    desk_timeout(&d);
    cr_assert_eq(raft_role(d.raft), RAFT_PRECANDIDATE);
    cr_assert_eq(raft_term(d.raft), 1);
    cr_assert_eq(d.saves, 0);
    const struct raft_message *ask = desk_sent(&d, RAFT_VOTE, 2);
    cr_assert(ask != NULL && ask->pre && ask->term == 2 && ask->index == 2 && ask->log_term == 1);
    desk_close(&d);
}

Test(raft_election, a_candidate_that_is_not_saved_does_not_ask_and_does_not_count)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    cr_assert_eq(raft_term(d.raft), 2);
    cr_assert_eq(d.save_term, 2);
    cr_assert_eq(d.save_vote, 1);
    cr_assert_eq(d.sent_count, 0);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE, "nobody was asked");
    desk_saved(&d);
    cr_assert_not_null(desk_sent(&d, RAFT_VOTE, 2));
    cr_assert_not_null(desk_sent(&d, RAFT_VOTE, 3));
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    cr_assert(d.lead_wanted);
    desk_close(&d);
}

Test(raft_election, the_save_of_another_term_saves_nothing)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    raft_saved(d.raft, 1, 1);
    raft_saved(d.raft, 2, 3);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    desk_close(&d);
}

Test(raft_election, a_vote_leaves_when_it_is_durable_and_once_for_a_term)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_wait(&d, DESK_ELECTION_MS);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 5, .index = 2, .log_term = 1);
    cr_assert_eq(desk_count(&d, RAFT_VOTE_ACK), 0);
    desk_saved(&d);
    const struct raft_message *vote = desk_sent(&d, RAFT_VOTE_ACK, 2);
    cr_assert(vote != NULL && !vote->refused && vote->term == 5);
    HEAR(&d, .kind = RAFT_VOTE, .from = 3, .term = 5, .index = 9, .log_term = 4);
    vote = desk_sent(&d, RAFT_VOTE_ACK, 3);
    cr_assert(vote != NULL && vote->refused);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 5, .index = 2, .log_term = 1);
    vote = desk_sent(&d, RAFT_VOTE_ACK, 2);
    cr_assert(vote != NULL && !vote->refused, "asked again it says so again");
    desk_close(&d);
}

Test(raft_election, a_vote_is_remembered_over_a_restart)
{
    struct desk         d;
    struct raft_members members = desk_members(3, 0);
    desk_open(&d, 1, &members, TERMS(1, 1), 1, RAFT_NONE);
    raft_restore_state(d.raft, 5, 2);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 3, .term = 5, .index = 9, .log_term = 4);
    cr_assert(desk_sent(&d, RAFT_VOTE_ACK, 3)->refused);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 5, .index = 9, .log_term = 4);
    cr_assert(!desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    desk_close(&d);
}

Test(raft_election, only_a_log_that_is_not_behind_is_elected)
{
    static const struct {
        uint64_t index, log_term;
        bool     granted;
    } asks[] = {{3, 2, true}, {4, 2, true}, {1, 3, true}, {2, 2, false}, {9, 1, false}, {0, 0, false}};
    for (size_t i = 0; i < sizeof asks / sizeof asks[0]; i++) {
        for (int pre = 0; pre < 2; pre++) {
            DESK(d, 1, TERMS(1, 2, 2), 3);
            desk_start(&d);
            desk_wait(&d, DESK_ELECTION_MS);
            HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .pre = pre, .index = asks[i].index,
                 .log_term = asks[i].log_term);
            if (d.saves > 0) {
                desk_saved(&d);
            }
            const struct raft_message *vote = desk_sent(&d, RAFT_VOTE_ACK, 2);
            cr_assert(vote != NULL && vote->refused != asks[i].granted && vote->pre == (pre != 0));
            cr_assert_eq(raft_term(d.raft), pre ? 3 : 4, "a pre-vote changes nothing");
            desk_close(&d);
        }
    }
}

Test(raft_election, a_split_vote_ends_in_another_term)
{
    struct desk         d;
    struct raft_members members = desk_members(4, 0);
    desk_open(&d, 1, &members, TERMS(1), 1, RAFT_NONE);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .pre = true, .term = 2);
    desk_saved(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE, "one vote counts once");
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 2, .refused = true);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 4, .term = 2, .refused = true);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_elect(&d);
    cr_assert_eq(raft_term(d.raft), 3);
    desk_close(&d);
}

Test(raft_election, a_candidate_follows_whoever_was_elected_in_its_term)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    desk_saved(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 2, .clock = 7);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    cr_assert_eq(raft_leader(d.raft), 3);
    cr_assert_eq(desk_sent(&d, RAFT_HEARTBEAT_ACK, 3)->clock, 7);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_election, a_vote_of_no_voter_is_not_counted)
{
    struct desk         d;
    struct raft_members members = desk_members(3, 1);
    desk_open(&d, 1, &members, TERMS(1, 1), 1, RAFT_NONE);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 4, .pre = true, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 9, .pre = true, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_PRECANDIDATE);
    cr_assert_null(desk_sent(&d, RAFT_VOTE, 4));
    desk_close(&d);
}

Test(raft_election, a_learner_does_not_campaign)
{
    struct desk         d;
    struct raft_members members = desk_members(3, 1);
    desk_open(&d, 4, &members, TERMS(1, 1), 1, RAFT_NONE);
    desk_start(&d);
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    cr_assert_eq(d.sent_count, 0);
    desk_close(&d);
}

Test(raft_election, a_shy_node_does_not_campaign_and_steps_down)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    raft_shy(d.raft, true);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    raft_shy(d.raft, false);
    desk_elect(&d);
    desk_close(&d);
}

Test(raft_election, a_candidate_that_becomes_shy_is_not_elected)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    desk_saved(&d);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    raft_shy(d.raft, true);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

/* ---- the lease of a leader that was heard of ---- */

Test(raft_election, who_heard_a_leader_lately_ignores_candidates)
{
    for (int pre = 0; pre < 2; pre++) {
        DESK(d, 1, TERMS(1, 1), 1);
        desk_start(&d);
        desk_wait(&d, DESK_ELECTION_MS);
        HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
        desk_wait(&d, DESK_ELECTION_MS - 1);
        HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .pre = pre, .index = 9, .log_term = 2);
        cr_assert_null(desk_sent(&d, RAFT_VOTE_ACK, 2));
        cr_assert_eq(raft_term(d.raft), 1);
        desk_wait(&d, 1);
        HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .pre = pre, .index = 9, .log_term = 2);
        if (d.saves > 0) {
            desk_saved(&d);
        }
        cr_assert(!desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
        desk_close(&d);
    }
}

Test(raft_election, the_successor_that_the_leader_named_is_heard_at_once)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .transfer = true, .index = 2, .log_term = 1);
    desk_saved(&d);
    cr_assert(!desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    desk_close(&d);
}

Test(raft_election, who_begins_again_waits_as_it_may_have_answered_a_leader_before)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_wait(&d, DESK_ELECTION_MS - 1);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .index = 9, .log_term = 2);
    cr_assert_eq(raft_term(d.raft), 1);
    desk_wait(&d, 1);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 4, .index = 9, .log_term = 2);
    cr_assert_eq(raft_term(d.raft), 4);
    desk_close(&d);
}

Test(raft_election, a_new_cluster_need_not_wait)
{
    DESK(d, 1, NULL, 0);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 1, .pre = true);
    cr_assert(!desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    raft_hurry(d.raft, d.now_ns);
    desk_wait(&d, DESK_BEAT_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_PRECANDIDATE);
    desk_close(&d);
}

Test(raft_election, a_dead_leader_is_followed_soon)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    raft_peer_dead(d.raft, 2, d.now_ns);
    cr_assert_eq(raft_leader(d.raft), 3, "it was another one");
    raft_peer_dead(d.raft, 3, d.now_ns);
    cr_assert_eq(raft_leader(d.raft), RAFT_NONE);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .pre = true, .index = 2, .log_term = 1);
    cr_assert(!desk_sent(&d, RAFT_VOTE_ACK, 2)->refused);
    desk_wait(&d, DESK_BEAT_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_PRECANDIDATE);
    desk_close(&d);
}

/* A firewall may answer for a process that lives. */
Test(raft_election, a_vote_says_how_long_the_lease_of_whom_it_heard_last_may_go_on)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    desk_wait(&d, 10);
    raft_peer_dead(d.raft, 3, d.now_ns);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1);
    desk_saved(&d);
    const struct raft_message *m = desk_sent(&d, RAFT_VOTE_ACK, 2);
    cr_assert(m != NULL && !m->refused);
    cr_assert_eq(m->hint, 40 * 1000000ull);
    desk_wait(&d, 5);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1);
    cr_assert_eq(desk_sent(&d, RAFT_VOTE_ACK, 2)->hint, 35 * 1000000ull, "the same vote, asked for again");
    desk_wait(&d, 50);
    desk_clear(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1);
    cr_assert_eq(desk_sent(&d, RAFT_VOTE_ACK, 2)->hint, 0);
    desk_close(&d);
}

Test(raft_election, one_that_is_elected_early_lets_the_lease_of_before_run_out_before_it_commits)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2, .pre = true);
    desk_saved(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2, .hint = 40 * 1000000ull);
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    cr_assert_eq(desk_propose(&d), 3);
    desk_acked(&d, 2, 3);
    desk_wait(&d, 39);
    cr_assert_eq(raft_commit(d.raft), 0);
    cr_assert(!raft_is_settled(d.raft));
    cr_assert(!raft_transfer(d.raft, 2, d.now_ns), "a successor by transfer would not wait");
    desk_wait(&d, 1);
    cr_assert_eq(raft_commit(d.raft), 3);
    cr_assert(raft_transfer(d.raft, 2, d.now_ns));
    desk_close(&d);
}

Test(raft_election, who_was_asked_to_lead_waits_for_no_lease)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1, .transfer = true);
    desk_saved(&d);
    cr_assert_eq(desk_sent(&d, RAFT_VOTE_ACK, 2)->hint, 0);
    desk_close(&d);

    DESK(e, 1, TERMS(1, 1), 1);
    desk_start(&e);
    HEAR(&e, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    HEAR(&e, .kind = RAFT_TIMEOUT_NOW, .from = 3, .term = 1);
    desk_saved(&e);
    HEAR(&e, .kind = RAFT_VOTE_ACK, .from = 2, .term = 2);
    cr_assert_eq(desk_propose(&e), 3);
    desk_acked(&e, 2, 3);
    cr_assert_eq(raft_commit(e.raft), 3);
    desk_close(&e);
}

Test(raft_election, after_a_restart_a_lease_is_taken_to_go_on)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1, .transfer = false);
    cr_assert_eq(desk_count(&d, RAFT_VOTE_ACK), 0, "it may have answered a leader a moment ago");
    desk_wait(&d, DESK_ELECTION_MS);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 2, .index = 2, .log_term = 1);
    desk_saved(&d);
    cr_assert_eq(desk_sent(&d, RAFT_VOTE_ACK, 2)->hint, 0);
    desk_close(&d);
}

/* ---- terms ---- */

Test(raft_election, a_deposed_leader_hears_of_it)
{
    DESK(d, 1, TERMS(1, 1), 7);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 6);
    const struct raft_message *m = desk_sent(&d, RAFT_APPEND_ACK, 3);
    cr_assert(m != NULL && m->refused && m->term == 7);
    desk_clear(&d);
    struct raft_taken taken = desk_append(&d, 3, 6, 2, 1, 2, TERMS(6), false);
    cr_assert(!taken.take);
    cr_assert_eq(desk_sent(&d, RAFT_APPEND_ACK, 3)->term, 7);
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_close(&d);
}

Test(raft_election, a_leader_steps_down_before_a_higher_term)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    HEAR(&d, .kind = RAFT_APPEND_ACK, .from = 2, .term = 9, .refused = true);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    cr_assert_eq(raft_term(d.raft), 9);
    cr_assert_eq(d.save_term, 9);
    cr_assert_eq(d.save_vote, RAFT_NONE);
    desk_close(&d);
}

Test(raft_election, a_candidate_of_an_older_term_hears_of_the_newer)
{
    DESK(d, 1, TERMS(1, 1), 7);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_VOTE, .from = 2, .term = 7, .pre = true, .index = 2, .log_term = 1);
    const struct raft_message *m = desk_sent(&d, RAFT_VOTE_ACK, 2);
    cr_assert(m != NULL && m->refused && m->term == 7);
    desk_close(&d);
}

Test(raft_election, a_leader_that_hears_of_no_majority_steps_down)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    for (int i = 0; i < 3 * DESK_ELECTION_MS / DESK_BEAT_MS; i++) {
        desk_wait(&d, DESK_BEAT_MS);
        desk_clear(&d);
        HEAR(&d, .kind = RAFT_HEARTBEAT_ACK, .from = 3, .term = 2);
    }
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER, "one of two others is enough");
    desk_wait(&d, 2 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    cr_assert_eq(raft_term(d.raft), 2);
    desk_close(&d);
}

Test(raft_election, the_lease_lasts_nine_tenths_of_what_voters_wait_from_the_answered_heartbeat)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    cr_assert(!raft_lease(d.raft, d.now_ns), "no heartbeat is answered yet");
    uint64_t begun = d.now_ns;
    desk_beat(&d, 2);
    cr_assert(raft_lease(d.raft, begun));
    cr_assert(raft_lease(d.raft, begun + 44 * 1000000ull));
    cr_assert(!raft_lease(d.raft, begun + 45 * 1000000ull));
    cr_assert(!raft_is_settled(d.raft));
    desk_acked(&d, 2, 3);
    cr_assert(raft_is_settled(d.raft));
    desk_close(&d);
}

Test(raft_election, a_leader_is_settled_by_an_entry_of_its_own_term)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_append(&d, 2, 1, 2, 1, 2, NULL, true);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_elect(&d);
    cr_assert(!raft_is_settled(d.raft), "more may have been committed than it knows of");
    desk_acked(&d, 3, 3);
    cr_assert(raft_is_settled(d.raft));
    desk_close(&d);
}

/* ---- handing over ---- */

static void follow(struct desk *d, uint16_t node)
{
    struct raft_want want;
    desk_replicate(d, node, &want);
    desk_acked(d, node, raft_last(d->raft));
    desk_beat(d, node);
}

Test(raft_election, a_leader_hands_over_when_the_successor_has_everything)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    cr_assert(!raft_transfer(d.raft, 2, d.now_ns), "where it stands is not known");
    cr_assert(!raft_transfer(d.raft, 9, d.now_ns));
    follow(&d, 2);
    follow(&d, 3);
    uint64_t last = desk_propose(&d);
    cr_assert(raft_lease(d.raft, d.now_ns));
    cr_assert(raft_transfer(d.raft, 2, d.now_ns));
    cr_assert_null(desk_sent(&d, RAFT_TIMEOUT_NOW, 2));
    cr_assert_eq(raft_propose(d.raft), 0);
    cr_assert(!raft_lease(d.raft, d.now_ns));
    desk_acked(&d, 3, last);
    cr_assert_null(desk_sent(&d, RAFT_TIMEOUT_NOW, 3));
    desk_acked(&d, 2, last);
    cr_assert_not_null(desk_sent(&d, RAFT_TIMEOUT_NOW, 2));
    desk_close(&d);
}

Test(raft_election, the_successor_campaigns_at_once_and_without_asking_before)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    HEAR(&d, .kind = RAFT_TIMEOUT_NOW, .from = 2, .term = 1);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER, "2 does not lead");
    HEAR(&d, .kind = RAFT_TIMEOUT_NOW, .from = 3, .term = 1);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    desk_saved(&d);
    const struct raft_message *m = desk_sent(&d, RAFT_VOTE, 3);
    cr_assert(m != NULL && m->transfer && !m->pre && m->term == 2);
    desk_close(&d);
}

Test(raft_election, a_transfer_that_was_not_begun_ends_by_itself)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    follow(&d, 2);
    desk_propose(&d);
    cr_assert(raft_transfer(d.raft, 2, d.now_ns));
    for (int i = 0; i < DESK_ELECTION_MS / DESK_BEAT_MS; i++) {
        cr_assert_eq(raft_propose(d.raft), 0);
        desk_wait(&d, DESK_BEAT_MS);
        desk_beat(&d, 3);
    }
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    cr_assert_neq(raft_propose(d.raft), 0);
    cr_assert(raft_lease(d.raft, d.now_ns));
    desk_close(&d);
}

Test(raft_election, a_transfer_that_failed_ends_in_a_new_term_as_the_successor_may_still_campaign)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    desk_elect(&d);
    follow(&d, 2);
    cr_assert(raft_transfer(d.raft, 2, d.now_ns));
    cr_assert_not_null(desk_sent(&d, RAFT_TIMEOUT_NOW, 2));
    for (int i = 0; i < DESK_ELECTION_MS / DESK_BEAT_MS; i++) {
        desk_wait(&d, DESK_BEAT_MS);
        if (raft_role(d.raft) == RAFT_LEADER) {
            desk_beat(&d, 2);
            desk_beat(&d, 3);
            cr_assert(!raft_lease(d.raft, d.now_ns));
        }
    }
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    cr_assert_eq(raft_term(d.raft), 3);
    desk_clear(&d);
    desk_saved(&d);
    cr_assert(desk_sent(&d, RAFT_VOTE, 3)->transfer, "who heard this leader lately must not ignore it");
    desk_close(&d);
}

/* ---- one alone ---- */

Test(raft_election, a_sole_voter_resumes_in_its_term)
{
    struct desk         d;
    struct raft_members members = desk_members(1, 0);
    desk_open(&d, 1, &members, TERMS(1, 1, 4), 4, 1);
    desk_start(&d);
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    cr_assert_eq(raft_term(d.raft), 4);
    cr_assert_eq(d.saves, 0);
    cr_assert_eq(raft_commit(d.raft), 3);
    cr_assert(raft_is_settled(d.raft) && raft_lease(d.raft, d.now_ns));
    cr_assert_eq(desk_propose(&d), 4);
    cr_assert_eq(raft_commit(d.raft), 4);
    cr_assert_eq(raft_next_ns(d.raft), UINT64_MAX);
    desk_close(&d);
}

Test(raft_election, a_sole_voter_without_its_own_vote_leads_when_it_is_saved)
{
    for (uint16_t vote = 0; vote <= 2; vote += 2) {
        struct desk         d;
        struct raft_members members = desk_members(1, 0);
        desk_open(&d, 1, &members, TERMS(1, 1, 4), 4, vote);
        desk_start(&d);
        cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
        cr_assert_eq(raft_propose(d.raft), 0);
        desk_saved(&d);
        cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
        cr_assert_eq(raft_term(d.raft), 5);
        cr_assert_eq(raft_commit(d.raft), 3);
        desk_close(&d);
    }
}

Test(raft_election, a_sole_voter_commits_what_is_durable_and_no_more)
{
    struct desk         d;
    struct raft_members members = desk_members(1, 0);
    desk_open(&d, 1, &members, NULL, 1, 1);
    desk_start(&d);
    cr_assert_eq(raft_propose(d.raft), 1);
    cr_assert_eq(raft_propose(d.raft), 2);
    cr_assert_eq(raft_commit(d.raft), 0);
    raft_stable(d.raft, 1, 1);
    cr_assert_eq(raft_commit(d.raft), 1);
    desk_close(&d);
}

Test(raft_election, who_becomes_the_sole_voter_begins_a_term_of_its_own)
{
    struct desk         d;
    struct raft_members members = desk_members(2, 0);
    struct raft_members alone   = desk_members(1, 0);
    desk_open(&d, 1, &members, TERMS(1), 1, RAFT_NONE);
    desk_start(&d);
    desk_elect(&d);
    uint64_t term = raft_term(d.raft);
    desk_acked(&d, 2, desk_propose(&d));
    raft_applied(d.raft, raft_commit(d.raft));
    raft_set_members(d.raft, &alone);
    desk_saved(&d);
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    cr_assert_eq(raft_term(d.raft), term + 1);
    desk_close(&d);
}

Test(raft_election, a_follower_that_became_the_sole_voter_takes_the_lead)
{
    DESK(d, 1, TERMS(1, 1), 1);
    struct raft_members alone = desk_members(1, 0);
    desk_start(&d);
    HEAR(&d, .kind = RAFT_HEARTBEAT, .from = 3, .term = 1);
    raft_set_members(d.raft, &alone);
    desk_timeout(&d);
    desk_saved(&d);
    cr_assert_eq(raft_role(d.raft), RAFT_LEADER);
    desk_close(&d);
}

/* ---- members that change ---- */

Test(raft_election, a_joint_election_needs_both_halves)
{
    struct desk         d;
    struct raft_members joint = {.voters = {1, 4, 5}, .voter_count = 3, .outgoing = {1, 2, 3}, .outgoing_count = 3};
    desk_open(&d, 1, &joint, TERMS(1), 1, RAFT_NONE);
    desk_start(&d);
    desk_timeout(&d);
    cr_assert_not_null(desk_sent(&d, RAFT_VOTE, 3));
    cr_assert_not_null(desk_sent(&d, RAFT_VOTE, 5));
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .pre = true, .term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .pre = true, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_PRECANDIDATE);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 5, .pre = true, .term = 2);
    cr_assert_eq(raft_role(d.raft), RAFT_CANDIDATE);
    desk_close(&d);
}

Test(raft_election, a_leader_that_was_removed_tells_the_others_and_steps_down)
{
    DESK(d, 1, TERMS(1, 1), 1);
    struct raft_members others = {.voters = {2, 3}, .voter_count = 2};
    desk_start(&d);
    desk_elect(&d);
    desk_clear(&d);
    raft_set_members(d.raft, &others);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    cr_assert_not_null(desk_sent(&d, RAFT_HEARTBEAT, 2));
    desk_wait(&d, 5 * DESK_ELECTION_MS);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER);
    desk_close(&d);
}

Test(raft_election, a_candidate_hears_from_those_who_refuse_what_is_committed)
{
    DESK(d, 1, TERMS(1, 1, 1), 1);
    desk_start(&d);
    desk_timeout(&d);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 2, .term = 1, .refused = true, .pre = true, .index = 2, .log_term = 1);
    cr_assert_eq(raft_commit(d.raft), 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 1, .refused = true, .pre = true, .index = 3, .log_term = 2);
    HEAR(&d, .kind = RAFT_VOTE_ACK, .from = 3, .term = 1, .refused = true, .pre = true, .index = 4, .log_term = 1);
    cr_assert_eq(raft_commit(d.raft), 2, "another history, or none");
    desk_close(&d);
}

Test(raft_election, the_next_change_of_members_waits_for_the_former)
{
    DESK(d, 1, TERMS(1, 1), 1);
    desk_start(&d);
    cr_assert(!raft_may_change(d.raft));
    desk_elect(&d);
    cr_assert(!raft_may_change(d.raft), "an entry from before may be a change");
    desk_acked(&d, 2, 3);
    raft_applied(d.raft, 3);
    cr_assert(raft_may_change(d.raft));
    raft_changing(d.raft, desk_propose(&d));
    cr_assert(!raft_may_change(d.raft));
    raft_applied(d.raft, 4);
    cr_assert(raft_may_change(d.raft));
    desk_close(&d);
}
