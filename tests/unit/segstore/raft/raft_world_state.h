/* raft_world_state - what the files of the world share; nobody else includes it.
 *   raft_world.c        one run: trouble, then health; what is drawn        raft_world_net.c    messages and connections
 *   raft_world_check.c  what must hold after every step                     raft_world_node.c   a node's log, its disk, its life and its turn */
#ifndef KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_WORLD_STATE_H
#define KEEL_TESTS_UNIT_SEGSTORE_RAFT_RAFT_WORLD_STATE_H

#include "segstore/raft/raft.h"
#include "shared/base/rand.h"
#include "tests/unit/segstore/raft/raft_world.h"

#include <setjmp.h>
#include <stdio.h>

enum {
    NODES          = 5,
    INDEX_MAX      = 1200,
    TERM_MAX       = 256,
    JOURNAL_MAX    = 8192,
    FLYING_MAX     = 4096,
    ENTRIES_MAX    = 16, /* of one APPEND */
    CONFIGS_MAX    = 64,
    ELECTION_STEPS = 100,
    BEAT_STEPS     = 20,
    HEAL_STEPS     = 10 * ELECTION_STEPS,
    STEP_NS        = 1000000
};

struct entry {
    uint64_t term;
    uint64_t hash;   /* of everything up to it */
    uint16_t config; /* 0: none */
};

struct image {
    uint64_t            index, term, hash;
    uint64_t            state_term;
    uint16_t            state_vote;
    struct raft_members members;
    uint64_t            changed;
    size_t              replay_from; /* of the journal */
};

enum record_kind { RECORD_ENTRY, RECORD_STATE, RECORD_IMAGE };

/* One of the node's only log, in order; complete ones are what a restart finds. */
struct record {
    uint8_t      kind;
    uint16_t     vote;
    uint64_t     index, term, copy, commit, done_at;
    struct entry entry;
};

enum { SNAP = 100, SNAP_DONE };

struct flight {
    struct raft_message message;
    uint64_t            terms[ENTRIES_MAX];
    struct entry        entries[ENTRIES_MAX];
    struct image        image;
    uint64_t            at;
    uint32_t            connection;
    uint32_t            to_life;
    uint32_t            serial;
    bool                arrived;
};

struct node {
    struct raft *raft;
    uint32_t     life;
    bool         up;
    bool         marked_damaged; /* durable */
    uint64_t     back_at;        /* while down */
    int64_t      drift;          /* of its clock, in 1/1000 */
    struct entry log[INDEX_MAX]; /* in memory */
    uint64_t     copy[INDEX_MAX];
    uint64_t     last, applied, commit_seen;
    uint64_t changed, changed_durable; /* the last change of members that was applied, and that it will know again */
    uint64_t stall_until;              /* the disk */
    uint64_t commit_durable;
    uint64_t last_disk_at;
    struct record journal[JOURNAL_MAX];
    size_t        complete, written;
    struct image  image, coming; /* durable; being written */
    uint64_t      coming_at;
    bool          lead_wanted;
    /* what the complete records amount to */
    struct entry  disk_log[INDEX_MAX];
    uint64_t      disk_last, disk_term;
    uint16_t      disk_vote;
    uint64_t      snap_until[NODES + 1]; /* an image is on its way there */
    uint16_t      votes[TERM_MAX];       /* what it ever promised, to whom */
    uint64_t      led_term;
    uint32_t      id;
    struct world *world;
};

struct world {
    struct rand               r;
    struct raft_world_result *out;
    jmp_buf                   failed;
    uint64_t                  step;
    struct node               nodes[NODES + 1];
    struct flight            *flying[FLYING_MAX];
    size_t                    flying_count;
    struct flight            *spare[FLYING_MAX];
    size_t                    spare_count;
    uint32_t                  serial;
    uint32_t                  connection[NODES + 1][NODES + 1];
    uint64_t                  behind[NODES + 1][NODES + 1]; /* the last message of the connection arrives then */
    bool                      blocked[NODES + 1][NODES + 1];
    uint16_t                  leader_of[TERM_MAX];
    uint32_t                  leader_life[TERM_MAX];
    struct entry              committed[INDEX_MAX];
    uint64_t            committed_in[INDEX_MAX]; /* term of the one that was first seen to hold it for committed */
    uint64_t            commit;                  /* of anyone, ever */
    uint64_t            hash_of[INDEX_MAX][TERM_MAX];
    struct raft_members configs[CONFIGS_MAX];
    uint16_t            config_count;
    uint64_t            value;
    bool                trouble;
    int                 first_voters;
    int                 verbose;
    /* What this run does, one time in so many. 0: never. */
    uint64_t delay_max, disk_max, drop, twice, crash, cut, part, one_way, refuse, transfer, damage, change, compact,
        propose, lazy_flush, stall, shy, firewall;
    uint64_t lease_ns;
};

#define SAY(w, ...)                                          \
    do {                                                     \
        if ((w)->verbose) {                                  \
            printf("%5llu ", (unsigned long long)(w)->step); \
            printf(__VA_ARGS__);                             \
            putchar('\n');                                   \
        }                                                    \
    } while (0)

typedef unsigned long long ull;

static inline bool one_in(struct world *w, uint64_t n)
{
    return w->trouble && n != 0 && rand_chance(&w->r, n);
}

static inline uint64_t now_of(const struct node *n)
{
    return (1000 + n->world->step) * (uint64_t)(STEP_NS / 1000 * (1000 + n->drift));
}

static inline uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9u | 1;
}

/* Ends the run with this sentence. */
void world_fail(struct world *w, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

/* raft_world_net.c */
struct flight *world_flight_new(struct world *w);
void           world_launch(struct world *w, struct flight *f);
void           world_cut(struct world *w, uint16_t a, uint16_t b);
void           world_deliver_due(struct world *w);

/* raft_world_check.c */
void world_check(struct world *w);
void world_check_entry(struct world *w, const struct node *n, uint64_t index);
void world_check_sent(struct world *w, const struct raft_message *m);
bool world_whole(struct world *w, uint64_t than);
void world_tell(const struct world *w);

/* raft_world_node.c */
uint64_t       world_hash_at(const struct node *n, uint64_t index);
void           world_write_entry(struct node *n, uint64_t index, const struct entry *e);
struct record *world_write_record(struct node *n, uint8_t kind);
void           world_propose(struct node *n, uint16_t config);
void           world_apply(struct node *n);
void           world_live(struct world *w, struct node *n);
/* Its hooks. */
void world_on_send(void *ctx, const struct raft_message *m);
void world_on_save(void *ctx, uint64_t term, uint16_t vote);
void world_on_lead(void *ctx);

/* raft_world_life.c */
void         world_disk_entry(struct node *n, const struct record *r);
void         world_crash(struct world *w, struct node *n);
void         world_restart(struct world *w, struct node *n);
void         world_damage(struct world *w, struct node *n);
struct image world_image_now(const struct node *n);
void         world_compact(struct node *n);
void         world_take_image(struct world *w, struct node *n, const struct flight *f);
void         world_image_done(struct world *w, struct node *n);

#endif
