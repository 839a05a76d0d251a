/* assert.c - beside main.c the only place that may end the process. */
#include "shared/base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void assert_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "keel: assertion failed: %s (%s:%d)\n", condition, file, line);
    abort();
}

void assert_memory(const char *file, int line)
{
    fprintf(stderr,
            "keel: out of memory (%s:%d): the process ends, what was acknowledged is on disk; start it again with more "
            "memory or lower limits\n",
            file, line);
    abort();
}

void fatal(int exit_status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("keel: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(exit_status);
}
