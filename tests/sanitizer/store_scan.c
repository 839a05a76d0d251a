/* store_scan - what a store client leaves behind when it is freed amid scans. The unit tests cannot: they have a store of their own.
 * Leaks are found by the address sanitizer. */
#include "broker/store/state.h"
#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned callbacks;

static bool on_item(struct store_scan *scan, const struct store_item *item)
{
    (void)scan;
    (void)item;
    callbacks++;
    return true;
}

static void on_done(struct store_scan *scan, int status)
{
    (void)scan;
    (void)status;
    callbacks++;
}

/* Of a segment store that is known, and then cannot be reached. */
static struct store *client_of(struct io *io, struct timer_wheel *timers)
{
    const struct store_client_config config = {.address = "127.0.0.1", .port = 1, .instance = 1, .owner = 1};
    struct store                    *store  = store_client_new(io, timers, &config);
    store->known                            = true;
    store->stripe_count                     = 1;
    return store;
}

static void a_client_that_is_freed_forgets_scans_that_wait_are_asked_or_cancelled(void)
{
    char                   why[512];
    struct io             *io     = NULL;
    const struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    int                    opened = io_open(&config, &io, why, sizeof why);
    ASSERT(opened == 0);
    struct timer_wheel *timers = timer_wheel_new(io_now_ns(io));
    struct store       *store  = client_of(io, timers);
    struct store_scan  *scans  = calloc(4, sizeof *scans);
    ASSERT(scans != NULL);
    for (int i = 0; i < 4; i++) {
        scans[i].item = on_item;
        scans[i].done = on_done;
    }
    store_scan_start(store, &scans[0], STORE_STRIPE_ALL, 1, RPC_SCAN_PREFIX, bytes_str("asked"));
    store_scan_start(store, &scans[1], 0, 1, RPC_SCAN_PREFIX, bytes_str("asked and cancelled"));
    store_client_turn(store);
    store_scan_cancel(store, &scans[1]);
    store_scan_start(store, &scans[2], 0, 1, RPC_SCAN_KEY, bytes_str("waits"));
    store_scan_start(store, &scans[3], 0, 1, RPC_SCAN_KEY, bytes_str("cancelled at once"));
    store_scan_cancel(store, &scans[3]);
    free(scans); /* their owner is gone before the client is */
    store_client_free(store);
    timer_wheel_free(timers);
    io_close(io);
    ASSERT(callbacks == 0);
}

int main(void)
{
    a_client_that_is_freed_forgets_scans_that_wait_are_asked_or_cancelled();
    puts("store_scan: 1 passed, 0 failed");
    return 0;
}
