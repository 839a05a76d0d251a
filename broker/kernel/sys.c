/* sys - see sys.h. */
#include "broker/kernel/sys.h"

#include "broker/kernel/delivery.h"
#include "broker/kernel/fanout.h"
#include "broker/kernel/gather.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/topic.h"
#include "shared/base/log.h"

#include <stdlib.h>

static bool next(struct kernel *k, struct wire_reader *r, struct message *out)
{
    *out         = (struct message){.retain = true, .publish_wall_ns = k->wall_ns};
    out->topic   = wire_get_blob(r);
    out->payload = wire_get_blob(r);
    return !r->bad;
}

/* Keeps the values and gives them to those who are subscribed here. whole: to the groups as well, which no other shard does. */
static void take(struct kernel *k, struct bytes values, bool whole)
{
    uint8_t *kept = malloc(values.size);
    if (kept == NULL) {
        log_error("no memory for $SYS");
        return;
    }
    memcpy(kept, values.data, values.size);
    free(k->sys);
    k->sys               = kept;
    k->sys_bytes         = values.size;
    struct wire_reader r = wire_reader_of(bytes_of(k->sys, k->sys_bytes));
    struct message     m;
    while (next(k, &r, &m)) {
        struct fanout f = {.message = &m, .from_shard = k->shard};
        gather(k, &m, NULL, !whole);
        fanout_deliver(k, &f);
        fanout_end(&f);
    }
}

void kernel_sys(struct kernel *k, struct bytes values)
{
    take(k, values, true);
    for (unsigned shard = 0; shard < k->shard_count; shard++) {
        if (shard != k->shard) {
            struct wire_writer w = mail_begin();
            wire_put_bytes(&w, values);
            mail_post(k, shard, MAIL_SYS, 0, &w);
        }
    }
}

void sys_receive(struct kernel *k, const struct kernel_mail *mail)
{
    struct wire_reader r = mail_read(mail);
    take(k, wire_get(&r, wire_left(&r)), false);
}

void sys_replay(struct session *s, struct bytes filter, uint32_t sub_id)
{
    struct kernel *k = s->kernel;
    if (k->sys == NULL || !bytes_starts_with(filter, bytes_str("$SYS"))) {
        return;
    }
    struct wire_reader  r   = wire_reader_of(bytes_of(k->sys, k->sys_bytes));
    struct delivery_tag tag = {.retain = true};
    struct message      m;
    if (sub_id != 0) {
        tag.ids[tag.count++] = sub_id;
    }
    while (next(k, &r, &m)) {
        if (topic_matches(filter, m.topic)) {
            struct fanout f = {.message = &m, .from_shard = k->shard};
            deliver(s, &f, &tag);
            fanout_end(&f);
        }
    }
}

void sys_fini(struct kernel *k)
{
    free(k->sys);
}
