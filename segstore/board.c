/* board.c - one slot per shard: what it said last, and whether somebody wants to know more. */
#include "segstore/board.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { CACHE_LINE_BYTES = 64 };
static const uint64_t FRESH_NS    = 50000000; /* so old it may be for who asks meanwhile */
static const uint64_t PATIENCE_NS = 1000000000;

struct slot {
    _Alignas(CACHE_LINE_BYTES) _Atomic bool asked;
    pthread_mutex_t     mutex;
    pthread_cond_t      said;
    uint64_t            generation; /* under mutex, like all below but mine */
    uint64_t            said_ns;
    struct shard_status last;
    struct shard_status mine; /* the shard's own */
};

struct board {
    uint32_t shards;
    uint32_t stripes_max; /* of a shard */
    void (*wake)(void *ctx, uint32_t shard);
    void       *ctx;
    struct slot slots[];
};

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

struct board *board_new(uint32_t shards, uint32_t stripes, void (*wake)(void *ctx, uint32_t shard), void *ctx)
{
    size_t             size  = sizeof(struct board) + shards * sizeof(struct slot);
    struct board      *board = aligned_alloc(CACHE_LINE_BYTES, size);
    pthread_condattr_t attributes;
    ASSERT_MEMORY(board != NULL);
    *board = (struct board){.shards = shards, .stripes_max = (stripes + shards - 1) / shards, .wake = wake, .ctx = ctx};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < shards; i++) {
        struct slot *slot  = &board->slots[i];
        *slot              = (struct slot){.last = {.shard = i}, .mine = {.shard = i}};
        slot->last.stripes = calloc(board->stripes_max, sizeof *slot->last.stripes);
        slot->mine.stripes = calloc(board->stripes_max, sizeof *slot->mine.stripes);
        ASSERT_MEMORY(slot->last.stripes != NULL && slot->mine.stripes != NULL);
        pthread_mutex_init(&slot->mutex, NULL);
        pthread_cond_init(&slot->said, &attributes);
    }
    pthread_condattr_destroy(&attributes);
    return board;
}

void board_free(struct board *board)
{
    if (board == NULL) {
        return;
    }
    for (uint32_t i = 0; i < board->shards; i++) {
        struct slot *slot = &board->slots[i];
        pthread_cond_destroy(&slot->said);
        pthread_mutex_destroy(&slot->mutex);
        free(slot->last.stripes);
        free(slot->mine.stripes);
    }
    free(board);
}

/* ---- the shard ---- */

bool board_asked(const struct board *board, uint32_t shard)
{
    return UNLIKELY(atomic_load_explicit(&board->slots[shard].asked, memory_order_acquire));
}

struct shard_status *board_mine(struct board *board, uint32_t shard)
{
    /* Before it is filled in: who asks while it is, is answered once more. */
    atomic_store_explicit(&board->slots[shard].asked, false, memory_order_relaxed);
    return &board->slots[shard].mine;
}

void board_put(struct board *board, uint32_t shard)
{
    struct slot *slot = &board->slots[shard];
    uint64_t     now  = now_ns();
    pthread_mutex_lock(&slot->mutex);
    struct shard_status former = slot->last;
    slot->last                 = slot->mine;
    slot->said_ns              = now;
    slot->generation++;
    pthread_cond_broadcast(&slot->said);
    pthread_mutex_unlock(&slot->mutex);
    slot->mine = former;
}

/* ---- who asks ---- */

/* Returns the generation that answers. */
static uint64_t ask(struct board *board, uint32_t shard)
{
    struct slot *slot = &board->slots[shard];
    pthread_mutex_lock(&slot->mutex);
    bool     fresh = slot->generation > 0 && now_ns() - slot->said_ns < FRESH_NS;
    uint64_t wants = fresh ? slot->generation : slot->generation + 1;
    pthread_mutex_unlock(&slot->mutex);
    if (!fresh) {
        atomic_store_explicit(&slot->asked, true, memory_order_release);
        board->wake(board->ctx, shard);
    }
    return wants;
}

/* Waits, then copies. */
static void take(struct board *board, uint32_t shard, uint64_t wants, uint64_t deadline_ns, struct shard_status *out)
{
    struct slot          *slot    = &board->slots[shard];
    struct stripe_status *stripes = out->stripes;
    struct timespec       until   = {.tv_sec  = (time_t)(deadline_ns / 1000000000u),
                                     .tv_nsec = (long)(deadline_ns % 1000000000u)};
    int                   error   = 0;
    pthread_mutex_lock(&slot->mutex);
    while (slot->generation < wants && error == 0) {
        error = pthread_cond_timedwait(&slot->said, &slot->mutex, &until);
    }
    *out         = slot->last;
    out->stripes = stripes;
    out->fresh   = slot->generation >= wants;
    for (uint32_t i = 0; i < out->stripe_count; i++) {
        stripes[i] = slot->last.stripes[i];
    }
    pthread_mutex_unlock(&slot->mutex);
}

struct shard_status *board_look(struct board *board)
{
    size_t               each   = board->stripes_max * sizeof(struct stripe_status);
    struct shard_status *shards = calloc(board->shards, sizeof *shards + sizeof(uint64_t) + each);
    if (shards == NULL) {
        return NULL;
    }
    /* One piece of memory: the shards, the generations, the stripes of each. */
    uint64_t             *wants       = (void *)(shards + board->shards);
    struct stripe_status *stripes     = (void *)(wants + board->shards);
    uint64_t              deadline_ns = now_ns() + PATIENCE_NS;
    for (uint32_t i = 0; i < board->shards; i++) {
        wants[i] = ask(board, i);
    }
    for (uint32_t i = 0; i < board->shards; i++) {
        shards[i].stripes = stripes + (size_t)i * board->stripes_max;
        take(board, i, wants[i], deadline_ns, &shards[i]);
    }
    return shards;
}
