/* sm - a table of what may follow what, so that a wrong step of a state machine fails where it is made.
 *
 *     static const struct sm_state conn_states[] = {
 *         [CONN_WAIT_CONNECT] = {"wait_connect", SM(CONN_OPEN) | SM(CONN_CLOSED)}, ...
 *     };
 *     sm_step(conn_states, &conn->state, CONN_OPEN);
 *
 * Threads: those of the owner. */
#ifndef KEEL_SHARED_BASE_SM_H
#define KEEL_SHARED_BASE_SM_H

#include "shared/base/assert.h"

#include <stdint.h>

#define SM(state) (1u << (state))

struct sm_state {
    const char *name;     /* what logs and metrics print */
    uint32_t    followed; /* SM() of every state that may come next */
};

static inline void sm_step(const struct sm_state *table, uint8_t *state, uint8_t next)
{
    ASSERT((table[*state].followed & SM(next)) != 0);
    *state = next;
}

#endif
