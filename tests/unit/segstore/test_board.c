/* Shards that answer who asks, in threads of their own. */
#include "segstore/board.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { SHARDS = 2, STRIPES = 5 };

static struct board *board;
static atomic_int    woken[SHARDS], stop;
static atomic_uint   looks; /* of shard 0 at itself */

static void wake(void *ctx, uint32_t shard)
{
    (void)ctx;
    atomic_fetch_add(&woken[shard], 1);
}

/* Turns when it is woken; each time that it looks at itself it says another number. */
static void *turn(void *ctx)
{
    uint32_t shard = (uint32_t)(uintptr_t)ctx;
    while (!atomic_load(&stop)) {
        if (atomic_load(&woken[shard]) == 0 || !board_asked(board, shard)) {
            continue;
        }
        struct shard_status *mine = board_mine(board, shard);
        uint64_t             said = shard == 0 ? atomic_fetch_add(&looks, 1) + 1 : 77;
        mine->stripe_count        = 2;
        mine->stripes[0].term     = said;
        mine->stripes[1].term     = said;
        mine->values[0]           = said;
        board_put(board, shard);
    }
    return NULL;
}

Test(segstore_board, every_shard_is_asked_and_answers_with_its_own)
{
    pthread_t threads[SHARDS];
    board = board_new(SHARDS, STRIPES, wake, NULL);
    for (uintptr_t i = 0; i < SHARDS; i++) {
        pthread_create(&threads[i], NULL, turn, (void *)i);
    }
    uint64_t before = 0;
    for (int i = 0; i < 20; i++) {
        struct shard_status *shards = board_look(board);
        cr_assert(shards[0].fresh && shards[1].fresh);
        cr_assert(shards[0].shard == 0 && shards[1].shard == 1 && shards[1].values[0] == 77);
        cr_assert(shards[0].stripe_count == 2 && shards[0].stripes[0].term == shards[0].values[0] &&
                  shards[0].stripes[1].term == shards[0].values[0]);
        cr_assert_geq(shards[0].values[0], before);
        before = shards[0].values[0];
        free(shards);
    }
    cr_expect_lt(atomic_load(&looks), 20, "who asks again at once is told the same");
    atomic_store(&stop, 1);
    for (int i = 0; i < SHARDS; i++) {
        pthread_join(threads[i], NULL);
    }
    board_free(board);
}

Test(segstore_board, a_shard_that_does_not_answer_is_not_waited_for_long)
{
    pthread_t thread;
    board = board_new(SHARDS, STRIPES, wake, NULL);
    pthread_create(&thread, NULL, turn, (void *)1);
    struct shard_status *shards = board_look(board);
    cr_expect(!shards[0].fresh && shards[0].stripe_count == 0);
    cr_expect(shards[1].fresh && shards[1].values[0] == 77);
    free(shards);
    atomic_store(&stop, 1);
    pthread_join(thread, NULL);
    board_free(board);
    board_free(NULL);
}
