/* interest - which other shards have live subscribers of a filter, so that a publish is mailed to those alone. Those of stored sessions: stored.h.
 *
 *     first live subscriber of a filter here, last one gone
 *         ──▶ MAIL_INTEREST, announced to every other shard ──▶ without wildcards: by the hash of the topic              ┐ wants.h
 *                                                               with wildcards: by its shape and the hash of the rest ┘ shapes.h
 *                                                               of a shape too many or too deep: LINK_INTEREST in the filter tree
 *
 * A filter that one live session has costs nothing here beyond its subscription: the mark of its node says so (match_mark). One that more have
 * is counted in a tally.
 *
 * A mail says how the filter stood and how it stands, so that filters which one hash stands for are counted apart.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_INTEREST_H
#define KEEL_BROKER_KERNEL_INTEREST_H

#include "broker/kernel/state.h"

/* A live subscriber of the filter of this node came. False when memory is out. */
MUST_CHECK bool interest_in(struct kernel *kernel, uint32_t node);
/* One that came has gone. */
void interest_out(struct kernel *kernel, uint32_t node);
/* From now on what is here is counted, if it was not: it is about to be told to somebody. */
void interest_track(struct kernel *kernel);
/* All that is here, to one shard. */
void interest_tell(struct kernel *kernel, unsigned shard);
/* That shard has gone. */
void interest_lost(struct kernel *kernel, unsigned shard);
/* MAIL_INTEREST of another shard. */
void interest_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
/* Which shards have live subscribers of a topic? ask begins to bring what the answer needs into the cache, and what rows of stored sessions are
 * found by (route.h); something else is done meanwhile. Filters without a shape are not in the answer, but in the tree (interest_link). */
struct interest_question {
    uint32_t count; /* of shapes that may match */
    uint64_t exact; /* what the topic itself is known by here: set when there are rows of stored sessions .. */
    uint64_t told;  /* .. and as other shards announce it: set when one wants anything */
    uint64_t keys[SHAPES_MAX];
    uint8_t  shapes[SHAPES_MAX];
};
void     interest_ask(const struct kernel *kernel, struct bytes topic, struct interest_question *out);
uint64_t interest_answer(const struct kernel *kernel, const struct interest_question *question, uint8_t qos);
/* Those of a LINK_INTEREST. */
uint64_t interest_link(const struct match_link *link, uint8_t qos);
void     interest_fini(struct kernel *kernel);

#endif
