/* reserved - one look at the first level. */
#include "broker/kernel/reserved.h"

#include "shared/base/err.h"

static bool is_in(struct bytes topic, const char *root)
{
    struct bytes prefix = bytes_str(root);
    return bytes_starts_with(topic, prefix) && (topic.size == prefix.size || topic.data[prefix.size] == '/');
}

/* "$SYS/broker/connection/<bridge>/state": a bridge of Mosquitto that is connected here says there whether it is, as a will and retained. */
static bool is_bridge_state(struct bytes topic)
{
    struct bytes before = bytes_str("$SYS/broker/connection/"), behind = bytes_str("/state");
    if (topic.size <= before.size + behind.size || !bytes_starts_with(topic, before)) {
        return false;
    }
    struct bytes bridge = bytes_of(topic.data + before.size, topic.size - before.size - behind.size);
    return memchr(bridge.data, '/', bridge.size) == NULL &&
           bytes_equal(bytes_of(bridge.data + bridge.size, behind.size), behind);
}

static struct reserved refused(int status)
{
    return (struct reserved){.status = status};
}

/* Behind "$delayed": "/<seconds>/<topic>". */
static struct reserved look_delayed(const struct kernel_limits *limits, struct bytes rest)
{
    uint64_t delay_s = 0;
    size_t   at      = 1;
    for (; at < rest.size && rest.data[at] >= '0' && rest.data[at] <= '9'; at++) {
        delay_s = delay_s * 10 + (uint64_t)(rest.data[at] - '0');
        delay_s = delay_s > UINT32_MAX ? UINT32_MAX : delay_s;
    }
    if (at < 2 || at + 1 >= rest.size || rest.data[at] != '/') {
        return refused(ERR_MALFORMED);
    }
    struct bytes    topic = bytes_of(rest.data + at + 1, rest.size - at - 1);
    struct reserved last  = topic.data[0] == '$' ? reserved_look(limits, topic) : (struct reserved){0};
    if (last.delayed) {
        return refused(ERR_MALFORMED); /* once is enough */
    }
    if (last.status != 0 || last.ignored) {
        return last;
    }
    if (delay_s > limits->delayed_max_s) {
        return refused(ERR_QUOTA);
    }
    return (struct reserved){.delayed = true, .delay_s = (uint32_t)delay_s, .topic = topic};
}

struct reserved reserved_look(const struct kernel_limits *limits, struct bytes topic)
{
    if (is_in(topic, "$delayed") && limits->delayed_max_s != 0) {
        return look_delayed(limits, bytes_of(topic.data + 8, topic.size - 8));
    }
    if ((is_in(topic, "$SYS") && !is_bridge_state(topic)) || is_in(topic, "$events")) {
        return limits->own_topics_ignored ? (struct reserved){.ignored = true} : refused(ERR_DENIED);
    }
    if (is_in(topic, "$exclusive") || is_in(topic, "$share")) {
        return refused(ERR_DENIED);
    }
    return (struct reserved){.topic = topic};
}
