/* latest - where the newest record of each topic lies, of one stream with STREAM_LATEST.
 *
 *   slots, by offset   3        7   9        12           a slot without a topic is dead: a newer record came, or it was trimmed
 *   topics, by name    "a" ─────┘   "b"      "c"
 *
 * Memory: 24 bytes a slot, at most twice as many slots as topics, and about 48 bytes and its name for each topic.
 * Changes are made at once and put into the journal; dead slots are squeezed out when a transaction is committed.
 * Threads: those of the stripe. */
#ifndef KEEL_SEGSTORE_STRIPE_LATEST_H
#define KEEL_SEGSTORE_STRIPE_LATEST_H

#include "segstore/stripe/map.h"
#include "shared/base/bytes.h"

struct stream;
struct stripe;

struct topic {
    uint64_t offset;
    uint64_t time_ns;
    uint32_t record_bytes;
    uint32_t name_size;
    uint8_t  name[];
};

struct slot {
    uint64_t      offset;
    uint64_t      position;
    struct topic *topic; /* NULL: dead */
};

struct latest {
    struct map   topics;
    struct slot *slots;
    size_t       first; /* all before it are dead */
    size_t       count;
    size_t       capacity;
    uint64_t     bytes; /* of live records */
};

struct latest *latest_new(void);
void           latest_free(struct latest *latest);
/* The record at stream->next: it takes the place of the last one of its topic. */
void latest_append(struct stripe *s, struct stream *stream, struct bytes topic, uint64_t record_bytes,
                   uint64_t position);
/* Everything before offset goes. */
void latest_trim(struct stripe *s, struct stream *stream, uint64_t offset);
/* The first live slot at or behind offset, NULL: none. */
const struct slot *latest_from(const struct latest *latest, uint64_t offset);
/* The one behind it, NULL: none. */
const struct slot *latest_after(const struct latest *latest, const struct slot *slot);
/* Where the live slot of an offset says that its record lies; NULL: there is none. */
uint64_t *latest_position(struct latest *latest, uint64_t offset);
/* While loading: behind all others. False when the topic is there already. */
bool latest_load(struct latest *latest, struct bytes topic, uint64_t offset, uint64_t position, uint64_t time_ns,
                 uint32_t record_bytes);

#endif
