/* What a million idle streams cost: bytes of memory each, bytes of a checkpoint each, and how long a restart takes to load them; on one core.
 *   make build/release/bench/micro/streams && build/release/bench/micro/streams [STREAMS [STRIPES]] */
#include "segstore/stripe/stripe.h"
#include "shared/rpc/op.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int mallctl(const char *name, void *old, size_t *old_size, void *new, size_t new_size); /* jemalloc's */

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static size_t allocated(void)
{
    uint64_t epoch = 1;
    size_t   size  = sizeof epoch;
    size_t   bytes = 0;
    (void)mallctl("epoch", &epoch, &size, &epoch, sizeof epoch);
    size = sizeof bytes;
    if (mallctl("stats.allocated", &bytes, &size, NULL, 0) != 0) {
        abort();
    }
    return bytes;
}

static void apply(struct stripe *s, struct wire_writer *w, struct wire_writer *results)
{
    struct stripe_entry entry = {.index = stripe_applied(s) + 1, .wall_ns = 1, .ops = wire_written(w)};
    results->size             = 0;
    if (stripe_apply(s, &entry, true, results) != 0) {
        abort();
    }
    w->size = 0;
}

static struct stripe *make(uint16_t id)
{
    struct stripe_limits limits  = {.table_bytes_max = UINT64_MAX / 2, .streams_max = UINT64_MAX, .writers_max = 10000};
    struct stripe       *s       = stripe_new(id, NULL);
    struct wire_writer   w       = wire_writer_growing(1 << 16);
    struct wire_writer   results = wire_writer_growing(1 << 16);
    stripe_limits_op(NULL, &limits, &w);
    apply(s, &w, &results);
    wire_writer_fini(&w);
    wire_writer_fini(&results);
    return s;
}

static void fill(struct stripe *s, uint32_t first, uint32_t count)
{
    struct wire_writer w       = wire_writer_growing(1 << 16);
    struct wire_writer results = wire_writer_growing(1 << 16);
    char               name[64];
    for (uint32_t i = first; i < first + count; i++) {
        int size = snprintf(name, sizeof name, "mqtt/session/client-%07u", i); /* as a broker names it */
        op_encode(&w,
                  &(struct op){.kind = OP_STREAM_CREATE, .flags = STREAM_QUEUE, .name = bytes_of(name, (size_t)size)});
        apply(s, &w, &results);
    }
    wire_writer_fini(&w);
    wire_writer_fini(&results);
}

int main(int argc, char **argv)
{
    uint32_t streams = argc > 1 ? (uint32_t)atoi(argv[1]) : 1000000;
    uint32_t stripes = argc > 2 ? (uint32_t)atoi(argv[2]) : 64;
    if (streams == 0 || stripes == 0) {
        fprintf(stderr, "usage: streams [STREAMS [STRIPES]], both at least 1\n");
        return 64;
    }
    struct stripe     **all    = calloc(stripes, sizeof(struct stripe *));
    struct wire_writer *images = calloc(stripes, sizeof *images);
    for (uint32_t i = 0; i < stripes; i++) {
        all[i]    = make((uint16_t)i);
        images[i] = wire_writer_growing(SIZE_MAX / 4);
    }
    size_t before = allocated();
    double begun  = now_s();
    for (uint32_t i = 0; i < stripes; i++) {
        uint32_t first = (uint32_t)((uint64_t)streams * i / stripes);
        fill(all[i], first, (uint32_t)((uint64_t)streams * (i + 1) / stripes) - first);
    }
    printf("%u idle streams in %u stripes\n", streams, stripes);
    printf("  memory                %8.1f bytes a stream\n", (double)(allocated() - before) / streams);
    printf("  made                  %8.1f ns a stream\n", (now_s() - begun) * 1e9 / streams);
    uint64_t bytes = 0;
    begun          = now_s();
    for (uint32_t i = 0; i < stripes; i++) {
        struct stripe_saving *saving = stripe_save_begin(all[i]);
        while (stripe_save_more(saving, &images[i], 256 << 10)) {
        }
        stripe_save_end(saving);
        bytes += images[i].size;
    }
    double saved = now_s() - begun;
    printf("  checkpoint            %8.1f bytes a stream, taken in %.2f s\n", (double)bytes / streams, saved);
    for (uint32_t i = 0; i < stripes; i++) {
        stripe_free(all[i]);
        all[i] = make((uint16_t)i);
        stripe_free(all[i]);
        all[i] = stripe_new((uint16_t)i, NULL);
    }
    before = allocated();
    begun  = now_s();
    for (uint32_t i = 0; i < stripes; i++) {
        if (stripe_load(all[i], wire_written(&images[i]), NULL) != 0) {
            abort();
        }
    }
    double loaded = now_s() - begun;
    printf("  restart               %8.1f ns a stream: %.2f s for all, %.1f million/s; then %.1f bytes a stream\n",
           loaded * 1e9 / streams, loaded, streams / loaded / 1e6, (double)(allocated() - before) / streams);
    return 0;
}
