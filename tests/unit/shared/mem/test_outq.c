/* test_outq - what goes in comes out, in order, and memory goes back. */
#include "shared/mem/outq.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

/* Copies up to max bytes from the front out of the queue, as a send would. */
static size_t send_some(struct outq *q, uint8_t *to, size_t max)
{
    struct iovec iov[16];
    int          count = outq_gather(q, iov, 16);
    size_t       used  = 0;
    for (int i = 0; i < count && used < max; i++) {
        size_t size = iov[i].iov_len < max - used ? iov[i].iov_len : max - used;
        memcpy(to + used, iov[i].iov_base, size);
        used += size;
    }
    outq_consume(q, used);
    return used;
}

static void run_model(uint64_t seed)
{
    enum { TOTAL = 1 << 20 };
    struct rand r;
    rand_init(&r, seed, 2);
    uint8_t          *in   = malloc(TOTAL);
    uint8_t          *out  = malloc(TOTAL);
    struct outq_pool *pool = outq_pool_new(256 * 1024);
    struct list       dirty;
    struct outq       q;
    list_init(&dirty);
    outq_init(&q, pool, &dirty);
    size_t put = 0, got = 0;
    while (got < TOTAL) {
        size_t left = TOTAL - put;
        size_t size = rand_below(&r, rand_chance(&r, 5) ? 50000 : 200);
        size        = size < left ? size : left;
        for (size_t i = 0; i < size; i++) {
            in[put + i] = (uint8_t)rand_u64(&r);
        }
        int error = 0;
        switch (rand_below(&r, 4)) {
        case 0:
            error = outq_put(&q, bytes_of(in + put, size));
            put += error == 0 ? size : 0;
            break;
        case 1: {
            struct buf *b = buf_new((uint32_t)size + 7);
            memcpy(b->data + 7, in + put, size);
            b->size = (uint32_t)size + 7;
            error   = outq_ref(&q, b, 7, (uint32_t)size);
            put += error == 0 ? size : 0;
            buf_unref(b);
            break;
        }
        case 2: {
            size           = size < OUTQ_RESERVE_MAX_BYTES ? size : OUTQ_RESERVE_MAX_BYTES;
            size_t   more  = rand_below(&r, OUTQ_RESERVE_MAX_BYTES - size + 1);
            uint8_t *place = outq_reserve(&q, size + more);
            if (place == NULL) {
                error = ERR_FULL;
            } else {
                memcpy(place, in + put, size);
                outq_commit(&q, size);
                put += size;
            }
            break;
        }
        default:
            got += send_some(&q, out + got, rand_below(&r, 30000));
            break;
        }
        if (error != 0) {
            cr_assert_eq(error, ERR_FULL);
            got += send_some(&q, out + got, 100000);
        }
        cr_assert_eq(q.size_bytes, put - got);
        cr_assert(IMPLIES(q.size_bytes > 0, !list_empty(&dirty)));
        cr_assert(IMPLIES(q.size_bytes == 0 && got > 0, outq_pool_used_bytes(pool) == 0 || q.first != NULL));
        cr_assert_leq(outq_pool_used_bytes(pool), 256 * 1024);
    }
    cr_assert_eq(memcmp(in, out, TOTAL), 0, "seed %lu", seed);
    cr_assert(q.size_bytes == 0 && outq_gather(&q, &(struct iovec){0}, 1) == 0);
    outq_fini(&q);
    cr_assert_eq(outq_pool_used_bytes(pool), 0);
    outq_pool_free(pool);
    free(in);
    free(out);
}

Test(mem_outq, bytes_come_out_in_order_for_many_seeds)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        run_model(seed);
    }
}

Test(mem_outq, an_empty_queue_holds_no_memory)
{
    struct outq_pool *pool = outq_pool_new(1 << 20);
    struct list       dirty;
    struct outq       q;
    list_init(&dirty);
    outq_init(&q, pool, &dirty);
    cr_assert_eq(outq_put(&q, bytes_str("ping")), 0);
    cr_assert_eq(outq_pool_used_bytes(pool), 4096);
    cr_assert(!list_empty(&dirty));
    outq_consume(&q, 4);
    cr_assert_eq(outq_pool_used_bytes(pool), 0);
    cr_assert(list_empty(&dirty));
    cr_assert_not_null(outq_reserve(&q, 100));
    outq_commit(&q, 0);
    cr_assert_eq(outq_pool_used_bytes(pool), 0);
    cr_assert(list_empty(&dirty));
    outq_fini(&q);
    outq_fini(&q);
    outq_pool_free(pool);
}

Test(mem_outq, gathered_bytes_stay_where_they_are_while_more_is_queued)
{
    struct outq_pool *pool = outq_pool_new(1 << 20);
    struct list       dirty;
    struct outq       q;
    struct iovec      before[4], after[64];
    list_init(&dirty);
    outq_init(&q, pool, &dirty);
    cr_assert_eq(outq_put(&q, bytes_str("in flight")), 0);
    cr_assert_eq(outq_gather(&q, before, 4), 1);
    list_remove(&q.dirty_link); /* what the shard does when it sends */
    for (int i = 0; i < 1000; i++) {
        cr_assert_eq(outq_put(&q, bytes_str("behind it")), 0);
    }
    cr_assert(list_linked(&q.dirty_link), "more to send: dirty again");
    outq_gather(&q, after, 64);
    cr_assert_eq(after[0].iov_base, before[0].iov_base);
    cr_assert_eq(memcmp(before[0].iov_base, "in flight", 9), 0);
    outq_consume(&q, 9);
    cr_assert_eq(q.size_bytes, 9000);
    outq_fini(&q);
    outq_pool_free(pool);
}

Test(mem_outq, a_body_lives_as_long_as_the_last_queue_that_refers_to_it)
{
    struct outq_pool *pool = outq_pool_new(1 << 20);
    struct list       dirty;
    struct outq       a, b;
    list_init(&dirty);
    outq_init(&a, pool, &dirty);
    outq_init(&b, pool, &dirty);
    struct buf *body = buf_new(5000);
    body->size       = 5000;
    cr_assert_eq(outq_ref(&a, body, 0, 5000), 0);
    cr_assert_eq(outq_ref(&b, body, 0, 5000), 0);
    cr_assert_eq(body->refs, 3);
    outq_consume(&a, 4999);
    cr_assert_eq(body->refs, 3);
    outq_consume(&a, 1);
    cr_assert_eq(body->refs, 2);
    outq_fini(&b);
    cr_assert_eq(body->refs, 1);
    buf_unref(body);
    outq_fini(&a);
    outq_pool_free(pool);
}

Test(mem_outq, a_put_that_does_not_fit_queues_nothing)
{
    struct outq_pool *pool = outq_pool_new(32 * 1024);
    struct list       dirty;
    struct outq       q;
    static uint8_t    big[100 * 1024];
    list_init(&dirty);
    outq_init(&q, pool, &dirty);
    cr_assert_eq(outq_put(&q, bytes_of(big, 100)), 0);
    size_t used = outq_pool_used_bytes(pool);
    cr_assert_eq(outq_put(&q, bytes_of(big, sizeof big)), ERR_FULL);
    cr_assert_eq(q.size_bytes, 100);
    cr_assert_eq(outq_pool_used_bytes(pool), used);
    cr_assert_eq(outq_put(&q, bytes_of(big, 20000)), 0);
    cr_assert_null(outq_reserve(&q, OUTQ_RESERVE_MAX_BYTES));
    outq_fini(&q);
    outq_pool_free(pool);
}
