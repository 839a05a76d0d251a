/* interest - see interest.h. */
#include "broker/kernel/interest.h"

#include "broker/kernel/mail.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/topic.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

/* How a filter stands on a shard. */
enum { ANY = 1, QUALITY = 2 };
/* The first byte of the mail: how it stands, how it stood, and what follows: the hash of the filter (EXACT) or the filter. */
enum { EXACT = 4, STOOD_SHIFT = 3 };

/* Of a node: nobody, one, or there is a tally. */
enum { MARK_NONE, MARK_ONE, MARK_TALLY };

/* Live subscribers, two or more, of the filter of a node. */
struct tally {
    struct hashmap_node by_node; /* extra: the node */
    uint32_t            count;
};

/* A filter of other shards that has no shape. */
struct interest {
    struct match_link   link;
    struct hashmap_node by_node;
    uint64_t            any;     /* shards: for QoS 0 */
    uint64_t            quality; /* shards: for QoS 1 and 2 too */
};

/* ---- those who are here --------------------------------------------------------------------------------------------- */

static struct tally *tally_of(const struct kernel *k, uint32_t node)
{
    for (struct hashmap_node *n = hashmap_first(&k->tallies, hash_u64(node)); n != NULL; n = hashmap_next(n)) {
        if (n->extra == node) {
            return CONTAINER_OF(n, struct tally, by_node);
        }
    }
    return NULL;
}

/* Live sessions are owed all by mail, stored ones what is QoS 0 to them, which is not told here (stored.h). Older brokers tell of both here. */
static uint8_t stands(const struct kernel *k, uint32_t node)
{
    return match_mark(k->tree, node) != MARK_NONE ? ANY | QUALITY : 0;
}

static struct wire_writer mail_of(struct kernel *k, uint32_t node, uint8_t stood, uint8_t now)
{
    size_t             size   = match_filter(k->tree, node, k->key, sizeof k->key);
    struct bytes       filter = bytes_of(k->key, size);
    uint8_t            flags  = (uint8_t)(now | stood << STOOD_SHIFT);
    struct wire_writer w      = mail_begin();
    if (topic_filter_wild(filter)) {
        wire_put_u8(&w, flags);
        wire_put_bytes(&w, filter);
    } else {
        wire_put_u8(&w, flags | EXACT);
        wire_put_u64(&w, hash_bytes(filter));
    }
    return w;
}

static void announce(struct kernel *k, uint32_t node, uint8_t stood)
{
    uint8_t now = stands(k, node);
    if (now != stood) {
        struct wire_writer w = mail_of(k, node, stood, now);
        mail_announce(k, MAIL_INTEREST, 0, &w);
    }
}

/* There was one, now there are two. */
static bool tally_begin(struct kernel *k, uint32_t node)
{
    struct tally *t = malloc(sizeof *t);
    if (t == NULL) {
        return false;
    }
    *t = (struct tally){.by_node = {.extra = node}, .count = 2};
    if (hashmap_insert(&k->tallies, &t->by_node, hash_u64(node)) != 0) {
        free(t);
        return false;
    }
    match_set_mark(k->tree, node, MARK_TALLY);
    return true;
}

bool interest_in(struct kernel *k, uint32_t node)
{
    uint8_t stood = stands(k, node);
    switch (match_mark(k->tree, node)) {
    case MARK_NONE:
        match_set_mark(k->tree, node, MARK_ONE);
        break;
    case MARK_ONE:
        if (!tally_begin(k, node)) {
            return false;
        }
        break;
    default:
        tally_of(k, node)->count++;
    }
    announce(k, node, stood);
    return true;
}

void interest_out(struct kernel *k, uint32_t node)
{
    uint8_t stood = stands(k, node);
    if (match_mark(k->tree, node) != MARK_TALLY) {
        ASSERT(match_mark(k->tree, node) == MARK_ONE);
        match_set_mark(k->tree, node, MARK_NONE);
        announce(k, node, stood);
        return;
    }
    struct tally *t = tally_of(k, node);
    ASSERT(t->count >= 2);
    if (--t->count == 1) {
        match_set_mark(k->tree, node, MARK_ONE);
        hashmap_remove(&k->tallies, &t->by_node);
        free(t);
    }
}

/* ---- shards that come and go ---------------------------------------------------------------------------------------- */

/* A live subscription that is not shared? */
static struct sub *counted(struct hashmap_node *n)
{
    struct sub *sub = CONTAINER_OF(n, struct sub, by_key);
    return sub->link.kind == LINK_LIVE && sub_group(sub) == NULL ? sub : NULL;
}

void interest_track(struct kernel *k)
{
    if (k->tracking) {
        return;
    }
    k->tracking = true;
    for (uint32_t chain = 0; chain < hashmap_chains(&k->subs); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->subs, chain); n != NULL; n = n->next) {
            const struct sub *sub = counted(n);
            if (sub != NULL) {
                bool in = interest_in(k, sub->link.node);
                ASSERT_MEMORY(in);
            }
        }
    }
}

static void tell(struct kernel *k, unsigned shard, uint32_t node)
{
    struct wire_writer w = mail_of(k, node, 0, stands(k, node));
    if (mail_post(k, shard, MAIL_INTEREST, 0, &w)) {
        k->out[shard].announced++;
    }
}

void interest_tell(struct kernel *k, unsigned shard)
{
    /* Not by the subscriptions, whose table is in the order of addresses: what is sent is the same wherever memory lies. */
    for (uint32_t node = match_next_marked(k->tree, MATCH_NONE); node != MATCH_NONE;
         node          = match_next_marked(k->tree, node)) {
        tell(k, shard, node);
    }
}

/* ---- those elsewhere: filters without a shape ------------------------------------------------------------------------- */

static struct interest *find(struct kernel *k, struct bytes filter)
{
    uint32_t node = k->interests.count == 0 ? MATCH_NONE : match_node(k->tree, filter);
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

static void set(struct kernel *k, struct interest *i, unsigned from, uint8_t now)
{
    uint64_t bit = 1ull << from;
    i->any       = (now & ANY) != 0 ? i->any | bit : i->any & ~bit;
    i->quality   = (now & QUALITY) != 0 ? i->quality | bit : i->quality & ~bit;
    if (i->any == 0) {
        hashmap_remove(&k->interests, &i->by_node);
        match_remove(k->tree, &i->link);
        free(i);
    }
}

uint64_t interest_link(const struct match_link *link, uint8_t qos)
{
    const struct interest *i = CONTAINER_OF(link, const struct interest, link);
    return qos == 0 ? i->any : i->quality;
}

/* ---- those elsewhere -------------------------------------------------------------------------------------------------- */

static bool began(uint8_t stood, uint8_t now)
{
    return (stood & ANY) == 0 && (now & ANY) != 0;
}

/* False: no memory. */
static bool step(struct kernel *k, unsigned from, uint64_t key, uint8_t stood, uint8_t now)
{
    struct want *w = began(stood, now) ? wants_make(&k->wants, key, from) : wants_find(&k->wants, key, from);
    if (w == NULL) {
        return !began(stood, now); /* there was no memory for it when it came */
    }
    w->any     = w->any + (now & ANY) - (stood & ANY);
    w->quality = (w->quality + (uint32_t)(now & QUALITY) / QUALITY - (uint32_t)(stood & QUALITY) / QUALITY) & 0x3ffffff;
    if (w->any == 0) {
        wants_drop(&k->wants, w);
    }
    return true;
}

/* Topics are announced by a hash that everybody can compute; where it lies in the table nobody can. */
static uint64_t exact_key(const struct kernel *k, uint64_t hash)
{
    return hash_u64(hash ^ k->shapes.seed);
}

static bool heard_wild(struct kernel *k, unsigned from, struct bytes filter, uint8_t stood, uint8_t now)
{
    uint64_t key;
    if (began(stood, now)) {
        if (shapes_enter(&k->shapes, filter, from, &key)) {
            bool kept = step(k, from, key, stood, now);
            if (!kept) {
                shapes_leave(&k->shapes, filter, from);
            }
            return kept;
        }
        struct interest *i = make(k, filter);
        if (i != NULL) {
            set(k, i, from, now);
        }
        return i != NULL;
    }
    struct interest *i = find(k, filter);
    if (i != NULL && (i->any >> from & 1) != 0) {
        set(k, i, from, now);
    } else if (shapes_key(&k->shapes, filter, &key) && wants_find(&k->wants, key, from) != NULL) {
        /* An older broker does not say how it stood: what it wants no longer is sent to it until it is gone. */
        if ((stood & ANY) != 0 && (now & ANY) == 0) {
            shapes_leave(&k->shapes, filter, from);
        }
        return step(k, from, key, stood, now);
    }
    return true;
}

void interest_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r     = mail_read(mail);
    uint8_t            flags = wire_get_u8(&r);
    uint8_t            now   = flags & (ANY | QUALITY);
    uint8_t            stood = flags >> STOOD_SHIFT & (ANY | QUALITY);
    bool               kept  = (flags & EXACT) != 0 ? step(k, from, exact_key(k, wire_get_u64(&r)), stood, now)
                                                    : heard_wild(k, from, wire_get(&r, wire_left(&r)), stood, now);
    if (!kept) {
        log_error("no memory for what shard %u is interested in: publishes of this shard do not reach its subscriber",
                  from);
    }
}

void interest_lost(struct kernel *k, unsigned shard)
{
    wants_forget(&k->wants, shard);
    shapes_forget(&k->shapes, shard);
    for (uint32_t chain = 0; chain < hashmap_chains(&k->interests); chain++) {
        for (struct hashmap_node *n = hashmap_chain(&k->interests, chain); n != NULL;) {
            struct interest *i = CONTAINER_OF(n, struct interest, by_node);
            n                  = n->next;
            set(k, i, shard, 0);
        }
    }
}

void interest_ask(const struct kernel *k, struct bytes topic, struct interest_question *out)
{
    bool wanted = k->wants.count != 0;
    bool stored = k->rows.count != 0;
    out->count  = 0;
    if (wanted) {
        out->told = exact_key(k, hash_bytes(topic));
        wants_fetch(&k->wants, out->told);
    }
    if (stored) {
        out->exact = hash_bytes_seeded(topic, k->shapes.seed);
        rows_fetch(&k->rows, (uint32_t)out->exact);
    }
    if ((wanted || stored) && k->shapes.count != 0) {
        out->count = shapes_match(&k->shapes, topic, out->keys, out->shapes);
    }
    for (uint32_t i = 0; i < out->count && wanted; i++) {
        wants_fetch(&k->wants, out->keys[i]);
    }
    for (uint32_t i = 0; i < out->count && stored; i++) {
        rows_fetch(&k->rows, (uint32_t)out->keys[i]);
    }
}

uint64_t interest_answer(const struct kernel *k, const struct interest_question *question, uint8_t qos)
{
    if (k->wants.count == 0) {
        return 0;
    }
    uint64_t shards = wants_shards(&k->wants, question->told, qos != 0);
    for (uint32_t i = 0; i < question->count; i++) {
        shards |= wants_shards(&k->wants, question->keys[i], qos != 0);
    }
    return shards;
}

void interest_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->interests)) != NULL) {
        hashmap_remove(&k->interests, n);
        free(CONTAINER_OF(n, struct interest, by_node));
    }
    while ((n = hashmap_any(&k->tallies)) != NULL) {
        hashmap_remove(&k->tallies, n);
        free(CONTAINER_OF(n, struct tally, by_node));
    }
    hashmap_fini(&k->interests);
    hashmap_fini(&k->tallies);
    wants_fini(&k->wants);
}
