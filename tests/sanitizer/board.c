/* board - what shards say of themselves and HTTP threads read, under the thread sanitizer: several ask at once, shards write all the time.
 *
 * Each shard says one number in every place of what it says; a copy in which two differ was torn. */
#include "segstore/board.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHARDS = 2, STRIPES = 8, ASKERS = 4, QUESTIONS = 200 };

static struct board *board;
static atomic_bool   stop;

static void wake(void *ctx, uint32_t shard)
{
    (void)ctx;
    (void)shard; /* they do not sleep */
}

static void *shard_run(void *ctx)
{
    uint32_t shard = (uint32_t)(uintptr_t)ctx;
    for (uint64_t said = 1; !atomic_load(&stop); said++) {
        if (said % 2 == 0 && !board_asked(board, shard)) {
            continue;
        }
        struct shard_status *mine = board_mine(board, shard); /* asked or not: more often than in life */
        mine->stripe_count        = STRIPES / SHARDS;
        mine->values[0]           = said;
        for (uint32_t i = 0; i < mine->stripe_count; i++) {
            mine->stripes[i].term = said;
        }
        board_put(board, shard);
    }
    return NULL;
}

static void *asker_run(void *ctx)
{
    uintptr_t torn = 0;
    (void)ctx;
    for (int n = 0; n < QUESTIONS; n++) {
        struct shard_status *shards = board_look(board);
        for (uint32_t i = 0; i < SHARDS; i++) {
            torn += !shards[i].fresh || shards[i].stripe_count != STRIPES / SHARDS;
            for (uint32_t s = 0; s < shards[i].stripe_count; s++) {
                torn += shards[i].stripes[s].term != shards[i].values[0];
            }
        }
        free(shards);
    }
    return (void *)torn;
}

int main(void)
{
    pthread_t shards[SHARDS], askers[ASKERS];
    uintptr_t torn = 0;
    board          = board_new(SHARDS, STRIPES, wake, NULL);
    for (uintptr_t i = 0; i < SHARDS; i++) {
        pthread_create(&shards[i], NULL, shard_run, (void *)i);
    }
    for (int i = 0; i < ASKERS; i++) {
        pthread_create(&askers[i], NULL, asker_run, NULL);
    }
    for (int i = 0; i < ASKERS; i++) {
        void *found = NULL;
        pthread_join(askers[i], &found);
        torn += (uintptr_t)found;
    }
    atomic_store(&stop, true);
    for (int i = 0; i < SHARDS; i++) {
        pthread_join(shards[i], NULL);
    }
    board_free(board);
    printf("board: %d passed, %d failed\n", torn == 0, torn != 0);
    return torn == 0 ? 0 : 1;
}
