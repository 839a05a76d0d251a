/* directory - who owns a client id among the shards of this broker: kept on the id's home shard (hash % shards), by mail for the others.
 *
 *     opening shard ──CLAIM──▶ home ──EVICT──▶ owner, and whoever waited before
 *                   ◀──GRANT── home ◀─RELEASE─ owner, when nothing of its session is under way any more
 *
 * Other processes have homes of their own, which are asked when a claim has its turn here (rival.h); a claim of theirs stands here like one of another shard.
 * The last claim wins: earlier ones that still wait are refused at once, so a storm of connects with one id costs each one mail. */
#include "broker/kernel/far.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/rival.h"
#include "broker/kernel/session.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct claim {
    uint64_t serial;
    uint16_t shard;
};

/* Ids are compared by 128 bits of a hash seeded at random: nobody outside can aim at a collision. */
struct entry {
    struct hashmap_node by_id; /* extra: the owner's shard, and EVICTED */
    uint64_t            high;
    uint64_t            serial;  /* of the owner */
    struct claim       *waiting; /* the last one, or NULL */
};
_Static_assert(sizeof(struct entry) == 40, "every open client id has one");

enum { SHARD_MASK = 0xffff, EVICTED = 1 << 16 };

static void grant(struct kernel *k, const struct claim *claim);
static void evict(struct kernel *k, const struct claim *claim);

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

static void own(struct kernel *k, struct entry *e, struct claim claim, XXH128_hash_t hash, struct bytes id)
{
    e->serial      = claim.serial;
    e->by_id.extra = claim.shard;
    if (!rival_begin(k, hash.low64, hash.high64, claim.serial, claim.shard, id)) {
        grant(k, &claim);
    }
}

static void home_claim(struct kernel *k, unsigned shard, uint64_t serial, struct bytes id)
{
    XXH128_hash_t hash  = hash_of(k, id);
    struct entry *e     = entry_find(k, hash);
    struct claim  claim = {.serial = serial, .shard = (uint16_t)shard};
    if (e == NULL && far_shard(k, shard)) {
        grant(k, &claim); /* nobody has it here */
        return;
    }
    if (e == NULL) {
        e = calloc(1, sizeof *e);
        if (e == NULL || hashmap_insert(&k->claims, &e->by_id, hash.low64) != 0) {
            free(e);
            evict(k, &claim); /* refused: no memory */
            return;
        }
        e->high = hash.high64;
        own(k, e, claim, hash, id);
        return;
    }
    struct claim *waiting = malloc(sizeof *waiting);
    if (waiting == NULL) {
        evict(k, &claim);
        return;
    }
    struct claim *older = e->waiting;
    struct claim  owner = {.serial = e->serial, .shard = (uint16_t)(e->by_id.extra & SHARD_MASK)};
    bool          told  = (e->by_id.extra & EVICTED) != 0;
    *waiting            = claim;
    e->waiting          = waiting;
    e->by_id.extra |= EVICTED;
    if (older != NULL) {
        evict(k, older);
        free(older);
    }
    /* Nothing is looked at after the owner was told: it may be gone, and its heir opened, before evict returns. */
    if (!told) {
        evict(k, &owner);
    }
}

static void home_release(struct kernel *k, unsigned shard, uint64_t serial, struct bytes id)
{
    XXH128_hash_t hash = hash_of(k, id);
    struct entry *e    = entry_find(k, hash);
    if (e == NULL) {
        return;
    }
    struct claim *waiting = e->waiting;
    if (e->serial != serial || (e->by_id.extra & SHARD_MASK) != shard) {
        if (waiting != NULL && waiting->serial == serial && waiting->shard == shard) {
            e->waiting = NULL;
            free(waiting);
        }
        return;
    }
    rival_cancel(k, hash.low64, hash.high64);
    if (waiting == NULL) {
        hashmap_remove(&k->claims, &e->by_id);
        free(e);
        return;
    }
    struct claim heir = *waiting;
    e->waiting        = NULL;
    free(waiting);
    if (far_shard(k, heir.shard)) {
        hashmap_remove(&k->claims, &e->by_id);
        free(e);
        grant(k, &heir);
    } else {
        own(k, e, heir, hash, id);
    }
}

/* The home of the id at another process asks. */
static void home_rival(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    struct wire_reader r     = mail_read(mail);
    uint64_t           stamp = wire_get_u64(&r);
    struct bytes       id    = wire_get(&r, wire_left(&r));
    XXH128_hash_t      hash  = hash_of(k, id);
    struct claim       claim = {.serial = mail->value, .shard = (uint16_t)from};
    if (rival_wins(k, hash.low64, hash.high64, from, stamp)) {
        evict(k, &claim);
    } else {
        home_claim(k, from, mail->value, id);
    }
}

/* ---- both sides --------------------------------------------------------------------------------------------------- */

static void granted(struct kernel *k, uint64_t serial)
{
    struct session *s = session_find(k, serial);
    if (s != NULL) {
        open_granted(s);
    }
}

/* A session that somebody else takes over, in the next turn: what its client sent before it connected anew lies in the socket
 * already (a DISCONNECT perhaps, which changes what becomes of the session) and is heard first. */
struct parting {
    struct list link;
    uint64_t    serial;
    bool        heard;
};

static void part(struct kernel *k, uint64_t serial)
{
    struct session *s = session_find(k, serial);
    if (s != NULL) {
        session_evict_now(s, EVICT_TAKEN_OVER);
    }
}

static void evicted(struct kernel *k, uint64_t serial)
{
    struct parting *parting = malloc(sizeof *parting);
    if (parting == NULL) {
        part(k, serial);
        return;
    }
    *parting = (struct parting){.serial = serial};
    list_push_back(&k->partings, &parting->link);
}

bool directory_flush(struct kernel *k)
{
    while (!list_empty(&k->partings)) {
        struct parting *parting = CONTAINER_OF(k->partings.next, struct parting, link);
        if (!parting->heard) {
            break;
        }
        list_remove(&parting->link);
        part(k, parting->serial);
        free(parting);
    }
    LIST_EACH (&k->partings, link) {
        CONTAINER_OF(link, struct parting, link)->heard = true;
    }
    return list_empty(&k->partings);
}

static void grant(struct kernel *k, const struct claim *claim)
{
    if (claim->shard == k->shard) {
        granted(k, claim->serial);
    } else if (far_shard(k, claim->shard)) {
        mail_number(k, claim->shard, MAIL_RIVAL_ANSWER, claim->serial, 0);
    } else {
        mail_signal(k, claim->shard, MAIL_GRANT, claim->serial);
    }
}

static void evict(struct kernel *k, const struct claim *claim)
{
    if (claim->shard == k->shard) {
        evicted(k, claim->serial);
    } else if (far_shard(k, claim->shard)) {
        mail_number(k, claim->shard, MAIL_RIVAL_ANSWER, claim->serial, 1);
    } else {
        mail_signal(k, claim->shard, MAIL_EVICT, claim->serial);
    }
}

void directory_grant(struct kernel *k, unsigned shard, uint64_t serial)
{
    grant(k, &(struct claim){.serial = serial, .shard = (uint16_t)shard});
}

void directory_evict(struct kernel *k, unsigned shard, uint64_t serial)
{
    evict(k, &(struct claim){.serial = serial, .shard = (uint16_t)shard});
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
    case MAIL_RIVAL:
        home_rival(k, from, mail);
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
    for (struct list *link; (link = list_pop_front(&k->partings)) != NULL;) {
        free(CONTAINER_OF(link, struct parting, link));
    }
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->claims)) != NULL) {
        struct entry *e = CONTAINER_OF(n, struct entry, by_id);
        hashmap_remove(&k->claims, n);
        free(e->waiting);
        free(e);
    }
}
