/* log.c - formats a line and writes it whole. */
#include "shared/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char    *log_program = "keel";
static enum log_level log_last    = LOG_INFO;
static void (*log_sink)(const char *line);

void log_setup(const char *program, enum log_level level, void (*sink)(const char *line))
{
    log_program = program;
    log_last    = level;
    log_sink    = sink;
}

void log_line(enum log_level level, const char *format, ...)
{
    static const char *const names[] = {"error", "warn ", "info ", "debug"};
    if (level > log_last) {
        return;
    }
    char            line[1024];
    struct timespec now;
    struct tm       utc;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    size_t used = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &utc);
    used += (size_t)snprintf(line + used, sizeof line - used, ".%03ldZ %s %s: ", now.tv_nsec / 1000000, names[level],
                             log_program);
    va_list args;
    va_start(args, format);
    int written = vsnprintf(line + used, sizeof line - used - 1, format, args);
    va_end(args);
    used += written > 0 ? (size_t)written : 0;
    used = used < sizeof line - 2 ? used : sizeof line - 2;
    for (size_t i = 0; i < used; i++) { /* names come from clients: no control characters in the log */
        line[i] = (unsigned char)line[i] < 0x20 || line[i] == 0x7f ? '?' : line[i];
    }
    line[used]     = '\n';
    line[used + 1] = '\0';
    if (log_sink != NULL) {
        log_sink(line);
        return;
    }
    ssize_t ignored = write(STDERR_FILENO, line, used + 1);
    (void)ignored;
}

bool log_allowed(struct log_limit *limit, uint64_t now_ns, uint64_t interval_ns, uint64_t *out_suppressed)
{
    if (now_ns < limit->next_ns) {
        limit->suppressed_count++;
        return false;
    }
    *out_suppressed         = limit->suppressed_count;
    limit->suppressed_count = 0;
    limit->next_ns          = now_ns + interval_ns;
    return true;
}
