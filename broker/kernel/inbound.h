/* inbound - the QoS 2 packet ids of one publisher that were received and not yet released.
 *
 *     PUBLISH ─▶ PENDING ─(recorded, appended)─▶ DONE ─PUBREL─▶ gone
 *                                  resumed from a row: UNSURE: the id is recorded, what it stood for may not be appended, or was refused
 *
 * Open addressing, at most half full; nothing is allocated before the first id. 32 bytes an id.
 * Threads: those of the owner. */
#ifndef KEEL_BROKER_KERNEL_INBOUND_H
#define KEEL_BROKER_KERNEL_INBOUND_H

#include "shared/base/assert.h"

#include <stdint.h>

enum inbound_state { INBOUND_PENDING = 1, INBOUND_DONE, INBOUND_UNSURE };

struct inbound_id {
    uint16_t id; /* 0: free */
    uint8_t  state;
    uint64_t writer_epoch;
    uint64_t sequence;
    uint64_t content; /* of the message that it stands for, 0: not known */
};

struct inbound {
    struct inbound_id *slots;
    uint32_t           capacity; /* a power of two, or 0 */
    uint32_t           count;
};

void               inbound_fini(struct inbound *inbound);
struct inbound_id *inbound_find(const struct inbound *inbound, uint16_t id);
/* A new id, which is not there yet, zeroed but for the id; NULL when memory is out. Moves the others. */
struct inbound_id *inbound_add(struct inbound *inbound, uint16_t id);
/* Moves the others. */
void inbound_remove(struct inbound *inbound, uint16_t id);

#endif
