/* subscription.c - what FOLLOW and WATCH have in common: an id, a credit, an end. */
#include "segstore/node/state.h"

#include "shared/base/hash.h"

static uint64_t key_of(const struct session *s, uint64_t id)
{
    return hash_u64(s->serial * 0x9e3779b97f4a7c15u ^ id);
}

struct subscription *subscription_find(struct node *node, const struct session *s, uint64_t id)
{
    LIST_EACH (index_chain(&node->subscriptions, key_of(s, id)), link) {
        struct index_link   *at  = CONTAINER_OF(link, struct index_link, list);
        struct subscription *sub = CONTAINER_OF(at, struct subscription, by_id);
        if (sub->session == s && sub->id == id) {
            return sub;
        }
    }
    return NULL;
}

void subscription_add(struct session *s, struct subscription *sub, uint64_t id, uint32_t credit, bool is_watch)
{
    sub->session  = s;
    sub->id       = id;
    sub->credit   = credit;
    sub->is_watch = is_watch;
    list_push_back(&s->subscriptions, &sub->link);
    index_add(&s->node->subscriptions, &sub->by_id, key_of(s, id));
}

void subscription_end(struct subscription *sub, int status)
{
    struct session *s     = sub->session;
    size_t          begun = session_begin(s, RPC_ENDED, sub->id);
    wire_put_u32(&s->out, (uint32_t)status);
    session_end(s, begun);
    subscription_free(sub);
}

void subscription_free(struct subscription *sub)
{
    list_remove(&sub->link);
    index_remove(&sub->session->node->subscriptions, &sub->by_id);
    if (sub->is_watch) {
        watch_free(CONTAINER_OF(sub, struct watcher, sub));
    } else {
        follow_free(CONTAINER_OF(sub, struct follower, sub));
    }
}
