/* message - a message kept longer than the call that brought it: one block of bytes, shared by all that wait for it, or sent to another shard.
 *
 *   | publish_ns u64 | expires_ns u64 | qos u8 | retain u8 | topic blob | properties blob | payload blob |
 *
 * Made in memory for memory of the same process: no checksum. What goes to the segment store is a record (record.h).
 * Threads: any; pure. */
#ifndef KEEL_BROKER_KERNEL_MESSAGE_H
#define KEEL_BROKER_KERNEL_MESSAGE_H

#include "broker/kernel/kernel.h"
#include "shared/base/wire.h"
#include "shared/record/record.h"

void message_write(struct wire_writer *w, const struct message *message);
/* Views into what was written. The reader turns bad when it was cut short. */
struct message message_read(struct wire_reader *r);
/* One reference; NULL when memory is out. */
struct buf    *message_keep(const struct message *message);
struct message message_of(const struct buf *kept);

struct record  message_record(const struct message *message);
struct message message_of_record(const struct record *record);

static inline bool message_expired(const struct message *message, uint64_t wall_ns)
{
    return message->expires_wall_ns != 0 && message->expires_wall_ns <= wall_ns;
}

#endif
