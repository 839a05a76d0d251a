/* log.c - runs. */
#include "segstore/raft/log.h"

#include <stdlib.h>
#include <string.h>

void log_reset(struct raft_log *log, uint64_t before, uint64_t term)
{
    log->first       = before + 1;
    log->last        = before;
    log->stable      = before;
    log->before_term = term;
    log->count       = 0;
}

void log_fini(struct raft_log *log)
{
    free(log->runs);
    *log = (struct raft_log){0};
}

uint64_t log_term(const struct raft_log *log, uint64_t index)
{
    if (index + 1 == log->first) {
        return log->before_term;
    }
    if (index < log->first || index > log->last) {
        return 0;
    }
    for (size_t i = log->count; i > 0; i--) {
        if (log->runs[i - 1].from <= index) {
            return log->runs[i - 1].term;
        }
    }
    return 0;
}

void log_append(struct raft_log *log, uint64_t term)
{
    log->last++;
    if (log->count > 0 && log->runs[log->count - 1].term == term) {
        return;
    }
    if (log->count == log->capacity) {
        log->capacity = log->capacity == 0 ? 8 : log->capacity * 2;
        log->runs     = realloc(log->runs, log->capacity * sizeof *log->runs);
        ASSERT_MEMORY(log->runs != NULL);
    }
    log->runs[log->count++] = (struct log_run){.from = log->last, .term = term};
}

void log_truncate(struct raft_log *log, uint64_t index)
{
    ASSERT(index >= log->first && index <= log->last + 1);
    log->last   = index - 1;
    log->stable = log->stable < log->last ? log->stable : log->last;
    while (log->count > 0 && log->runs[log->count - 1].from > log->last) {
        log->count--;
    }
}

void log_compact(struct raft_log *log, uint64_t index)
{
    if (index < log->first) {
        return;
    }
    ASSERT(index <= log->last);
    log->before_term = log_term(log, index);
    log->first       = index + 1;
    size_t gone      = 0;
    while (gone + 1 < log->count && log->runs[gone + 1].from <= log->first) {
        gone++;
    }
    if (gone > 0) {
        log->count -= gone;
        memmove(log->runs, log->runs + gone, log->count * sizeof *log->runs);
    }
    if (log->last < log->first) {
        log->count = 0;
    }
}

uint64_t log_conflict(const struct raft_log *log, uint64_t index, uint64_t term)
{
    index = index < log->last ? index : log->last;
    while (index >= log->first && log_term(log, index) > term) {
        size_t i = log->count;
        while (log->runs[i - 1].from > index) {
            i--;
        }
        index = log->runs[i - 1].from - 1; /* past the whole run */
    }
    return index + 1 < log->first ? log->first - 1 : index;
}
