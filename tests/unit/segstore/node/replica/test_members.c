/* test_members.c - who the replicas are, there and back. */
#include "segstore/node/replica/members.h"

#include <criterion/criterion.h>
#include <string.h>

Test(replica_members, come_back_as_they_were)
{
    uint8_t                   memory[64];
    struct wire_writer        w = wire_writer_fixed(memory, sizeof memory);
    const struct raft_members m = {.voters         = {1, 2, 4},
                                   .voter_count    = 3,
                                   .outgoing       = {1, 2, 3},
                                   .outgoing_count = 3,
                                   .learners       = {700},
                                   .learner_count  = 1};
    struct raft_members       out;
    members_put(&w, &m);
    cr_assert(members_get(wire_written(&w), &out));
    cr_assert_eq(memcmp(&m, &out, sizeof m), 0);
}

Test(replica_members, nobody_too_many_and_number_zero_are_refused)
{
    struct raft_members out;
    const uint8_t       nobody[]  = {1, 0, 0, 0};
    const uint8_t       zero[]    = {1, 1, 0, 0, 0, 0};
    const uint8_t       many[]    = {1, RAFT_MEMBERS_MAX + 1, 0, 0, 1, 0};
    const uint8_t       cut[]     = {1, 2, 0, 0, 1, 0, 2};
    const uint8_t       version[] = {2, 1, 0, 0, 1, 0};
    cr_assert(!members_get(bytes_of(nobody, sizeof nobody), &out));
    cr_assert(!members_get(bytes_of(zero, sizeof zero), &out));
    cr_assert(!members_get(bytes_of(many, sizeof many), &out));
    cr_assert(!members_get(bytes_of(cut, sizeof cut), &out));
    cr_assert(!members_get(bytes_of(version, sizeof version), &out));
}
