/* Who counts, and when enough agree. */
#include "segstore/raft/state.h"

#include <criterion/criterion.h>

static struct raft raft_of(const struct raft_members *members)
{
    struct raft r = {.options = {.self = 100}};
    r.members     = *members;
    return r;
}

/* Node n has 10 * n, node 7 nothing. */
static uint64_t value(const struct raft *r, uint16_t node)
{
    (void)r;
    return node == 7 ? 0 : node * 10u;
}

static void grant(struct raft *r, uint16_t node, bool yes)
{
    if (yes) {
        r->granted[r->granted_count++] = node;
    } else {
        r->denied[r->denied_count++] = node;
    }
}

Test(raft_members, a_majority_reaches_the_value_in_the_middle)
{
    struct raft one   = raft_of(&(struct raft_members){.voters = {3}, .voter_count = 1});
    struct raft two   = raft_of(&(struct raft_members){.voters = {1, 2}, .voter_count = 2});
    struct raft three = raft_of(&(struct raft_members){.voters = {3, 7, 2}, .voter_count = 3});
    struct raft four  = raft_of(&(struct raft_members){.voters = {1, 2, 3, 4}, .voter_count = 4});
    struct raft five  = raft_of(&(struct raft_members){.voters = {5, 1, 4, 2, 3}, .voter_count = 5});
    cr_assert_eq(quorum_value(&one, value), 30);
    cr_assert_eq(quorum_value(&two, value), 10);
    cr_assert_eq(quorum_value(&three, value), 20);
    cr_assert_eq(quorum_value(&four, value), 20);
    cr_assert_eq(quorum_value(&five, value), 30);
}

Test(raft_members, a_joint_configuration_needs_both_halves)
{
    struct raft r = raft_of(
        &(struct raft_members){.voters = {4, 5, 6}, .voter_count = 3, .outgoing = {1, 2, 7}, .outgoing_count = 3});
    cr_assert_eq(quorum_value(&r, value), 10);
    grant(&r, 4, true);
    grant(&r, 5, true);
    grant(&r, 6, true);
    cr_assert_eq(tally(&r), TALLY_OPEN);
    grant(&r, 1, true);
    cr_assert_eq(tally(&r), TALLY_OPEN);
    grant(&r, 7, true);
    cr_assert_eq(tally(&r), TALLY_WON);
}

Test(raft_members, a_lost_half_loses_the_joint_election)
{
    struct raft r = raft_of(
        &(struct raft_members){.voters = {4, 5, 6}, .voter_count = 3, .outgoing = {1, 2, 7}, .outgoing_count = 3});
    grant(&r, 4, true);
    grant(&r, 5, true);
    grant(&r, 1, false);
    cr_assert_eq(tally(&r), TALLY_OPEN);
    grant(&r, 2, false);
    cr_assert_eq(tally(&r), TALLY_LOST);
}

Test(raft_members, half_of_an_even_number_is_no_majority_and_half_of_it_refusing_loses)
{
    struct raft r = raft_of(&(struct raft_members){.voters = {1, 2, 3, 4}, .voter_count = 4});
    grant(&r, 1, true);
    grant(&r, 2, true);
    cr_assert_eq(tally(&r), TALLY_OPEN);
    grant(&r, 3, false);
    grant(&r, 4, false);
    cr_assert_eq(tally(&r), TALLY_LOST);
}

Test(raft_members, learners_and_strangers_are_not_counted)
{
    struct raft r =
        raft_of(&(struct raft_members){.voters = {1, 2, 3}, .voter_count = 3, .learners = {4, 5}, .learner_count = 2});
    grant(&r, 1, true);
    grant(&r, 4, true);
    grant(&r, 5, true);
    grant(&r, 9, true);
    cr_assert_eq(tally(&r), TALLY_OPEN);
    cr_assert_eq(quorum_value(&r, value), 20);
    cr_assert(!raft_members_voter(&r.members, 4));
    cr_assert(raft_members_any(&r.members, 4));
    cr_assert(!raft_members_any(&r.members, 9));
}

Test(raft_members, every_node_is_listed_once)
{
    struct raft_members m = {.voters         = {1, 2, 3},
                             .voter_count    = 3,
                             .outgoing       = {3, 4},
                             .outgoing_count = 2,
                             .learners       = {4, 5},
                             .learner_count  = 2};
    uint16_t            out[3 * RAFT_MEMBERS_MAX];
    cr_assert_eq(raft_members_list(&m, out), 5);
    for (uint16_t i = 0; i < 5; i++) {
        cr_assert_eq(out[i], i + 1);
    }
}
