/* marks - what live sessions here have been given already of publishers that count their messages (QoS 2 of stored sessions, wills).
 *
 *     a process hands a message out, to subscribers here too, and dies before it has recorded that: whoever finishes its work hands it out again, with
 *     the same number. Streams of stored sessions take it once (op.h, APPEND); for live ones the last number of each writer is kept here. What goes to a live member of a group has
 *     a number of its own (assign.h).
 *     a queue takes no more, and live sessions have the message already: its publisher, which is not told of the refusal, sends it again, to this process perhaps (once.h)
 *
 * Mails between shards carry the numbers, those of one process too.
 * The last MARKS_MAX writers that were heard of are remembered: a session is as many as it had messages under way at once (publish.h).
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_MARKS_H
#define KEEL_BROKER_KERNEL_MARKS_H

#include "broker/kernel/session.h"

enum { MARKS_MAX = 65536 };

struct number {
    uint64_t writer; /* 0: it is not counted */
    uint64_t epoch;
    uint64_t sequence;
};

/* Has a publish that is being handed out a number? pending may be NULL. */
static inline bool marks_numbered(const struct pending *pending)
{
    return pending != NULL && pending->writer_epoch != 0;
}
/* It; zero when it has none. Behind those of its parts (assign.h). */
struct number marks_number(const struct pending *pending);
/* The message with this number is about to be delivered here. False: it was before. */
bool marks_new(struct kernel *kernel, struct number number);
struct wire_writer;
struct wire_reader;
/* As it is mailed. */
void          marks_write(struct wire_writer *w, struct number number);
struct number marks_read(struct wire_reader *r);
void          marks_fini(struct kernel *kernel);

#endif
