/* rights - what a client is subscribed to, for those who check whether it still may be. */
#include "broker/kernel/group.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/session.h"

void kernel_subscriptions(struct kernel *k, const struct client                           *client,
                          void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx)
{
    LIST_EACH (&client->session->who.subs, at) {
        const struct sub   *sub    = CONTAINER_OF(at, struct sub, of_owner);
        struct bytes        filter = {0};
        const struct group *group  = sub_group(sub);
        if (group != NULL) {
            filter = bytes_of(group->filter, group->by_filter.extra);
        } else {
            size_t size = match_filter(k->tree, sub->link.node, k->key, sizeof k->key);
            ASSERT(size <= sizeof k->key);
            filter = bytes_of(k->key, size);
        }
        each(ctx, filter, sub->link.flags & SUB_QOS);
    }
    readers_each(client->session, each, ctx);
}
