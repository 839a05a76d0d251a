/* events - see events.h. */
#include "broker/kernel/events.h"

#include "broker/kernel/interest.h"
#include "broker/kernel/message.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/route.h"

#include <jansson.h>
#include <stdlib.h>

static bool wanted(struct kernel *k, struct bytes topic)
{
    const uint32_t          *nodes;
    struct interest_question elsewhere;
    uint32_t                 rows[SHAPES_MAX + 1];
    if (k->limits.events_per_s == 0) {
        return false;
    }
    interest_ask(k, topic, &elsewhere);
    return match_find(k->tree, topic, &nodes) != 0 || interest_answer(k, &elsewhere, 0) != 0 ||
           route_match(k, &elsewhere, topic, rows) != 0;
}

static bool allowed(struct kernel *k)
{
    struct events *e      = &k->events;
    uint64_t       second = k->now_ns / 1000000000u;
    if (e->second != second) {
        e->second = second;
        e->count  = 0;
    }
    if (e->count >= k->limits.events_per_s) {
        e->left_out++;
        return false;
    }
    e->count++;
    return true;
}

static void set_text(json_t *event, const char *name, struct bytes text)
{
    json_object_set_new(event, name, json_stringn((const char *)text.data, text.size));
}

/* What all of them have. NULL: not now. */
static json_t *begin(const struct session *s, const char *topic)
{
    struct kernel *k = s->kernel;
    if (!wanted(k, bytes_str(topic)) || !allowed(k)) {
        return NULL;
    }
    json_t *event = json_object();
    set_text(event, "clientid", session_id(s));
    json_object_set_new(event, "ts", json_integer((json_int_t)(k->wall_ns / 1000000u)));
    if (k->events.left_out != 0) {
        json_object_set_new(event, "left_out", json_integer((json_int_t)k->events.left_out));
        k->events.left_out = 0;
    }
    return event;
}

static void end(struct kernel *k, const char *topic, json_t *event)
{
    char *text = json_dumps(event, JSON_COMPACT);
    json_decref(event);
    if (text == NULL) {
        k->counters.dropped++;
        return;
    }
    struct message message = {
        .topic = bytes_str(topic), .payload = bytes_str(text), .qos = 1, .publish_wall_ns = k->wall_ns};
    struct buf *kept = message_keep(&message);
    if (kept == NULL || !publish_kept(k->relay, kept, 0, 0)) {
        buf_unref(kept);
        k->counters.dropped++;
    }
    free(text);
}

void events_connected(const struct session *s, bool clean_start, bool session_present)
{
    static const char topic[] = "$events/client/connected";
    json_t           *event   = begin(s, topic);
    if (event != NULL) {
        json_object_set_new(event, "clean_start", json_boolean(clean_start));
        json_object_set_new(event, "session_present", json_boolean(session_present));
        json_object_set_new(event, "expiry", json_integer(s->expiry_s));
        end(s->kernel, topic, event);
    }
}

void events_disconnected(const struct session *s, const char *why)
{
    static const char topic[] = "$events/client/disconnected";
    json_t           *event   = begin(s, topic);
    if (event != NULL) {
        json_object_set_new(event, "reason", json_string(why));
        end(s->kernel, topic, event);
    }
}

void events_subscribed(const struct session *s, struct bytes filter, int qos)
{
    static const char topic[] = "$events/client/subscribed";
    json_t           *event   = begin(s, topic);
    if (event != NULL) {
        set_text(event, "filter", filter);
        json_object_set_new(event, "qos", json_integer(qos));
        end(s->kernel, topic, event);
    }
}

void events_unsubscribed(const struct session *s, struct bytes filter)
{
    static const char topic[] = "$events/client/unsubscribed";
    json_t           *event   = begin(s, topic);
    if (event != NULL) {
        set_text(event, "filter", filter);
        end(s->kernel, topic, event);
    }
}
