/* loading - a stripe while it is loaded, piece by piece, for load.c and the files that know the pieces: load_streams.c, load_rows.c. Only for them.
 *
 *   head, of each stream: its fields, positions or topics, what it keeps, cursors │ writers, items, timers │ sum, timers entered, the log told
 *   load_streams.c                                                                │ load_rows.c            │ load.c
 *
 * A step reads one piece whole, or nothing of it.
 * Threads: those of the stripe. */
#ifndef KEEL_SEGSTORE_STRIPE_LOADING_H
#define KEEL_SEGSTORE_STRIPE_LOADING_H

#include "segstore/stripe/image.h"
#include "segstore/stripe/packing.h"
#include "shared/base/hash.h"

enum loading_part {
    LOADING_HEAD,
    LOADING_STREAM,
    LOADING_POSITIONS,
    LOADING_LATEST,
    LOADING_TOPICS,
    LOADING_KEEPING,
    LOADING_MARKS,
    LOADING_CURSORS,
    LOADING_CURSOR,
    LOADING_RANGES,
    LOADING_WRITERS,
    LOADING_WRITER,
    LOADING_ITEMS,
    LOADING_ITEM,
    LOADING_TIMERS,
    LOADING_TIMER,
    LOADING_SUM,
    LOADING_ENTERING, /* all is read: timers, in their order */
    LOADING_TELLING,  /* all is known to be well: the log learns what it must keep */
    LOADING_DONE
};

/* What becomes of a piece. */
enum step { STEP_TAKEN, STEP_SHORT, STEP_BAD };

struct stripe_loading {
    struct stripe      *stripe;
    struct stripe_moved moved;
    bool                is_moved;
    uint8_t             part;
    uint16_t            version;
    uint64_t            left;  /* of what is counted: streams until all are there, then writers, items, timers */
    uint64_t            inner; /* of what is counted inside a stream: topics, marks, cursors */
    struct stream      *stream;
    uint64_t            next; /* of the stream; its own grows with what is there */
    struct packing      packing;
    size_t              unpacked; /* bytes that the positions of this piece would take as they are */
    struct mark         mark;     /* the last one */
    bool                first;    /* cursor, mark, item */
    uint32_t            last_id;  /* cursor */
    struct cursor      *cursor;
    uint32_t            ranges;
    const struct item  *item;
    /* A heap by order: they are entered in the order they were set, and timers of one owner keep it. */
    struct deadline  **timers;
    size_t             timer_count;
    size_t             timer_capacity;
    uint64_t           order; /* of the last one that was entered */
    struct stripe_live walk;
    uint64_t           told;
    XXH3_state_t      *sum;
};

static inline enum step step_of(const struct wire_reader *r, bool is)
{
    return r->bad ? STEP_SHORT : is ? STEP_TAKEN : STEP_BAD;
}

enum step load_head(struct stripe_loading *l, struct wire_reader *r);
/* What a stream is made of: LOADING_STREAM .. LOADING_RANGES. */
enum step load_of_stream(struct stripe_loading *l, struct wire_reader *r);
/* LOADING_WRITERS .. LOADING_TIMER. */
enum step load_row(struct stripe_loading *l, struct wire_reader *r);
/* The next one of all that were read. */
enum step load_enter_timer(struct stripe_loading *l);

#endif
