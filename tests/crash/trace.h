/* trace - everything that a segment store asked of its disk, in the order in which it asked and was answered.
 *
 *   segstore/disk ──io_write_durable──▶ trace.c ──▶ shared/loop/uring_file.c         (the linker puts trace.c between: --wrap)
 *                                         │
 *                                         ▼
 *     events   SENT 3 | WRITE 7 bytes 4096.. | SENT 4 | DONE 7 | ACK 3 | ...
 *
 * A crash may come between any two events; model.h says what is on the disk then. SENT and ACK are the client's: a transaction was asked for,
 * and answered. Paths are those below the directory that is watched.
 * Threads: one; one trace at a time.   Units: bytes. */
#ifndef KEEL_TESTS_CRASH_TRACE_H
#define KEEL_TESTS_CRASH_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum trace_kind {
    TRACE_MKDIR,
    TRACE_CREATE,
    TRACE_WRITE,
    TRACE_SYNC,
    TRACE_SYNC_DIRECTORY,
    TRACE_RENAME,
    TRACE_UNLINK,
    TRACE_DONE, /* the operation of event `of` is done */
    TRACE_SENT,
    TRACE_ACK,
};

struct trace_event {
    uint8_t  kind;
    bool     durable; /* WRITE */
    int      result;  /* DONE */
    uint32_t of;      /* DONE: an event; SENT, ACK: a stripe */
    uint64_t number;  /* SENT, ACK: of the transaction */
    uint64_t offset;  /* WRITE */
    size_t   size;
    uint8_t *bytes; /* WRITE: a copy */
    char    *path;  /* of what; WRITE and SYNC: as the file was called when it was opened */
    char    *to;    /* RENAME */
    /* CREATE, WRITE, SYNC: a number for each file that was ever made; those found are numbered by trace_found. */
    uint32_t file;
};

struct trace {
    struct trace_event *events;
    size_t              count;
    size_t              room;
};

/* Begins another trace and watches this directory from now on; NULL: watches nothing. Events of the one before stay. */
void                trace_begin(const char *directory);
const struct trace *trace_now(void);
/* A file that is there already, before anything is recorded: its number is the next one. */
void trace_found(const char *path);
void trace_note(enum trace_kind kind, uint32_t stripe, uint64_t number);

#endif
