/* exclusive - see exclusive.h. */
#include "broker/kernel/exclusive.h"

#include "broker/kernel/group.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/company.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/subscribe.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

/* At the home: who has it. */
struct holder {
    struct hashmap_node by_filter; /* in kernel.holders; extra: size of filter */
    uint64_t            serial;
    uint32_t            id_size;
    uint16_t            shard;
    uint8_t             text[]; /* filter, client id */
};

static unsigned home_of(const struct kernel *k, struct bytes filter)
{
    const struct peer *senior = company_senior(k);
    uint64_t           hash   = hash_bytes(filter);
    if (UNLIKELY(senior != NULL && senior->shards != 0)) {
        return senior->first + (unsigned)(hash % senior->shard_count);
    }
    return (unsigned)(hash % k->shard_count);
}

static struct holder *find(struct kernel *k, struct bytes filter)
{
    for (struct hashmap_node *n = hashmap_first(&k->holders, hash_bytes(filter)); n != NULL; n = hashmap_next(n)) {
        struct holder *h = CONTAINER_OF(n, struct holder, by_filter);
        if (bytes_equal(bytes_of(h->text, h->by_filter.extra), filter)) {
            return h;
        }
    }
    return NULL;
}

static void forget(struct kernel *k, struct holder *h)
{
    hashmap_remove(&k->holders, &h->by_filter);
    free(h);
}

/* One that subscribed when another process was the home. */
static bool member_is_another(struct kernel *k, struct bytes filter, struct bytes id)
{
    const struct group *g      = group_find(k, filter);
    uint64_t            client = hash_bytes(id);
    for (uint32_t i = 0; g != NULL && i < g->member_count; i++) {
        if (g->members[i].client != client) {
            return true;
        }
    }
    return false;
}

static bool stored_by_another(struct kernel *k, struct bytes filter, struct bytes id)
{
    const struct group *g = group_find(k, filter);
    for (const struct match_link *link = g == NULL ? NULL : g->stored; link != NULL; link = link->next) {
        const struct sub *sub = CONTAINER_OF(link, struct sub, link);
        if (!bytes_equal(stored_id(stored_of(sub->owner)), id)) {
            return true;
        }
    }
    return false;
}

/* At the home. 0, or why not. */
static int take(struct kernel *k, struct bytes filter, struct bytes id, unsigned shard, uint64_t serial)
{
    struct holder *h = find(k, filter);
    if (!k->ready) {
        return ERR_UNAVAILABLE; /* who of the stored sessions has it is not known yet */
    }
    if ((h != NULL && !bytes_equal(bytes_of(h->text + h->by_filter.extra, h->id_size), id)) ||
        stored_by_another(k, filter, id) || (k->company != NULL && member_is_another(k, filter, id))) {
        return ERR_QUOTA;
    }
    if (h == NULL) {
        h = malloc(sizeof *h + filter.size + id.size);
        if (h == NULL || hashmap_insert(&k->holders, &h->by_filter, hash_bytes(filter)) != 0) {
            free(h);
            return ERR_UNAVAILABLE;
        }
        h->by_filter.extra = (uint32_t)filter.size;
        h->id_size         = (uint32_t)id.size;
        memcpy(h->text, filter.data, filter.size);
        memcpy(h->text + filter.size, id.data, id.size);
    }
    h->shard  = (uint16_t)shard;
    h->serial = serial;
    return 0;
}

/* At the home. An heir of the same client id may have it by now. */
static void give_back(struct kernel *k, struct bytes filter, unsigned shard, uint64_t serial)
{
    struct holder *h = find(k, filter);
    if (h != NULL && h->shard == shard && h->serial == serial) {
        forget(k, h);
    }
}

void exclusive_ask(struct session *s, uint32_t ticket, uint32_t index, struct bytes filter)
{
    struct kernel *k    = s->kernel;
    unsigned       home = home_of(k, filter);
    if (home == k->shard) {
        int status = take(k, filter, session_id(s), k->shard, s->serial);
        subscribe_exclusive_answer(k, s->serial, ticket, index, status, filter);
        return;
    }
    struct wire_writer w = mail_begin();
    wire_put_u32(&w, ticket);
    wire_put_u32(&w, index);
    wire_put_blob(&w, session_id(s));
    wire_put_bytes(&w, filter);
    if (!mail_post(k, home, MAIL_EXCLUSIVE_ASK, s->serial, &w)) {
        subscribe_exclusive_answer(k, s->serial, ticket, index, ERR_UNAVAILABLE, filter);
    }
}

void exclusive_release(struct kernel *k, uint64_t serial, struct bytes filter)
{
    unsigned home = home_of(k, filter);
    if (home == k->shard) {
        give_back(k, filter, k->shard, serial);
        return;
    }
    struct wire_writer w = mail_begin();
    wire_put_bytes(&w, filter);
    mail_post(k, home, MAIL_EXCLUSIVE_RELEASE, serial, &w);
}

static void receive_ask(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r      = mail_read(mail);
    uint32_t           ticket = wire_get_u32(&r);
    uint32_t           index  = wire_get_u32(&r);
    struct bytes       id     = wire_get_blob(&r);
    struct bytes       filter = wire_get(&r, wire_left(&r));
    ASSERT(!r.bad);
    struct wire_writer w = mail_begin();
    wire_put_u32(&w, ticket);
    wire_put_u32(&w, index);
    wire_put_u32(&w, (uint32_t)-take(k, filter, id, from, mail->value));
    wire_put_bytes(&w, filter);
    mail_post(k, from, MAIL_EXCLUSIVE_ANSWER, mail->value, &w);
}

static void receive_answer(struct kernel *k, const struct kernel_mail *mail)
{
    struct wire_reader r      = mail_read(mail);
    uint32_t           ticket = wire_get_u32(&r);
    uint32_t           index  = wire_get_u32(&r);
    int                status = -(int)wire_get_u32(&r);
    struct bytes       filter = wire_get(&r, wire_left(&r));
    ASSERT(!r.bad);
    subscribe_exclusive_answer(k, mail->value, ticket, index, status, filter);
}

void exclusive_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    switch ((enum mail_kind)mail->kind) {
    case MAIL_EXCLUSIVE_ASK:
        receive_ask(k, from, mail);
        return;
    case MAIL_EXCLUSIVE_ANSWER:
        receive_answer(k, mail);
        return;
    default: {
        struct wire_reader r = mail_read(mail);
        give_back(k, wire_get(&r, wire_left(&r)), from, mail->value);
    }
    }
}

void exclusive_lost(struct kernel *k, unsigned shard)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->holders); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->holders, chain); n != NULL;) {
            struct holder *h = CONTAINER_OF(n, struct holder, by_filter);
            n                = n->next;
            if (h->shard == shard) {
                forget(k, h);
            }
        }
    }
}

void exclusive_senior(struct kernel *k)
{
    for (uint32_t chain = 0; chain < hashmap_chains(&k->sessions); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->sessions, chain); n != NULL;) {
            struct session *s = CONTAINER_OF(n, struct session, by_serial);
            n                 = n->next;
            if (s->asking != NULL) {
                subscribe_ask_again(s);
            }
        }
    }
}

void exclusive_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->holders)) != NULL) {
        forget(k, CONTAINER_OF(n, struct holder, by_filter));
    }
    hashmap_fini(&k->holders);
}
