/* mail - one queue per other shard in front of its mailbox. */
#include "broker/kernel/mail.h"

#include "broker/kernel/far.h"
#include "broker/kernel/company.h"
#include "shared/base/log.h"
#include "shared/base/wire.h"

#include <stdlib.h>

enum { BODY_MAX_BYTES = 512 << 20 };

struct waiting {
    struct list        link;
    size_t             size;
    struct kernel_mail mail;
};

struct wire_writer mail_begin(void)
{
    struct wire_writer w = wire_writer_growing(BODY_MAX_BYTES);
    wire_put_u32(&w, 0);
    return w;
}

static bool hand_over(struct kernel *k, unsigned shard, const struct kernel_mail *mail)
{
    return LIKELY(shard < k->shard_count) ? k->port.post(k->port.ctx, shard, mail) : company_post(k, shard, mail);
}

static bool post(struct kernel *k, unsigned shard, struct kernel_mail mail, size_t size)
{
    struct outbox *out = &k->out[shard];
    if (UNLIKELY((k->others >> shard & 1) == 0)) { /* it has gone */
        free(mail.body);
        return false;
    }
    if (list_empty(&out->waiting) && hand_over(k, shard, &mail)) {
        return true;
    }
    struct waiting *w = malloc(sizeof *w);
    if (w == NULL) {
        log_error("no memory for a mail to shard %u", shard);
        free(mail.body);
        return false;
    }
    *w = (struct waiting){.size = size + sizeof *w, .mail = mail};
    out->waiting_bytes += w->size;
    list_push_back(&out->waiting, &w->link);
    return true;
}

bool mail_post(struct kernel *k, unsigned shard, enum mail_kind kind, uint64_t value, struct wire_writer *body)
{
    if (body->bad) {
        log_error("no memory for a mail to shard %u", shard);
        wire_writer_fini(body);
        return false;
    }
    uint32_t size = (uint32_t)body->size;
    memcpy(body->data, &size, sizeof size);
    struct kernel_mail mail = {.kind = kind, .value = value, .body = body->data};
    return post(k, shard, mail, size);
}

bool mail_signal(struct kernel *k, unsigned shard, enum mail_kind kind, uint64_t value)
{
    return post(k, shard, (struct kernel_mail){.kind = kind, .value = value}, 0);
}

bool mail_number(struct kernel *k, unsigned shard, enum mail_kind kind, uint64_t value, uint32_t number)
{
    return post(k, shard, (struct kernel_mail){.kind = kind, .number = number, .value = value}, 0);
}

void mail_announce(struct kernel *k, enum mail_kind kind, uint64_t value, struct wire_writer *body)
{
    MAIL_EACH(shard, k->others)
    {
        struct wire_writer copy = mail_begin();
        wire_put_bytes(&copy, body->bad ? (struct bytes){0} : bytes_of(body->data + 4, body->size - 4));
        copy.bad |= body->bad;
        if (mail_post(k, shard, kind, value, &copy)) {
            k->out[shard].announced++;
        }
    }
    wire_writer_fini(body);
}

struct wire_reader mail_read(const struct kernel_mail *mail)
{
    if (mail->body == NULL) {
        return wire_reader_of((struct bytes){0});
    }
    uint32_t size;
    memcpy(&size, mail->body, sizeof size);
    return wire_reader_of(bytes_of((uint8_t *)mail->body + 4, size - 4));
}

static bool is_confirmed(const struct kernel *k, const struct announcement *a)
{
    MAIL_EACH(shard, k->others)
    {
        if (k->out[shard].confirmed < a->until[shard]) {
            return false;
        }
    }
    return true;
}

static void when_confirmed(struct kernel *k, struct announcement *a, unsigned shards,
                           void (*confirmed)(struct kernel *, struct announcement *))
{
    a->confirmed = confirmed;
    for (unsigned shard = 0; shard < SHARDS_MAX; shard++) {
        a->until[shard] = shard < shards ? k->out[shard].announced : 0;
    }
    if (is_confirmed(k, a)) {
        confirmed(k, a);
        return;
    }
    list_push_back(shards == SHARDS_MAX ? &k->announcing : &k->announcing_here, &a->link);
}

void mail_when_confirmed(struct kernel *k, struct announcement *a,
                         void (*confirmed)(struct kernel *, struct announcement *))
{
    when_confirmed(k, a, SHARDS_MAX, confirmed);
}

void mail_when_confirmed_here(struct kernel *k, struct announcement *a,
                              void (*confirmed)(struct kernel *, struct announcement *))
{
    when_confirmed(k, a, k->shard_count, confirmed);
}

void mail_forget(struct announcement *a)
{
    list_remove(&a->link);
}

void mail_confirm_received(struct kernel *k, unsigned from, uint64_t count)
{
    struct outbox *out = &k->out[from];
    out->confirmed     = out->base + count;
    far_taken(k, from);
    mail_recheck(k);
}

/* What waits for less stands in front. */
static void recheck(struct kernel *k, struct list *announcing)
{
    while (!list_empty(announcing)) {
        struct announcement *a = CONTAINER_OF(announcing->next, struct announcement, link);
        if (!is_confirmed(k, a)) {
            return;
        }
        list_remove(&a->link);
        a->confirmed(k, a);
    }
}

void mail_recheck(struct kernel *k)
{
    recheck(k, &k->announcing);
    recheck(k, &k->announcing_here);
}

void mail_announced(struct kernel *k, unsigned from)
{
    k->out[from].received++;
}

bool mail_flush(struct kernel *k)
{
    bool all = true;
    MAIL_EACH(shard, k->others)
    {
        struct outbox *out = &k->out[shard];
        if (out->answered != out->received && mail_signal(k, shard, MAIL_CONFIRM, out->received)) {
            out->answered = out->received;
        }
        while (!list_empty(&out->waiting)) {
            struct waiting *w = CONTAINER_OF(out->waiting.next, struct waiting, link);
            if (!hand_over(k, shard, &w->mail)) {
                all = all && far_shard(k, shard); /* the other process says when there is room */
                break;
            }
            out->waiting_bytes -= w->size;
            list_remove(&w->link);
            free(w);
        }
    }
    return all;
}

bool mail_congested(const struct kernel *k)
{
    MAIL_EACH(shard, k->others)
    {
        if (k->out[shard].waiting_bytes > MAIL_WAITING_MAX_BYTES) {
            return true;
        }
    }
    return false;
}

void mail_drop(struct kernel *k, unsigned shard)
{
    while (!list_empty(&k->out[shard].waiting)) {
        struct waiting *w = CONTAINER_OF(list_pop_front(&k->out[shard].waiting), struct waiting, link);
        free(w->mail.body);
        free(w);
    }
    k->out[shard].waiting_bytes = 0;
}

void mail_fini(struct kernel *k)
{
    for (unsigned shard = 0; shard < SHARDS_MAX; shard++) {
        mail_drop(k, shard);
    }
}
