/* refill - entries that damage took out of this node's log, in the part that a restart replays, are given back by the other nodes when no leader can do it: each
 * replica may have its own hole, so that none has a vote, while together they have every entry.
 *
 *   log as it is read:   .. 9 10 | hole | 14 15 .. 20 | hole | 25 .. 30        entries that follow what stands before them go to raft, as ever;
 *                        raft        `behind`                                  those behind a hole are remembered here
 *
 *   no leader for a while ──RPC_REFILL_ASK 13──▶ one node after the other: it looks among its own entries, those behind its own holes too
 *                         ◀──RPC_REFILL── 13, 12, 11 .. : one that 14 was made behind, by its chain, then one that 13 was made behind ..
 *                         until one was made behind an entry that is here: the hole is closed, and its bytes lie in the own log (LOG_BODY)
 *   nothing is missing    a state (term and vote) was written behind the last hole: raft_mend. Else a vote may be forgotten: all voters are asked for their
 *                         terms, and this one goes on in a term above all of them. Who was voted for knew that term, or has forgotten it as well and can use the
 *                         vote no more.
 *
 * From behind the hole to its front, because that way every answer is proved when it comes, whatever the hole held: entries that were replaced in it, too. What no
 * entry of the stripe stands behind (`open`) proves nothing: its end may be gone. Then, or when no node has an entry, a leader that was elected without this node makes it
 * whole as ever, or the operator accepts the damage: what any node has in one piece with what lies in front of it counts, what lies behind does not.
 * One that gives up while another has more votes, and does not lead until an entry of a leader since is here; checkpoints call it damaged until then.
 * All of it is found anew by the next start, until a checkpoint holds it.
 *
 * A leader that was elected without this node may come and go before the node is whole. What it gave takes nothing away from what is known of the holes, until an entry came
 * of a later term than all that lies behind them: a leader of that term had whatever is committed of all that, and the log has it up to there. (No leader of an earlier term
 * is followed: raft is told the term of the last entry behind the holes.) So it is with what a restart reads in the log behind a checkpoint that speaks of holes (`known`),
 * and neither a term nor a vote that was written there says what was in the hole. The last entry of an image is such an entry. When it is of
 * no later term, what the image took away from the end of the log may be missing (`open`).
 *
 * An entry that is in the log and committed, and cannot be read, is asked for in the same way, whoever leads, and proved by its own chain (single.c). When nobody has it, nobody
 * leads, and the damage is accepted, it is a hole from then on, with what lies behind it in the log (refill_cut).
 *
 *   RPC_REFILL_ASK   stripe u16 | flags u16 (enum refill_flags) | zero u32 | index u64 (of the entry; 0: none, the term only)
 *   RPC_REFILL       stripe u16 | kind u8 | zero u8 | count u32 | index u64 (as asked) | term u64 (of the answering replica) |
 *                    last u64 | last_term u64 (the entry that its log holds everything up to) |
 *                    count x entry (as in message.h), descending from index
 *   in a checkpoint  open u8 | voted u8 | zero u16 | zero u32 | count u64 |
 *                    count x { index u64, term u64, position u64, wall_ns u64, chain u64, size u32, kind u16, linked u8, members u8 (bytes that follow) }
 *
 * Memory: 64 bytes an entry behind a hole.
 * Threads: the shard.   Units: ns; bytes. */
#ifndef KEEL_SEGSTORE_NODE_REFILL_REFILL_H
#define KEEL_SEGSTORE_NODE_REFILL_REFILL_H

#include "segstore/node/state.h"

/* Without a leader for so long (ns), damage that is accepted is taken for good, and the operator hears of damage that is not. */
static const uint64_t REFILL_ACCEPT_NS = 10000000000;

enum { REFILL_MEMBERS_BYTES = 4 + 2 * 3 * RAFT_MEMBERS_MAX };

enum refill_flags {
    REFILL_LED_OR_NOT = 1, /* one entry, though there may be a leader */
};

/* What another node says. */
enum refill_kind {
    REFILL_ENTRIES = 1,
    REFILL_NONE    = 2, /* it does not have that entry */
    REFILL_LATER   = 3, /* it may */
    REFILL_LED     = 4, /* it knows who leads: there is a better way */
};

struct refill_entry {
    uint64_t        index;
    uint64_t        term;
    struct log_slot slot;
    uint8_t        *members; /* LOG_MEMBERS: its ops; else NULL */
    bool            linked;  /* made right behind the one before it in the list */
};

struct refill {
    struct list          link; /* node->refills */
    struct node_stripe  *st;
    struct refill_entry *behind; /* ascending */
    size_t               first;  /* of them, that is still here */
    size_t               count;
    size_t               capacity;
    struct refill_entry *found; /* of the hole in front of behind[first], descending */
    size_t               found_count;
    size_t               found_capacity;
    struct log_entry     last; /* the one that the next to be found stands before; its ops are a copy */
    uint8_t             *last_ops;
    uint64_t             said_no;   /* a bit per node->peers[]: they do not have what is wanted now */
    uint64_t             terms;     /* a bit per node->peers[]: whose term is known .. */
    uint64_t             term;      /* .. and the highest of them */
    uint64_t             best_term; /* of the last entry of the log that goes furthest of those of other voters */
    uint64_t             best_last;
    uint64_t             led_ns; /* when a leader was known last, or when it began */
    uint64_t             next_ns;
    uint64_t             told_ns;
    uint64_t held_by; /* the checkpoint from which on what is given up may be replaced; 0: not asked for yet */
    uint32_t turn;    /* whom it asks next */
    bool     open;    /* nothing came behind the last hole */
    bool     voted;   /* a term and vote may have been in a hole */
    bool     known;   /* what the replay reads now was written when the damage was known */
    /* What nobody has, as the operator accepts it. said_no: who was asked for the entry behind the last one. */
    bool     giving_up;
    bool     given_up;      /* it counts again, but another one has more and is to lead .. */
    uint64_t given_up_term; /* .. in this term or a later one */
};

/* ---- behind.c: as the log is read, and in checkpoints ---- */

/* A hole: entries, votes may be missing from here on. */
void refill_hole(struct node_stripe *st);
/* The next entry of the log, while there is a refill. False: it goes to raft, it follows what is there. */
bool refill_replay(struct node_stripe *st, const struct log_entry *entry);
/* A term and vote. */
void refill_state(struct node_stripe *st);
/* The last of those that a leader gives, which are in the log now. */
void refill_taken(struct node_stripe *st, const struct log_entry *entry);
/* An image that ends with this entry takes the place of what is here; keeps_log: of what lies behind that entry it does not. */
void refill_replaced(struct node_stripe *st, uint64_t index, uint64_t term, bool keeps_log);
/* While it runs: entry index, committed and not applied, cannot be read, and that is accepted. It is a hole from now on. False: not now. */
bool refill_cut(struct node_stripe *st, uint64_t index);
/* The term of the last entry behind the holes; 0: there is none. */
uint64_t refill_term(const struct refill *r);
/* It is whole, or an operator has to take care of it. */
void refill_drop(struct node_stripe *st);
/* A checkpoint speaks of it. */
bool refill_is_open(const struct node_stripe *st);
/* Nothing is there when nothing is missing. */
void            refill_put(const struct node_stripe *st, struct wire_writer *w);
MUST_CHECK bool refill_get(struct node_stripe *st, struct wire_reader *r);
/* An entry that lies behind a hole, or was found for one: NULL, it is not among them. */
const struct refill_entry *refill_find(const struct refill *r, uint64_t index);
/* Lets go of the file. */
void refill_entry_drop(struct node_stripe *st, struct refill_entry *e);
void refill_found_drop(struct refill *r);

/* ---- fill.c ---- */
void     refills_turn(struct node *node);
uint64_t refills_next_ns(const struct node *node);
void     refill_body_durable(struct node_stripe *st, const struct log_entry *entry);
void     refill_answered(struct session *s, struct wire_reader *reader);

/* Asks a peer that is roomy. */
void refill_ask(const struct node_stripe *st, struct peer *peer, uint64_t index, uint16_t flags);
/* An entry of an answer; false: it is malformed. */
MUST_CHECK bool refill_entry_read(const struct node_stripe *st, struct wire_reader *reader, uint64_t index,
                                  struct log_entry *out);
/* Is there room for it in the own log? Then it is written there, as LOG_BODY. */
bool refill_fits(const struct storage *storage, struct bytes ops);
void refill_write(struct node_stripe *st, struct bytes ops, const uint8_t **out_memory);

/* ---- single.c ---- */
/* Asks for the entry of its log that cannot be read here. False: it does not come, or something else is wrong: an image is
 * wanted. */
bool single_ask(struct node_stripe *st);
void single_answered(struct node_stripe *st, uint32_t peer, uint8_t kind, uint64_t index, struct wire_reader *reader);
void single_body_durable(struct node_stripe *st, const struct log_entry *body);
void single_drop(struct node_stripe *st);

/* ---- tell.c ---- */
/* Nobody leads and what lies behind that entry is missing: the operator is told, not too often. answered: a bit per node->peers[]; led_ns: when a leader was known
 * last; told_ns: when it was told last, or when it began. */
void refill_tell(const struct node_stripe *st, uint64_t last, uint64_t answered, uint64_t led_ns, uint64_t *told_ns);

/* ---- give.c ---- */
/* What this node's log has of an entry, behind its holes, too: 0 and *out; 1: it is being read; an error: it is not here. */
MUST_CHECK int refill_entry_of(struct node_stripe *st, uint64_t index, struct log_entry *out);
/* What is known of it, whether it can be read or not; NULL: nothing. */
const struct log_slot *refill_slot_of(const struct node_stripe *st, uint64_t index);
/* Behind the last of them. */
uint64_t refill_end(const struct node_stripe *st);
void     refill_asked(struct session *s, struct wire_reader *reader);

#endif
