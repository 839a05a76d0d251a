/* usage - what a process has used so far, from /proc.
 * Threads: any. */
#ifndef KEEL_BENCH_LOAD_USAGE_H
#define KEEL_BENCH_LOAD_USAGE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* User and system time; 0 when there is no such process. */
static inline double process_cpu_us(int pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return 0;
    }
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size]           = '\0';
    const char   *behind = strrchr(text, ')');
    unsigned long user = 0, system = 0;
    if (behind == NULL ||
        sscanf(behind + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2) {
        return 0;
    }
    return (double)(user + system) * 1e6 / (double)sysconf(_SC_CLK_TCK);
}

static inline uint64_t process_rss(int pid)
{
    char          path[64];
    unsigned long size = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", pid);
    FILE *file = fopen(path, "re");
    if (file != NULL) {
        int fields = fscanf(file, "%lu %lu", &size, &resident);
        fclose(file);
        resident = fields == 2 ? resident : 0;
    }
    return (uint64_t)resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

#endif
