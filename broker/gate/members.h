/* members - who the nodes of the segment-store cluster shall be, as an operator writes it and as the store keeps it (shared/rpc/schema.h, RPC_TABLE_CLUSTER).
 * Pure. Threads: any. */
#ifndef KEEL_BROKER_GATE_MEMBERS_H
#define KEEL_BROKER_GATE_MEMBERS_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"
#include "shared/base/wire.h"

#include <stdint.h>

enum { MEMBERS_COUNT_MAX = 24, MEMBERS_REPLICAS_MAX = 7, MEMBERS_ROW_MAX_BYTES = 2 + 2 * MEMBERS_COUNT_MAX };

/* "1,2,4" as a row. NULL, or a sentence about what is wrong. */
const char *members_row(struct bytes text, struct wire_writer *out);
/* A number from 1 to max, and nothing else; else 0. */
uint32_t members_number(struct bytes text, uint32_t max);

#endif
