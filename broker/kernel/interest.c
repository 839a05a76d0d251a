/* interest - see interest.h. */
#include "broker/kernel/interest.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

/* The first byte of the mail; what follows is the hash of the filter (EXACT) or the filter. ANY clear: none any more. */
enum { ANY = 1, QUALITY = 2, EXACT = 4 };

/* ---- filters with wildcards ----------------------------------------------------------------------------------------- */

static struct interest *find(struct kernel *k, struct bytes filter)
{
    uint32_t node = match_node(k->tree, filter);
    if (node == MATCH_NONE) {
        return NULL;
    }
    for (struct hashmap_node *n = hashmap_first(&k->interests, hash_u64(node)); n != NULL; n = hashmap_next(n)) {
        struct interest *i = CONTAINER_OF(n, struct interest, by_node);
        if (i->link.node == node) {
            return i;
        }
    }
    return NULL;
}

static struct interest *make(struct kernel *k, struct bytes filter)
{
    struct interest *i = find(k, filter);
    if (i != NULL) {
        return i;
    }
    i = calloc(1, sizeof *i);
    if (i == NULL) {
        return NULL;
    }
    i->link.kind = LINK_INTEREST;
    if (match_add(k->tree, filter, &i->link) != 0) {
        free(i);
        return NULL;
    }
    if (hashmap_insert(&k->interests, &i->by_node, hash_u64(i->link.node)) != 0) {
        match_remove(k->tree, &i->link);
        free(i);
        return NULL;
    }
    return i;
}

static void settle(struct kernel *k, struct interest *i)
{
    if (i->any == 0 && i->any_here == 0) {
        hashmap_remove(&k->interests, &i->by_node);
        match_remove(k->tree, &i->link);
        free(i);
    }
}

/* ---- those who are here --------------------------------------------------------------------------------------------- */

static uint8_t standing(uint32_t any, uint32_t quality)
{
    return (uint8_t)((any != 0 ? ANY : 0) | (quality != 0 ? QUALITY : 0));
}

static struct wire_writer of_hash(uint64_t hash, uint8_t now)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, now | EXACT);
    wire_put_u64(&w, hash);
    return w;
}

static struct wire_writer of_filter(struct bytes filter, uint8_t now)
{
    struct wire_writer w = mail_begin();
    wire_put_u8(&w, now);
    wire_put_bytes(&w, filter);
    return w;
}

static void step_exact(struct kernel *k, struct exact_entry *e, bool quality, int step)
{
    uint64_t hash   = e->hash;
    uint8_t  before = standing(e->any, e->quality);
    e->any += (uint32_t)step;
    e->quality    = (e->quality + (quality ? (uint32_t)step : 0)) & 0x3ffffff;
    uint8_t after = standing(e->any, e->quality);
    if (e->any == 0) {
        exact_drop(&k->exact, e);
    }
    if (after != before) {
        struct wire_writer w = of_hash(hash, after);
        mail_announce(k, MAIL_INTEREST, 0, &w);
    }
}

static void step_wild(struct kernel *k, struct interest *i, struct bytes filter, bool quality, int step)
{
    uint8_t before = standing(i->any_here, i->quality_here);
    i->any_here += (uint32_t)step;
    i->quality_here += quality ? (uint32_t)step : 0;
    uint8_t after = standing(i->any_here, i->quality_here);
    if (after != before) {
        struct wire_writer w = of_filter(filter, after);
        mail_announce(k, MAIL_INTEREST, 0, &w);
    }
    settle(k, i);
}

bool interest_in(struct kernel *k, struct bytes filter, bool quality)
{
    if (topic_filter_wild(filter)) {
        struct interest *i = make(k, filter);
        if (i == NULL) {
            return false;
        }
        step_wild(k, i, filter, quality, 1);
        return true;
    }
    struct exact_entry *e = exact_make(&k->exact, hash_bytes(filter), k->shard);
    if (e == NULL) {
        return false;
    }
    step_exact(k, e, quality, 1);
    return true;
}

void interest_out(struct kernel *k, struct bytes filter, bool quality)
{
    if (topic_filter_wild(filter)) {
        struct interest *i = find(k, filter);
        ASSERT(i != NULL);
        step_wild(k, i, filter, quality, -1);
        return;
    }
    struct exact_entry *e = exact_find(&k->exact, hash_bytes(filter), k->shard);
    ASSERT(e != NULL);
    step_exact(k, e, quality, -1);
}

/* ---- shards that come and go ---------------------------------------------------------------------------------------- */

void interest_track(struct kernel *k)
{
    if (k->tracking) {
        return;
    }
    k->tracking = true;
    for (uint32_t chain = 0; chain < hashmap_chains(&k->subs); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->subs, chain); n != NULL; n = n->next) {
            struct sub *sub = CONTAINER_OF(n, struct sub, by_key);
            if (sub->link.kind == LINK_LIVE && sub_group(sub) == NULL) {
                struct bytes filter  = bytes_of(k->key, match_filter(k->tree, sub->link.node, k->key, sizeof k->key));
                bool         counted = interest_in(k, filter, sub_wants_quality(sub, sub->link.flags));
                ASSERT(counted); /* out of memory */
            }
        }
    }
}

static void tell(struct kernel *k, unsigned shard, struct wire_writer w)
{
    if (mail_post(k, shard, MAIL_INTEREST, 0, &w)) {
        k->out[shard].announced++;
    }
}

void interest_tell(struct kernel *k, unsigned shard)
{
    for (unsigned part = 0; part < EXACT_PARTS; part++) {
        const struct exact_part *p = &k->exact.parts[part];
        for (uint32_t i = 0; i < p->size; i++) {
            const struct exact_entry *e = &p->entries[i];
            if (e->hash != 0 && e->shard == k->shard && e->any != 0) {
                tell(k, shard, of_hash(e->hash, standing(e->any, e->quality)));
            }
        }
    }
    for (uint32_t chain = 0; chain < hashmap_chains(&k->interests); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->interests, chain); n != NULL; n = n->next) {
            const struct interest *i = CONTAINER_OF(n, struct interest, by_node);
            if (i->any_here != 0) {
                size_t size = match_filter(k->tree, i->link.node, k->key, sizeof k->key);
                tell(k, shard, of_filter(bytes_of(k->key, size), standing(i->any_here, i->quality_here)));
            }
        }
    }
}

void interest_lost(struct kernel *k, unsigned shard)
{
    uint64_t bit = 1ull << shard;
    exact_forget(&k->exact, shard);
    for (uint32_t chain = 0; chain < hashmap_chains(&k->interests); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->interests, chain); n != NULL;) {
            struct interest *i = CONTAINER_OF(n, struct interest, by_node);
            n                  = n->next;
            i->any &= ~bit;
            i->quality &= ~bit;
            settle(k, i);
        }
    }
}

/* ---- those elsewhere ------------------------------------------------------------------------------------------------ */

static void no_memory(unsigned from)
{
    log_error("no memory for what shard %u is interested in: publishes of this shard do not reach its subscriber",
              from);
}

static void heard_exact(struct kernel *k, unsigned from, uint8_t flags, uint64_t hash)
{
    struct exact_entry *e = (flags & ANY) != 0 ? exact_make(&k->exact, hash, from) : exact_find(&k->exact, hash, from);
    if ((flags & ANY) == 0) {
        if (e != NULL) {
            exact_drop(&k->exact, e);
        }
        return;
    }
    if (e == NULL) {
        no_memory(from);
        return;
    }
    e->any     = 1;
    e->quality = (flags & QUALITY) != 0;
}

static void heard_wild(struct kernel *k, unsigned from, uint8_t flags, struct bytes filter)
{
    struct interest *i   = make(k, filter);
    uint64_t         bit = 1ull << from;
    if (i == NULL) {
        no_memory(from);
        return;
    }
    i->any     = (flags & ANY) != 0 ? i->any | bit : i->any & ~bit;
    i->quality = (flags & QUALITY) != 0 ? i->quality | bit : i->quality & ~bit;
    settle(k, i);
}

void interest_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r     = mail_read(mail);
    uint8_t            flags = wire_get_u8(&r);
    if ((flags & EXACT) != 0) {
        heard_exact(k, from, flags, wire_get_u64(&r));
    } else {
        heard_wild(k, from, flags, wire_get(&r, wire_left(&r)));
    }
}

uint64_t interest_exact(const struct kernel *k, struct bytes topic, uint8_t qos)
{
    return !k->tracking ? 0 : exact_shards(&k->exact, hash_bytes(topic), k->shard, qos != 0);
}

void interest_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->interests)) != NULL) {
        hashmap_remove(&k->interests, n);
        free(CONTAINER_OF(n, struct interest, by_node));
    }
    hashmap_fini(&k->interests);
    exact_fini(&k->exact);
}
