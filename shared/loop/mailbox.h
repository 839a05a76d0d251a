/* mailbox - a ring with one writing and one reading shard.
 *
 *   writer: slot[tail] = mail; store tail (release); once per turn: io_wake(reader)
 *   reader: load tail (acquire); read slots; store head (release)
 *
 * No mail sleeps: io_wake exchanges the reader's state for "rung" and io_turn exchanges it for "asleep" (both acquire and
 * release, of one object, so one of them is first). Either the reader sees the tail before it sleeps or the bell rings.
 *
 * Full is an answer: mailbox_push returns false, the writer keeps what it has and tries again in a later turn.
 * Head and tail live on cache lines of their own.
 * In the simulator both ends are in one thread, the code is the same.
 * Threads: push by the writing shard only, pop by the reading shard only. */
#ifndef KEEL_SHARED_LOOP_MAILBOX_H
#define KEEL_SHARED_LOOP_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct io;

/* What crosses: a kind (the pair of rooms that use the mailbox define kinds, each with "from -> to" in its comment), two numbers
 * and a pointer whose ownership moves with it. */
struct mail {
    uint32_t kind;
    uint32_t number;
    uint64_t value;
    void    *body;
};

struct mailbox;

/* slots: a power of two. NULL when memory is out. */
struct mailbox *mailbox_new(uint32_t slots);
/* Accepts NULL. Bodies of mail that nobody popped are the caller's: pop until empty first. */
void mailbox_free(struct mailbox *box);
/* The io to wake, set by the reading shard when it has opened it (any time; until then nobody is woken) and taken back
 * with NULL before it is closed. The reading shard looks into the mailbox once after setting it. */
void mailbox_reader(struct mailbox *box, struct io *reader);
/* False when full: nothing was sent. Does not wake: call mailbox_ring once per turn after the pushes. */
bool mailbox_push(struct mailbox *box, const struct mail *mail);
/* Wakes the reader if anything was pushed since the last ring. By the writer. */
void mailbox_ring(struct mailbox *box);
/* The oldest mail, or false when there is none. By the reader. */
bool mailbox_pop(struct mailbox *box, struct mail *out);

#endif
