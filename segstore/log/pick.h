/* pick - which entries of a log still hold something that a stripe needs: what is sent to a node that gets the stripe's image.
 *
 *   live      ·  ··        ·                   ·              positions, ascending, some perhaps twice
 *   entries  [======]  [======]  [=====]    [====]            of the stripe, by position: an entry's ops from its first byte on
 *             picked    picked    passed     picked
 *
 * Walks both once, over as many blocks as there are. Whole segments and blocks before pick_position can be passed over unread.
 * What lies at a live position may be lost for good. Then zeros are picked in its place, an entry of their own at that position: no record, wherever they go.
 * Threads: any; pure.   Lifetime: borrows live and lost. */
#ifndef KEEL_SEGSTORE_LOG_PICK_H
#define KEEL_SEGSTORE_LOG_PICK_H

#include "segstore/log/block.h"

/* No longer than any target (op.h): the next live position lies behind them. */
enum { PICK_LOST_BYTES = 13 };

struct pick {
    const uint64_t *live;
    size_t          count;
    size_t          at; /* all before it were met or missed */
    size_t   missed;    /* positions that lie in no entry that was walked: damage took it, or it is another stripe's */
    uint16_t stripe;
    const uint64_t *lost; /* of the live ones, ascending: nobody has what was there */
    size_t          lost_count;
    size_t          lost_at;
};

void pick_init(struct pick *p, uint16_t stripe, const uint64_t *live, size_t count);
/* The next entry of a block that is picked; false: there is none behind the cursor. Blocks come in the order of their positions. */
bool pick_next(struct pick *p, struct block_cursor *c, struct log_entry *out);
/* The next live position, when it lies before end and nobody has what was there: what is sent in its place. False: it is not so. */
bool pick_lost(struct pick *p, uint64_t end, struct log_entry *out);
/* The first live position that was not met yet; UINT64_MAX: all were. */
uint64_t pick_position(const struct pick *p);

#endif
