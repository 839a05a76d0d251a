/* assign - which member of each group has a QoS 2 message of a stored session: recorded before the member can have got it.
 *
 *     PUBLISH ─▶ chosen ─▶ in the row of the packet id (TABLE_INBOUND) ─durable─▶ to that member, by a number ─▶ PUBREC
 *                            │ this broker dies, the publisher sends it again, wherever it connects
 *                            '─▶ to the same member by the same number: what it has, it does not get again
 *
 *     member with a stored session   the number is that of the APPEND to its stream, whose stripe takes it once
 *     live member                    its shard takes the number once (marks.h); when that shard is gone, so is the session, and nobody else gets it
 *                                    [MQTT-4.8.2-5]: it may have been sent. The row is written before it is, and cannot tell; but who wrote it can, and
 *                                    sends it to another process only when that was asked and lives (far.h). When it is gone instead, another one is chosen
 *                                    What waits for an answer is passed by what the publisher sent later, with higher numbers, to other subscribers of that
 *                                    shard, which would then not take it: what is asked for is counted by a writer apart
 *     member that is gone before it was given the message
 *                                    (it has left, its stream is deleted): another one is chosen, and recorded, by a number of its own
 *
 * A will or a delayed message (will.h) has a row of its own, beside the stream that it lies in:
 *
 *     TABLE_ASSIGNED, its stripe   key: the stream's id u64 | its number there u64   value: version u8 = 1 | as below
 *
 * written if there is none, else read: then an earlier broker was at it. It goes when the message is trimmed. Each write of it is fenced by the epoch in which the stream is
 * followed: nobody else changes it, so it may be written again, when the store is asked again or for another group, and what a former follower writes late does not count.
 * For a message of a client it costs no transaction of its own: the row is written anyway. Nothing is recorded for QoS 0 and 1, nor for publishers without a stored session: what
 * they send again after their broker has died is a new message.
 * Whether a member whose stream is deleted had got it is known by the stripe's answer to the APPEND (a duplicate). If a second broker dies between that
 * answer and the record of another choice, it is taken for given.
 *
 *   in the row, behind what tables.h says, for each group:
 *   | kind u8: 0 stored, 1 live, 2 live and counted apart (a release before this one reads 1) | flags u8 (enum sub_flags) | attempt u8 | subscription id u32 | hash of the group's filter u64 | stream_id, or of a live member what its shard is in this life of its process u64 | its serial, or 0 u64 |
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_ASSIGN_H
#define KEEL_BROKER_KERNEL_ASSIGN_H

#include "broker/kernel/group.h"
#include "broker/kernel/marks.h"
#include "broker/kernel/publisher.h"

enum { ASSIGNED_FEW = 2, ASSIGNED_BYTES = 31, ASSIGNED_PARTS_FIRST = 191, ASSIGNED_PARTS = 64 };

/* For one group. */
struct assigned {
    struct group *group; /* held; NULL: it is not known here */
    uint64_t      hash;  /* of the group's filter */
    uint64_t      stream_id;
    uint64_t      life; /* of a live member, whose stream_id is 0: of its shard */
    uint64_t      serial;
    uint32_t      changes; /* of the group when it was chosen */
    uint32_t      sub_id;
    uint8_t       flags;
    uint8_t       attempt; /* 0: the first choice, given by the publisher's own number */
    bool          apart;   /* a live one, whose shard is asked first: counted by numbers of their own */
    bool          again;   /* read from a row: an earlier broker may have given it the message */
};

/* Of one message. From kernel.assignments. */
struct assignments {
    struct list      link;  /* in publisher.unsure: read from a row, its message not sent again yet */
    struct assigned *items; /* few, or allocated */
    uint32_t         count;
    uint32_t         capacity;
    uint16_t         id;    /* of the packet, in publisher.unsure */
    bool             again; /* an earlier broker may have given it to them */
    struct assigned  few[ASSIGNED_FEW];
};

/* Chooses for each group that matches and for which nobody is. *out_new: somebody was. False: no memory. */
MUST_CHECK bool assign_all(struct kernel *kernel, struct pending *pending, const struct message *message,
                           const struct session *from, bool *out_new);
/* One of the group, into *out. False: nobody of it can be given the message. */
bool assign_choose(struct kernel *kernel, struct group *g, const struct message *message, const struct session *from,
                   struct assigned *out);
/* What that shard is in this life of its process: one that was taken for dead begins another, without its clients. */
uint64_t assign_life(const struct kernel *kernel, unsigned shard);
/* SHARDS_MAX: it has gone. */
unsigned assign_shard(const struct kernel *kernel, uint64_t life);
/* Takes NULL. */
void assign_free(struct kernel *kernel, struct assignments *all);

void assign_write(struct wire_writer *w, const struct assignments *all);
/* Of an earlier broker. NULL: no memory, or it is not understood. */
struct assignments *assign_read(struct kernel *kernel, struct bytes value);
/* Its groups, as far as they are known here. */
void assign_know(struct kernel *kernel, struct assignments *all);
/* What a row has of it, kept for when the message is sent again. False: no memory, or it is not understood. */
MUST_CHECK bool assign_restore(struct publisher *publisher, uint16_t id, struct bytes value);
/* Takes it from what is kept; NULL: there is nothing for that id. */
struct assignments *assign_recall(struct publisher *publisher, uint16_t id);

/* Are members recorded before this one is handed out? */
static inline bool assign_recorded(const struct pending *pending)
{
    return pending->writer_epoch != 0 && pending->qos == 2;
}
/* ---- handed out: assign_give.c */

/* The number by which the member in that place is given it. */
struct number assign_number(const struct pending *pending, uint32_t at);
/* It is handed out: adds to kernel.targets those whose stream gets it or who are here, and mails it to others. */
void assign_gather(struct kernel *kernel, struct pending *pending, const struct message *message);
/* The member in that place has gone, and this process had not sent it the message yet. */
void assign_lost(struct kernel *kernel, struct pending *pending, uint32_t at);
/* The stripe's answer to the APPEND for the member in that place. */
void assign_appended(struct kernel *kernel, struct pending *pending, uint32_t at, struct bytes results);

/* ---- wills and delayed messages: assign_kept.c */

/* The message at the end of a stripe's wills waits until it is recorded who gets it, now or by an earlier broker. */
void assign_kept(struct pending *pending, const struct message *message);
/* Writes its row; work.call is answered, with what assign_kept_written makes the status. */
void assign_kept_write(struct pending *pending, struct work *work);
int  assign_kept_written(struct pending *pending, int status);
/* It is done: its row goes. */
void assign_kept_delete(struct wire_writer *w, uint64_t stream_id, uint64_t sequence);

#endif
