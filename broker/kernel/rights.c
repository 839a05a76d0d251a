/* rights - what a client is subscribed to, for those who check whether it still may be. */
#include "broker/kernel/group.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/route.h"
#include "broker/kernel/session.h"
#include "broker/kernel/sub.h"

void kernel_subscriptions(struct kernel *k, const struct client                           *client,
                          void (*each)(void *ctx, struct bytes filter, uint8_t qos), void *ctx)
{
    LIST_EACH (&client->session->who.subs, at) {
        const struct sub   *sub   = CONTAINER_OF(at, struct sub, of_owner);
        const struct group *group = sub_group(sub);
        if (group != NULL) {
            each(ctx, group_filter(group), sub->link.flags & SUB_QOS);
        } else {
            each(ctx, sub_filter(k, sub), sub->link.flags & SUB_QOS);
        }
    }
    route_each(client->session, each, ctx);
    readers_each(client->session, each, ctx);
}
