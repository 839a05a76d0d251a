/* What a match costs: nanoseconds per publish's look-up, bytes per subscription. */
#include "broker/kernel/match.h"
#include "shared/base/rand.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void report(const char *name, uint64_t began_ns, uint64_t rounds, uint64_t hits)
{
    printf("%-44s %8.1f ns per match (%.2f hits)\n", name, (double)(now_ns() - began_ns) / (double)rounds,
           (double)hits / (double)rounds);
}

static void find(struct match *m, const char *name, const char *format, uint32_t topics, uint64_t rounds)
{
    char(*names)[64] = malloc(topics * sizeof *names);
    struct rand     r;
    const uint32_t *nodes;
    uint64_t        hits = 0;
    rand_init(&r, 1, 1);
    for (uint32_t i = 0; i < topics; i++) {
        snprintf(names[i], sizeof names[i], format, (unsigned)rand_below(&r, 1000000));
    }
    uint64_t began_ns = now_ns();
    for (uint64_t i = 0; i < rounds; i++) {
        hits += match_find(m, bytes_str(names[i % topics]), &nodes);
    }
    report(name, began_ns, rounds, hits);
    free(names);
}

/* A million filters, seven tenths exact, and topics of which each has five destinations: one exact, '+' at the end and in the
 * middle, '#' twice. */
static int mixed(void)
{
    enum { TENTH = 100000, TOPICS = 100000, ROUNDS = 4000000 };
    struct match      *m      = match_new(4096);
    struct match_link *links  = calloc(10 * TENTH, sizeof *links);
    uint32_t           n      = 0;
    static const char *wild[] = {"site/%u/+", "site/+/%u/temperature", "site/%u/#"};
    char               text[64];
    uint64_t           empty = match_bytes(m);
    for (uint32_t i = 0; i < 10 * TENTH; i++) {
        if (i < TENTH) {
            snprintf(text, sizeof text, "site/%u/%u/temperature", i, i);
        } else if (i < 7 * TENTH) {
            snprintf(text, sizeof text, "device/%u/command", i);
        } else if (i < 9 * TENTH) {
            snprintf(text, sizeof text, wild[1 + i / TENTH % 2], i % TENTH);
        } else if (i % 2 == 0) {
            snprintf(text, sizeof text, "site/%u/+/temperature", i % TENTH);
        } else {
            snprintf(text, sizeof text, "site/%u/%u/#", i % TENTH - 1, i % TENTH - 1);
        }
        if (match_add(m, bytes_str(text), &links[n++]) != 0) {
            return 1;
        }
    }
    printf("%-44s %8.1f bytes in the tree\n", "per filter, mixed", (double)(match_bytes(m) - empty) / n);
    char(*names)[64] = malloc(TOPICS * sizeof *names);
    const uint32_t *nodes;
    uint64_t        hits = 0;
    for (uint32_t i = 0; i < TOPICS; i++) {
        uint32_t at = i * 7919u % TENTH & ~1u;
        snprintf(names[i], sizeof names[i], "site/%u/%u/temperature", at, at);
    }
    uint64_t began_ns = now_ns();
    for (uint64_t i = 0; i < ROUNDS; i++) {
        hits += match_find(m, bytes_str(names[i % TOPICS]), &nodes);
    }
    report("1 million mixed filters, 100 000 topics", began_ns, ROUNDS, hits);
    began_ns = now_ns();
    hits     = 0;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        hits += match_find(m, bytes_str(names[i % 1000]), &nodes);
    }
    report("1 million mixed filters, 1000 topics", began_ns, ROUNDS, hits);
    free(names);
    match_free(m);
    free(links);
    return 0;
}

int main(void)
{
    enum { COUNT = 1000000 };
    struct match      *m     = match_new(4096);
    struct match_link *links = calloc(COUNT + 3, sizeof *links);
    char               text[64];
    uint64_t           empty    = match_bytes(m);
    uint64_t           began_ns = now_ns();
    for (uint32_t i = 0; i < COUNT; i++) {
        snprintf(text, sizeof text, "device/%u/command", i);
        if (match_add(m, bytes_str(text), &links[i]) != 0) {
            return 1;
        }
    }
    printf("%-44s %8.1f ns\n", "add one of 1 million filters", (double)(now_ns() - began_ns) / COUNT);
    printf("%-44s %8.1f bytes in the tree\n", "per filter device/<n>/command",
           (double)(match_bytes(m) - empty) / COUNT);
    find(m, "one topic again and again", "device/%u/command", 1, 20000000);
    find(m, "1000 topics in turn", "device/%u/command", 1000, 20000000);
    find(m, "1 million topics, too many for the cache", "device/%u/command", 1000000, 4000000);
    find(m, "no subscriber, 1 million topics", "device/%u/other", 1000000, 4000000);
    if (match_add(m, bytes_str("device/+/command"), &links[COUNT]) != 0 ||
        match_add(m, bytes_str("device/#"), &links[COUNT + 1]) != 0 ||
        match_add(m, bytes_str("#"), &links[COUNT + 2]) != 0) {
        return 1;
    }
    find(m, "with 3 wildcard filters, 1000 topics", "device/%u/command", 1000, 20000000);
    find(m, "with 3 wildcard filters, 1 million topics", "device/%u/command", 1000000, 4000000);
    match_free(m);
    free(links);
    return mixed();
}
