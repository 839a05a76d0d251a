/* topics - what an operator's rules make of a client's topics and filters, before anything else looks at them; and the subscriptions that it
 * has without asking.
 * Threads: the shard; one struct mqtt_topics each. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_TOPICS_H
#define KEEL_BROKER_PROTOCOL_MQTT_TOPICS_H

#include "broker/protocol/mqtt/client.h"
#include "broker/topic/automatic.h"
#include "broker/topic/rewrite.h"
#include "shared/base/wire.h"

/* Set by the shard; env.topics is NULL when there is nothing in it. */
struct mqtt_topics {
    struct rewrite         *rewrite;
    const struct automatic *automatic;
    bool                    publishes; /* some rule is for them */
    bool                    filters;   /* and for these */
    bool                    user;      /* some rule asks for the user name */
    uint8_t                 result[TEMPLATE_RESULT_MAX];
};

/* The topic of a PUBLISH or a will: itself, or valid until the next call. */
struct bytes mqtt_topics_publish(struct mqtt_client *client, struct bytes topic);

static inline bool mqtt_topics_rewrite_filters(const struct mqtt_env *env)
{
    return env->topics != NULL && env->topics->filters;
}
/* The filters of SUBSCRIBE (options: with a byte of options each) or UNSUBSCRIBE, written anew. False: no memory. */
MUST_CHECK bool mqtt_topics_filters(struct mqtt_client *client, struct bytes filters, bool options,
                                    struct wire_writer *out);

/* Keeps the user name of CONNECT if some rule asks for it. False: no memory. */
MUST_CHECK bool mqtt_topics_user(struct mqtt_client *client, struct bytes user);
/* Is it one of those that it has without asking? They are the operator's, so rights of its own do not end them. */
bool mqtt_topics_automatic(const struct mqtt_client *client, struct bytes filter);
/* Its automatic subscriptions. Their answer has packet identifier 0, which nobody else's has. */
void mqtt_topics_subscribe(struct mqtt_client *client);

#endif
