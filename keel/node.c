/* node - see node.h. */
#include "keel/node.h"

#include "keel/line.h"
#include "keel/look.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { STATUS_USAGE = 2, NODES_MAX = 24, WAIT_S = 3600, SPARE_S = 15, SECONDS_MAX = 604800 };

/* ---- how far it is ---- */

/* False after a message. */
static bool look_at_plan(const struct settings *settings, struct look *l)
{
    if (!look_at(settings, l)) {
        return false;
    }
    if (l->plan == NULL) {
        fputs("keel ctl: the nodes that answer on segstore.admin have no plan yet\n", stderr);
        look_end(l);
    }
    return l->plan != NULL;
}

/* What a node still leads and keeps, and how many stripes are not where they belong. */
struct progress {
    unsigned leads, keeps, moving;
    bool     placed, drained;
};

static struct progress progress_of(const struct look *l, json_int_t node)
{
    struct progress p = {0};
    size_t          i;
    json_t         *one;
    for (size_t id = 0; id < LOOK_STRIPES_MAX; id++) {
        const json_t *stripe  = l->stripes[id];
        const json_t *members = json_object_get(stripe, "members");
        const json_t *voters  = json_object_get(members, "voters");
        const json_t *place   = json_object_get(stripe, "place");
        if (stripe == NULL) {
            continue;
        }
        bool there = json_array_size(voters) == json_array_size(place) &&
                     json_array_size(json_object_get(members, "outgoing")) == 0 &&
                     json_array_size(json_object_get(members, "learners")) == 0;
        json_array_foreach(voters, i, one)
        {
            there = there && look_has(place, json_integer_value(one));
        }
        p.moving += !there;
        p.leads += look_number(stripe, "leader") == node;
        p.keeps += look_has(voters, node) || look_has(json_object_get(members, "outgoing"), node) ||
                   look_has(json_object_get(members, "learners"), node);
    }
    json_array_foreach(json_object_get(l->plan, "places"), i, one)
    {
        if (look_number(one, "node") == node) {
            p.placed  = true;
            p.drained = json_is_true(json_object_get(one, "drained"));
        }
    }
    return p;
}

/* What was asked for, of a node or for a number of replicas. */
struct wish {
    enum { DRAINS, RETURNS, LEAVES, REPLICAS } kind; /* leaves: removed or replaced */
    json_int_t number;
    json_int_t since; /* the epoch of the plan before */
};

/* The plan is newer than the wish, or says that already: what changes nothing makes no new plan. */
static bool is_planned(const struct look *l, const struct wish *w, const struct progress *p)
{
    size_t places = json_array_size(json_object_get(l->plan, "places"));
    switch (w->kind) {
    case DRAINS:
        return l->epoch > w->since || !p->placed || p->drained;
    case LEAVES:
        return !look_has(json_object_get(l->plan, "home"), w->number);
    case RETURNS: /* who has none gets one that was given up */
        return l->epoch > w->since ||
               (p->placed ? !p->drained : places >= json_array_size(json_object_get(l->plan, "home")));
    case REPLICAS:
        return l->epoch > w->since || look_number(l->plan, "replicas") == w->number;
    }
    return false;
}

/* Everything is where it belongs by a plan that says what was wanted: a sentence about it. False: not yet. */
static bool is_done(const struct look *l, const struct wish *w, const struct progress *p, unsigned long waited)
{
    long long number = (long long)w->number;
    if (p->moving > 0) {
        return false;
    }
    if (w->kind == RETURNS && !p->placed && (is_planned(l, w, p) || waited >= SPARE_S)) {
        printf("done: node %lld is not drained; it is a spare, because no place is free or it is not up\n", number);
        return true;
    }
    if (!is_planned(l, w, p)) {
        return false;
    }
    if (w->kind == DRAINS && p->placed && p->drained && p->leads == 0) {
        printf("node %lld leads nothing any more; its %u replicas have no other place: add a node, or lower the "
               "replicas (keel ctl node replicas)\n",
               number, p->keeps);
        return true;
    }
    if (w->kind == DRAINS || w->kind == LEAVES) {
        bool gone = !p->placed && p->keeps == 0;
        if (gone) {
            printf("done: node %lld keeps nothing any more\n", number);
        }
        return gone;
    }
    size_t places = json_array_size(json_object_get(l->plan, "places"));
    if (w->kind == REPLICAS && (size_t)w->number > places) {
        printf("done as far as can be: %zu nodes hold places, and each stripe has %zu replicas until more do\n", places,
               places);
    } else {
        puts("done: everything is where it belongs");
    }
    return true;
}

/* Until it is done. */
static int await_moves(const struct settings *settings, const struct wish *w, unsigned long seconds)
{
    static struct look l;
    char               said[160] = "";
    for (unsigned long waited = 0; waited <= seconds; waited++) {
        char line[160];
        if (!look_at_plan(settings, &l)) {
            return 1;
        }
        struct progress p    = progress_of(&l, w->kind == REPLICAS ? 0 : w->number);
        bool            done = is_done(&l, w, &p, waited);
        look_end(&l);
        if (done) {
            return 0;
        }
        if (w->kind == DRAINS || w->kind == LEAVES) {
            snprintf(line, sizeof line, "node %lld leads %u stripes and keeps %u replicas; %u stripes are on their way",
                     (long long)w->number, p.leads, p.keeps, p.moving);
        } else {
            snprintf(line, sizeof line, "%u stripes are on their way", p.moving);
        }
        if (strcmp(line, said) != 0) {
            puts(line);
            fflush(stdout);
            memcpy(said, line, sizeof said);
        }
        if (waited < seconds) {
            nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
        }
    }
    puts("it goes on by itself; keel ctl cluster shows how far it is");
    return 0;
}

/* ---- what is wanted ---- */

static unsigned number_of(const char *word)
{
    char         *end   = NULL;
    unsigned long value = strtoul(word, &end, 10);
    if (*word < '0' || *word > '9' || *end != '\0' || value == 0 || value > UINT16_MAX) {
        fprintf(stderr, "keel ctl: a node is a number from 1 to 65535, not \"%s\"\n", word);
        return 0;
    }
    return (unsigned)value;
}

/* The nodes that hold the streams, without one and with another (0: none). False after a message. */
static bool list_without(const struct look *l, unsigned without, unsigned with, char *out, size_t size)
{
    const json_t *home  = json_object_get(l->plan, "home");
    size_t        used  = 0, i;
    unsigned      count = 0;
    json_t       *one;
    if (!look_has(home, without)) {
        fprintf(stderr, "keel ctl: node %u is not among the nodes that keep the streams\n", without);
        return false;
    }
    if (with != 0 && look_has(home, with)) {
        fprintf(stderr, "keel ctl: node %u keeps streams already\n", with);
        return false;
    }
    json_array_foreach(home, i, one)
    {
        json_int_t node = json_integer_value(one) == without ? with : json_integer_value(one);
        if (node != 0 && used + 8 < size) {
            used += (size_t)snprintf(out + used, size - used, count++ > 0 ? ",%lld" : "%lld", (long long)node);
        }
    }
    if (count == 0) {
        fprintf(stderr, "keel ctl: node %u is the only one that keeps the streams\n", without);
    }
    return count > 0;
}

static int print_usage(FILE *to, int status)
{
    fputs("keel ctl node drain NODE             its leads and replicas go to other nodes; until then it serves\n"
          "keel ctl node return NODE            it is not drained any more\n"
          "keel ctl node remove NODE            it keeps no streams any more\n"
          "keel ctl node replace NODE BY        another node takes its place and gets what lay there\n"
          "keel ctl node replicas COUNT         how many nodes keep each stripe, 1 to 7\n"
          "    --for SECONDS                    how long to wait until it is done (3600); it goes on without\n"
          "    --segstore-admin ADDR:PORT,..    where the nodes say how far it is\n",
          to);
    return status;
}

static int run(const struct line *line, const struct look *l, unsigned long seconds)
{
    const struct settings *settings = &line->settings;
    const char            *verb     = line->words[0];
    char                   path[64], body[NODES_MAX * 8] = "";
    unsigned               node = number_of(line->words[1]);
    struct wish            wish = {.kind = DRAINS, .number = node, .since = l->epoch};
    bool                   ok   = false;
    if (node == 0) {
        return STATUS_USAGE;
    }
    if ((strcmp(verb, "drain") == 0 || strcmp(verb, "return") == 0) && !look_knows(l, node)) {
        return STATUS_USAGE;
    }
    snprintf(path, sizeof path, "/cluster/drain/%u", node);
    if (strcmp(verb, "drain") == 0) {
        ok = line_ask(settings, "PUT", path, "", false) == 0;
    } else if (strcmp(verb, "return") == 0) {
        ok        = line_ask(settings, "DELETE", path, NULL, false) == 0;
        wish.kind = RETURNS;
    } else if (strcmp(verb, "replicas") == 0) {
        ok        = line_ask(settings, "PUT", "/cluster/replicas", line->words[1], false) == 0;
        wish.kind = REPLICAS;
    } else {
        unsigned by = line->count == 3 ? number_of(line->words[2]) : 0;
        if ((line->count == 3 && by == 0) || !list_without(l, node, by, body, sizeof body) ||
            (by != 0 && !look_all_name(l, by))) {
            return STATUS_USAGE;
        }
        ok        = line_ask(settings, "PUT", "/cluster/members", body, false) == 0;
        wish.kind = LEAVES;
    }
    if (!ok) {
        return 1;
    }
    return seconds == 0 ? 0 : await_moves(settings, &wish, seconds);
}

int node_run(int argc, char **argv)
{
    static struct line     line;
    static struct look     l;
    char                  *end     = NULL;
    const char            *span    = NULL;
    const struct line_flag flags[] = {{"--for", .value = &span}, {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    const char *verb = line.count > 0 ? line.words[0] : "";
    bool        two  = strcmp(verb, "drain") == 0 || strcmp(verb, "return") == 0 || strcmp(verb, "remove") == 0 ||
               strcmp(verb, "replicas") == 0;
    if (line.help || line.count != (strcmp(verb, "replace") == 0 ? 3 : two ? 2 : -1)) {
        line_complain(&line, "drain|return|remove|replace|replicas");
        return print_usage(line.help ? stdout : stderr, line.help ? 0 : STATUS_USAGE);
    }
    unsigned long seconds = span != NULL ? strtoul(span, &end, 10) : WAIT_S;
    if (span != NULL && (*span < '0' || *span > '9' || *end != '\0' || seconds > SECONDS_MAX)) {
        fprintf(stderr, "keel ctl: --for wants a number of seconds from 0 to %d, not \"%s\"\n", SECONDS_MAX, span);
        return STATUS_USAGE;
    }
    if (!look_at_plan(&line.settings, &l)) {
        return 1;
    }
    int status = run(&line, &l, seconds);
    look_end(&l);
    return status;
}
