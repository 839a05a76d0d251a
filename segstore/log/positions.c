/* positions.c - a merge sort that can be left and taken up again. */
#include "segstore/log/positions.h"

#include <stdlib.h>

enum { AT_FIRST = 1024, RUN = 1024, RUN_STEPS = 8 }; /* steps that an element of a run costs */

void positions_init(struct positions *p)
{
    *p = (struct positions){0};
}

void positions_fini(struct positions *p)
{
    free(p->at);
    free(p->merged);
    *p = (struct positions){0};
}

void positions_add(struct positions *p, uint64_t position)
{
    ASSERT(p->width == 0 && p->done == 0);
    if (p->count == p->capacity) {
        p->capacity = p->capacity == 0 ? AT_FIRST : p->capacity * 2;
        p->at       = realloc(p->at, p->capacity * sizeof *p->at);
        ASSERT_MEMORY(p->at != NULL);
    }
    p->at[p->count++] = position;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void pair_begin(struct positions *p)
{
    p->left  = p->done;
    p->right = least(p->done + p->width, p->count);
}

static void pass_begin(struct positions *p, size_t width)
{
    p->width = width;
    p->done  = 0;
    pair_begin(p);
}

static size_t make_run(struct positions *p)
{
    size_t size = least(RUN, p->count - p->done);
    qsort(p->at + p->done, size, sizeof *p->at, ascending);
    p->done += size;
    if (p->done == p->count) {
        pass_begin(p, RUN);
    }
    return size * RUN_STEPS;
}

/* Of the pair of runs under way, at most so many elements. */
static size_t merge(struct positions *p, size_t most)
{
    size_t begun  = p->done - p->done % (2 * p->width);
    size_t middle = least(begun + p->width, p->count);
    size_t end    = least(begun + 2 * p->width, p->count);
    size_t until  = least(p->done + most, end);
    size_t done   = p->done;
    for (; done < until; done++) {
        bool from_left  = p->left < middle && (p->right == end || p->at[p->left] <= p->at[p->right]);
        p->merged[done] = p->at[from_left ? p->left++ : p->right++];
    }
    size_t steps = done - p->done;
    p->done      = done;
    if (done == p->count) {
        uint64_t *merged = p->merged;
        p->merged        = p->at;
        p->at            = merged;
        pass_begin(p, 2 * p->width);
    } else if (done == end) {
        pair_begin(p);
    }
    return steps;
}

bool positions_sort(struct positions *p, size_t steps)
{
    while (p->count > 0 && p->width < p->count && steps > 0) {
        if (p->width > 0 && p->merged == NULL) {
            p->merged = malloc(p->count * sizeof *p->merged);
            ASSERT_MEMORY(p->merged != NULL);
        }
        size_t took = p->width == 0 ? make_run(p) : merge(p, steps);
        steps -= least(took, steps);
    }
    return p->width < p->count;
}
