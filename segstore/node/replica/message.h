/* message - what the replicas of a stripe say to each other, as the body of an RPC_RAFT frame.
 *
 *   stripe u16 | kind u8 | flags u8 (1 refused, 2 pre-vote, 4 transfer, 8 damaged) | count u32 | term u64 | index u64 | log_term u64 | commit u64 |
 *   hint u64 | clock u64 | chain u64 (RAFT_APPEND: of the entry at index)
 *   count x entry:  size u32 | kind u16 | zero u16 | term u64 | wall_ns u64 | chain u64 | ops, size bytes
 *
 * kind and the numbers: segstore/raft/raft.h. From whom it is, the connection says.
 * Threads: any; pure. */
#ifndef KEEL_SEGSTORE_NODE_REPLICA_MESSAGE_H
#define KEEL_SEGSTORE_NODE_REPLICA_MESSAGE_H

#include "segstore/log/block.h"
#include "segstore/raft/raft.h"
#include "shared/base/wire.h"

enum { MESSAGE_BYTES = 64, MESSAGE_ENTRY_BYTES = 32, MESSAGE_ENTRIES_MAX = 1024 };

/* The head; entries follow. message->count is what is going to follow. */
void message_put(struct wire_writer *w, uint16_t stripe, const struct raft_message *message, uint64_t chain);
/* Of a head that was written: how many entries follow it after all. */
void message_set_count(uint8_t *head, uint32_t count);
/* One entry behind the head; its stripe and index are not sent. */
void message_put_entry(struct wire_writer *w, const struct log_entry *entry);

/* The head of a body: false when it is malformed. Entries are what is left in the reader. */
bool message_get(struct wire_reader *r, uint16_t *out_stripe, struct raft_message *out, uint64_t *out_chain);
/* All count entries into out[0 .. count) and their terms; ops are views. False: malformed, out of order, or the chain from `chain` on does
 * not match: damaged on the way, or on the disk of the sender. */
bool message_get_entries(struct wire_reader *r, uint16_t stripe, const struct raft_message *message, uint64_t chain,
                         struct log_entry *out, uint64_t *out_terms);

#endif
