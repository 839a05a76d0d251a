/* metrics.c - slots and their text. */
#include "broker/admin/metrics.h"

#include "shared/base/assert.h"
#include "shared/base/version.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CACHE_LINE_BYTES = 64 };

struct metrics_shard {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t values[METRIC_COUNT];
};

struct metrics {
    unsigned             shard_count;
    struct metrics_shard shards[];
};

static const struct {
    const char *name;
    const char *kind;
    const char *help;
} table[] = {
#define METRIC_ROW(slot, name, kind, help) {name, #kind, help},
    METRICS_TABLE(METRIC_ROW)
#undef METRIC_ROW
};

struct metrics *metrics_new(unsigned shard_count)
{
    ASSERT(shard_count > 0);
    size_t          size    = sizeof(struct metrics) + shard_count * sizeof(struct metrics_shard);
    struct metrics *metrics = aligned_alloc(CACHE_LINE_BYTES, size);
    if (metrics != NULL) {
        memset(metrics, 0, size);
        metrics->shard_count = shard_count;
    }
    return metrics;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

struct metrics_shard *metrics_of(struct metrics *metrics, unsigned shard)
{
    ASSERT(shard < metrics->shard_count);
    return &metrics->shards[shard];
}

void metrics_set(struct metrics_shard *shard, enum metric metric, uint64_t value)
{
    atomic_store_explicit(&shard->values[metric], value, memory_order_relaxed);
}

uint64_t metrics_get(const struct metrics_shard *shard, enum metric metric)
{
    return atomic_load_explicit(&shard->values[metric], memory_order_relaxed);
}

uint64_t metrics_sum(const struct metrics *metrics, enum metric metric)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < metrics->shard_count; i++) {
        sum += metrics_get(&metrics->shards[i], metric);
    }
    return sum;
}

char *metrics_print(const struct metrics *metrics, size_t *out_size)
{
    char  *text = NULL;
    size_t size = 0;
    FILE  *to   = open_memstream(&text, &size);
    if (to == NULL) {
        return NULL;
    }
    fputs(VERSION_METRIC, to);
    for (unsigned m = 0; m < METRIC_COUNT; m++) {
        const char *name = table[m].name;
        fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, table[m].help, name, table[m].kind);
        fprintf(to, "%s %" PRIu64 "\n", name, metrics_sum(metrics, m));
        for (unsigned i = 0; i < metrics->shard_count; i++) {
            fprintf(to, "%s{shard=\"%u\"} %" PRIu64 "\n", name, i, metrics_get(&metrics->shards[i], m));
        }
    }
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    *out_size = size;
    return text;
}
