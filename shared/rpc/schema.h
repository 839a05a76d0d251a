/* schema - the treaty between keel-broker and keel-segstore: every message, in both directions. Read this file to know
 * what they can ask of each other; op.h has what a transaction can do.
 *
 *   frame:  | size u32 | kind u16 | flags u16 | id u64 | checksum u64 | body, size bytes |      little-endian, header 24 bytes
 *   checksum: XXH3-64 of the body, seeded with XXH3-64 of the 16 bytes before it
 *
 * id: chosen by the broker for a request and repeated in its answer; pushes carry the id of the request that asked for
 * them (FOLLOW, WATCH). Many requests may be under way; answers come in any order, pushes of one id in order.
 * Versions: programs of one major version understand each other, so a cluster is upgraded node by node. A kind that is not known is answered with ERROR
 * ERR_UNKNOWN when a broker asks for it, and skipped else; bytes behind the fields that are known are skipped. (TXN and IMAGE end with bytes of any number: they
 * stay as they are.)
 *
 * Flow: WELCOME grants the broker a number of request-body bytes that may be unanswered; every answer gives back the bytes of its request.
 * Pushes are bounded by the credit of each FOLLOW and WATCH, in records.
 *
 * A segment store is one node or several; each stripe is led by one of them, and only that one serves it. Every node tells every broker who leads
 * (WELCOME, LEADERS), and answers ERR_NOT_LEADER to what it does not lead. A term is one election: it has one leader at most and terms only grow.
 * One connection per (broker shard, node, segment-store shard): the first frame is HELLO, naming the wanted shard.
 * The first request over a later one ends the earlier one: what is still on its way over that is not done.
 * Threads: any; pure. */
#ifndef KEEL_SHARED_RPC_SCHEMA_H
#define KEEL_SHARED_RPC_SCHEMA_H

#include <stdint.h>

enum {
    RPC_VERSION_MAJOR = 3,
#ifdef KEEL_NEXT
    RPC_VERSION_MINOR = 1 /* next.h */
#else
    RPC_VERSION_MINOR = 0
#endif
}; /* 2: refusals hold what follows; 3: several nodes, terms, rounds */
enum { RPC_HEADER_BYTES = 24, RPC_BODY_MAX_BYTES = 4 * 1024 * 1024 };
#define RPC_MAGIC 0x4c45454bu /* "KEEL" */

struct rpc_header {
    uint32_t size;
    uint16_t kind;
    uint16_t flags;
    uint64_t id;
    uint64_t checksum;
};
_Static_assert(sizeof(struct rpc_header) == RPC_HEADER_BYTES, "frame header");

/* Bodies, field by field; `blob` is u32 length + bytes; a name ends where its blob ends. */
enum rpc_kind {
    /* broker -> store. magic u32, major u16, minor u16, instance u64 (one broker process), owner u64 (one shard of it: owner of timers), shard u32 (wanted), place u64 (trailing,
     * 0 or absent: none): where the process runs. A later process of the same place is its heir: it does not wait for the lease of one that is gone, and what that one still
     * has on its way is not done: its connections end, and its HELLO is answered with ERR_FENCED. While another process of that place is there, PING comes before WELCOME
     * and is to be answered: a HELLO may be read when its process has died. */
    RPC_HELLO = 1,
    /* store -> broker. major u16, minor u16, cluster u64, shard u32, shard_count u32, stripe_count u32, credit_bytes u32,
     * record_max_bytes u32, node u16 (who answers), node_count u16, count x { id u16, port u16, address blob } (0: it stands alone, its address is the one that was
     * called), leader_count u16, count x { stripe u16, leader u16 (0: not known), term u64 } for all stripes of this shard. Stripe s lives on shard s % shard_count of
     * every node. cluster: the same for all nodes of a store. ERROR instead: ERR_VERSION, ERR_NOT_FOUND (no such shard), ERR_FENCED. */
    RPC_WELCOME = 2,
    /* store -> broker, answer to any request: status i32 (negative), text blob (a sentence for the log). */
    RPC_ERROR = 3,
    /* broker -> store. stripe u16, round u16, term u64 (in which the broker believes this node to lead the stripe), ops. Answer TXN_DONE once the entry is durable and
     * applied. ERR_NOT_LEADER: this node does not lead the stripe, or leads it in another term: nothing happened, or it may have happened, when the lead was lost while
     * it was under way; the broker repeats it at the leader, as it does over a connection that broke. The term keeps a request that was overtaken on an old connection
     * to another leader from being done late.
     * round: of this stripe. One that was refused must not be followed by one that is taken while the news of the refusal may be lost: the earlier one, asked
     * again over the next connection, would look like a duplicate of a writer that is further on. So what is refused without an entry of the log is remembered, for
     * this connection and stripe, and what comes behind it in the same round is refused likewise: everything behind ERR_NOT_LEADER, transactions with an
     * idempotent APPEND behind another status (such as ERR_DISK_FULL). The broker begins another round once it knows what became of all of the last one. */
    RPC_TXN = 10,
    /* store -> broker. status i32, then when it is 0: results, else (the error of the op that ended it, or a refusal; nothing was done): refusing u8: 1: what
     * follows in this round with an idempotent APPEND is refused, too (the first time; ERR_NOT_LEADER does without). */
    RPC_TXN_DONE = 11,
    /* broker -> store. stripe u16 (0xffff: those of the list), kind u8 (0 key, 1 prefix, 2 topic filter), zero u8, table u32, limit_items u32, limit_bytes u32,
     * pattern blob, after_stripe u16, after blob (continue behind this key; empty: from the start), list blob (stripes u16, ascending, of this shard; those below
     * after_stripe are passed over). Not logged; sees all that is applied. A stripe of the list that is stopped by damage is passed over; one that is named and stopped is
     * ERR_UNAVAILABLE. A page ends before a stripe of the list that this node does not lead; when it is the first, or is named: ERR_NOT_LEADER. */
    RPC_SCAN = 12,
    /* store -> broker. more u8, count u32, count x { stripe u16, version u64, expires_wall_ns u64, key blob, value blob }; when there is more, what to ask
     * for next: after_stripe u16, after blob. A page ends early, even empty, when many keys were looked at. */
    RPC_SCAN_DONE = 13,
    /* broker -> store. stripe u16, zero u16, table u32, credit u32. First what is there, then every change, in order, until CANCEL, the connection or the lead ends.
     * A stripe that is stopped by damage shows what was known when it stopped. ERROR: ERR_NOT_LEADER, ERR_MALFORMED. */
    RPC_WATCH = 14,
    /* store -> broker, push. synced u8 (1 once: all that was there at WATCH has been sent), count u32, count x { stripe u16, deleted u8, version u64, expires_wall_ns u64, key blob, value blob }. */
    RPC_CHANGES = 15,
    /* broker -> store, more credit for WATCH or FOLLOW; the frame's id names it. credit u32. No answer. */
    RPC_CREDIT = 16,
    /* broker -> store, ends WATCH or FOLLOW of the frame's id. No answer; pushes under way may still arrive. */
    RPC_CANCEL = 17,
    /* broker -> store. stream_id u64, epoch u64, from u64, credit u32 (records). Pushes from `from` on, past and future. ERROR: ERR_NOT_FOUND, ERR_FENCED, ERR_NOT_LEADER,
     * ERR_TRIMMED never (an offset below the start begins at the start). */
    RPC_FOLLOW = 18,
    /* store -> broker, push. count u32, next_offset u64 (of the stream now), count x { offset u64, tag_size u8, tag, record }. Checked with record_decode by the reader. */
    RPC_RECORDS = 19,
    /* store -> broker, push: the last one of a FOLLOW or WATCH. status i32: ERR_FENCED, ERR_NOT_FOUND (deleted), ERR_CORRUPT, ERR_UNAVAILABLE, ERR_NOT_LEADER (the lead was lost). */
    RPC_ENDED = 20,
    /* broker -> store. stream_id u64, from u64, limit_records u32, limit_bytes u32. Answer READ_DONE, or ERROR ERR_NOT_FOUND / ERR_TRIMMED / ERR_NOT_LEADER;
     * so are TAKE and RELEASE. */
    RPC_READ = 21,
    /* store -> broker. start_offset u64, next_offset u64, count u32, count x { offset u64, tag_size u8, tag, record }. */
    RPC_READ_DONE = 22,
    /* broker -> store. stream_id u64, cursor u32, epoch u64, consumer u64, count u32, lease_ns u64. Competing consumers: hands out up to count offsets that are neither done nor leased. */
    RPC_TAKE = 23,
    /* store -> broker. count u32, count x { offset u64, delivery u32 (1: first time), tag_size u8, tag, record }. */
    RPC_TAKE_DONE = 24,
    /* broker -> store. stream_id u64, cursor u32, consumer u64 (0: any), count u32, count x offset u64 (none: all of the consumer). Gives leases back. Answer RPC_TXN_DONE with status 0. */
    RPC_RELEASE = 25,
    /* both ways, answered with PONG of the same id: the peer lives. No body; between segment stores the one that called says now_ns u64 (any number) and is answered
     * with now_ns u64, wall_ns u64 (the other one's clock). A store whose disk holds another one's frames up says PONG without either, and unasked. */
    RPC_PING = 26,
    RPC_PONG = 27,
    /* store -> broker, push with id 0, whenever one of them changes: count u16, count x { stripe u16, leader u16 (0: not known), term u64 }. */
    RPC_LEADERS = 29,
    /* broker -> store -> another broker shard. to u64, from u64 (owners of HELLO), a packet that the store does not look into (broker/kernel/channel.h). Handed on,
     * with id 0, over the newest connection of that owner to the same shard of the same node, when there is one with room: else it is dropped, and nobody is
     * told. Nothing is kept, nothing is answered; not counted against the credit. */
    RPC_RELAY = 50,
    /* Between segment stores. node -> node, the first frame. magic u32, major u16, minor u16, cluster u64, from u16, to u16 (numbers of nodes), shard u32,
     * shard_count u32, stripe_count u32, incarnation u64 (of from's data directory). Answer PEER_WELCOME, or ERROR: ERR_VERSION, ERR_CONFLICT (another
     * cluster, another number of shards or stripes, another node, or its disk was replaced), ERR_NOT_FOUND (no such shard). */
    RPC_PEER_HELLO = 40,
    /* cluster u64, incarnation u64, wall_ns u64 (its clock). */
    RPC_PEER_WELCOME = 41,
    /* One message of one stripe's replicas: segstore/node/replica/message.h. No answer. */
    RPC_RAFT = 42,
    /* A part of an image of a stripe, or what became of it: segstore/node/image/image.h. No answer. */
    RPC_IMAGE = 43,
    /* The heartbeats of all stripes of a shard to another node, and the answer: segstore/node/peers/pulse.h. */
    RPC_PULSE     = 70,
    RPC_PULSE_ACK = 71,
    /* node -> node, on shard 0, whenever there is a new one: which nodes hold places: segstore/placement/plan.h. No answer. */
    RPC_PLAN = 72,
    /* node -> node. stripe u16, nonce u64: has this node left the stripe? Only a leader that is certain of it answers. */
    RPC_LEFT_ASK = 73,
    /* stripe u16, nonce u64, term u64: it is no member, and that is committed. */
    RPC_LEFT = 74,
    /* A record that one node cannot read any more, asked for at another: segstore/node/repair/repair.h. */
    RPC_REPAIR_ASK    = 80,
    RPC_REPAIR_ANSWER = 81,
    /* An entry that one node lost, asked for at another while nobody leads: segstore/node/refill/refill.h. */
    RPC_REFILL_ASK = 82,
    RPC_REFILL     = 83,
    RPC_KIND_END
};

enum { RPC_STRIPE_ALL = 0xffff };
/* A table that segment stores read themselves, in stripe 0.
 *   "members"      count u16, count x node u16: who the nodes of the cluster shall be. An operator's
 *   "replicas"     u16: of each stripe, instead of segstore.replicas. An operator's
 *   "drain/NODE"   node u16: it shall hold nothing. An operator's
 *   "plan"         segstore/placement/plan.h: what follows from these and from who is alive. Written by the leader of stripe 0 */
enum { RPC_TABLE_CLUSTER = 30 };
/* A table of brokers, in stripe 0: which processes are attached (broker/kernel/company.h). */
enum { RPC_TABLE_BROKERS = 31 };
enum rpc_scan_kind { RPC_SCAN_KEY = 0, RPC_SCAN_PREFIX = 1, RPC_SCAN_FILTER = 2 };

#endif
