/* group_reader - another broker shard of the same process as group_client, that only reads, from every node that answers: whoever it thinks leads.
 *
 *   to each node, of each stripe, again and again:  READ the end of the stream,  SCAN row "last"
 *
 * A node may refuse (it does not lead, or is not certain to). One that answers must know all that was acknowledged to the client before it was asked, by
 * whatever node, and a READ all that an earlier one knew.
 * Threads: one; it is a process of its own in the simulated world, on a machine "reader". */
#ifndef KEEL_TESTS_SIM_GROUP_READER_H
#define KEEL_TESTS_SIM_GROUP_READER_H

#include "tests/sim/group_client.h"
#include "tests/sim/group_link.h"

/* A request under way to one node. */
struct reader_question {
    bool     asked;
    uint64_t known; /* records that were acknowledged, or seen, when it was asked */
};

struct group_reader {
    struct world              *world;
    struct process            *process;
    struct io                 *io;
    const struct group_client *client; /* whose promises are checked */
    struct group_link          links[GROUP_MAX];
    uint32_t                   link_count;
    struct reader_question     reads[GROUP_MAX][GROUP_STRIPES_MAX];
    struct reader_question     scans[GROUP_MAX][GROUP_STRIPES_MAX];
    uint64_t                   seen[GROUP_STRIPES_MAX]; /* the most records that an answer knew of */
    uint64_t                   ask_ns[GROUP_MAX];       /* when the next questions are due */
    uint64_t                   answers;
};

/* The client has been started. */
void group_reader_start(struct group_reader *reader, struct group *group, const struct group_client *client);
void group_reader_end(struct group_reader *reader);

#endif
