/* cluster.c - a node's view of the cluster as JSON.
 *
 *   { "node": 1, "cluster": "name", "cluster_id": "16 hex digits", "silent": [shards that do not answer],
 *     "nodes":   [ { "node": 1, "address": "host:port", "rack": "" }, { "node": 2, "address": .., "rack": .., "connected": [a bool per shard], "for": seconds } .. ],
 *     "plan":    { "epoch": 3 (0: not known), "replicas": 3, "places": [ { "node": 1, "drained": false } .. ], "home": [1, 2, 4],
 *                  "unnamed": 0 (the leader: a node that the cluster is to have, and its segstore.nodes does not name) },
 *     "stripes": [ { "stripe": 0, "leader": 1 (0: not known), "term": 3, "role": "leader", "serves": true, "commit": 9, "applied": 9, "last": 9,
 *                    "members": { "voters": [1, 2, 3], "outgoing": [], "learners": [] }, "damaged": false, "repairing": false, "stopped": false,
 *                    "damaged_records": 0, "lost_records": 0 (of them, those that no node has), "image_withheld": false (a follower gets no image because of damaged ones),
 *                    "place": [1, 2, 4], "preferred": 2 (0: nobody),
 *                    "followers": [ { "node": 2, "match": 9, "keeps_up": true, "active": true, "snapshot": false } .. ] (of a leader) } .. ] }
 */
#include "segstore/status/status.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *const roles[] = {[RAFT_FOLLOWER]     = "follower",
                                    [RAFT_PRECANDIDATE] = "precandidate",
                                    [RAFT_CANDIDATE]    = "candidate",
                                    [RAFT_LEADER]       = "leader"};

static json_t *numbers(const uint16_t *nodes, uint8_t count)
{
    json_t *list = json_array();
    for (uint8_t i = 0; i < count; i++) {
        json_array_append_new(list, json_integer(nodes[i]));
    }
    return list;
}

static json_t *follower_of(const struct follower_status *f)
{
    return json_pack("{s:i, s:I, s:b, s:b, s:b}", "node", (int)f->node, "match", (json_int_t)f->progress.match,
                     "keeps_up", f->progress.keeps_up, "active", f->progress.active, "snapshot", f->progress.snapshot);
}

static json_t *stripe_json(const struct stripe_status *s)
{
    json_t *stripe = json_pack(
        "{s:i, s:i, s:I, s:s, s:b, s:I, s:I, s:I, s:{s:o, s:o, s:o}, s:b, s:b, s:b, s:o, s:i, s:i, s:i, s:b}", "stripe",
        (int)s->id, "leader", (int)s->leader, "term", (json_int_t)s->term, "role", roles[s->role], "serves", s->led,
        "commit", (json_int_t)s->commit, "applied", (json_int_t)s->applied, "last", (json_int_t)s->last, "members",
        "voters", numbers(s->members.voters, s->members.voter_count), "outgoing",
        numbers(s->members.outgoing, s->members.outgoing_count), "learners",
        numbers(s->members.learners, s->members.learner_count), "damaged", s->damaged, "repairing", s->repairing,
        "stopped", s->stopped, "place", numbers(s->place.nodes, s->place.count), "preferred", (int)s->place.lead,
        "damaged_records", (int)s->missed, "lost_records", (int)s->lost, "image_withheld", s->withheld);
    if (s->role == RAFT_LEADER) {
        json_t *followers = json_array();
        for (uint8_t i = 0; i < s->follower_count; i++) {
            json_array_append_new(followers, follower_of(&s->followers[i]));
        }
        json_object_set_new(stripe, "followers", followers);
    }
    return stripe;
}

/* By number: stripe s is on shard s % count. */
static json_t *stripes_json(const struct shard_status *shards, uint32_t count)
{
    json_t  *list = json_array();
    uint32_t most = 0;
    for (uint32_t i = 0; i < count; i++) {
        most = shards[i].stripe_count > most ? shards[i].stripe_count : most;
    }
    for (uint32_t slot = 0; slot < most; slot++) {
        for (uint32_t i = 0; i < count; i++) {
            if (slot < shards[i].stripe_count) {
                json_array_append_new(list, stripe_json(&shards[i].stripes[slot]));
            }
        }
    }
    return list;
}

static struct peer_status peer_of(const struct shard_status *shard, uint16_t node)
{
    for (uint32_t p = 0; p < shard->peer_count; p++) {
        if (shard->peers[p].node == node) {
            return shard->peers[p];
        }
    }
    return (struct peer_status){0};
}

static json_t *plan_json(const struct shard_status *shard)
{
    const struct plan *plan   = &shard->plan;
    json_t            *places = json_array();
    for (uint8_t i = 0; i < plan->count; i++) {
        json_array_append_new(places,
                              json_pack("{s:i, s:b}", "node", (int)plan->at[i].node, "drained", plan->at[i].drained));
    }
    return json_pack("{s:I, s:i, s:o, s:o, s:i}", "epoch", (json_int_t)plan->epoch, "replicas", (int)plan->replicas,
                     "places", places, "home", numbers(plan->home, plan->home_count), "unnamed", (int)shard->unnamed);
}

static json_t *nodes_json(const struct nodes_status *nodes, const struct shard_status *shards, uint32_t count)
{
    json_t *list = json_array();
    for (uint32_t n = 0; n < nodes->count; n++) {
        uint16_t number = nodes->at[n].node;
        json_t  *node   = json_pack("{s:i, s:s, s:s}", "node", (int)number, "address", nodes->at[n].address, "rack",
                                    nodes->at[n].rack);
        json_array_append_new(list, node);
        if (number == nodes->self) {
            continue;
        }
        json_t *connected = json_array();
        for (uint32_t i = 0; i < count; i++) {
            json_array_append_new(connected, json_boolean(peer_of(&shards[i], number).up));
        }
        json_object_set_new(node, "connected", connected);
        json_object_set_new(node, "for", json_integer(count > 0 ? (json_int_t)peer_of(&shards[0], number).for_s : 0));
    }
    return list;
}

char *status_cluster(const struct nodes_status *nodes, const struct shard_status *shards, uint32_t count,
                     size_t *out_size)
{
    char    id[24];
    json_t *silent = json_array();
    for (uint32_t i = 0; i < count; i++) {
        if (!shards[i].fresh) {
            json_array_append_new(silent, json_integer(shards[i].shard));
        }
    }
    snprintf(id, sizeof id, "%016" PRIx64, count > 0 ? shards[0].cluster_id : 0);
    json_t *all  = json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o}", "node", (int)nodes->self, "cluster", nodes->cluster,
                             "cluster_id", id, "silent", silent, "nodes", nodes_json(nodes, shards, count), "plan",
                             plan_json(count > 0 ? &shards[0] : &(const struct shard_status){0}), "stripes",
                             stripes_json(shards, count));
    char   *text = all == NULL ? NULL : json_dumps(all, JSON_COMPACT);
    *out_size    = text == NULL ? 0 : strlen(text);
    json_decref(all);
    return text;
}
