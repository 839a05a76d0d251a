/* state - what the parts of a node share: its stripes, connections, subscriptions and tasks. Only for files of this folder and of those in it.
 *
 *   node ── stripes            replica/: stripes.c (all of a shard), replica.c (propose, durable, commit), apply.c, forget.c, replicate.c (a leader's followers),
 *        │                     message.c (what replicas say), restore.c, leader.c (who leads, and whom that concerns), balance.c (who is to lead), plans.c (which nodes
 *        │                     hold places), change.c changes.c members.c leave.c (who the replicas are), moves.c (records that reclaim moves), limits.c, due.c,
 *        │                     lost.c, pacing.c (what followers that lag are sent)
 *        ── peers              peers/: peers.c (connections to other nodes), known.c peer.c (from them), pulse.c pulses.c (heartbeats), clock.c
 *        ── an image           image/: from a leader to a follower that is too far behind
 *        ── repairs            repair/: a damaged record, asked for at the other nodes
 *        ── refills            refill/: entries that a replay missed, when no leader can give them
 *        ── sessions           session/: session.c (one connection: frames in, frames out), request.c, scan.c, relay.c (between brokers), silence.c
 *        │   └ subscriptions   subscription.c follow.c watch.c, found by index.c
 *        ── tasks              something that reads records and may have to wait for the disk: followers and jobs (read.c)
 *        ── owners             owner.c
 *        ── strain.c pace.c    how long producers wait; how much others may get meanwhile so that they catch up
 *        ── status.c           all of it in plain numbers, for operators
 * Threads: the shard. */
#ifndef KEEL_SEGSTORE_NODE_STATE_H
#define KEEL_SEGSTORE_NODE_STATE_H

#include "segstore/disk/storage.h"
#include "segstore/log/entries.h"
#include "segstore/node/strain.h"
#include "segstore/placement/placement.h"
#include "segstore/node/session/index.h"
#include "segstore/node/replica/message.h"
#include "segstore/node/node.h"
#include "segstore/node/pace.h"
#include "segstore/raft/raft.h"
#include "segstore/stripe/stripe.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"
#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

struct positions;
struct refill;
struct repairs;
struct session;

/* ---- tasks ---- */

/* Runs until it is done, or waits in a list. */
struct task {
    struct list link;
    void (*run)(struct node *node, struct task *task);
};

/* ---- stripes ---- */

/* An entry on its way: who waits for it. */
struct proposal {
    uint64_t session_serial; /* 0: the store itself */
    uint64_t request_id;
    uint32_t request_bytes;
    uint32_t session_slot;
    bool     due; /* it is what the stripe said was due */
};

/* Of the members, by an entry. */
struct change {
    uint64_t            index;
    struct raft_members members;
};

struct node_stripe {
    struct node     *node;
    struct stripe   *stripe;
    struct raft     *raft;
    struct entries   entries; /* the end of its log: from what followers may want to what is being written */
    uint64_t         unapplied_bytes;
    struct proposal *proposals; /* ring: of the entries that this node proposed and that are not applied, by index */
    uint64_t         proposal_first;
    uint64_t         proposal_end;
    uint64_t         proposal_capacity;
    uint64_t         next_due_ns;  /* wall clock */
    uint64_t         lead_index;   /* of the entry that began this node's lead */
    uint64_t         noted_commit; /* the log says that so much is committed */
    /* Repairing: this entry, behind the applied one, cannot be read, and nothing else is wrong; 0: something else is. */
    uint64_t    unreadable;
    uint64_t    seen_term; /* as of the last look: replica_settle */
    uint16_t    seen_leader;
    uint16_t    id;
    bool        led;           /* by this node, and all that was ever acknowledged is applied */
    bool        lead_wanted;   /* raft wants an empty entry */
    bool        save_wanted;   /* raft wants its term and vote durable */
    bool        stale;         /* the replay is among entries of a history that was replaced */
    bool        restored;      /* raft knows what the checkpoint says */
    bool        installing;    /* an image has taken its place, and raft does not know yet: no checkpoint holds it */
    bool        unproved;      /* while the log is replayed: a hole lies behind the last entry (restore.c) */
    bool        log_damaged;   /* likewise: its entries may have been in a part that is damaged */
    bool        repairing;     /* its log or its history is damaged: it does not lead until an image came .. */
    bool        was_damaged;   /* as of the last look */
    bool        stopped;       /* entries may be missing: it serves nobody */
    bool        due_proposed;  /* one TIMER_FIRE or TABLE_EXPIRE at a time */
    bool        limits_wanted; /* the log had no room for them */
    struct list watchers;      /* struct watcher.of_stripe */
    struct list followers;     /* struct follower.of_stripe */
    struct list led_link;      /* node->led: brokers are to be told who leads it */
    struct list touched;       /* node->touched: to be settled in this turn */
    struct raft_members applied_members; /* as of the applied entry */
    struct change      *changes;         /* behind it, in the order of the log; the last one counts */
    uint32_t            change_count;
    uint32_t            change_capacity;
    uint64_t            replay_commit; /* while the log is replayed: all up to there was committed as it stands here */
    uint64_t            said_commit;   /* likewise, what the log says: behind a hole that may be of other entries */
    uint64_t            image_seq; /* likewise, the block that the log was in when the image was taken; 0: not known */
    struct task         applying;  /* when what comes next has to be read from disk */
    struct task         sending;   /* the same, of what a follower wants */
    uint64_t            sample_index; /* a producer's entry on its way, 0: none (pacing.c) */
    uint64_t            sample_ns;
    uint64_t            cold_position; /* of what a follower wants next, in the log's files, as of cold_ns */
    uint64_t            cold_ns;
    uint64_t            image_last; /* transfer that came to its end here */
    uint64_t            left_nonce; /* has it left this node? As it was asked last; 0: something came since */
    struct image_in    *image_in;   /* an image on its way here */
    struct refill      *refill;     /* what its log holds behind holes; NULL: it has none */
    struct single      *single;     /* an entry that is asked for because it cannot be read here; NULL: there is none */
    uint8_t             still;      /* images of it that are being taken: until then it stands still */
    uint32_t            missed;     /* records that may be damaged here (repair/) */
    uint32_t            lost;       /* of them, those that nobody has */
    uint32_t            surveyed;   /* searches for more of them that are under way */
    uint64_t            withheld_ns; /* when an image was not sent because of them; 0: never */
    struct log_limit    withheld_told;
    uint64_t            missing_ns; /* since when one waits for those that somebody may have; 0: none does */
    struct stripe_saving *saving;   /* its image is being taken: it stands still */
};

/* ---- subscriptions ---- */

struct subscription {
    struct index_link by_id; /* (session, request id) */
    struct list       link;  /* session->subscriptions */
    struct session   *session;
    uint64_t          id;
    uint32_t          credit;
    bool              is_watch;
};

enum follower_state {
    FOLLOWER_TAIL,   /* has all that is there: is handed records as they are applied */
    FOLLOWER_READY,  /* in node->ready: reads on */
    FOLLOWER_DISK,   /* in node->disk_waiters */
    FOLLOWER_REPAIR, /* among repair_waiters: the next record is damaged here */
    FOLLOWER_OUTPUT, /* in session->output_waiters: until the connection has taken what it was given */
    FOLLOWER_CREDIT, /* there is more; the broker wants none now */
};

struct follower {
    struct subscription sub;
    struct index_link   by_stream;
    struct list         of_stripe;
    struct task         task;
    uint64_t            stream_id;
    uint64_t            epoch;
    uint64_t            next; /* offset */
    uint8_t             state;
};

struct watcher {
    struct subscription sub;
    struct list         of_stripe;
    struct node_stripe *stripe;
    struct task         task;
    struct wire_writer  after;   /* key behind which the first walk goes on */
    struct wire_writer  changes; /* encoded items that wait for credit */
    size_t              changes_at;
    uint32_t            changes_count;
    uint32_t            table;
    bool                synced;  /* the walk is over and said so */
    bool                running; /* in a list of tasks */
};

/* ---- sessions ---- */

enum session_state { SESSION_WAIT_HELLO, SESSION_ASKED, SESSION_OPEN, SESSION_MOVING, SESSION_REFUSED, SESSION_CLOSED };

/* Of a stripe: what was refused without an entry of the log, and in which round; what follows in it is refused, too (schema.h, RPC_TXN). */
struct refusal {
    int      status; /* 0: nothing */
    uint16_t round;
};

struct session {
    struct node       *node;
    struct io_socket  *socket;
    struct list        link; /* node->sessions */
    struct list        subscriptions;
    struct list        output_waiters; /* task.link of followers and watchers */
    struct list        stalled_link;   /* node->stalled: its next request waits for room in the log */
    uint64_t           serial;
    uint32_t           slot;
    uint8_t            state;
    bool               sending;
    bool               dirty; /* has something to send */
    bool               asks;  /* a request came over it */
    struct list        dirty_link;
    struct wire_writer in;  /* an unfinished frame, or what came while stalled */
    struct wire_writer out; /* being filled */
    struct wire_writer flying;
    struct follower   *open_follower; /* whose RECORDS frame is the last in out and still open */
    size_t             open_begun;
    uint32_t           open_count;
    uint16_t           peer; /* number of the node that it comes from; 0: a broker */
    uint64_t           instance;
    uint64_t           owner;
    uint64_t           place;
    uint64_t           hello_id;
    uint64_t           asked; /* whether it lives, the last time: the id of that PING, of node->greetings; 0: never */
    uint64_t           unanswered_bytes;
    struct refusal    *refusals; /* [stripe / shards]; NULL: none yet */
    uint64_t           heard_ns; /* the last time that it said anything */
    uint32_t           wanted_shard;
    struct wire_writer hello;    /* bytes that go along when the socket moves */
    struct index_link  by_owner; /* in node->relays, while a broker's is open */
};

/* A broker process, and the later one at its place: as HELLOs were read. 0: none. */
struct replaced {
    uint64_t instance;
    uint64_t heir;
};

/* A broker shard that timers may depend on. */
struct owner {
    struct list link; /* node->owners */
    uint64_t    owner;
    uint64_t    instance; /* 0: known from timers only */
    uint64_t    place;    /* where its process runs; 0: not said */
    uint64_t    since;    /* of node->greetings: its last HELLO */
    uint32_t    connections;
    uint64_t    lost_ns;      /* when it counts as lost; UINT64_MAX while connected */
    uint32_t    propose_slot; /* next stripe to tell, while it is being told */
    bool        losing;
};

/* Mail between shards. */
enum node_mail {
    NODE_MAIL_READY = 1, /* shard i -> shard 0: my stripes are open. number: i */
    /* shard 0 -> shard i: a connection. value: handle; body: struct moved, owned by the receiver */
    NODE_MAIL_SOCKET = 2,
    NODE_MAIL_PLAN   = 3, /* shard 0 -> shard i. body: struct plan, owned by the receiver */
};

struct moved {
    size_t  size; /* bytes received before the move, HELLO first */
    uint8_t bytes[];
};

enum { NODE_KNOWN_MAX = 255, NODE_REPLACED_MAX = 64 };

/* A node keeps its incarnation for as long as it keeps its disk. */
struct known {
    uint64_t incarnation;
    uint16_t node;
};

struct node {
    struct io                    *io;
    const struct segstore_config *config;
    struct node_hooks             hooks;
    uint32_t                      shard;
    struct mailbox              **inbox;
    struct mailbox              **outbox;
    struct list                   mail_waiting; /* connections whose mail did not fit */
    struct storage               *storage;
    struct io_listener           *listener;
    struct node_stripe           *stripes; /* [stripe / shards] */
    uint32_t                      stripe_count;
    bool                          serving; /* storage is open and nothing hinders requests */
    bool                          opened;
    bool                          dead;
    bool                          stopping;
    bool                          stopped;
    uint64_t                      stop_ns;
    uint32_t                      shards_ready;
    bool                          ready_told; /* this shard */
    bool                          ready_sent;
    /* entries on their way */
    struct wire_writer results;
    struct wire_writer scratch;
    struct list        touched;      /* stripes to be settled in this turn */
    uint64_t           balance_ns;   /* when it is looked at next who leads what */
    uint64_t           leaders_ns;   /* when a leader changed last */
    uint64_t           raft_next_ns; /* the soonest of all stripes */
    struct peer       *peers;        /* the other nodes */
    uint32_t           peer_count;
    struct known       known[NODE_KNOWN_MAX]; /* whose disks have been seen */
    uint32_t           known_count;
    struct plan        plan;       /* which nodes hold places; epoch 0: not known yet */
    uint16_t           unnamed;    /* of the leader of stripe 0: see struct shard_status */
    struct placement  *placements; /* by it, of all stripes of the cluster */
    uint64_t          *plan_told;  /* the first shard: epoch, per shard */
    uint64_t           plan_index; /* the first shard: entry of the last plan that it proposed, in plan_term */
    uint64_t           plan_term;
    /* The first shard: since when it has been together with most voters of stripe 0, 0: it is not. */
    uint64_t           company_ns;
    struct image_walk *image_walk; /* over the log, for the images on their way; NULL: there never were any */
    struct list        images_out; /* struct image_out.link: images on their way to other nodes */
    struct list  images_waiting;   /* struct image_out.link of those that were sent: the follower makes them durable */
    struct list  images_behind; /* struct image_out.link of those whose followers take nothing, while others are sent */
    struct pace *transfer;      /* of what others get so that they catch up: of the process, or own_transfer */
    struct pace  own_transfer;
    struct strain     strain;        /* of the producers of what it leads */
    uint32_t          strained;      /* as of the last step */
    uint64_t          known_new;     /* entries that were applied since it was looked at how many are known */
    struct list       paced;         /* struct node_stripe.sending of those that wait for the pace */
    struct repairs   *repairs;       /* of records that are damaged here */
    struct list       refills;       /* struct refill.link */
    struct list       burials;       /* stripes that were replaced, while they are freed */
    uint64_t          image_next_ns; /* when the bucket has more */
    struct log_entry *incoming;      /* entries of one message, MESSAGE_ENTRIES_MAX */
    uint64_t         *incoming_terms;
    uint64_t          next_due_ns;         /* wall clock; the soonest of all stripes */
    int64_t           clock_correction_ns; /* of the wall clock (peers/clock.h) */
    struct log_limit  clock_limit;
    bool              due_dirty;
    /* connections */
    struct session   **slots;
    uint32_t           slot_count;
    uint64_t           next_serial;
    struct list        sessions;
    struct list        dirty;
    struct list        stalled;
    struct list        graves; /* closed in this turn; freed at its end */
    struct index       subscriptions;
    struct index       followers;
    struct index       relays; /* sessions of brokers, by owner */
    struct list        led;    /* struct node_stripe.led_link */
    struct list        ready;
    struct list        disk_waiters;
    struct list        owners;
    struct replaced    replaced[NODE_REPLACED_MAX]; /* brokers that have heirs, the last ones */
    uint32_t           replaced_next;
    uint64_t           greetings;  /* HELLOs that were taken and questions whether somebody lives, in their order */
    uint64_t           silence_ns; /* when silence is looked for next */
    struct stripe_walk walk;       /* of reclaim, over what is held in stripe slot walk_stripe */
    uint32_t           walk_stripe;
    struct node_counts counts;
    struct log_limit   refused_limit;
    struct log_limit   gone_limit;
};

/* node.c */
void task_ready(struct node *node, struct task *task);

/* stripes.c: what storage_hooks asks of them, beside. */
void stripes_make(struct node *node);
/* An empty one of the same number. */
struct stripe      *stripe_of(struct node_stripe *st);
struct node_stripe *stripe_slot(struct node *node, uint16_t stripe);
int                 stripes_load(void *ctx, const struct checkpoint_section *section);
/* How much of an image is made in one turn; if too much waits for the stripe to go on, all. */
size_t stripe_slice_bytes(const struct node_stripe *st);
bool   stripes_image(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out);

/* moves.c: a record lies elsewhere now (stripe_relocate); its old file stays until the checkpoints that count know it. */
bool record_move(struct node_stripe *st, uint64_t stream_id, uint64_t offset, uint64_t from, uint64_t to);
/* What reclaim asks of them. */
bool moves_walk(void *ctx, bool begin, uint32_t steps, void (*each)(void *ctx, const struct survivor *survivor),
                void *each_ctx);
bool moves_holds(void *ctx, const struct survivor *survivor);
bool moves_move(void *ctx, const struct survivor *survivor, uint64_t to);

/* restore.c: a replica as the checkpoint and the log know it. */
void           stripes_replay(void *ctx, const struct log_entry *entry, uint64_t seq);
void           stripes_damaged(void *ctx, uint64_t stripes);
MUST_CHECK int replica_restore(struct node_stripe *st, struct bytes image, uint64_t applied, uint64_t seq);
void           replica_put(struct node_stripe *st, struct wire_writer *w);
/* All is read: those of which nothing was found begin. */
void replicas_restored(struct node *node);

/* replica.c */
void replica_make(struct node_stripe *st);
void replica_free(struct node_stripe *st);
/* The log is open: the clock of the stripe's replicas runs. */
void replica_start(struct node_stripe *st);
/* Does it stand alone? Then what is durable is committed. */
bool replica_alone(const struct node_stripe *st);
/* Gives an entry to the stripe's log, here and on the other nodes. ERR_NOT_LEADER, ERR_FULL, ERR_TOO_BIG, ERR_DISK_FULL, ERR_UNAVAILABLE. */
MUST_CHECK int propose(struct node *node, struct node_stripe *stripe, struct bytes ops, const struct proposal *origin);
/* Another node's entries (after raft_append): replaces what lies at and behind the first. */
void replica_take(struct node_stripe *st, const struct log_entry *entries, uint32_t count);
void entry_durable(void *ctx, const struct log_entry *entry);
/* Entries that it had are gone: alone it stops, else the others give it what is missing. */
void replica_damaged(struct node_stripe *st, const char *why);
/* Records that it has applied are gone: it votes and takes entries, but leads nobody until it has another node's image. */
void replica_repair(struct node_stripe *st, const char *why);
void replica_unreadable(struct node_stripe *st, uint64_t index);
void replica_readable(struct node_stripe *st);
/* Unless something stands in its way still. */
void replica_may_lead(struct node_stripe *st);
/* Something about it may have changed: it is looked at before the turn ends. */
void replica_touch(struct node_stripe *st);
/* Settles all that were touched: leads, applies, sends, acknowledges. True: there is more for the next turn. */
bool     replicas_turn(struct node *node);
void     replicas_tick(struct node *node);
uint64_t replicas_next_ns(const struct node *node);

/* apply.c */
/* Applies what is committed and durable; false: the rest in the next turn. */
bool apply_committed(struct node_stripe *st);
void apply_entry(struct node_stripe *st, uint64_t index, struct bytes ops);
/* The ops of an entry that is still known: 0, 1 while they are being read, or an error: they are not what they were. */
MUST_CHECK int entry_ops(struct node_stripe *st, uint64_t index, struct bytes *out);
/* Of a stripe that this node no longer leads: everyone who waits hears of it. */
void proposals_drop(struct node_stripe *st);
void proposal_push(struct node_stripe *st, uint64_t index, const struct proposal *origin);

/* forget.c */
/* Of an entry that is not applied yet, when the log's memory is not there any more: log_slot.memory of one that is durable. */
uint8_t *ops_copy(struct bytes ops);
/* Forgets what is applied, when nobody can ever want it. */
void entries_forget(struct node_stripe *st);
/* Forgets the last entry, or the first one, with what is kept for it. */
void entry_drop_last(struct node_stripe *st);
void entry_drop_first(struct node_stripe *st);
/* Of what is applied and known for followers that lag, the oldest goes when it is more than may be kept. end: of the log, about. */
void known_turn(struct node *node, uint64_t end);

/* replicate.c: sends followers what they want. */
void replicate(struct node_stripe *st);
/* Of entries [index, last] what comes next is read from the log's files, for whoever wants it soon. */
void read_ahead(struct node_stripe *st, uint64_t index, uint64_t last);

/* pacing.c: what others get to catch up keeps a pace that producers bear (pace.h). */
/* A producer's entry is on its way; it was applied. */
void sample_begin(struct node_stripe *st, uint64_t index);
void sample_end(struct node_stripe *st);
/* Sends on when it may. */
void pacing_wait(struct node_stripe *st);
/* What it sends next lies at this position of the log: is that where the others that send from the log's files are, about? */
bool     pacing_together(struct node_stripe *st, uint64_t position);
void     pacing_turn(struct node *node);
uint64_t pacing_next_ns(const struct node *node);

/* image_send.c: the state of a stripe, to a follower that wants what the log no longer has. */
void image_send(struct node_stripe *st, uint16_t node);
/* The connection to that node broke (0: any); what it was sent is lost. */
void image_peer_reset(struct node_stripe *st, uint16_t node);
void images_turn(struct node *node);
void images_free(struct node *node);
/* image_take.c */
void           image_body_durable(struct node_stripe *st, const struct log_entry *entry);
MUST_CHECK int image_receive(struct session *s, struct wire_reader *r);
/* Loads what came, takes the stripe's place when all of it is here. True: there is more for the next turn. */
bool image_settle(struct node_stripe *st);
/* Asks the leader for one. */
void image_ask(struct node_stripe *st);
void image_drop(struct node_stripe *st);
/* What stands beside the stripe in a checkpoint while raft does not know of the image yet. */
void image_put(struct node_stripe *st, struct raft_stored *out, uint64_t *out_chain);
/* A checkpoint is on disk. */
void images_saved(struct node *node);

/* bury.c: stripes that were replaced. True: there is more for the next turn. */
bool burials_turn(struct node *node);
void burials_free(struct node *node);

/* changes.c */
/* It is in the log; all from index on are not any more; it is applied. */
void changes_appended(struct node_stripe *st, const struct log_entry *entry);
void changes_cut(struct node_stripe *st, uint64_t index);
void changes_applied(struct node_stripe *st, uint64_t index);
/* An image as of index took the place of what was applied. */
void changes_skip(struct node_stripe *st, uint64_t index, const struct raft_members *members);
/* Those up to entry last, into a checkpoint and back. */
void changes_put(const struct node_stripe *st, uint64_t last, struct wire_writer *w);
void changes_get(struct node_stripe *st, struct wire_reader *r);

/* plans.c: which nodes hold places. */
void plans_turn(struct node *node);
/* If it is newer than what is known. */
void plan_take(struct node *node, const struct plan *plan);
/* The body of an RPC_PLAN. */
void plan_receive(struct node *node, struct wire_reader *r);

/* leave.c: replicas that have moved away. */
void leave_turn(struct node *node);
/* The bodies of RPC_LEFT_ASK and RPC_LEFT. */
void leave_asked(struct session *s, struct wire_reader *r);
void leave_told(struct session *s, struct wire_reader *r);

/* change.c: who the replicas are. */
void change_turn(struct node *node);
/* replica.c: of the stripe that this node leads. What finds no room is proposed again with the next look. */
void propose_members(struct node_stripe *st, const struct raft_members *members);

/* balance.c: which node leads which stripe. */
void     balance_start(struct node_stripe *st);
void     balance_turn(struct node *node);
uint64_t balance_next_ns(const struct node *node);
/* The node that is to lead it: among its voters, or this one. */
uint16_t balance_preferred(const struct node_stripe *st);

/* peers.c: connections to the other nodes. */
/* The time of entries: this machine's clock, or what the others agree on. */
uint64_t     node_wall_ns(const struct node *node);
void         peers_make(struct node *node);
void         peers_free(struct node *node);
void         peers_turn(struct node *node);
void         peers_flush(struct node *node);
uint64_t     peers_next_ns(const struct node *node);
struct peer *peer_find(const struct node *node, uint16_t id);
/* It is connected and takes more. */
bool peer_roomy(struct peer *peer);
/* A frame to it: begin, write the body, end. Only when it is roomy. */
struct wire_writer *peer_begin(struct peer *peer, uint16_t kind);
void                peer_end(struct peer *peer);
/* Instead of the end: there was none. */
void peer_cancel(struct peer *peer);

/* known.c: who the other nodes are. */
void peer_remember(struct node *node, uint16_t id, uint64_t incarnation);
/* All that are known, into a checkpoint and back. */
void peers_known_put(const struct node *node, struct wire_writer *w);
void peers_known_get(struct node *node, struct wire_reader *r);
/* The first frame. 0, or an error and a sentence. */
MUST_CHECK int peer_hello(struct session *s, struct wire_reader *r, const char **why);
void           peer_welcome(struct session *s, uint64_t id);
/* peer.c: connections from them. ERR_FULL: the same frame again later. */
MUST_CHECK int peer_frame(struct session *s, uint16_t kind, uint64_t id, struct bytes body);

/* limits.c: before any other entry of a stripe that begins to serve: its limits become the ones of the configuration, if they are others. */
void limits_propose(struct node_stripe *st);

/* due.c */
enum { DUE_AGAIN_NS = 10000000 }; /* what the log had no room for is tried again then */
void     due_turn(struct node *node);
uint64_t due_next_ns(const struct node *node);

/* session.c */
void session_accept(struct node *node, struct io_socket *socket);
void session_attach(struct node *node, int64_t handle, struct moved *moved);
void session_close(struct session *s);
void session_discard(struct session *s);
/* A frame into the output: begin, write the body into &s->out, end. */
size_t session_begin(struct session *s, uint16_t kind, uint64_t id);
void   session_end(struct session *s, size_t begun);
void   session_error(struct session *s, uint64_t id, int status, const char *text);
/* May more be pushed now? Answers are always taken: credit bounds them. */
bool session_roomy(const struct session *s);
void session_answered(struct session *s, uint32_t request_bytes);
void session_flush(struct session *s);
/* Tries the requests that waited for room in the log. */
void sessions_resume(struct node *node);
/* Finishes the open RECORDS frame. */
void session_close_records(struct session *s);

/* request.c: 0, or ERR_FULL: the same frame again later. */
MUST_CHECK int request_handle(struct session *s, uint16_t kind, uint64_t id, struct bytes body);

/* follow.c */
void follow_begin(struct session *s, uint64_t id, struct wire_reader *r);
void follow_credit(struct follower *f);
void follow_appended(struct node *node, uint64_t stream_id, uint64_t offset, struct bytes tag, struct bytes record);
bool follow_any(const struct node *node, uint64_t stream_id);
void follow_ended(struct node *node, uint64_t stream_id, uint64_t below_epoch, int status);
void follow_free(struct follower *f);
/* Fills in the head of its RECORDS frame. */
void follow_close_frame(struct follower *f, size_t begun, uint32_t count);
void record_put(struct wire_writer *w, uint64_t offset, struct bytes tag, struct bytes record);

/* lost.c: a record on disk is damaged. 0: pass over it; 1: wait for it (repair_wait); or what to tell who reads it: ERR_CORRUPT, ERR_UNAVAILABLE (for
 * seconds nobody who might have it could be asked). */
MUST_CHECK int record_lost(struct node *node, struct node_stripe *stripe, uint64_t stream_id, uint64_t offset,
                           uint64_t position);

/* repair/missed.c: records that are damaged here and that other nodes give back (repair/repair.h). */
void repairs_make(struct node *node);
void repairs_free(struct node *node);
/* The stripe's state is replaced: nothing of it is missed any more. */
void repairs_clear(struct node_stripe *st);
/* A record cannot be read: it is asked for. 1, ERR_CORRUPT: nobody has it, ERR_UNAVAILABLE: not for seconds now. */
MUST_CHECK int repair_wanted(struct node_stripe *st, uint64_t stream_id, uint64_t offset, uint64_t position);
/* The task runs when something was repaired or given up. */
void         repair_wait(struct node *node, struct task *task);
struct list *repair_waiters(struct node *node);
/* Where those lie that nobody has, ascending: into an empty list. */
void repair_lost(const struct node_stripe *st, struct positions *out);
/* Something in [from, to) of the log is damaged: what of it is held here is looked for, and repaired. */
void repair_survey(struct node_stripe *st, uint64_t from, uint64_t to);
/* repair/ask.c. True: there is more for the next turn. */
bool     repairs_turn(struct node *node);
uint64_t repairs_next_ns(const struct node *node);
void     repair_body_durable(struct node_stripe *st, const struct log_entry *entry);
void     repair_answered(struct session *s, struct wire_reader *r);
/* repair/answer.c */
void repair_asked(struct session *s, struct wire_reader *r);

/* watch.c */
void watch_begin(struct session *s, uint64_t id, struct wire_reader *r);
void watch_credit(struct watcher *w);
void watch_changed(struct node_stripe *st, uint32_t table, struct bytes key, struct bytes value, uint64_t version,
                   uint64_t expires_wall_ns, bool deleted);
void watch_free(struct watcher *w);

/* read.c */
/* May this stream be read here now? 0 and how it stands, or ERR_UNAVAILABLE, ERR_NOT_LEADER, ERR_NOT_FOUND and the sentence for it. st: NULL is none of this shard. */
int  stream_look(const struct node_stripe *st, uint64_t stream_id, struct stripe_stream *out, const char **why);
void read_begin(struct session *s, uint64_t id, struct wire_reader *r, uint32_t request_bytes);
void take_begin(struct session *s, uint64_t id, struct wire_reader *r, uint32_t request_bytes);
void release(struct session *s, uint64_t id, struct wire_reader *r);
/* Drops what the jobs of a closing session wait for. */
void jobs_drop(struct node *node, struct session *s);
/* Answers what waits for records of the stripe with status. */
void jobs_end(struct node *node, uint16_t stripe, int status);

/* scan.c */
/* 0, or ERR_FULL: too much is unsent, again later. */
MUST_CHECK int scan(struct session *s, uint64_t id, struct wire_reader *r);

/* leader.c: who leads a stripe. */
/* This node leads it, and takes its transactions. Within a term it is true from one moment to one other, not again after. */
bool stripe_led(const struct node_stripe *st);
/* .. and is certain that no other does: what it reads is current. */
bool     stripe_reads(const struct node_stripe *st);
uint64_t stripe_term(const struct node_stripe *st);
uint16_t stripe_leader(const struct node_stripe *st); /* a node's number, 0: not known */
/* Another leader or term: brokers are told by leaders_turn, at once for all that changed. lost: it was this node until now; what follows, watches
 * or reads the stripe is ended with ERR_NOT_LEADER. Not from within a task, nor while subscriptions are walked. */
void leader_changed(struct node_stripe *st, bool lost);
void leaders_turn(struct node *node);
/* stripe u16, leader u16, term u64: as WELCOME and LEADERS have it. */
void leader_put(struct wire_writer *w, const struct node_stripe *st);

/* subscription.c */
struct subscription *subscription_find(struct node *node, const struct session *s, uint64_t id);
void subscription_add(struct session *s, struct subscription *sub, uint64_t id, uint32_t credit, bool is_watch);
/* Tells the broker that it is over, and frees it. */
void subscription_end(struct subscription *sub, int status);
void subscription_free(struct subscription *sub);

/* owner.c */
void owner_hello(struct node *node, uint64_t instance, uint64_t owner, uint64_t place);
/* Another process of that place is there, and its HELLO was taken after that number of node->greetings. */
bool owner_contested(const struct node *node, uint64_t instance, uint64_t place, uint64_t asked);
/* It has an heir, which is there. */
bool     owner_replaced(const struct node *node, uint64_t instance);
void     owner_gone(struct node *node, uint64_t instance, uint64_t owner);
void     owners_found(struct node_stripe *st);
void     owners_turn(struct node *node);
uint64_t owners_next_ns(const struct node *node);
void     owners_free(struct node *node);
/* relay.c: from one broker shard to another. */
void relay_add(struct session *s);
void relay_remove(struct session *s);
void relay(struct session *s, struct bytes body);
/* silence.c: connections that say nothing any more. */
void     silence_turn(struct node *node);
uint64_t silence_next_ns(const struct node *node);

#endif
