/* next - what a newer minor version may say, for the test that upgrades a cluster node by node: built with KEEL_NEXT (make next), a segment store ends
 * its frames with fields that nobody knows yet and sends, now and then, a frame of a kind that nobody knows. Without it this is nothing.
 * Threads: any; pure. */
#ifndef KEEL_SHARED_RPC_NEXT_H
#define KEEL_SHARED_RPC_NEXT_H

#ifdef KEEL_NEXT

#include "shared/rpc/frame.h"
#include "shared/rpc/schema.h"

enum { NEXT_KIND = 900 };

/* At the end of the frame that begins at `begun`. Images end with bytes of any number: they cannot be longer. */
static inline void next_fields(struct wire_writer *w, size_t begun)
{
    struct rpc_header header;
    if (!w->bad) {
        memcpy(&header, w->data + begun, sizeof header);
        if (header.kind != RPC_IMAGE) {
            wire_put_blob(w, bytes_str("a field of a newer version"));
        }
    }
}

/* Between two frames. */
static inline void next_frame(struct wire_writer *w)
{
    if (w->size % 5 == 0) {
        size_t begun = frame_begin(w, NEXT_KIND, 0);
        wire_put_u64(w, 1);
        (void)frame_end(w, begun);
    }
}

#define NEXT_FIELDS(w, begun) next_fields(w, begun)
#define NEXT_FRAME(w)         next_frame(w)

#else

#define NEXT_FIELDS(w, begun) ((void)0)
#define NEXT_FRAME(w)         ((void)0)

#endif

#endif
