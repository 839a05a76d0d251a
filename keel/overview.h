/* overview - what several nodes of a segment store say about their cluster, as a table for people.
 *
 *   GET /cluster of each (segstore/status/cluster.c) ──▶ one table: who is up, leads how much, lags how far; a warning per thing that is wrong
 *
 * Nodes that were not asked, or do not answer, are known from the others. Of what they say about a stripe the highest term counts.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_OVERVIEW_H
#define KEEL_KEEL_OVERVIEW_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct overview_answer {
    char    address[80]; /* that was asked */
    char    why[300];    /* it does not answer */
    json_t *said;        /* NULL: see why; owned by the caller */
};

/* 0: all is well. 1: something is not, and a line says what. stripes_too: a line for each stripe. */
int overview_print(FILE *to, const struct overview_answer *answers, size_t count, bool stripes_too);

#endif
