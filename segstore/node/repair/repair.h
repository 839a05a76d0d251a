/* repair - a record that this node cannot read any more is given back by another node.
 *
 *   a read fails ──────────────────────────────┐
 *   the log was read again, and has changed ───┤ survey: what is held there
 *   an image finds a record missing ───────────┘
 *        ▼
 *   LOOK: what is really there? ──all is well──▶ forgotten            ──the record is whole, its block is not──▶ WRITING
 *        ▼
 *   ASK ──REPAIR_ASK──▶ one node after the other           a node looks in its own log (look.c) and answers
 *        ▼ REPAIR_ANSWER: ENTRY, PAGES or DOUBT; NONE, LATER: the next node
 *   WRITING: a body in the own log (LOG_BODY) ──durable──▶ stripe_relocate: it lies there from now on. Readers that waited go on.
 *        ▼ nothing of the stripe is missed any more
 *   a checkpoint, soon: a restart goes back to what is damaged until then
 *
 *   ENTRY   the entry of the log that holds it, out of a block that is whole: every other record of it that is missed comes along, when it is known here as well
 *   PAGES   the record out of a block that has changed elsewhere
 *   DOUBT   the record is whole by its own checksum, but nothing proves the target that points to it: it counts when that is the same on two nodes (the asker
 *           may be one)
 *   NONE    cannot be read there either; when all members say so the record is lost: readers are told ERR_CORRUPT, and it is asked for again now and then
 *   LATER   that node does not hold it now: it lags, or is ahead and knows it trimmed
 *   UNCLEAR it may be in an entry that waits there to be applied, and nobody can tell whether it is. When nobody else has it, either, and the operator accepts the damage,
 *           the record is lost all the same: else the node that waits would never come back
 *
 * One that waits for an image cannot hold what this node applied, and what this node misses no image can bring it. So who asks says, too, among which entries of the stripe the
 * record stands, as far as its own log tells. Who has not applied these looks among them: ENTRY, when it has the one, and can read it; NONE, when it can read none of them; else
 * LATER.
 *
 * A stripe with such records is led and followed as ever. The repair is durable with the next checkpoint; after a crash before that it
 * is found and repaired anew. A timer's action is in memory: it is written anew without asking.
 *
 * When the head of that entry has gone, too, or a whole page, the asker knows only between which two entries of its log the record stands, where these lie, and where other records that it
 * misses, or did, lie between them. Who has not applied the entries between the two finds out which one it is by their sizes and by what is in those that it can read (log/layout.h).
 *
 *   RPC_REPAIR_ASK     stripe u16 | zero u16 | at u32 | stream u64 | offset u64 | low u64 | high u64 | chain u64 |
 *                      from u64 | to u64 | sealed u64 | term u64 | count u32 | zero u32 | count x { position u64, stream u64, offset u64 }, the first is the one that is asked for
 *                      (struct evidence_place; high is always known. Nodes of earlier versions say nothing behind offset, or behind chain)
 *   RPC_REPAIR_ANSWER  stripe u16 | kind u8 | zero u8 | at u32 (of the record's target in ops) | stream u64 | offset u64 |
 *                      ENTRY, PAGES, DOUBT: index u64 | term u64 | wall_ns u64 | chain u64 | entry kind u16 | zero u16 | zero u32 | ops
 *                      (PAGES, DOUBT: ops of its own, an APPEND to this stream alone; index .. chain 0, but of DOUBT index: target_hash)
 *
 * Memory: at most REPAIR_RECORDS_MAX records are dealt with at a time on a shard, beside those that are lost; a survey that finds more waits.
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_NODE_REPAIR_REPAIR_H
#define KEEL_SEGSTORE_NODE_REPAIR_REPAIR_H

#include "segstore/log/evidence.h"
#include "segstore/node/state.h"
#include "shared/rpc/op.h"

enum {
    REPAIR_RECORDS_MAX = 4096,
    REPAIR_BUCKETS     = 1024,
    REPAIR_SURVEYS_MAX = 64,
    REPAIR_ASKS_MAX    = 64,
    REPAIR_ASKED_MAX   = 32,
    REPAIR_NEAR_MAX    = 64,
    REPAIR_FORMER_MAX  = 256
};

enum repair_kind {
    REPAIR_ENTRY   = 1,
    REPAIR_PAGES   = 2,
    REPAIR_DOUBT   = 3,
    REPAIR_NONE    = 4,
    REPAIR_LATER   = 5,
    REPAIR_UNCLEAR = 6
};

enum repair_state { REPAIR_LOOK, REPAIR_LOOKING, REPAIR_ASK, REPAIR_ASKED, REPAIR_WRITING };

/* A record that may be damaged here. */
struct missed {
    struct list           link;
    struct missed        *next; /* in its bucket */
    struct node_stripe   *st;
    struct stripe_held    held;
    uint64_t              since_ns;
    uint64_t              next_ns; /* ASK: not before; ASKED: no answer came until then */
    const uint8_t        *memory;  /* WRITING: the body, and where in it */
    uint64_t              at;
    struct evidence_place place; /* as far as the own log tells */
    /* target_hash as it stands on node->peers[] and, the last one, here; 0: not known. */
    uint64_t targets[SEGSTORE_NODES_MAX + 1];
    uint8_t  state;
    uint64_t said_no;    /* a bit per node->peers[] */
    uint64_t unclear;    /* likewise */
    uint64_t unclear_ns; /* when the first one said so */
    uint8_t  turn;       /* whom it is asked next */
    bool     lost;       /* nobody had it, the last time that all were asked */
};
_Static_assert(SEGSTORE_NODES_MAX <= 64, "said_no");

/* What lies at a place of the own log. */
struct found {
    uint8_t               kind; /* ENTRY .. NONE */
    struct log_entry      entry;
    uint64_t              at;     /* in entry.ops */
    uint64_t              target; /* target_hash of what stands there */
    struct evidence_place place;  /* NONE, DOUBT */
};

/* Where somebody is looking, one at a time. */
struct look {
    struct io_op        op;
    uint8_t            *memory; /* NULL: none */
    size_t              capacity;
    size_t              size;     /* of the piece in memory, 0: none */
    uint64_t            position; /* of it */
    uint64_t            used_ns;
    bool                busy; /* with the fields below */
    bool                reading;
    struct node_stripe *st;
    struct stripe_held  held;
    uint16_t            asker; /* a node, 0: this one */
    size_t              reach; /* how far around the position */
    struct wire_writer  ops;   /* made for an answer */
};

/* Somebody else's question. */
struct asked {
    struct node_stripe   *st;
    uint64_t              stream_id;
    uint64_t              offset;
    struct evidence_place place; /* high 0: it does not say */
    uint16_t              node;
    uint16_t              near_count;
    /* What the asker misses between from and to, or did; the first is what it asks for. */
    struct stripe_held near[REPAIR_NEAR_MAX];
};

/* Where a record lay that is whole again: it says something of what lies beside it there. */
struct former {
    struct node_stripe *st; /* NULL: none */
    struct stripe_held  held;
};

struct survey {
    struct list         link;
    struct node_stripe *st;
    uint64_t            from;
    uint64_t            to;
    struct stripe_walk  walk;
};

struct repairs {
    struct node   *node;
    struct list    missed;
    struct missed *buckets[REPAIR_BUCKETS]; /* by record */
    struct list    surveys;
    struct list    waiters; /* task.link: readers that wait for a record */
    struct asked   asks[REPAIR_ASKS_MAX];
    struct look    look;
    struct former  former[REPAIR_FORMER_MAX]; /* ring */
    uint32_t       former_next;
    uint32_t       missed_count;
    uint32_t       lost_count; /* of them */
    uint32_t       survey_count;
    uint32_t       ask_first; /* ring */
    uint32_t       ask_count;
    uint32_t       asked_count; /* without an answer yet */
    uint64_t       next_ns;     /* when something is to be done that nothing else brings about */
    /* When a checkpoint is to say where records that are whole again lie now; 0: it does, or there are none. */
    uint64_t         remember_ns;
    struct log_limit told_found;
    struct log_limit told_repaired;
};

/* ---- missed.c ---- */
struct missed *missed_find(struct repairs *r, const struct node_stripe *st, uint64_t stream_id, uint64_t offset);
/* It is there already, or is added. */
struct missed *missed_add(struct repairs *r, struct node_stripe *st, const struct stripe_held *held);
void           missed_drop(struct repairs *r, struct missed *m);
/* Readers look again. */
void waiters_wake(struct repairs *r);
/* A slice of a survey. */
bool survey_turn(struct repairs *r);

/* ---- look.c ---- */
/* Begins to look for somebody, when nobody else does. */
void look_begin(struct repairs *r, struct node_stripe *st, const struct stripe_held *held, uint16_t asker);
/* Target and record at the front of data are whole, as far as they can tell: how long they are together; 0: they are not. */
size_t record_at(struct bytes data, uint64_t stream_id, struct op_target *out, struct record *out_record);
void   look_fini(struct look *look);
/* Gives memory back that was not used for a while; when to call it again. */
uint64_t look_rest(struct repairs *r, uint64_t now_ns);

/* ---- ask.c ---- */
/* What this node's own log says of a record that it misses. */
void missed_looked(struct repairs *r, struct missed *m, const struct found *found);

/* ---- among.c ---- */
/* Of a record that this node does not hold: is it in an entry that waits here to be applied? */
struct found found_among(const struct asked *ask);

/* ---- answer.c ---- */
void answers_turn(struct repairs *r);
void repair_answer(struct repairs *r, uint16_t to, struct node_stripe *st, const struct stripe_held *held,
                   const struct found *found);

#endif
