/* store_story - a segment store alone on a machine, and a client that checks every answer: what scenarios of one store begin and end with.
 * Lifetime: story_new .. story_end.   Threads: the simulator's one. */
#ifndef KEEL_TESTS_SIM_STORE_STORY_H
#define KEEL_TESTS_SIM_STORE_STORY_H

#include "segstore/node/state.h"
#include "shared/loop/io.h"
#include "tests/sim/disk.h"
#include "tests/sim/scenarios.h"
#include "tests/sim/store_tester.h"

enum { STRIPES = 3, PATIENCE_S = 300 };

struct story {
    struct world          *world;
    struct segstore_config config;
    struct machine        *machine;
    struct process        *process;
    struct node           *node;
    struct store_tester    client;
    bool                   ready;
    bool                   refused;
    uint64_t               logged; /* bytes, by all lives of the store but this one */
    uint64_t               copied; /* .. by reclaim, not while the disk was full */
    uint64_t               copied_full;
    uint64_t unbooked; /* on a full disk a file may go before a checkpoint tells what was copied into it */
    char     why[256];
};

/* A store that starts; disk_bytes: of its machine. */
struct story *story_new(struct world *world, uint64_t disk_bytes, uint64_t reserve_bytes);
void          story_end(struct story *s);
uint64_t      story_between(struct story *s, uint64_t low, uint64_t high);
/* Killed, or without power, and started again; with s->config as it is then. */
void story_restart(struct story *s, bool power);
/* Before it is killed in any other way: what it wrote is added up, and held against what it may write. */
void story_life_end(struct story *s);
void story_wait_up(struct story *s);
void story_wait_client(struct story *s, bool (*done)(void *), const char *what);
/* A bit for each that serves nobody. */
uint32_t story_stopped_stripes(struct story *s);
/* Of a struct store_tester: was something not taken because the disk was full? */
bool story_some_refused(void *ctx);
/* Waits until all was read again by the scrubber. */
struct node_counts story_scrub(struct story *s);

#endif
