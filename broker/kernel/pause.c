/* pause - see pause.h. */
#include "broker/kernel/pause.h"

#include "broker/kernel/mail.h"

static unsigned pause_reasons(const struct publisher *p)
{
    const struct kernel *k = p->kernel;
    return (p->pending_count >= k->limits.publish_pending_max ? PAUSE_PENDING : 0u) | (p->slow != 0 ? PAUSE_SLOW : 0u) |
           (p->pending_count != 0 && store_congested(k->store) ? PAUSE_STORE : 0u) |
           (mail_congested(k) ? PAUSE_MAIL : 0u);
}

void publish_pause(struct publisher *p)
{
    if (pause_reasons(p) != 0 && !list_linked(&p->paused_link) && p->session->client != NULL) {
        list_push_back(&p->kernel->paused, &p->paused_link);
        p->session->client->ops->pause(p->session->client, true);
    }
}

void publish_resume(struct kernel *k)
{
    if (list_empty(&k->overruns)) {
        LIST_EACH (&k->paused, link) {
            CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~(1ull << k->shard);
        }
        MAIL_EACH(shard, k->slow_told)
        {
            mail_signal(k, shard, MAIL_RELIEF, 0);
        }
        k->slow_told = 0;
    }
    LIST_EACH (&k->paused, link) {
        struct publisher *p       = CONTAINER_OF(link, struct publisher, paused_link);
        unsigned          reasons = pause_reasons(p);
        if (reasons == 0 && p->pending_count <= k->limits.publish_pending_max / 2) {
            list_remove(&p->paused_link);
            if (p->session->client != NULL) {
                p->session->client->ops->pause(p->session->client, false);
            }
        }
    }
}
