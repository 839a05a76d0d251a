/* mailbox - a ring with one writing and one reading shard.
 *
 *   writer: slot[tail] = mail; store tail (release); fence; reader asleep? io_wake
 *   reader: load tail (acquire); read slots; store head (release)
 *
 * Full is an answer: mailbox_push returns false and the writer stops receiving from the connections that fill it
 * until mailbox_room says otherwise; nothing is dropped. Head and tail live on cache lines of their own.
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

/* slots: a power of two. reader: the io to wake; set when the reading shard has opened it. */
struct mailbox *mailbox_new(uint32_t slots);
void            mailbox_free(struct mailbox *box);
void            mailbox_reader(struct mailbox *box, struct io *reader);
/* False when full: nothing was sent. Does not wake: call mailbox_ring once per turn after the pushes. */
bool     mailbox_push(struct mailbox *box, const struct mail *mail);
void     mailbox_ring(struct mailbox *box);
uint32_t mailbox_room(const struct mailbox *box);
bool     mailbox_pop(struct mailbox *box, struct mail *out);

#endif
