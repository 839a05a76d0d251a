/* look.c - asks all that are configured, and keeps what they say. */
#include "keel/look.h"

#include "keel/request.h"

#include <stdio.h>
#include <string.h>

json_int_t look_number(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool look_has(const json_t *list, json_int_t wanted)
{
    size_t  i;
    json_t *one;
    json_array_foreach(list, i, one)
    {
        if (json_integer_value(one) == wanted) {
            return true;
        }
    }
    return false;
}

void look_end(struct look *l)
{
    for (uint32_t i = 0; i < l->said_count; i++) {
        json_decref(l->said[i]);
    }
    l->said_count = 0;
}

static void take(struct look *l, json_t *said)
{
    size_t  i;
    json_t *one;
    l->said[l->said_count++] = said;
    json_array_foreach(json_object_get(said, "stripes"), i, one)
    {
        json_int_t id = look_number(one, "stripe");
        if (id < 0 || id >= LOOK_STRIPES_MAX) {
            continue;
        }
        const json_t *known = l->stripes[id];
        if (known == NULL || look_number(one, "term") > look_number(known, "term") ||
            (look_number(one, "term") == look_number(known, "term") &&
             strcmp(json_string_value(json_object_get(one, "role")), "leader") == 0)) {
            l->stripes[id] = one;
        }
    }
    json_t *plan = json_object_get(said, "plan");
    if (look_number(plan, "epoch") > l->epoch) {
        l->plan  = plan;
        l->epoch = look_number(plan, "epoch");
    }
}

static bool is_alone(const struct look *l)
{
    for (uint32_t i = 0; i < l->said_count; i++) {
        const char *cluster = json_string_value(json_object_get(l->said[i], "cluster"));
        if (cluster != NULL && *cluster != '\0') {
            return false;
        }
    }
    return true;
}

bool look_at(const struct settings *settings, struct look *l)
{
    static struct answer           answer;
    const struct config_addresses *at       = &settings->segstore_admin;
    char                           why[300] = "it is off; say where to ask with --segstore-admin ADDR:PORT,..";
    memset(l, 0, sizeof *l);
    for (uint32_t i = 0; i < at->count && at->at[i].host[0] != '\0'; i++) {
        if (request_get(&at->at[i], "/cluster", &answer, why, sizeof why) == 200) {
            json_t *said = json_loadb(answer.text, answer.size, 0, NULL);
            if (said != NULL) {
                take(l, said);
            }
        }
    }
    if (l->said_count == 0) {
        fprintf(stderr, "keel ctl: no node of a cluster answers on segstore.admin: %s\n", why);
        return false;
    }
    if (is_alone(l)) {
        fputs("keel ctl: this segment store stands alone: it has no members\n", stderr);
        look_end(l);
        return false;
    }
    return true;
}

static bool names(const json_t *said, unsigned node)
{
    size_t  i;
    json_t *one;
    json_array_foreach(json_object_get(said, "nodes"), i, one)
    {
        if (look_number(one, "node") == node) {
            return true;
        }
    }
    return false;
}

bool look_all_name(const struct look *l, unsigned node)
{
    for (uint32_t i = 0; i < l->said_count; i++) {
        if (!names(l->said[i], node)) {
            fprintf(
                stderr,
                "keel ctl: segstore.nodes of node %d does not name node %u: give every node the longer list first\n",
                (int)look_number(l->said[i], "node"), node);
            return false;
        }
    }
    return true;
}

bool look_knows(const struct look *l, unsigned node)
{
    size_t  p;
    json_t *place;
    bool    known = look_has(json_object_get(l->plan, "home"), node);
    json_array_foreach(json_object_get(l->plan, "places"), p, place)
    {
        known = known || look_number(place, "node") == node;
    }
    for (uint32_t i = 0; i < l->said_count; i++) {
        known = known || names(l->said[i], node);
    }
    if (!known) {
        fprintf(stderr, "keel ctl: node %u is not among the nodes of the cluster: segstore.nodes does not name it\n",
                node);
    }
    return known;
}
