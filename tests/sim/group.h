/* group - several segment stores that keep the same stripes, each on a machine of its own, and the eye that watches them.
 *
 *     store1 ◀──▶ store2 ◀──▶ store3          numbers 1, 2, 3; port 7400
 *
 * Each may be killed, lose power, be cut off, paused. group_watch, called as often as time passes (group_run_ns), checks what must hold at every
 * moment: one leader per stripe and term; what one replica knows to be committed has the same history on every other; neither term nor commit index
 * of a replica goes back while it runs. group_agree: at rest, all replicas are the same.
 * Threads: one. */
#ifndef KEEL_TESTS_SIM_GROUP_H
#define KEEL_TESTS_SIM_GROUP_H

#include "segstore/node/config.h"
#include "tests/sim/process.h"

enum { GROUP_MAX = 5, GROUP_STRIPES_MAX = 4, GROUP_TERMS_MAX = 4096, GROUP_PORT = 7400, GROUP_DISK_BYTES = 256 << 20 };

struct node;
struct group;

struct group_member {
    struct group          *group;
    struct segstore_config config;
    struct machine        *machine;
    struct process        *process;
    struct node           *node;
    char                   name[16];
    bool                   ready;
    bool                   may_refuse; /* a scenario expects that it does not start */
    char                   why[256];   /* it refused */
    uint64_t               terms[GROUP_STRIPES_MAX];
    uint64_t               commits[GROUP_STRIPES_MAX];
    bool                   left[GROUP_STRIPES_MAX]; /* it was no member, and holds nothing */
    /* The last term in which it was seen to lead: a disk that is not lost remembers it. */
    uint64_t led[GROUP_STRIPES_MAX];
};

struct group {
    struct world       *world;
    uint32_t            count;
    uint32_t            founders; /* the first of them form the cluster, the others wait to be taken in */
    uint32_t            stripes;
    bool                damaged; /* a scenario damaged what a node wrote; else no replica may take itself for damaged */
    struct group_member members[GROUP_MAX];
    uint16_t            leaders[GROUP_STRIPES_MAX][GROUP_TERMS_MAX]; /* who led in a term; 0: nobody was seen */
    uint64_t compared[GROUP_MAX][GROUP_MAX][GROUP_STRIPES_MAX]; /* the last entry behind which the two were the same */
};

/* Small files, so that they roll and checkpoints are made within seconds. */
void group_start(struct group *group, struct world *world, uint32_t count, uint32_t stripes);
/* The first `founders` form the cluster; the others are known to all, and wait to be taken in. */
void group_start_some(struct group *group, struct world *world, uint32_t count, uint32_t founders, uint32_t stripes);
void group_end(struct group *group);

void group_crash(struct group *group, uint32_t member);
void group_power_off(struct group *group, uint32_t member);
/* After either. */
void group_restart(struct group *group, uint32_t member);
/* Between: its disk is replaced by an empty one, and what was checked of it begins anew. */
void group_new_disk(struct group *group, uint32_t member);
/* Lets time pass and watches. */
void group_run_ns(struct group *group, uint64_t duration_ns);
/* Until done(ctx), or false after limit_ns. Watches. */
bool group_run_until(struct group *group, bool (*done)(void *ctx), void *ctx, uint64_t limit_ns);
void group_watch(struct group *group);
/* All are up and heal: waits until each stripe has a leader and the replicas of all its members are equal. Fails after limit_ns. */
void group_agree(struct group *group, uint64_t limit_ns);
/* Within limit_ns the voters of every stripe are these, and nobody else is a member. */
bool group_members_are(struct group *group, const uint16_t *nodes, uint16_t count, uint64_t limit_ns);
/* All are up and heal: the lead of every stripe is handed to this one. Fails after limit_ns. */
void group_lead(struct group *group, uint32_t member, uint64_t limit_ns);
/* The node that leads the stripe is asked to hand it over to this one. False: nobody leads, or it cannot. */
bool group_hand_over(struct group *group, uint16_t stripe, uint32_t member);
/* The member that leads the stripe now, or -1. */
int group_leader(const struct group *group, uint16_t stripe);

#endif
