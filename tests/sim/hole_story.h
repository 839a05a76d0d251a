/* hole_story - three nodes that all die, and then have lost part of their logs: what scenarios of holes begin and end with.
 *
 *   begin .. write_part, or make_listed .. all die, bytes rot, all begin .. accept_damage, or go_on_without .. check_hole .. end
 *
 * Checkpoints are hardly made before the story wants them, so nodes that start again replay what they wrote. What all have lost is of stripe 0.
 * Lifetime: hole_story_begin .. hole_story_end.   Threads: the simulator's one. */
#ifndef KEEL_TESTS_SIM_HOLE_STORY_H
#define KEEL_TESTS_SIM_HOLE_STORY_H

#include "tests/sim/group.h"
#include "tests/sim/group_client.h"

enum { HOLE_STORY_LIMIT_S = 120, HOLE_STORY_PARTS = 4 };

struct hole_story {
    struct group        group;
    struct group_client client;
    uint64_t ends[HOLE_STORY_PARTS][GROUP_MAX]; /* of the log of a node, when a part of the story had come to its end */
    bool     listed[GROUP_MAX];                 /* it makes a checkpoint in the middle of it */
    uint64_t saved[GROUP_MAX];                  /* a checkpoint that is older than what is waited for */
    bool     behind[GROUP_MAX];                 /* its checkpoint does not have what all have lost */
};

/* Three nodes with one to stripes_max stripes that keep all of their logs, and a client. */
struct hole_story *hole_story_begin(struct world *world, uint32_t stripes_max);
/* The client has ended before. */
void hole_story_end(struct hole_story *s);

/* All nodes have what comes now, low to high transactions of each stripe, durable, and in blocks that hold nothing else. */
void hole_story_write_part(struct hole_story *s, uint32_t part, uint64_t low, uint64_t high);
/* Nodes make a checkpoint while they have applied most of what is durable there. The first record behind that, of those that do: false, there is none. */
bool hole_story_make_listed(struct hole_story *s, uint64_t *out_offset);
/* Of the stream of stripe 0, as far as this node has applied it. */
uint64_t hole_story_next_offset(struct hole_story *s, uint32_t node);
/* Each node has the record, there. */
void hole_story_find(struct hole_story *s, uint64_t offset, uint64_t positions[GROUP_MAX]);

/* Each is killed, or without power. */
void hole_story_all_die(struct hole_story *s);
/* Flips a bit of the log of a node that is dead. False: the file has gone, behind a checkpoint. */
bool hole_story_rot(struct hole_story *s, uint32_t node, uint64_t position);
/* One after the other, soon or at once. */
void hole_story_all_begin(struct hole_story *s);
/* All die, it is lost on all, and they start again. */
void hole_story_lose(struct hole_story *s, const uint64_t positions[GROUP_MAX]);

/* A checkpoint was made when its node had applied what is lost, and the node takes its log for whole. Sets behind. */
bool hole_story_applied_somewhere(struct hole_story *s, uint64_t offset);
/* The operator's decision: all start again with it. */
void hole_story_accept_damage(struct hole_story *s);
/* The operator accepts it, and nodes die meanwhile. They agree at the end. */
void hole_story_go_on_without(struct hole_story *s);
/* It is a hole on all of them, if it is gone, and all else is there, whoever leads: without the setting, too, once their checkpoints say so. */
void hole_story_check_hole(struct hole_story *s, uint64_t offset, bool gone);

#endif
