/* metrics.c - the numbers of all shards as Prometheus' text. */
#include "segstore/status/status.h"

#include "shared/base/version.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum over { SUM, MAX };

static const struct {
    const char *name;
    const char *kind;
    const char *help;
    enum over   over;
} table[] = {
#define STATUS_ROW(slot, name, kind, over, help) {name, #kind, help, over},
    STATUS_TABLE(STATUS_ROW)
#undef STATUS_ROW
};

uint64_t stripe_status_lag(const struct stripe_status *stripe)
{
    uint64_t lag = 0;
    for (uint8_t i = 0; stripe->led && i < stripe->follower_count; i++) {
        uint64_t match = stripe->followers[i].progress.match;
        uint64_t lacks = match < stripe->commit ? stripe->commit - match : 0;
        lag            = lacks > lag ? lacks : lag;
    }
    return lag;
}

void shard_status_sum(struct shard_status *shard)
{
    uint64_t led = 0, unled = 0, damaged = 0, repairing = 0, stopped = 0, lag = 0, missed = 0, lost = 0, withheld = 0;
    for (uint32_t i = 0; i < shard->stripe_count; i++) {
        const struct stripe_status *stripe = &shard->stripes[i];
        uint64_t                    behind = stripe_status_lag(stripe);
        led += stripe->led;
        unled += stripe->leader == RAFT_NONE;
        damaged += stripe->damaged;
        repairing += stripe->repairing;
        missed += stripe->missed;
        lost += stripe->lost;
        withheld += stripe->withheld;
        stopped += stripe->stopped;
        lag = behind > lag ? behind : lag;
    }
    shard->values[STATUS_STRIPES]           = shard->stripe_count;
    shard->values[STATUS_STRIPES_LED]       = led;
    shard->values[STATUS_STRIPES_UNLED]     = unled;
    shard->values[STATUS_STRIPES_DAMAGED]   = damaged;
    shard->values[STATUS_STRIPES_REPAIRING] = repairing;
    shard->values[STATUS_RECORDS_MISSED]    = missed;
    shard->values[STATUS_RECORDS_LOST]      = lost;
    shard->values[STATUS_IMAGES_WITHHELD]   = withheld;
    shard->values[STATUS_STRIPES_STOPPED]   = stopped;
    shard->values[STATUS_FOLLOWER_LAG]      = lag;
}

static void put_value(FILE *to, const struct shard_status *shards, uint32_t count, unsigned value)
{
    const char *name  = table[value].name;
    uint64_t    total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t one = shards[i].values[value];
        total        = table[value].over == SUM ? total + one : one > total ? one : total;
    }
    fprintf(to, "# HELP %s %s\n# TYPE %s %s\n", name, table[value].help, name, table[value].kind);
    fprintf(to, "%s %" PRIu64 "\n", name, total);
    for (uint32_t i = 0; i < count; i++) {
        fprintf(to, "%s{shard=\"%" PRIu32 "\"} %" PRIu64 "\n", name, shards[i].shard, shards[i].values[value]);
    }
}

static bool connected(const struct shard_status *shards, uint32_t count, uint16_t node)
{
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t p = 0; p < shards[i].peer_count; p++) {
            if (shards[i].peers[p].node == node && !shards[i].peers[p].up) {
                return false;
            }
        }
    }
    return true;
}

/* All shards have the same peers. */
static void put_peers(FILE *to, const struct shard_status *shards, uint32_t count)
{
    static const char name[] = "keel_segstore_peer_connected";
    if (count == 0 || shards[0].peer_count == 0) {
        return;
    }
    fprintf(to, "# HELP %s Whether every shard is connected to that node: 1 or 0.\n# TYPE %s gauge\n", name, name);
    for (uint32_t p = 0; p < shards[0].peer_count; p++) {
        uint16_t node = shards[0].peers[p].node;
        fprintf(to, "%s{node=\"%u\"} %d\n", name, node, connected(shards, count, node));
    }
}

char *status_metrics(const struct shard_status *shards, uint32_t count, size_t *out_size)
{
    char  *text = NULL;
    size_t size = 0;
    FILE  *to   = open_memstream(&text, &size);
    if (to == NULL) {
        return NULL;
    }
    fputs(VERSION_METRIC, to);
    for (unsigned value = 0; value < STATUS_VALUES; value++) {
        put_value(to, shards, count, value);
    }
    put_peers(to, shards, count);
    if (fclose(to) != 0) {
        free(text);
        return NULL;
    }
    *out_size = size;
    return text;
}
