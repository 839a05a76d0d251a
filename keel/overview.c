/* overview.c - answers put together, judged, printed. */
#include "keel/overview.h"

#include "keel/look.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { NODES_MAX = 64, STRIPES_MAX = 4096, REPLICAS_MAX = 64, WARNING_MAX = 400 };

struct known_node {
    int        number;
    char       address[80];
    char       rack[32];
    bool       answers;
    bool       connected; /* somebody who answers is connected to it with all shards */
    unsigned   leads;
    unsigned   replicas;
    bool       placed, drained; /* as the newest plan says */
    json_int_t away_s;          /* for those who are not connected: the longest that one of the others knows of */
    bool       lag_known;
    json_int_t lag; /* committed entries that it lacks, of the stripe where it is the most */
};

struct known_stripe {
    bool          seen;
    json_int_t    term;
    int           leader;
    const json_t *members;
    const json_t *place;
    int           preferred;
};

struct overview {
    struct known_node    nodes[NODES_MAX];
    size_t               node_count;
    const json_t        *plan;     /* the newest */
    unsigned             moving;   /* stripes that are not where they belong .. */
    unsigned             learning; /* .. and get a new replica now */
    unsigned             seen;
    struct known_stripe *stripes;  /* STRIPES_MAX */
    json_t              *warnings; /* sentence -> the stripes that it is about, in order of appearance */
};

/* ---- taking it in ---- */

static bool flag(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value != NULL ? value : "";
}

static struct known_node *node_of(struct overview *o, json_int_t wanted)
{
    for (size_t i = 0; i < o->node_count; i++) {
        if (o->nodes[i].number == wanted) {
            return &o->nodes[i];
        }
    }
    if (o->node_count == NODES_MAX || wanted <= 0 || wanted > UINT16_MAX) {
        return NULL;
    }
    struct known_node *node = &o->nodes[o->node_count++];
    *node                   = (struct known_node){.number = (int)wanted};
    return node;
}

static bool is_up(struct overview *o, json_int_t wanted)
{
    const struct known_node *node = wanted == 0 ? NULL : node_of(o, wanted);
    return node != NULL && (node->answers || node->connected);
}

static bool all_true(const json_t *list)
{
    size_t  i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (!json_is_true(one)) {
            return false;
        }
    }
    return json_array_size(list) > 0;
}

/* stripe < 0: it is about none. */
static void warn(struct overview *o, json_int_t stripe, const char *sentence)
{
    json_t *about = json_object_get(o->warnings, sentence);
    if (about == NULL) {
        about = json_array();
        json_object_set_new(o->warnings, sentence, about);
    }
    if (stripe >= 0) {
        json_array_append_new(about, json_integer(stripe));
    }
}

static void take_nodes(struct overview *o, const json_t *said)
{
    size_t             i;
    json_t            *one;
    struct known_node *self = node_of(o, look_number(said, "node"));
    if (self != NULL) {
        self->answers = true;
    }
    json_array_foreach(json_object_get(said, "nodes"), i, one)
    {
        struct known_node *node = node_of(o, look_number(one, "node"));
        if (node != NULL) {
            json_int_t away = all_true(json_object_get(one, "connected")) ? 0 : look_number(one, "for");
            snprintf(node->address, sizeof node->address, "%s", text(one, "address"));
            snprintf(node->rack, sizeof node->rack, "%s", text(one, "rack"));
            node->connected = node->connected || all_true(json_object_get(one, "connected"));
            node->away_s    = away > node->away_s ? away : node->away_s;
        }
    }
}

/* The newest one that any of them knows of. */
static void take_plan(struct overview *o, const json_t *said)
{
    const json_t *plan = json_object_get(said, "plan");
    if (look_number(plan, "epoch") > (o->plan == NULL ? 0 : look_number(o->plan, "epoch"))) {
        o->plan = plan;
    }
}

static void take_followers(struct overview *o, const json_t *stripe)
{
    size_t  i;
    json_t *one;
    json_array_foreach(json_object_get(stripe, "followers"), i, one)
    {
        struct known_node *node = node_of(o, look_number(one, "node"));
        json_int_t         lag  = look_number(stripe, "commit") - look_number(one, "match");
        if (node != NULL) {
            node->lag       = lag > node->lag ? lag : node->lag;
            node->lag_known = true;
        }
    }
}

static void take_stripes(struct overview *o, const json_t *said)
{
    size_t  i;
    json_t *one;
    json_array_foreach(json_object_get(said, "stripes"), i, one)
    {
        json_int_t id = look_number(one, "stripe");
        if (id < 0 || id >= STRIPES_MAX) {
            continue;
        }
        struct known_stripe *stripe = &o->stripes[id];
        json_int_t           term   = look_number(one, "term");
        if (!stripe->seen || term > stripe->term || (term == stripe->term && stripe->leader == 0)) {
            *stripe = (struct known_stripe){.seen      = true,
                                            .term      = term,
                                            .leader    = (int)look_number(one, "leader"),
                                            .members   = json_object_get(one, "members"),
                                            .place     = json_object_get(one, "place"),
                                            .preferred = (int)look_number(one, "preferred")};
        }
    }
}

/* ---- judging ---- */

/* What a node says of itself. */
static void judge_node(struct overview *o, const json_t *said)
{
    size_t  i;
    json_t *one;
    char    sentence[WARNING_MAX];
    int     self = (int)look_number(said, "node");
    json_array_foreach(json_object_get(said, "silent"), i, one)
    {
        snprintf(sentence, sizeof sentence, "shard %d of node %d does not answer", (int)json_integer_value(one), self);
        warn(o, -1, sentence);
    }
    int unnamed = (int)look_number(json_object_get(said, "plan"), "unnamed");
    if (unnamed != 0) {
        snprintf(sentence, sizeof sentence,
                 "the cluster is to have node %d, which segstore.nodes of node %d does not name: what keel ctl members "
                 "said waits for that",
                 unnamed, self);
        warn(o, -1, sentence);
    }
    json_array_foreach(json_object_get(said, "nodes"), i, one)
    {
        int other = (int)look_number(one, "node");
        if (other != self && is_up(o, other) && !all_true(json_object_get(one, "connected"))) {
            snprintf(sentence, sizeof sentence, "node %d is not connected to node %d", self, other);
            warn(o, -1, sentence);
        }
    }
    json_array_foreach(json_object_get(said, "stripes"), i, one)
    {
        json_int_t id = look_number(one, "stripe");
        if (flag(one, "stopped")) {
            snprintf(sentence, sizeof sentence, "stopped on node %d: its log is damaged, and the node says where",
                     self);
            warn(o, id, sentence);
        }
        if (flag(one, "damaged") || flag(one, "repairing")) {
            snprintf(sentence, sizeof sentence, "damaged on node %d: the other nodes give it back what is missing",
                     self);
            warn(o, id, sentence);
        }
        if (flag(one, "image_withheld")) {
            snprintf(sentence, sizeof sentence,
                     "records are damaged on all nodes, and one waits for an image of them: the log of node %d says "
                     "what to do",
                     self);
            warn(o, id, sentence);
        } else if (look_number(one, "lost_records") > 0) {
            snprintf(sentence, sizeof sentence,
                     "records are lost: no node can read them any more, and the log of node %d says which", self);
            warn(o, id, sentence);
        } else if (look_number(one, "damaged_records") > 0) {
            snprintf(sentence, sizeof sentence,
                     "records may be damaged on node %d: the other nodes give them back one by one", self);
            warn(o, id, sentence);
        }
        if (look_number(one, "leader") == self) {
            take_followers(o, one);
        }
    }
}

static void judge_replicas(struct overview *o, json_int_t id, const json_t *replicas)
{
    size_t  i, count = json_array_size(replicas), up = 0;
    json_t *one;
    char    sentence[WARNING_MAX], away[REPLICAS_MAX * 8] = "";
    size_t  used = 0;
    json_array_foreach(replicas, i, one)
    {
        if (is_up(o, json_integer_value(one))) {
            up++;
        } else if (used + 8 < sizeof away) {
            used += (size_t)snprintf(away + used, sizeof away - used, " %d", (int)json_integer_value(one));
        }
    }
    if (up < count) {
        snprintf(sentence, sizeof sentence, "%s%zu of %zu replicas are up; away: node%s%.200s",
                 up <= count / 2 ? "too few for a majority: " : "", up, count, count - up == 1 ? "" : "s", away);
        warn(o, id, sentence);
    }
}

/* Is it where it belongs? */
static void judge_place(struct overview *o, const struct known_stripe *stripe)
{
    const json_t *voters = json_object_get(stripe->members, "voters");
    size_t        i;
    json_t       *one;
    bool          there = json_array_size(voters) == json_array_size(stripe->place);
    json_array_foreach(voters, i, one)
    {
        struct known_node *node = node_of(o, json_integer_value(one));
        if (node != NULL) {
            node->replicas++;
        }
        there = there && look_has(stripe->place, json_integer_value(one));
    }
    bool learns = json_array_size(json_object_get(stripe->members, "learners")) > 0;
    bool joint  = json_array_size(json_object_get(stripe->members, "outgoing")) > 0;
    o->moving += json_array_size(stripe->place) > 0 && (!there || learns || joint);
    o->learning += learns;
    o->seen++;
}

static void judge_plan(struct overview *o)
{
    size_t  i;
    json_t *one;
    json_array_foreach(json_object_get(o->plan, "places"), i, one)
    {
        struct known_node *node = node_of(o, look_number(one, "node"));
        if (node != NULL) {
            node->placed  = true;
            node->drained = flag(one, "drained");
        }
    }
}

static void judge_stripes(struct overview *o)
{
    for (json_int_t id = 0; id < STRIPES_MAX; id++) {
        const struct known_stripe *stripe = &o->stripes[id];
        if (!stripe->seen) {
            continue;
        }
        if (is_up(o, stripe->leader)) {
            node_of(o, stripe->leader)->leads++;
        } else {
            warn(o, id, "no leader");
        }
        judge_place(o, stripe);
        judge_replicas(o, id, json_object_get(stripe->members, "voters"));
        judge_replicas(o, id, json_object_get(stripe->members, "outgoing"));
    }
}

/* Of two clusters that were mixed up the first one counts. */
static bool belongs(struct overview *o, const json_t *first, const struct overview_answer *answer)
{
    char sentence[WARNING_MAX];
    if (strcmp(text(first, "cluster_id"), text(answer->said, "cluster_id")) == 0) {
        return true;
    }
    snprintf(sentence, sizeof sentence, "%s is a node of another cluster (%.64s) and is left out", answer->address,
             text(answer->said, "cluster"));
    warn(o, -1, sentence);
    return false;
}

/* ---- printing ---- */

static int by_number(const void *a, const void *b)
{
    return ((const struct known_node *)a)->number - ((const struct known_node *)b)->number;
}

static void print_nodes(FILE *to, struct overview *o)
{
    qsort(o->nodes, o->node_count, sizeof *o->nodes, by_number);
    fprintf(to, "%-6s %-28s %-6s %7s %12s %9s  %-8s %-10s %s\n", "NODE", "ADDRESS", "STATE", "LEADS", "LAG", "REPLICAS",
            "PLACE", "RACK", "AWAY");
    for (size_t i = 0; i < o->node_count; i++) {
        const struct known_node *node = &o->nodes[i];
        bool                     up   = node->answers || node->connected;
        char                     lag[32], away[32] = "-";
        snprintf(lag, sizeof lag, node->lag_known ? "%lld" : "-", (long long)node->lag);
        if (!up && node->away_s > 0) {
            snprintf(away, sizeof away, "%lld s", (long long)node->away_s);
        }
        fprintf(to, "%-6d %-28s %-6s %7u %12s %9u  %-8s %-10s %s\n", node->number, node->address, up ? "up" : "down",
                node->leads, lag, node->replicas,
                o->plan == NULL ? "-"
                : node->drained ? "drained"
                : node->placed  ? "holds"
                                : "spare",
                node->rack[0] != '\0' ? node->rack : "-", away);
    }
}

static void print_plan(FILE *to, const struct overview *o)
{
    if (o->plan == NULL) {
        return;
    }
    long long wanted = look_number(o->plan, "replicas");
    size_t    places = json_array_size(json_object_get(o->plan, "places"));
    if (places > 0 && wanted > (long long)places) {
        fprintf(to, "plan %lld: %lld replicas of each stripe are wanted, %zu are possible",
                (long long)look_number(o->plan, "epoch"), wanted, places);
    } else {
        fprintf(to, "plan %lld: %lld replicas of each stripe", (long long)look_number(o->plan, "epoch"), wanted);
    }
    if (o->moving > 0) {
        fprintf(to, "; %u of %u stripes are not where they belong yet, %u of them get a new replica now", o->moving,
                o->seen, o->learning);
    }
    fputc('\n', to);
}

/* "1,2,3 +4": a learner behind the voters. */
static void members_text(const json_t *members, char *out, size_t size)
{
    static const char *const lists[] = {"voters", "outgoing", "learners"};
    static const char *const marks[] = {"", " -", " +"};
    size_t                   used    = 0;
    out[0]                           = '\0';
    for (size_t l = 0; l < 3; l++) {
        const json_t *list = json_object_get(members, lists[l]);
        size_t        i;
        json_t       *one;
        json_array_foreach(list, i, one)
        {
            if (l == 1 && look_has(json_object_get(members, "voters"), json_integer_value(one))) {
                continue;
            }
            if (used + 8 < size) {
                used += (size_t)snprintf(out + used, size - used, "%s%d", l == 0 && i > 0 ? "," : marks[l],
                                         (int)json_integer_value(one));
            }
        }
    }
}

static void print_stripes(FILE *to, const struct overview *o)
{
    fprintf(to, "%-7s %7s %-24s %-16s %s\n", "STRIPE", "LEADER", "REPLICAS", "BELONG TO", "PREFERRED");
    for (json_int_t id = 0; id < STRIPES_MAX; id++) {
        const struct known_stripe *stripe = &o->stripes[id];
        char                       now[REPLICAS_MAX * 8], place[REPLICAS_MAX * 8];
        if (stripe->seen) {
            json_t *wanted = json_pack("{s:O}", "voters", stripe->place);
            members_text(stripe->members, now, sizeof now);
            members_text(wanted, place, sizeof place);
            json_decref(wanted);
            fprintf(to, "%-7lld %7d %-24s %-16s %d\n", (long long)id, stripe->leader, now, place, stripe->preferred);
        }
    }
}

/* "0-7 9" */
static void print_ranges(FILE *to, const json_t *stripes)
{
    size_t count = json_array_size(stripes);
    for (size_t i = 0; i < count;) {
        json_int_t first = json_integer_value(json_array_get(stripes, i)), last = first;
        for (i++; i < count && json_integer_value(json_array_get(stripes, i)) == last + 1; i++) {
            last++;
        }
        fprintf(to, last > first ? " %lld-%lld" : " %lld", (long long)first, (long long)last);
    }
}

static void print_warnings(FILE *to, const struct overview *o)
{
    const char *sentence;
    json_t     *stripes;
    json_object_foreach(o->warnings, sentence, stripes)
    {
        size_t count = json_array_size(stripes);
        fprintf(to, "warning: ");
        if (count > 0) {
            fprintf(to, count > 1 ? "stripes" : "stripe");
            print_ranges(to, stripes);
            fprintf(to, ": ");
        }
        fprintf(to, "%s\n", sentence);
    }
}

int overview_print(FILE *to, const struct overview_answer *answers, size_t count, bool stripes_too)
{
    static struct known_stripe stripes[STRIPES_MAX];
    struct overview            o     = {.stripes = stripes, .warnings = json_object()};
    const json_t              *first = NULL;
    char                       sentence[WARNING_MAX];
    bool                       in[NODES_MAX] = {false};
    memset(stripes, 0, sizeof stripes);
    for (size_t i = 0; i < count && i < NODES_MAX; i++) {
        if (answers[i].said == NULL) {
            snprintf(sentence, sizeof sentence, "no node answers on %s: %s", answers[i].address, answers[i].why);
            warn(&o, -1, sentence);
            continue;
        }
        first = first != NULL ? first : answers[i].said;
        in[i] = belongs(&o, first, &answers[i]);
        if (in[i]) {
            take_nodes(&o, answers[i].said);
            take_stripes(&o, answers[i].said);
            take_plan(&o, answers[i].said);
        }
    }
    for (size_t i = 0; i < count && i < NODES_MAX; i++) {
        if (in[i]) {
            judge_node(&o, answers[i].said);
        }
    }
    judge_plan(&o);
    judge_stripes(&o);
    if (first != NULL) {
        const char *name = text(first, "cluster");
        fprintf(to, *name != '\0' ? "cluster %s\n" : "a node that stands alone%s\n", name);
        print_nodes(to, &o);
        print_plan(to, &o);
        if (stripes_too) {
            print_stripes(to, &o);
        }
    }
    print_warnings(to, &o);
    bool well = json_object_size(o.warnings) == 0 && first != NULL;
    if (well) {
        fprintf(to, "all is well\n");
    }
    json_decref(o.warnings);
    return well ? 0 : 1;
}
