/* choose - which member of a group gets a message. Members that take nothing now are passed over while another takes something.
 * Hashing gives every member a weight for the key and takes the heaviest: all shards agree whatever order they learned of the members in, and
 * keys of the members that stay do not move when another comes or goes. */
#include "broker/kernel/group.h"
#include "broker/kernel/standing.h"
#include "shared/base/hash.h"

enum { PASS_OVER_MAX = 64 }; /* members looked at for one that is not slow, where each of them would do */

static uint64_t weight(uint64_t key, uint64_t who)
{
    return hash_u64(key ^ hash_u64(who));
}

static uint64_t member_who(const struct member *m)
{
    return m->who;
}

/* The first one from start on that is not slow, else the one at start. */
static uint32_t from_on(const struct group *g, uint32_t start)
{
    uint32_t looks = g->member_count < PASS_OVER_MAX ? g->member_count : PASS_OVER_MAX;
    for (uint32_t i = 0; i < looks; i++) {
        uint32_t at = (start + i) % g->member_count;
        if (!standing_slow(g->members[at].standing)) {
            return at;
        }
    }
    return start % g->member_count;
}

static uint32_t heaviest(const struct group *g, uint64_t key)
{
    uint32_t best      = 0;
    uint64_t best_most = 0;
    bool     best_slow = true;
    for (uint32_t i = 0; i < g->member_count; i++) {
        bool     slow = standing_slow(g->members[i].standing);
        uint64_t most = weight(key, member_who(&g->members[i]));
        if (i == 0 || slow < best_slow || (slow == best_slow && most > best_most)) {
            best      = i;
            best_most = most;
            best_slow = slow;
        }
    }
    return best;
}

/* Equals take turns. */
static uint32_t least_loaded(struct group *g)
{
    uint32_t best      = 0;
    uint32_t best_load = UINT32_MAX;
    bool     best_slow = true;
    for (uint32_t i = 0; i < g->member_count; i++) {
        uint32_t               at   = (g->turn + i) % g->member_count;
        const struct standing *st   = g->members[at].standing;
        bool                   slow = standing_slow(st);
        uint32_t               load = standing_load(st);
        if (i == 0 || slow < best_slow || (slow == best_slow && load < best_load)) {
            best      = at;
            best_load = load;
            best_slow = slow;
        }
    }
    g->turn = best + 1;
    return best;
}

static uint64_t key_of(const struct group *g, const struct group_question *q)
{
    return g->strategy == SHARE_HASH_TOPIC ? hash_bytes(q->topic) : q->publisher;
}

static const struct member *choose_member(struct kernel *k, struct group *g, const struct group_question *q)
{
    uint32_t at = 0;
    switch ((enum share_strategy)g->strategy) {
    case SHARE_RANDOM:
        at = from_on(g, (uint32_t)(k->port.random(k->port.ctx) % g->member_count));
        break;
    case SHARE_STICKY:
        at = from_on(g, 0);
        break;
    case SHARE_HASH_CLIENT:
    case SHARE_HASH_TOPIC:
        at = heaviest(g, key_of(g, q));
        break;
    case SHARE_LEAST_INFLIGHT:
        at = least_loaded(g);
        break;
    default:
        at      = from_on(g, g->turn);
        g->turn = at + 1;
    }
    g->members[at].standing->given++;
    return &g->members[at];
}

/* The list hangs together by place pointers only: find the end once. Members of one group that are all offline are few. */
static struct match_link *take_turn(struct group *g)
{
    struct match_link *first = g->stored;
    if (first->next != NULL) {
        struct match_link *last = first;
        while (last->next != NULL) {
            last = last->next;
        }
        g->stored        = first->next;
        g->stored->place = &g->stored;
        last->next       = first;
        first->place     = &last->next;
        first->next      = NULL;
    }
    return first;
}

static const struct sub *choose_stored(struct kernel *k, struct group *g, const struct group_question *q)
{
    bool     hash = g->strategy == SHARE_HASH_CLIENT || g->strategy == SHARE_HASH_TOPIC;
    uint64_t key  = hash ? key_of(g, q) : 0;
    if (g->strategy == SHARE_RANDOM) {
        key  = k->port.random(k->port.ctx);
        hash = true;
    }
    if (!hash && g->strategy != SHARE_STICKY) {
        return CONTAINER_OF(take_turn(g), struct sub, link);
    }
    const struct sub *best = NULL;
    uint64_t          most = 0;
    for (struct match_link *link = g->stored; link != NULL; link = link->next) {
        const struct sub *sub = CONTAINER_OF(link, struct sub, link);
        /* Sticky: the stream that was made first, whose number is the smallest, of the first stripe. */
        uint64_t mine = hash ? weight(key, sub->owner->stream_id) : ~sub->owner->stream_id;
        if (best == NULL || mine > most) {
            best = sub;
            most = mine;
        }
    }
    return best;
}

struct group_choice group_choose(struct kernel *k, struct group *g, const struct group_question *q)
{
    struct group_choice choice = {0};
    if (g->member_count != 0) {
        choice.member = choose_member(k, g, q);
    } else if (g->stored != NULL) {
        choice.stored = choose_stored(k, g, q);
    }
    return choice;
}
