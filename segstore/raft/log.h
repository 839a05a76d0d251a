/* log - which entry is of which term: runs of equal terms, so that memory goes with elections and not with entries.
 *
 *   before (compacted) | first .. stable (durable here) .. last |
 *
 * Pure. Threads: those of the owner. */
#ifndef KEEL_SEGSTORE_RAFT_LOG_H
#define KEEL_SEGSTORE_RAFT_LOG_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_run {
    uint64_t from; /* its first entry */
    uint64_t term;
};

struct raft_log {
    uint64_t        first;       /* index of the first entry that is known one by one */
    uint64_t        last;        /* first - 1: there is none */
    uint64_t        stable;      /* durable without a hole up to here */
    uint64_t        before_term; /* of entry first - 1 */
    struct log_run *runs;        /* ascending */
    size_t          count;
    size_t          capacity;
};

/* Empty, behind entry `before` of that term. */
void log_reset(struct raft_log *log, uint64_t before, uint64_t term);
void log_fini(struct raft_log *log);
/* 0 where it is not known. */
uint64_t log_term(const struct raft_log *log, uint64_t index);
/* Behind the last one; terms never fall. */
void log_append(struct raft_log *log, uint64_t term);
/* Entry index and all behind it go. */
void log_truncate(struct raft_log *log, uint64_t index);
/* Entries up to index, which there is, are forgotten. */
void log_compact(struct raft_log *log, uint64_t index);
/* The last entry at or before index whose term is at most term: what a log with that term there may have in common with this one. At least first - 1. */
uint64_t log_conflict(const struct raft_log *log, uint64_t index, uint64_t term);

#endif
