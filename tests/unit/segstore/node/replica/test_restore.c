/* What a restart takes of its log for committed, when damage has taken a part of it, and what it makes of entries that were there before the image was taken. */
#include "segstore/node/refill/refill.h"
#include "segstore/node/state.h"

#include "shared/loop/io.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct segstore_config config;
static struct node           *node;
static struct node_stripe    *stripe;
static uint64_t               position;
static uint64_t               seq; /* of the next block of the log; each holds one entry */

static void begin(void)
{
    char             why[1024];
    struct io_config io = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    config              = (struct segstore_config){.node = 1, .shards = 1, .kept_entries = 1 << 20};
    node                = calloc(1, sizeof *node);
    node->config        = &config;
    node->storage       = calloc(1, sizeof *node->storage);
    node->stripes       = calloc(1, sizeof *node->stripes);
    node->stripe_count  = 1;
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    segments_init(&node->storage->segments, 1 << 20);
    list_init(&node->refills);
    position                          = 4096;
    seq                               = 1;
    stripe                            = &node->stripes[0];
    *stripe                           = (struct node_stripe){.node = node, .restored = true};
    stripe->stripe                    = stripe_of(stripe);
    const struct raft_options options = {.self = 1, .heartbeat_ns = 100, .election_ns = 1000, .lease_ns = 900};
    stripe->raft                      = raft_new(&options, &(struct raft_hooks){0});
    list_init(&stripe->watchers);
    list_init(&stripe->followers);
    entries_init(&stripe->entries, 0, 0);
    raft_restore(stripe->raft, &(struct raft_stored){.members = {.voters = {1, 2, 3}, .voter_count = 3}});
}

static void end(void)
{
    refill_drop(stripe);
    raft_free(stripe->raft);
    io_close(node->io);
}

TestSuite(replica_restore, .init = begin, .fini = end);

/* The next entry of the log; behind: the chain of the one before it. Returns its own. */
static uint64_t entry(uint64_t index, uint64_t term, uint64_t behind)
{
    struct log_entry e = {.index = index, .term = term, .kind = LOG_OPS, .position = position};
    e.chain            = log_chain(behind, &e);
    position += 4096;
    stripes_replay(node, &e, seq++);
    return e.chain;
}

static void state(uint64_t term, uint64_t commit)
{
    struct wire_writer w = wire_writer_growing(64);
    wire_put_u64(&w, term);
    wire_put_u64(&w, commit);
    wire_put_u16(&w, 1);
    struct log_entry e = {.kind = LOG_STATE, .position = position, .ops = wire_written(&w)};
    stripes_replay(node, &e, seq++);
    wire_writer_fini(&w);
}

static uint64_t committed(void)
{
    cr_assert_eq(stripe_applied(stripe->stripe), raft_commit(stripe->raft));
    return raft_commit(stripe->raft);
}

Test(replica_restore, what_is_said_behind_a_hole_to_be_committed_may_be_of_entries_that_lie_in_it)
{
    uint64_t one = entry(1, 1, 0);
    uint64_t two = entry(2, 1, one);
    (void)entry(3, 1, two);
    state(1, 1);
    cr_assert_eq(committed(), 1);
    stripes_damaged(node, UINT64_MAX); /* another leader's 3 and 4 are in there */
    state(2, 4);
    cr_assert_eq(committed(), 1, "the 2 and 3 that are here may have been replaced");
    cr_assert(raft_is_damaged(stripe->raft));
    uint64_t three = entry(3, 2, two);
    cr_assert_eq(committed(), 3, "this one was made behind the 2 that is here, so that is what was committed");
    (void)entry(4, 2, three);
    cr_assert_eq(committed(), 4);
}

Test(replica_restore, an_entry_that_was_made_behind_others_proves_nothing_of_those_that_are_here)
{
    uint64_t one = entry(1, 1, 0);
    uint64_t two = entry(2, 1, one);
    (void)entry(3, 1, two);
    state(1, 1);
    stripes_damaged(node, UINT64_MAX);
    (void)entry(3, 2, two + 1); /* behind another 2 */
    state(2, 3);
    cr_assert_eq(committed(), 1);
}

Test(replica_restore, what_was_said_in_front_of_a_hole_holds)
{
    uint64_t one = entry(1, 1, 0);
    (void)entry(2, 1, one);
    state(1, 2);
    stripes_damaged(node, UINT64_MAX);
    cr_assert_eq(committed(), 2);
    stripes_damaged(node, UINT64_MAX);
    state(3, 9);
    cr_assert_eq(committed(), 2);
}

Test(replica_restore, what_is_said_behind_a_hole_that_a_checkpoint_speaks_of_may_be_of_entries_that_filled_it)
{
    struct wire_writer w   = wire_writer_growing(4096);
    uint64_t           one = entry(1, 1, 0);
    (void)entry(2, 1, one);
    state(1, 1);
    stripes_damaged(node, UINT64_MAX);
    replica_put(stripe, &w);
    refill_drop(stripe);
    while (stripe->entries.end > stripe->entries.first) { /* as a process that has just started */
        entry_drop_last(stripe);
    }
    stripe->unproved = false;
    cr_assert_eq(replica_restore(stripe, wire_written(&w), 1, 0), 0);
    state(2, 2);
    cr_assert_eq(committed(), 1, "another 2 may have come from other nodes since");
    wire_writer_fini(&w);
}

Test(replica_restore,
     an_entry_that_a_leader_gave_a_damaged_replica_proves_nothing_while_there_are_others_behind_the_hole)
{
    uint64_t one = entry(1, 1, 0);
    uint64_t two = entry(2, 1, one);
    state(1, 1);
    stripes_damaged(node, UINT64_MAX);
    (void)entry(5, 3, 77);
    stripe->refill->known = true;
    uint64_t three        = entry(3, 2, two);
    state(3, 5);
    cr_assert_eq(committed(), 1, "what lies behind the hole may have replaced all that is here");
    (void)entry(4, 4, three);
    cr_assert_eq(committed(), 4, "a leader of a later term had these");
}

/* ---- entries from before the image was taken ---- */

/* A checkpoint holds the stripe as it is now, and the process starts anew; what comes then was written in that block, or in later ones. */
static void start_again(uint64_t applied, uint64_t image_seq)
{
    struct wire_writer w = wire_writer_growing(4096);
    replica_put(stripe, &w);
    while (stripe->entries.end > stripe->entries.first) {
        entry_drop_last(stripe);
    }
    stripe->replay_commit = 0;
    stripe->said_commit   = 0;
    cr_assert_eq(replica_restore(stripe, wire_written(&w), applied, image_seq), 0);
    wire_writer_fini(&w);
}

/* Three entries, of which the first is applied. Behind them were 4 and 5, which a later leader has replaced when the image is taken. Returns the chain of the third. */
static uint64_t replaced(void)
{
    uint64_t one   = entry(1, 1, 0);
    uint64_t two   = entry(2, 1, one);
    uint64_t three = entry(3, 1, two);
    state(1, 1);
    seq += 2;
    start_again(1, seq - 1);
    return three;
}

Test(replica_restore, what_was_replaced_before_the_image_was_taken_is_no_hole)
{
    uint64_t three = replaced();
    seq--;
    (void)entry(5, 1, 77); /* the replay begins behind the 4 that was replaced, too */
    cr_assert_not(raft_is_damaged(stripe->raft));
    cr_assert_eq(raft_last(stripe->raft), 3);
    (void)entry(4, 2, three);
    state(2, 4);
    cr_assert_eq(raft_last(stripe->raft), 4);
    cr_assert_eq(raft_commit(stripe->raft), 4);
}

Test(replica_restore, what_was_written_behind_a_hole_since_the_image_was_taken_says_so)
{
    (void)replaced();
    (void)entry(5, 2, 77);
    cr_assert(raft_is_damaged(stripe->raft));
}

Test(replica_restore, what_was_written_behind_damage_was_not_replaced_for_that)
{
    (void)replaced();
    config.accept_damage    = true;
    stripe->applied_members = (struct raft_members){.voters = {1}, .voter_count = 1};
    start_again(1, seq);
    stripes_damaged(node, UINT64_MAX); /* 4 was in there */
    (void)entry(5, 1, 77);
    cr_assert_eq(raft_last(stripe->raft), 4, "alone, with the damage accepted, it takes the place of what was lost");
}

Test(replica_restore, an_image_that_does_not_say_when_it_was_taken_excuses_no_hole)
{
    (void)replaced();
    start_again(1, 0);
    seq = 1;
    (void)entry(5, 2, 77);
    cr_assert(raft_is_damaged(stripe->raft));
}
