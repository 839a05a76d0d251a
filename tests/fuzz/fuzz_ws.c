/* fuzz_ws - any bytes through the WebSocket layer, split anywhere: the HTTP request, or frames behind a good one.
 *   byte 0: how the rest is split   byte 1: odd: a good request comes first   rest: what the client sends */
#include "broker/transport/ws.h"
#include "shared/base/list.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                              "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                              "Sec-WebSocket-Protocol: mqtt\r\n\r\n";

struct seen {
    size_t bytes;
    size_t sum;
};

/* Looks at each byte, so that a view which does not live is found. */
static void on_data(void *ctx, struct bytes in)
{
    struct seen *seen = ctx;
    seen->bytes += in.size;
    for (size_t i = 0; i < in.size; i++) {
        seen->sum += in.data[i];
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    struct list       dirty;
    struct outq       out, plain;
    struct outq_pool *pool = outq_pool_new(16 << 20);
    struct ws        *ws   = ws_new("/mqtt");
    struct seen       seen = {0};
    ASSERT(pool != NULL && ws != NULL);
    list_init(&dirty);
    outq_init(&out, pool, &dirty);
    outq_init(&plain, pool, &dirty);
    const struct transport_sink sink   = {.data = on_data, .ctx = &seen};
    size_t                      step   = 1 + data[0];
    struct bytes                in     = bytes_of(data + 2, size - 2);
    int                         result = 0;
    if (data[1] % 2 == 1) {
        result = ws_receive(ws, bytes_of(request, sizeof request - 1), &sink, &out);
        ASSERT(result == 0 && ws_established(ws));
    }
    for (size_t at = 0; at < in.size && result == 0; at += step) {
        size_t   part = step < in.size - at ? step : in.size - at;
        uint8_t *copy = malloc(part);
        ASSERT(copy != NULL);
        memcpy(copy, in.data + at, part);
        result = ws_receive(ws, bytes_of(copy, part), &sink, &out);
        free(copy);
        if (result == 0 && outq_put(&plain, in) == 0) {
            ASSERT(ws_send(ws, &plain, &out) == 0);
        }
        outq_consume(&out, out.size_bytes);
    }
    ASSERT(seen.bytes <= in.size);
    ws_end(ws, &out);
    outq_fini(&out);
    outq_fini(&plain);
    ws_free(ws);
    outq_pool_free(pool);
    return 0;
}
