/* relay.c - a frame each, without an answer. */
#include "broker/store/relay.h"

#include "shared/rpc/schema.h"

void store_relay_start(struct store *store, struct store_relay *relay)
{
    store->relay = relay;
}

static struct link *link_by(const struct store *store, uint32_t way)
{
    for (uint32_t i = 0; i < store->link_count; i++) {
        struct link *link = store->links[(way + i) % store->link_count];
        if (link->state == LINK_UP) {
            return link;
        }
    }
    return NULL;
}

bool store_relay_send(struct store *store, uint64_t to, uint32_t way, struct bytes head, struct bytes bytes)
{
    struct link *link = link_by(store, way);
    ASSERT(!store->in_txn && head.size + bytes.size <= RELAY_MAX_BYTES);
    if (link == NULL) {
        return false;
    }
    store->scratch.size = 0;
    store->scratch.bad  = false;
    (void)frame_begin(&store->scratch, RPC_RELAY, 0);
    wire_put_u64(&store->scratch, to);
    wire_put_u64(&store->scratch, store->config.owner);
    wire_put_bytes(&store->scratch, head);
    wire_put_bytes(&store->scratch, bytes);
    int error = frame_end(&store->scratch, 0);
    ASSERT(error == 0);
    link_notice(link, wire_written(&store->scratch));
    return true;
}

bool relay_arrived(struct store *store, const struct frame *frame)
{
    struct wire_reader r    = wire_reader_of(frame->body);
    uint64_t           to   = wire_get_u64(&r);
    uint64_t           from = wire_get_u64(&r);
    if (r.bad || to != store->config.owner) {
        return false;
    }
    if (store->relay != NULL) {
        store->relay->arrived(store->relay, from, bytes_of(r.at, wire_left(&r)));
    }
    return true;
}
