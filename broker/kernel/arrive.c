/* arrive.c - what other shards mail about publishes. */
#include "broker/kernel/publish.h"

#include "broker/kernel/delivery.h"
#include "broker/kernel/far.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/marks.h"
#include "broker/kernel/message.h"
#include "broker/kernel/pause.h"
#include "broker/kernel/reshare.h"

/* Its publisher waits until it was taken. */
static void note_far(struct kernel *k, unsigned from, const struct message *message)
{
    if (UNLIKELY(far_shard(k, from)) && message->qos != 0) {
        mail_announced(k, from);
    }
}

/* Whoever it is from: it may come again from there, or behind this one from a process that stood still. */
static bool was_new(struct kernel *k, struct wire_reader *r)
{
    return marks_new(k, marks_read(r));
}

static void receive_member(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r       = mail_read(mail);
    uint8_t            flags   = wire_get_u8(&r);
    uint32_t           sub_id  = wire_get_u32(&r);
    struct bytes       filter  = wire_get_blob(&r);
    struct message     message = message_read(&r);
    ASSERT(!r.bad);
    note_far(k, from, &message);
    if (wire_left(&r) != 0 && !was_new(k, &r)) {
        return;
    }
    struct session *s = session_find(k, mail->value);
    struct group   *g = group_find(k, filter);
    struct fanout   f = {.message = &message, .group = g == NULL || g->exclusive ? NULL : g, .from_shard = from};
    if (s != NULL && s->client != NULL) {
        struct delivery_tag tag = {.qos    = qos_lower(message.qos, flags & SUB_QOS),
                                   .retain = message.retain && (flags & SUB_RETAIN_AS_PUBLISHED) != 0};
        if (sub_id != 0) {
            tag.ids[tag.count++] = sub_id;
        }
        deliver(s, &f, &tag);
        fanout_end(&f);
        return;
    }
    /* It left while the message was on its way: another member of the group, as this shard knows it. */
    if (g == NULL) {
        k->counters.dropped++;
        return;
    }
    reshare_give(k, g, &message, from, NULL);
}

void publish_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    switch ((enum mail_kind)mail->kind) {
    case MAIL_PUBLISH: {
        struct wire_reader r       = mail_read(mail);
        struct message     message = message_read(&r);
        struct fanout      f       = {.message = &message, .from_shard = from, .from_serial = mail->value};
        ASSERT(!r.bad);
        note_far(k, from, &message);
        if (wire_left(&r) != 0 && !was_new(k, &r)) {
            return;
        }
        gather(k, &message, NULL, true);
        fanout_deliver(k, &f);
        fanout_end(&f);
        return;
    }
    case MAIL_PUBLISH_MEMBER:
        receive_member(k, from, mail);
        return;
    case MAIL_SLOW: {
        struct session *s = session_find(k, mail->value);
        if (s != NULL && s->client != NULL && session_publisher(s) != NULL) {
            s->publisher->slow |= 1ull << from;
            publish_pause(s->publisher);
        }
        return;
    }
    case MAIL_RELIEF:
        LIST_EACH (&k->paused, link) {
            CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~(1ull << from);
        }
        return;
    default:
        ASSERT(false);
    }
}
