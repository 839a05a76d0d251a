/* directory - who owns a client id among the shards of this broker: kept on the id's home shard (hash % shards), by mail for the others.
 *
 *     opening shard ──CLAIM──▶ home ──EVICT──▶ owner, and whoever waited before
 *                   ◀──GRANT── home ◀─RELEASE─ owner, when nothing of its session is under way any more
 *
 * The last claim wins: earlier ones that still wait are refused at once, so a storm of connects with one id costs each one mail. */
#include "broker/kernel/mail.h"
#include "broker/kernel/session.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct claim {
    struct list link; /* in entry.waiting */
    uint64_t    serial;
    uint16_t    shard;
    bool        evicted; /* was told */
};

/* Ids are compared by 128 bits of a hash seeded at random: nobody outside can aim at a collision. */
struct entry {
    struct hashmap_node by_id;
    uint64_t            high;
    struct claim        owner;
};
/* owner.link is the head of the claims that wait. */

static void grant(struct kernel *k, const struct claim *claim);
static void evict(struct kernel *k, struct claim *claim);

static XXH128_hash_t hash_of(const struct kernel *k, struct bytes id)
{
    return XXH3_128bits_withSeed(id.data, id.size, k->seed);
}

static struct entry *entry_find(struct kernel *k, XXH128_hash_t hash)
{
    for (struct hashmap_node *n = hashmap_first(&k->claims, hash.low64); n != NULL; n = hashmap_next(n)) {
        struct entry *e = CONTAINER_OF(n, struct entry, by_id);
        if (e->high == hash.high64) {
            return e;
        }
    }
    return NULL;
}

static void home_claim(struct kernel *k, unsigned shard, uint64_t serial, struct bytes id)
{
    XXH128_hash_t hash  = hash_of(k, id);
    struct entry *e     = entry_find(k, hash);
    struct claim  claim = {.serial = serial, .shard = (uint16_t)shard};
    if (e == NULL) {
        e = calloc(1, sizeof *e);
        if (e == NULL || hashmap_insert(&k->claims, &e->by_id, hash.low64) != 0) {
            free(e);
            evict(k, &claim); /* refused: no memory */
            return;
        }
        e->high  = hash.high64;
        e->owner = claim;
        list_init(&e->owner.link);
        grant(k, &e->owner);
        return;
    }
    /* Nothing is looked at after the owner was told: it may be gone, and its heir opened, before evict returns. */
    struct claim *waiting = malloc(sizeof *waiting);
    if (waiting == NULL) {
        evict(k, &claim);
        return;
    }
    *waiting = claim;
    struct list *older;
    while ((older = list_pop_front(&e->owner.link)) != NULL) {
        struct claim *other = CONTAINER_OF(older, struct claim, link);
        evict(k, other);
        free(other);
    }
    list_push_back(&e->owner.link, &waiting->link);
    evict(k, &e->owner);
}

static void home_release(struct kernel *k, unsigned shard, uint64_t serial, struct bytes id)
{
    struct entry *e = entry_find(k, hash_of(k, id));
    if (e == NULL) {
        return;
    }
    if (e->owner.serial != serial || e->owner.shard != shard) {
        LIST_EACH (&e->owner.link, link) {
            struct claim *other = CONTAINER_OF(link, struct claim, link);
            if (other->serial == serial && other->shard == shard) {
                list_remove(&other->link);
                free(other);
            }
        }
        return;
    }
    struct list *next = list_pop_front(&e->owner.link);
    if (next == NULL) {
        hashmap_remove(&k->claims, &e->by_id);
        free(e);
        return;
    }
    struct claim *heir = CONTAINER_OF(next, struct claim, link);
    e->owner.serial    = heir->serial;
    e->owner.shard     = heir->shard;
    e->owner.evicted   = false;
    free(heir);
    grant(k, &e->owner);
}

/* ---- both sides --------------------------------------------------------------------------------------------------- */

static void granted(struct kernel *k, uint64_t serial)
{
    struct session *s = session_find(k, serial);
    if (s != NULL) {
        open_granted(s);
    }
}

static void evicted(struct kernel *k, uint64_t serial)
{
    struct session *s = session_find(k, serial);
    if (s != NULL) {
        session_evict_now(s, EVICT_TAKEN_OVER);
    }
}

static void grant(struct kernel *k, const struct claim *claim)
{
    if (claim->shard == k->shard) {
        granted(k, claim->serial);
    } else {
        mail_signal(k, claim->shard, MAIL_GRANT, claim->serial);
    }
}

static void evict(struct kernel *k, struct claim *claim)
{
    if (claim->evicted) {
        return;
    }
    claim->evicted = true;
    if (claim->shard == k->shard) {
        evicted(k, claim->serial);
    } else {
        mail_signal(k, claim->shard, MAIL_EVICT, claim->serial);
    }
}

static unsigned home_of(const struct session *s)
{
    return (unsigned)(hash_bytes(session_id(s)) % s->kernel->shard_count);
}

static void tell_home(struct session *s, enum mail_kind kind)
{
    struct wire_writer w = mail_begin();
    wire_put_bytes(&w, session_id(s));
    mail_post(s->kernel, home_of(s), kind, s->serial, &w);
}

void directory_claim(struct session *s)
{
    if (home_of(s) == s->kernel->shard) {
        home_claim(s->kernel, s->kernel->shard, s->serial, session_id(s));
    } else {
        tell_home(s, MAIL_CLAIM);
    }
}

void directory_release(struct session *s)
{
    if (home_of(s) == s->kernel->shard) {
        home_release(s->kernel, s->kernel->shard, s->serial, session_id(s));
    } else {
        tell_home(s, MAIL_RELEASE);
    }
}

void directory_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r  = mail_read(mail);
    struct bytes       id = wire_get(&r, wire_left(&r));
    switch ((enum mail_kind)mail->kind) {
    case MAIL_CLAIM:
        home_claim(k, from, mail->value, id);
        return;
    case MAIL_RELEASE:
        home_release(k, from, mail->value, id);
        return;
    case MAIL_GRANT:
        granted(k, mail->value);
        return;
    case MAIL_EVICT:
        evicted(k, mail->value);
        return;
    default:
        ASSERT(false);
    }
}

void directory_fini(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->claims)) != NULL) {
        struct entry *e = CONTAINER_OF(n, struct entry, by_id);
        hashmap_remove(&k->claims, n);
        struct list *waiting;
        while ((waiting = list_pop_front(&e->owner.link)) != NULL) {
            free(CONTAINER_OF(waiting, struct claim, link));
        }
        free(e);
    }
}
