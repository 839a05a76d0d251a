/* image - the whole state of a stripe as bytes: what save.c writes and load.c reads.
 *
 *   magic u32 | version u16 | stripe u16 | applied u64 | time_ns u64 | next_local u64 | table version u64 | actions_failed u64
 *   limits:   as in the body of OP_LIMITS (op.h), in version 7 stream_bytes_max u64 (not 0)
 *   streams:  count u64, of each:   id u64, flags u8, start u64, next u64, epoch u64, owner u64, name blob, (next - start) positions (packing.h)
 *                                  (but with STREAM_LATEST: count u64, by offset: offset u64, position u64, time_ns u64, record bytes u32, topic blob),
 *                                  kept u8, when 1: max_age_ns u64, max_bytes u64, max_count u64, bytes u64, mark count u32, marks (keep.h) x 4 u64,
 *                                  cursor count u32, by id: id u32, position u64, sent u64, range count u32, ranges (op.h)
 *   writers:  count u32, the one unused for longest first: id u64, epoch u64, sequence u64, offset u64
 *   tables:   count u64 of items, by table and key: table u32, key blob, value blob, version u64, expires_wall_ns u64
 *   timers:   count u64, of each: order u64, key blob, owner u64, delay_ns u64, due_ns u64, action blob, position u64
 *   XXH3-64 of all before it
 *
 * Streams and timers stand in any order (in version 2: by id, and in the order they were set, which is one of them). Before version 4
 * there was no `kept` and no STREAM_LATEST. Before version 5 there were no limits: such a stripe has those of a new one. Before version 6 a position was a u64 of its own.
 * Version 7 is written only where stream_bytes_max is not 0, so that programs that do not know it read all others; queues are `kept` in it alone: those that count.
 * Threads: those of the stripe. */
#ifndef KEEL_SEGSTORE_STRIPE_IMAGE_H
#define KEEL_SEGSTORE_STRIPE_IMAGE_H

#include "segstore/stripe/state.h"

enum {
    IMAGE_MAGIC          = 0x5254534b,
    IMAGE_VERSION        = 7, /* where the bytes of queues are limited */
    IMAGE_VERSION_PACKED = 6,
    IMAGE_VERSION_LIMITS = 5,
    IMAGE_VERSION_KEEPS  = 4,
    IMAGE_VERSION_PLAIN  = 3,
    IMAGE_VERSION_SORTED = 2,
    IMAGE_CHECKSUM_BYTES = 8
};

#endif
