/* A leader's followers: what each is sent, what a majority has. */
#include "tests/unit/segstore/raft/raft_desk.h"

#include <criterion/criterion.h>

#define TERMS(...)   ((const uint64_t[]){__VA_ARGS__, 0})
#define HEAR(d, ...) desk_hear(d, (struct raft_message){__VA_ARGS__})

/* A leader of term `term` + 1 among so many, with its empty entry behind these. */
static void lead(struct desk *d, uint8_t voters, uint8_t learners, const uint64_t *terms, uint64_t term)
{
    struct raft_members members = desk_members(voters, learners);
    desk_open(d, 1, &members, terms, term, RAFT_NONE);
    desk_start(d);
    desk_elect(d);
}

static struct raft_progress progress(const struct desk *d, uint16_t node)
{
    struct raft_progress p;
    cr_assert(raft_progress(d->raft, node, &p));
    return p;
}

static void refuse(struct desk *d, uint16_t from, uint64_t index, uint64_t hint, uint64_t log_term)
{
    HEAR(d, .kind = RAFT_APPEND_ACK, .from = from, .term = raft_term(d->raft), .refused = true, .index = index,
         .hint = hint, .log_term = log_term);
}

/* It has everything and replicates. */
static void follow(struct desk *d, uint16_t node)
{
    struct raft_want want;
    while (desk_replicate(d, node, &want)) {
        desk_acked(d, node, raft_last(d->raft));
    }
}

/* ---- commit ---- */

Test(raft_progress, a_majority_that_holds_it_durably_commits_an_entry)
{
    struct desk d;
    lead(&d, 5, 0, TERMS(1), 1);
    desk_acked(&d, 2, 2);
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_acked(&d, 3, 2);
    cr_assert_eq(raft_commit(d.raft), 2, "with what is durable here");
    uint64_t index = raft_propose(d.raft);
    desk_acked(&d, 2, index);
    desk_acked(&d, 3, index);
    cr_assert_eq(raft_commit(d.raft), 2, "not durable here, two of five have it");
    desk_acked(&d, 4, index);
    cr_assert_eq(raft_commit(d.raft), index, "three others are enough");
    desk_close(&d);
}

Test(raft_progress, the_own_write_counts_when_it_is_done)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    uint64_t index = raft_propose(d.raft);
    desk_acked(&d, 2, index);
    cr_assert_eq(raft_commit(d.raft), index - 1);
    raft_stable(d.raft, index, raft_term(d.raft));
    cr_assert_eq(raft_commit(d.raft), index);
    desk_close(&d);
}

/* Ongaro and Ousterhout, figure 8: an entry of term 2 on a majority is not committed by counting in term 4. */
Test(raft_progress, an_entry_of_an_older_term_is_committed_by_one_of_the_own)
{
    struct desk d;
    lead(&d, 5, 0, TERMS(1, 2), 3);
    cr_assert_eq(raft_term(d.raft), 4);
    desk_acked(&d, 2, 2);
    desk_acked(&d, 3, 2);
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_acked(&d, 2, 3);
    desk_acked(&d, 3, 3);
    cr_assert_eq(raft_commit(d.raft), 3);
    desk_close(&d);
}

Test(raft_progress, a_learner_is_sent_everything_and_not_counted)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 1, TERMS(1), 1);
    cr_assert(desk_replicate(&d, 4, &want));
    desk_acked(&d, 4, 2);
    cr_assert_eq(progress(&d, 4).match, 2);
    cr_assert_eq(raft_commit(d.raft), 0);
    cr_assert(!raft_lease(d.raft, d.now_ns));
    desk_beat(&d, 4);
    cr_assert(!raft_lease(d.raft, d.now_ns));
    cr_assert(!raft_transfer(d.raft, 4, d.now_ns));
    desk_wait(&d, 2 * (DESK_ELECTION_MS + DESK_BEAT_MS) + 1);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER, "hearing of a learner is hearing of nobody");
    desk_close(&d);
}

Test(raft_progress, a_joint_configuration_commits_with_both_halves)
{
    struct desk         d;
    struct raft_members joint = {.voters = {1, 4, 5}, .voter_count = 3, .outgoing = {1, 2, 3}, .outgoing_count = 3};
    lead(&d, 3, 0, TERMS(1), 1);
    desk_acked(&d, 2, 2);
    raft_set_members(d.raft, &joint);
    uint64_t index = desk_propose(&d);
    desk_acked(&d, 2, index);
    desk_acked(&d, 3, index);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_acked(&d, 5, index);
    cr_assert_eq(raft_commit(d.raft), index);
    index = desk_propose(&d);
    desk_acked(&d, 4, index);
    desk_acked(&d, 5, index);
    cr_assert_eq(raft_commit(d.raft), index - 1);
    desk_close(&d);
}

Test(raft_progress, a_smaller_set_of_members_may_commit_at_once)
{
    struct desk         d;
    struct raft_members fewer = desk_members(3, 0);
    lead(&d, 5, 0, TERMS(1), 1);
    desk_acked(&d, 2, 2);
    cr_assert_eq(raft_commit(d.raft), 0);
    raft_set_members(d.raft, &fewer);
    cr_assert_eq(raft_commit(d.raft), 2);
    struct raft_progress p;
    cr_assert(!raft_progress(d.raft, 5, &p));
    desk_acked(&d, 5, 2); /* who is gone is not listened to */
    desk_close(&d);
}

/* ---- acknowledgements that come late, or make no sense ---- */

Test(raft_progress, a_late_acknowledgement_lowers_nothing)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    cr_assert_eq(progress(&d, 2).match, 2);
    desk_acked(&d, 2, 1);
    cr_assert_eq(progress(&d, 2).match, 2);
    cr_assert_eq(progress(&d, 2).next, 3);
    refuse(&d, 2, 1, 0, 0);
    cr_assert_eq(progress(&d, 2).match, 2);
    cr_assert(progress(&d, 2).keeps_up);
    desk_close(&d);
}

Test(raft_progress, an_acknowledgement_of_more_than_there_is_counts_for_nothing)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    desk_acked(&d, 2, 3);
    cr_assert_eq(progress(&d, 2).match, 0);
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_close(&d);
}

Test(raft_progress, an_acknowledgement_of_another_term_counts_for_nothing)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    HEAR(&d, .kind = RAFT_APPEND_ACK, .from = 2, .term = 1, .index = 2);
    cr_assert_eq(progress(&d, 2).match, 0);
    desk_close(&d);
}

Test(raft_progress, a_broken_connection_forgets_what_was_under_way)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    desk_propose(&d);
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert(!raft_wants(d.raft, 2, &want));
    raft_peer_reset(d.raft, 2);
    cr_assert(!progress(&d, 2).keeps_up);
    cr_assert(raft_wants(d.raft, 2, &want), "it is asked where it stands");
    desk_close(&d);
}

/* ---- probing ---- */

Test(raft_progress, a_probe_is_one_message_until_an_answer_or_a_heartbeat)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1), 1);
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert_eq(want.first, 2);
    cr_assert_eq(want.log_term, 1);
    cr_assert(!raft_wants(d.raft, 2, &want));
    desk_propose(&d);
    cr_assert(!raft_wants(d.raft, 2, &want));
    desk_beat(&d, 2);
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert(!raft_wants(d.raft, 2, &want));
    desk_acked(&d, 2, 1);
    cr_assert(progress(&d, 2).keeps_up);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 2);
    desk_close(&d);
}

Test(raft_progress, a_follower_whose_disk_is_slow_is_not_asked_again_and_again)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 1, 1), 1);
    cr_assert(desk_replicate(&d, 2, &want));
    desk_acked(&d, 2, 2); /* it has entry 4, and entry 2 is durable */
    cr_assert(!raft_wants(d.raft, 2, &want));
    desk_acked(&d, 2, 4);
    cr_assert(raft_wants(d.raft, 2, &want));
    desk_close(&d);
}

Test(raft_progress, a_refusal_goes_back_by_whole_terms)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 3, 3, 3, 5), 5);
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert_eq(want.first, 7);
    refuse(&d, 2, 6, 6, 2); /* 1 1 2 2 2 2 */
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert_eq(want.first, 3);
    refuse(&d, 2, 6, 6, 2);
    cr_assert(!raft_wants(d.raft, 2, &want), "the same once more is an old one");
    desk_close(&d);
}

Test(raft_progress, a_refusal_that_names_the_asked_entry_with_another_term_is_no_want_of_room)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 3), 3);
    cr_assert(desk_replicate(&d, 2, &want));
    refuse(&d, 2, 2, 2, 2);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 2);
    desk_close(&d);
}

Test(raft_progress, want_of_room_waits_for_the_next_heartbeat)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    for (int i = 0; i < 3; i++) {
        desk_propose(&d);
        cr_assert(desk_replicate(&d, 2, &want));
    }
    for (int rounds = 0; rounds < 3; rounds++) {
        refuse(&d, 2, 2, 2, 2);
        refuse(&d, 2, 3, 3, 2);
        cr_assert(!raft_wants(d.raft, 2, &want), "it would be refused again, and so on");
        desk_wait(&d, DESK_BEAT_MS);
        desk_beat(&d, 2);
        cr_assert(desk_replicate(&d, 2, &want));
        cr_assert_eq(want.first, 3);
    }
    desk_acked(&d, 2, 5);
    cr_assert(progress(&d, 2).keeps_up);
    desk_close(&d);
}

/* ---- the window ---- */

Test(raft_progress, no_more_than_the_window_is_under_way)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    for (int i = 0; i < 40; i++) {
        desk_propose(&d);
    }
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 3);
    cr_assert_eq(want.last, 18, "16 entries");
    cr_assert_eq(want.bytes_max, 1000);
    raft_sent(d.raft, 2, 3, 10, 999);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 13);
    cr_assert_eq(want.last, 18);
    cr_assert_eq(want.bytes_max, 1);
    raft_sent(d.raft, 2, 13, 1, 5);
    cr_assert(!raft_wants(d.raft, 2, &want), "1004 bytes of 1000");
    desk_acked(&d, 2, 12);
    cr_assert(desk_replicate(&d, 2, &want));
    cr_assert_eq(want.first, 14);
    cr_assert(!raft_wants(d.raft, 2, &want), "16 entries, few bytes");
    raft_peer_reset(d.raft, 2);
    cr_assert(desk_replicate(&d, 2, &want));
    desk_acked(&d, 2, 28);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 29);
    cr_assert_eq(want.last, 42);
    cr_assert_eq(want.bytes_max, 1000);
    desk_close(&d);
}

Test(raft_progress, what_is_lost_without_a_word_is_found_out)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    desk_propose(&d);
    cr_assert(desk_replicate(&d, 2, &want));
    for (int i = 0; i < 3 * DESK_ELECTION_MS / DESK_BEAT_MS + 2; i++) {
        desk_wait(&d, DESK_BEAT_MS);
        desk_beat(&d, 2);
        desk_beat(&d, 3);
    }
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 3);
    desk_close(&d);
}

/* ---- heartbeats ---- */

Test(raft_progress, a_heartbeat_tells_a_follower_to_commit_what_it_holds)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    desk_acked(&d, 2, 2);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_clear(&d);
    desk_wait(&d, DESK_BEAT_MS);
    cr_assert_eq(desk_sent(&d, RAFT_HEARTBEAT, 2)->commit, 2);
    cr_assert_eq(desk_sent(&d, RAFT_HEARTBEAT, 3)->commit, 0);
    cr_assert(desk_sent(&d, RAFT_HEARTBEAT, 2)->clock > d.now_ns - DESK_BEAT_MS * 1000000ull);
    desk_close(&d);
}

Test(raft_progress, an_old_or_invented_clock_does_not_prolong_the_lease)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    uint64_t begun = d.now_ns;
    desk_beat(&d, 2);
    HEAR(&d, .kind = RAFT_HEARTBEAT_ACK, .from = 2, .term = 2, .clock = begun + 1000000000);
    HEAR(&d, .kind = RAFT_HEARTBEAT_ACK, .from = 3, .term = 1, .clock = begun + 1);
    cr_assert(!raft_lease(d.raft, begun + 91 * 1000000ull));
    desk_close(&d);
}

/* ---- images ---- */

Test(raft_progress, a_follower_behind_the_log_wants_an_image_and_goes_on_behind_it)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 1, 1), 1);
    desk_acked(&d, 3, 5);
    raft_applied(d.raft, 5);
    raft_compact(d.raft, 4);
    cr_assert(desk_replicate(&d, 2, &want));
    refuse(&d, 2, 4, 1, 1);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert(want.snapshot);
    raft_snapshot_begin(d.raft, 2, 5);
    cr_assert(!raft_wants(d.raft, 2, &want));
    cr_assert(progress(&d, 2).snapshot);
    desk_propose(&d);
    refuse(&d, 2, 4, 1, 1);
    cr_assert(!raft_wants(d.raft, 2, &want), "until it arrived");
    raft_snapshot_end(d.raft, 2, true);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 6);
    cr_assert(!want.snapshot);
    desk_close(&d);
}

Test(raft_progress, an_image_that_is_acknowledged_has_arrived)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 1, 1), 1);
    desk_propose(&d);
    raft_snapshot_begin(d.raft, 2, 5);
    desk_acked(&d, 2, 4);
    cr_assert(progress(&d, 2).snapshot);
    desk_acked(&d, 2, 5);
    cr_assert(!progress(&d, 2).snapshot);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert_eq(want.first, 6);
    raft_snapshot_end(d.raft, 2, false);
    cr_assert_eq(progress(&d, 2).next, 6, "it had ended");
    desk_close(&d);
}

Test(raft_progress, an_image_that_did_not_arrive_is_tried_again_with_the_next_heartbeat)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 1, 1), 1);
    desk_acked(&d, 3, 5);
    raft_applied(d.raft, 5);
    raft_compact(d.raft, 4);
    raft_snapshot_begin(d.raft, 2, 5);
    raft_snapshot_end(d.raft, 2, false);
    cr_assert(!raft_wants(d.raft, 2, &want));
    desk_beat(&d, 2);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert(want.snapshot);
    desk_close(&d);
}

Test(raft_progress, a_conflict_where_the_log_begins_wants_an_image)
{
    struct desk      d;
    struct raft_want want;
    lead(&d, 3, 0, TERMS(1, 1, 3, 3), 3);
    desk_acked(&d, 3, 5);
    raft_applied(d.raft, 5);
    raft_compact(d.raft, 4);
    cr_assert(desk_replicate(&d, 2, &want));
    refuse(&d, 2, 4, 4, 2);
    cr_assert(raft_wants(d.raft, 2, &want));
    cr_assert(want.snapshot, "entry 4 there is another one than that before this log");
    desk_close(&d);
}

/* ---- damage ---- */

#define DAMAGED(...) \
    HEAR(&d, .kind = RAFT_APPEND_ACK, .from = 2, .term = raft_term(d.raft), .damaged = true, __VA_ARGS__)

Test(raft_progress, a_damaged_follower_is_sent_everything_and_counts_for_nothing)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    follow(&d, 2);
    cr_assert_eq(raft_commit(d.raft), 2);
    uint64_t index = desk_propose(&d);
    DAMAGED(.index = index);
    cr_assert_eq(raft_commit(d.raft), 2);
    HEAR(&d, .kind = RAFT_HEARTBEAT_ACK, .from = 2, .term = 2, .damaged = true, .clock = d.now_ns);
    cr_assert(!raft_lease(d.raft, d.now_ns));
    cr_assert(!raft_transfer(d.raft, 2, d.now_ns));
    desk_wait(&d, 2 * (DESK_ELECTION_MS + DESK_BEAT_MS) + 1);
    cr_assert_eq(raft_role(d.raft), RAFT_FOLLOWER, "it is no majority with it");
    desk_close(&d);
}

Test(raft_progress, what_a_damaged_follower_acknowledged_before_is_void)
{
    struct desk d;
    lead(&d, 5, 0, TERMS(1, 1, 1, 1), 1);
    follow(&d, 2);
    desk_acked(&d, 3, 4);
    cr_assert_eq(raft_commit(d.raft), 0);
    DAMAGED(.refused = true, .index = 5, .hint = 2, .log_term = 1);
    desk_acked(&d, 3, 5);
    cr_assert_eq(raft_commit(d.raft), 0);
    cr_assert_eq(progress(&d, 2).match, 0);
    desk_acked(&d, 2, 5); /* late, from before the damage */
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_close(&d);
}

Test(raft_progress, a_damaged_follower_counts_again_when_it_says_so_and_from_nothing_on)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    DAMAGED(.index = 1);
    DAMAGED(.index = 2);
    desk_clear(&d);
    desk_wait(&d, DESK_BEAT_MS);
    const struct raft_message *beat = desk_sent(&d, RAFT_HEARTBEAT, 2);
    cr_assert(beat->damaged);
    cr_assert_eq(beat->hint, 0, "nobody confirmed that this one leads");
    cr_assert(!desk_sent(&d, RAFT_HEARTBEAT, 3)->damaged);
    uint64_t confirmed = desk_sent(&d, RAFT_HEARTBEAT, 3)->clock;
    desk_beat(&d, 3);
    desk_wait(&d, DESK_BEAT_MS);
    cr_assert_eq(desk_sent(&d, RAFT_HEARTBEAT, 2)->hint, confirmed);
    desk_beat(&d, 2); /* whole, it says */
    cr_assert_eq(raft_commit(d.raft), 0);
    desk_acked(&d, 2, 2);
    cr_assert_eq(raft_commit(d.raft), 2);
    desk_close(&d);
}

Test(raft_progress, the_heartbeat_of_a_damaged_follower_tells_all_that_is_committed)
{
    struct desk d;
    lead(&d, 3, 0, TERMS(1), 1);
    desk_acked(&d, 3, 2);
    DAMAGED(.index = 1);
    desk_clear(&d);
    desk_wait(&d, DESK_BEAT_MS);
    cr_assert_eq(desk_sent(&d, RAFT_HEARTBEAT, 2)->commit, 2);
    desk_close(&d);
}
