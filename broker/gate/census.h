/* census - how many connections each address and each user has on this broker, and how often each client identifier and address comes.
 *
 *   let in ──▶ census_enter ──▶ counted │ FULL: it has as many as it may │ FLAPS: it comes too often
 *   gone   ──▶ census_leave
 *
 * All together are counted apart, without the lock.
 * One table for all shards, behind a lock: taken when a client comes or goes, never for a message. What is not connected and has not come for a
 * while is forgotten, a few entries with each that comes.
 * Lifetime: made by main.c before the shards, freed after them.   Threads: any. */
#ifndef KEEL_BROKER_GATE_CENSUS_H
#define KEEL_BROKER_GATE_CENSUS_H

#include "broker/auth/bans.h"

struct census;

enum census_verdict { CENSUS_IN, CENSUS_FULL, CENSUS_FLAPS };

/* What is allowed of one kind; 0: not looked at. */
struct census_limit {
    uint32_t connections; /* at once */
    uint32_t comings;     /* within the window; one more flaps */
    uint64_t window_ns;
};

/* NULL when memory is out. */
struct census *census_new(void);
void           census_free(struct census *census);
/* Counts one in, unless the verdict is FULL or FLAPS: then nothing is to be left. One whose client identifier is counted already takes that one's place
 * over: it is let in though they are one too many for a moment. Memory out: let in, and counted by nobody (false in *counted). */
enum census_verdict census_enter(struct census *census, enum ban_kind kind, struct bytes name, struct bytes client_id,
                                 struct census_limit limit, uint64_t now_ns, bool *counted);
void                census_leave(struct census *census, enum ban_kind kind, struct bytes name, struct bytes client_id);

/* One more of all that are connected; false: there are as many as `most` already, and it is not counted. */
MUST_CHECK bool census_enter_all(struct census *census, uint32_t most);
void            census_leave_all(struct census *census);

#endif
