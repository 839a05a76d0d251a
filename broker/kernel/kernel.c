/* kernel - the life of a shard's kernel and its turn; the verbs of a client are in open.c, publish.c, subscribe.c and ack.c. */
#include "broker/kernel/kernel.h"

#include "broker/kernel/assign.h"
#include "broker/kernel/capture.h"
#include "broker/kernel/delivery.h"
#include "broker/kernel/exclusive.h"
#include "broker/kernel/group.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/marks.h"
#include "broker/kernel/orphan.h"
#include "broker/kernel/pause.h"
#include "broker/kernel/publish.h"
#include "broker/kernel/far.h"
#include "broker/kernel/company.h"
#include "broker/kernel/publisher.h"
#include "broker/kernel/rival.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/retain.h"
#include "broker/kernel/route.h"
#include "broker/kernel/standing.h"
#include "broker/kernel/stored.h"
#include "broker/kernel/sub.h"
#include "broker/kernel/subscribe.h"
#include "broker/kernel/sys.h"
#include "broker/kernel/will.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

enum { CACHE_SLOTS = 4096, WORKS_MAX = 1 << 20, ASSEMBLED_MAX_BYTES = 4 << 20 };

static void relayed(struct publisher *p, struct pending *pending)
{
    p->kernel->counters.dropped += pending->status != 0;
}

struct kernel *kernel_new(unsigned shard, unsigned shard_count, const struct kernel_limits *limits,
                          const struct kernel_port *port, struct store *store, struct timer_wheel *timers)
{
    ASSERT(shard < shard_count && shard_count <= SHARDS_MAX && limits->inflight_max != 0 &&
           limits->publish_pending_max != 0);
    struct kernel *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return NULL;
    }
    k->shard       = shard;
    k->shard_count = shard_count;
    k->others      = (shard_count == SHARDS_MAX ? UINT64_MAX : (1ull << shard_count) - 1) & ~(1ull << shard);
    k->tracking    = shard_count > 1;
    k->limits      = *limits;
    k->port        = *port;
    k->store       = store;
    k->timers      = timers;
    k->seed        = port->random(port->ctx);
    shapes_init(&k->shapes, hash_u64(k->seed + 1));
    if (k->limits.inflight_max > WINDOW_WIDTH_MAX) {
        k->limits.inflight_max = WINDOW_WIDTH_MAX;
    }
    list_init(&k->announcing);
    list_init(&k->announcing_here);
    list_init(&k->partings);
    list_init(&k->rivals);
    list_init(&k->marked);
    list_init(&k->paused);
    list_init(&k->dirty);
    list_init(&k->batches);
    list_init(&k->orphans);
    list_init(&k->overruns);
    list_init(&k->captures);
    list_init(&k->reading);
    list_init(&k->cursors);
    k->assembled = wire_writer_growing(ASSEMBLED_MAX_BYTES);
    list_init(&k->orphaned);
    list_init(&k->changed_standings);
    for (unsigned i = 0; i < SHARDS_MAX; i++) {
        list_init(&k->out[i].waiting);
        list_init(&k->out[i].taking);
    }
    k->rival_ticket = port->random(port->ctx); /* an answer to an earlier life of this shard is none to this one */
    k->tree         = match_new(CACHE_SLOTS);
    k->pendings     = pool_new(sizeof(struct pending), WORKS_MAX);
    k->works        = pool_new(sizeof(struct work), WORKS_MAX);
    k->assignments  = pool_new(sizeof(struct assignments), WORKS_MAX);
    k->relay        = malloc(sizeof *k->relay);
    if (k->relay != NULL) {
        publisher_init(k->relay, k, NULL, relayed);
    }
    if (k->tree == NULL || k->pendings == NULL || k->works == NULL || k->assignments == NULL || k->relay == NULL ||
        !company_make(k, port->instance, port->place)) {
        kernel_free(k);
        return NULL;
    }
    return k;
}

static void free_sessions(struct kernel *k)
{
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->sessions)) != NULL) {
        struct session *s = CONTAINER_OF(n, struct session, by_serial);
        subscribe_cancel_all(s);
        retain_cancel_all(s);
        delivery_unfollow(s);
        sub_remove_all(k, &s->who);
        stored_close(s);
        s->client = NULL; /* it may be gone by now, and is not told */
        session_free(s);
    }
}

/* What the store still has of calls and scans must not be answered any more: free the store first, or never turn it again. */
void kernel_free(struct kernel *k)
{
    if (k == NULL) {
        return;
    }
    k->others = 0; /* nobody is told any more */
    k->far    = 0;
    far_fini(k);
    rival_fini(k);
    company_fini(k);
    while (list_pop_front(&k->announcing) != NULL || list_pop_front(&k->announcing_here) != NULL) {
        /* nobody waits for the other shards any more */
    }
    free_sessions(k);
    subscribe_forget(k);
    ack_fini(k);
    orphan_fini(k);
    will_fini(k);
    if (k->relay != NULL) {
        publisher_fini(k->relay);
        free(k->relay);
    }
    route_fini(k);
    capture_fini(k);
    wire_writer_fini(&k->assembled);
    directory_fini(k);
    interest_fini(k);
    struct hashmap_node *n;
    while ((n = hashmap_any(&k->groups)) != NULL) {
        group_free(k, CONTAINER_OF(n, struct group, by_filter));
    }
    exclusive_fini(k);
    sys_fini(k);
    mail_fini(k);
    marks_fini(k);
    hashmap_fini(&k->subs);
    hashmap_fini(&k->groups);
    hashmap_fini(&k->standings);
    hashmap_fini(&k->stored);
    hashmap_fini(&k->sessions);
    hashmap_fini(&k->claims);
    match_free(k->tree);
    pool_free(k->pendings);
    pool_free(k->works);
    pool_free(k->assignments);
    free(k->targets);
    free(k->evicting);
    free(k->stripe_heads);
    free(k->stripes_hit);
    free(k->stripe_sequences);
    for (uint32_t i = 0; i < k->stripe_count; i++) {
        lanes_fini(&k->stripe_lanes[i]);
    }
    free(k->stripe_lanes);
    free(k);
}

bool kernel_settled(const struct kernel *k)
{
    return k->sessions.count == 0 && list_empty(&k->dirty) && list_empty(&k->batches) && list_empty(&k->cursors);
}

bool kernel_ready(const struct kernel *k)
{
    return k->ready && capture_synced(k) && company_joined(k);
}

/* The store has told how many stripes there are. */
static void start(struct kernel *k)
{
    uint32_t stripes    = store_stripe_count(k->store);
    k->stripe_heads     = malloc(stripes * sizeof *k->stripe_heads);
    k->stripes_hit      = malloc(stripes * sizeof *k->stripes_hit);
    k->stripe_sequences = calloc(stripes, sizeof *k->stripe_sequences);
    k->stripe_lanes     = calloc(stripes, sizeof *k->stripe_lanes);
    ASSERT(k->stripe_heads != NULL && k->stripes_hit != NULL && k->stripe_sequences != NULL && k->stripe_lanes != NULL);
    k->stripe_count = stripes;
    for (uint32_t i = 0; i < stripes; i++) {
        k->stripe_heads[i] = TARGET_NONE;
    }
    k->started = true;
    company_start(k);
    route_start(k);
    capture_start(k);
}

void kernel_begin(struct kernel *k, uint64_t now_ns, uint64_t wall_ns)
{
    k->now_ns  = now_ns;
    k->wall_ns = wall_ns;
    company_look(k);
}

uint64_t kernel_end(struct kernel *k)
{
    if (!k->started && store_known(k->store)) {
        start(k);
    }
    uint64_t company_ns = company_turn(k);
    uint64_t rival_ns   = rival_turn(k);
    route_flush(k);
    bool parted = directory_flush(k);
    session_evict_all(k);
    ack_flush(k);
    readers_flush(k);
    if (k->ready && k->wills == NULL && kernel_senior(k)) { /* not before: a will would find nobody who is owed it */
        bool began = will_start(k);
        ASSERT(began);
    }
    uint64_t wish_ns = will_flush(k);
    publish_resume(k);
    standing_flush(k);
    bool     posted  = mail_flush(k);
    uint64_t send_ns = k->company == NULL ? UINT64_MAX : company_send(k);
    wish_ns          = company_ns < wish_ns ? company_ns : wish_ns;
    wish_ns          = rival_ns < wish_ns ? rival_ns : wish_ns;
    wish_ns          = send_ns < wish_ns ? send_ns : wish_ns;
    return posted && parted && list_empty(&k->dirty) && list_empty(&k->cursors) ? wish_ns : k->now_ns;
}

void kernel_receive(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    kernel_take_mail(k, from, mail);
    free(mail->body);
}

void kernel_take_mail(struct kernel *k, unsigned from, const struct kernel_mail *mail)
{
    switch ((enum mail_kind)mail->kind) {
    case MAIL_CONFIRM:
        mail_confirm_received(k, from, mail->value);
        break;
    case MAIL_INTEREST:
        interest_receive(k, from, mail);
        mail_announced(k, from);
        break;
    case MAIL_ROUTE:
        route_receive(k, from, mail);
        mail_announced(k, from);
        break;
    case MAIL_MEMBER:
        group_receive(k, from, mail);
        mail_announced(k, from);
        break;
    case MAIL_EXCLUSIVE_ASK:
    case MAIL_EXCLUSIVE_ANSWER:
    case MAIL_EXCLUSIVE_RELEASE:
        exclusive_receive(k, from, mail);
        break;
    case MAIL_SYS:
        sys_receive(k, mail);
        break;
    case MAIL_STANDING:
        standing_receive(k, from, mail);
        break;
    case MAIL_PUBLISH:
    case MAIL_PUBLISH_MEMBER:
    case MAIL_SLOW:
    case MAIL_RELIEF:
        publish_receive(k, from, mail);
        break;
    case MAIL_CAPTURE:
        capture_receive(k, mail);
        mail_announced(k, from);
        break;
    case MAIL_CLAIM:
    case MAIL_RIVAL:
    case MAIL_GRANT:
    case MAIL_EVICT:
    case MAIL_RELEASE:
        directory_receive(k, from, mail);
        break;
    case MAIL_TOLD:
        company_told(k, from);
        mail_announced(k, from);
        break;
    case MAIL_RIVAL_ANSWER:
        rival_answered(k, from, mail);
        break;
    default:
        ASSERT(false);
    }
}

const struct kernel_counters *kernel_counters(const struct kernel *k)
{
    return &k->counters;
}
