/* numbers.c - numbers into channels: a shard of another process is told all that stands here, and forgotten when it goes. */
#include "broker/kernel/numbers.h"

#include "broker/kernel/channel.h"
#include "broker/kernel/company.h"
#include "broker/kernel/exclusive.h"
#include "broker/kernel/group.h"
#include "broker/kernel/interest.h"
#include "broker/kernel/mail.h"
#include "broker/kernel/rival.h"
#include "broker/kernel/session.h"
#include "broker/kernel/stored.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <stdlib.h>

/* A shard of another process. */
struct far_shard {
    struct peer   *peer;
    uint64_t       owner;
    struct channel channel;
    bool           told; /* it has told all that stood there */
};

/* Everything that stands here, to one that knows nothing. */
static void tell_all(struct kernel *k, unsigned shard)
{
    interest_tell(k, shard);
    group_tell(k, shard);
    stored_tell(k, shard);
    struct wire_writer w = mail_begin();
    if (mail_post(k, shard, MAIL_TOLD, 0, &w)) {
        k->out[shard].announced++;
    }
}

static void shard_begin(struct numbers *n, struct peer *peer, unsigned number, uint64_t own_birth)
{
    struct kernel    *k   = n->kernel;
    struct far_shard *far = calloc(1, sizeof *far);
    ASSERT_MEMORY(far != NULL);
    struct outbox *out = &k->out[number];
    far->peer          = peer;
    far->owner         = kernel_owner(peer->instance, number - peer->first);
    channel_init(&far->channel, peer->birth, own_birth, (uint32_t)hash_u64(far->owner ^ store_owner(k->store)));
    n->far[number] = far;
    out->base      = out->announced;
    out->confirmed = out->announced;
    out->received  = 0;
    out->answered  = 0;
    k->others |= 1ull << number;
    k->far |= 1ull << number;
}

static void shard_end(struct numbers *n, unsigned number)
{
    struct kernel *k   = n->kernel;
    uint64_t       bit = 1ull << number;
    k->others &= ~bit;
    k->far &= ~bit;
    channel_fini(&n->far[number]->channel);
    free(n->far[number]);
    n->far[number] = NULL;
    mail_drop(k, number);
    interest_lost(k, number);
    group_lost(k, number);
    exclusive_lost(k, number);
    k->slow_told &= ~bit;
    LIST_EACH (&k->paused, link) {
        CONTAINER_OF(link, struct publisher, paused_link)->slow &= ~bit;
    }
}

/* So many numbers behind each other, or 0. */
static unsigned numbers_free(const struct numbers *n, unsigned count)
{
    unsigned run = 0;
    for (unsigned number = n->kernel->shard_count; number < SHARDS_MAX; number++) {
        run = n->far[number] == NULL ? run + 1 : 0;
        if (run == count) {
            return number + 1 - count;
        }
    }
    return 0;
}

static void crowded(struct numbers *n)
{
    if (!n->crowded) {
        log_error(
            "more than %d shards of brokers at one segment store: this broker waits until others have gone; start "
            "fewer, or give each fewer --shards",
            (int)SHARDS_MAX);
    }
    n->crowded = true;
}

void numbers_begin(struct numbers *n, struct peer *peer, uint64_t own_birth)
{
    struct kernel *k     = n->kernel;
    unsigned       first = own_birth == 0 ? 0 : numbers_free(n, peer->shard_count);
    if (first == 0) {
        if (own_birth != 0) {
            crowded(n);
        }
        return; /* later */
    }
    peer->first  = (uint8_t)first;
    peer->told   = 0;
    peer->shards = (peer->shard_count == SHARDS_MAX ? UINT64_MAX : (1ull << peer->shard_count) - 1) << first;
    interest_track(k);
    for (unsigned i = 0; i < peer->shard_count; i++) {
        shard_begin(n, peer, first + i, own_birth);
    }
    MAIL_EACH(number, peer->shards)
    {
        tell_all(k, number);
    }
}

void numbers_end(struct numbers *n, struct peer *peer, void (*waiting)(struct kernel *, unsigned))
{
    struct kernel *k      = n->kernel;
    uint64_t       shards = peer->shards;
    peer->shards          = 0;
    n->crowded            = false;
    MAIL_EACH(number, shards)
    {
        shard_end(n, number);
    }
    stored_lost(k, shards);
    MAIL_EACH(number, shards)
    {
        waiting(k, number);
    }
    rival_lost(k, shards);
    mail_recheck(k);
}

uint64_t numbers_owner(const struct numbers *n, unsigned shard)
{
    return n->far[shard]->owner;
}

uint64_t numbers_birth(const struct numbers *n, unsigned shard)
{
    return n->far[shard]->peer->birth;
}

/* ---- packets ------------------------------------------------------------------------------------------------------------ */

bool numbers_post(struct numbers *n, unsigned shard, const struct kernel_mail *mail)
{
    struct far_shard  *far = n->far[shard];
    struct wire_reader r   = mail_read(mail);
    if (!channel_put(&far->channel, mail, bytes_of(r.at, wire_left(&r)))) {
        return false;
    }
    free(mail->body);
    return true;
}

void numbers_arrived(struct numbers *n, uint64_t from, struct bytes packet)
{
    struct kernel *k = n->kernel;
    MAIL_EACH(shard, k->far)
    {
        struct far_shard *far = n->far[shard];
        if (far->owner != from) {
            continue;
        }
        size_t             at = 0;
        struct kernel_mail mail;
        if (!channel_arrived(&far->channel, packet, k->now_ns)) {
            return;
        }
        while (channel_mail(&far->channel, &at, &mail)) {
            kernel_take_mail(k, shard, &mail);
        }
        channel_taken(&far->channel, at);
        return;
    }
}

uint64_t numbers_send(struct numbers *n)
{
    struct kernel *k       = n->kernel;
    uint64_t       wish_ns = UINT64_MAX;
    MAIL_EACH(shard, k->far)
    {
        struct far_shard *far = n->far[shard];
        uint8_t           head[CHANNEL_HEAD_BYTES];
        struct bytes      bytes;
        while (channel_next(&far->channel, k->now_ns, head, &bytes)) {
            (void)store_relay_send(k->store, far->owner, far->channel.way, bytes_of(head, sizeof head), bytes);
        }
        uint64_t next_ns = channel_wish_ns(&far->channel);
        wish_ns          = next_ns < wish_ns ? next_ns : wish_ns;
    }
    return wish_ns;
}

void numbers_told(struct numbers *n, unsigned from)
{
    struct far_shard *far = n->far[from];
    far->peer->told += !far->told;
    far->told = true;
}

void numbers_fini(struct numbers *n)
{
    for (unsigned shard = 0; shard < SHARDS_MAX; shard++) {
        if (n->far[shard] != NULL) {
            channel_fini(&n->far[shard]->channel);
            free(n->far[shard]);
        }
    }
}
