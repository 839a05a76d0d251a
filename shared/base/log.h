/* log - one line per event to standard error: time, level, program, sentence.
 *
 *     2026-11-20T21:54:53.120Z info  broker: listening on 127.0.0.1:1883
 *
 * Time and output are handed in by main.c (log_setup), so the simulator can capture lines with virtual time.
 * Threads: any; a line is one write. Not for the hot path: use log_allowed to bound lines per second. */
#ifndef KEEL_SHARED_BASE_LOG_H
#define KEEL_SHARED_BASE_LOG_H

#include "shared/base/assert.h"

#include <stdint.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* program: stands before each sentence, must outlive the process. level: the last one printed. sink: takes a whole line; NULL is standard error. */
void log_setup(const char *program, enum log_level level, void (*sink)(const char *line));
void log_line(enum log_level level, const char *format, ...) PRINTF_LIKE(2, 3);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/* A bound of one line per interval for one source: zero it at start. */
struct log_limit {
    uint64_t next_ns;
    uint64_t suppressed_count;
};

/* May the source log now? When true, *out_suppressed is how many lines were left out since the last. */
bool log_allowed(struct log_limit *limit, uint64_t now_ns, uint64_t interval_ns, uint64_t *out_suppressed);

#endif
