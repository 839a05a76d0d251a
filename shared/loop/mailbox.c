/* mailbox.c - each side keeps a copy of the other's place and reads the real one only when the copy says full or empty. */
#include "shared/loop/mailbox.h"

#include "shared/base/assert.h"
#include "shared/loop/io.h"

#include <stdatomic.h>
#include <stdlib.h>

enum { LINE_BYTES = 128 }; /* two cache lines: the processor fetches them in pairs */

struct mailbox {
    /* writer's */
    _Alignas(LINE_BYTES) _Atomic(uint32_t) tail; /* release; pairs with the acquire in mailbox_pop */
    uint32_t head_seen;
    bool     unrung; /* pushed since the last ring */

    /* reader's */
    _Alignas(LINE_BYTES) _Atomic(uint32_t) head; /* release; pairs with the acquire in mailbox_push */
    uint32_t tail_seen;

    /* both read */
    _Alignas(LINE_BYTES) _Atomic(struct io *) reader;
    uint32_t     mask;
    struct mail *slots;
};

struct mailbox *mailbox_new(uint32_t slots)
{
    ASSERT(slots > 0 && (slots & (slots - 1)) == 0);
    struct mailbox *box = aligned_alloc(LINE_BYTES, sizeof *box);
    if (box == NULL) {
        return NULL;
    }
    *box       = (struct mailbox){.mask = slots - 1};
    box->slots = aligned_alloc(LINE_BYTES, (slots * sizeof(struct mail) + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1));
    if (box->slots == NULL) {
        free(box);
        return NULL;
    }
    return box;
}

void mailbox_free(struct mailbox *box)
{
    if (box == NULL) {
        return;
    }
    free(box->slots);
    free(box);
}

void mailbox_reader(struct mailbox *box, struct io *reader)
{
    /* Pairs with the load in mailbox_ring. */
    atomic_store_explicit(&box->reader, reader, memory_order_seq_cst);
}

bool mailbox_push(struct mailbox *box, const struct mail *mail)
{
    uint32_t tail = atomic_load_explicit(&box->tail, memory_order_relaxed); /* ours */
    if (tail - box->head_seen > box->mask) {
        box->head_seen = atomic_load_explicit(&box->head, memory_order_acquire);
        if (tail - box->head_seen > box->mask) {
            return false;
        }
    }
    box->slots[tail & box->mask] = *mail;
    box->unrung                  = true;
    atomic_store_explicit(&box->tail, tail + 1, memory_order_release);
    return true;
}

void mailbox_ring(struct mailbox *box)
{
    if (!box->unrung) {
        return;
    }
    box->unrung       = false;
    struct io *reader = atomic_load_explicit(&box->reader, memory_order_seq_cst);
    if (reader != NULL) {
        io_wake(reader);
    }
}

bool mailbox_pop(struct mailbox *box, struct mail *out)
{
    uint32_t head = atomic_load_explicit(&box->head, memory_order_relaxed); /* ours */
    if (head == box->tail_seen) {
        box->tail_seen = atomic_load_explicit(&box->tail, memory_order_acquire);
        if (head == box->tail_seen) {
            return false;
        }
    }
    *out = box->slots[head & box->mask];
    atomic_store_explicit(&box->head, head + 1, memory_order_release);
    return true;
}
