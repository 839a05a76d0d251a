/* What people see of a cluster, from what its nodes said. */
#include "keel/overview.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

static struct overview_answer answers[3];

static const char nodes_of_1[] = "[{'node':1,'address':'a:1'},{'node':2,'address':'a:2','connected':[true,true]},"
                                 "{'node':3,'address':'a:3','connected':[%s]}]";

static void say(int i, const char *stripes, const char *third)
{
    char nodes[512], all[4096];
    snprintf(nodes, sizeof nodes, nodes_of_1, third);
    int size =
        snprintf(all, sizeof all, "{'node':1,'cluster':'c','cluster_id':'1','silent':[],'nodes':%s,'stripes':[%s]}",
                 nodes, stripes);
    for (int at = 0; at < size; at++) {
        all[at] = all[at] == '\'' ? '"' : all[at];
    }
    json_error_t error;
    snprintf(answers[i].address, sizeof answers[i].address, "h:%d", i);
    answers[i].said = json_loads(all, 0, &error);
    cr_assert_not_null(answers[i].said, "%s in %s", error.text, all);
}

/* Until the next one. */
static const char *print(size_t count, int wanted)
{
    static char text[4096];
    FILE       *to     = fmemopen(text, sizeof text, "w");
    int         status = overview_print(to, answers, count, false);
    fclose(to);
    cr_expect_eq(status, wanted, "%s", text);
    return text;
}

static void expect(const char *text, const char *line)
{
    cr_expect_not_null(strstr(text, line), "%s\nis not in\n%s", line, text);
}

#define MEMBERS "'members':{'voters':[1,2,3],'outgoing':[],'learners':[]}"

Test(keel_overview, all_is_well_when_every_node_is_up_and_every_stripe_led)
{
    say(0,
        "{'stripe':0,'leader':1,'term':4,'commit':90," MEMBERS
        ",'followers':[{'node':2,'match':90},{'node':3,'match':48}]},{'stripe':1,'leader':2,'term':9," MEMBERS "}",
        "true,true");
    const char *text = print(1, 0);
    expect(text, "cluster c\n");
    expect(text, "1      a:1                          up           1            -");
    expect(text, "2      a:2                          up           1            0");
    expect(text, "3      a:3                          up           0           42");
    expect(text, "all is well\n");
    cr_expect_null(strstr(text, "warning"), "%s", text);
}

Test(keel_overview, a_node_that_is_away_is_named_once_for_all_stripes_that_miss_it)
{
    say(0,
        "{'stripe':0,'leader':1,'term':4," MEMBERS "},{'stripe':1,'leader':2,'term':9," MEMBERS
        "},{'stripe':2,'leader':3,'term':2," MEMBERS "},{'stripe':4,'leader':0,'term':2," MEMBERS "}",
        "false,false");
    snprintf(answers[1].address, sizeof answers[1].address, "h:1");
    snprintf(answers[1].why, sizeof answers[1].why, "refused");
    const char *text = print(2, 1);
    expect(text, "3      a:3                          down         0            -");
    expect(text, "warning: no node answers on h:1: refused\n");
    expect(text, "warning: stripes 0-2 4: 2 of 3 replicas are up; away: node 3\n");
    expect(text, "warning: stripes 2 4: no leader\n");
    cr_expect_null(strstr(text, "all is well"), "%s", text);
}

Test(keel_overview, half_of_the_replicas_is_too_few)
{
    say(0, "{'stripe':0,'leader':0,'term':4,'members':{'voters':[1,3],'outgoing':[],'learners':[]}}", "false,false");
    expect(print(1, 1), "warning: stripe 0: too few for a majority: 1 of 2 replicas are up; away: node 3\n");
}

Test(keel_overview, a_connection_that_is_not_whole_is_said_when_the_node_is_up)
{
    say(0, "", "true,false");
    say(1, "", "true,true");
    json_object_set_new(answers[1].said, "node", json_integer(2));
    const char *text = print(2, 1);
    expect(text, "warning: node 1 is not connected to node 3\n");
    cr_expect_null(strstr(text, "down"), "%s", text);
}

Test(keel_overview, damage_and_silence_are_told)
{
    say(0,
        "{'stripe':0,'leader':1,'term':4,'stopped':true," MEMBERS
        "},{'stripe':1,'leader':1,'term':4,'damaged':true," MEMBERS
        "},{'stripe':2,'leader':2,'term':4,'repairing':true," MEMBERS "}",
        "true,true");
    json_array_append_new(json_object_get(answers[0].said, "silent"), json_integer(1));
    const char *text = print(1, 1);
    expect(text, "warning: shard 1 of node 1 does not answer\n");
    expect(text, "warning: stripe 0: stopped on node 1");
    expect(text, "warning: stripes 1-2: damaged on node 1");
}

Test(keel_overview, of_damaged_records_that_is_told_which_an_operator_has_to_see_to_first)
{
    say(0,
        "{'stripe':0,'leader':1,'term':4,'damaged_records':2,'lost_records':0,'image_withheld':false," MEMBERS
        "},{'stripe':1,'leader':1,'term':4,'damaged_records':2,'lost_records':1,'image_withheld':false," MEMBERS
        "},{'stripe':2,'leader':1,'term':4,'damaged_records':2,'lost_records':1,'image_withheld':true," MEMBERS
        "},{'stripe':5,'leader':1,'term':4,'damaged_records':1,'lost_records':0,'image_withheld':true," MEMBERS "}",
        "true,true");
    const char *text = print(1, 1);
    expect(text, "warning: stripe 0: records may be damaged on node 1: the other nodes give them back one by one\n");
    expect(text, "warning: stripe 1: records are lost: no node can read them any more, and the log of node 1 says "
                 "which\n");
    expect(text, "warning: stripes 2 5: records are damaged on all nodes, and one waits for an image of them: the log "
                 "of node 1 says what to do\n");
}

Test(keel_overview, the_newest_term_tells_who_leads)
{
    say(0, "{'stripe':0,'leader':1,'term':4," MEMBERS "}", "true,true");
    say(1, "{'stripe':0,'leader':2,'term':5," MEMBERS "}", "true,true");
    const char *text = print(2, 0);
    expect(text, "1      a:1                          up           0");
    expect(text, "2      a:2                          up           1");
}

Test(keel_overview, a_node_of_another_cluster_is_left_out)
{
    say(0, "{'stripe':0,'leader':1,'term':4," MEMBERS "}", "true,true");
    say(1, "{'stripe':0,'leader':0,'term':5," MEMBERS "}", "true,true");
    json_object_set_new(answers[1].said, "cluster_id", json_string("2"));
    json_object_set_new(answers[1].said, "cluster", json_string("other"));
    const char *text = print(2, 1);
    expect(text, "warning: h:1 is a node of another cluster (other) and is left out\n");
    cr_expect_null(strstr(text, "no leader"), "%s", text);
}

Test(keel_overview, that_nobody_answers_is_not_well)
{
    snprintf(answers[0].address, sizeof answers[0].address, "h:0");
    snprintf(answers[0].why, sizeof answers[0].why, "refused");
    expect(print(1, 1), "warning: no node answers on h:0: refused\n");
}

Test(keel_overview, replicas_that_are_not_where_they_belong_are_on_their_way)
{
    say(0,
        "{'stripe':0,'leader':1,'term':4," MEMBERS ",'place':[1,2,3]},"
        "{'stripe':1,'leader':1,'term':4,'members':{'voters':[1,2,3],'outgoing':[],'learners':[4]},'place':[1,2,4]},"
        "{'stripe':2,'leader':1,'term':4," MEMBERS ",'place':[1,2,4]}",
        "true,true");
    json_object_set_new(answers[0].said, "plan",
                        json_pack("{s:i,s:i,s:[{s:i,s:b},{s:i,s:b},{s:i,s:b}]}", "epoch", 7, "replicas", 3, "places",
                                  "node", 1, "drained", 0, "node", 2, "drained", 0, "node", 3, "drained", 1));
    const char *text = print(1, 0);
    expect(text, "plan 7: 3 replicas of each stripe; 2 of 3 stripes are not where they belong yet, 1 of them get a new "
                 "replica now\n");
    expect(text, "3      a:3                          up           0            -         3  drained");
}

Test(keel_overview, a_node_that_was_named_and_that_the_leader_does_not_know_is_told)
{
    say(0, "{'stripe':0,'leader':1,'term':4," MEMBERS "}", "true,true");
    json_object_set_new(answers[0].said, "plan", json_pack("{s:i,s:i,s:i}", "epoch", 7, "replicas", 3, "unnamed", 9));
    expect(print(1, 1), "warning: the cluster is to have node 9, which segstore.nodes of node 1 does not name: what "
                        "keel ctl members said waits for that\n");
}

Test(keel_overview, replicas_for_which_there_are_no_nodes_are_told)
{
    say(0, "{'stripe':0,'leader':1,'term':4," MEMBERS "}", "true,true");
    json_object_set_new(answers[0].said, "plan",
                        json_pack("{s:i,s:i,s:[{s:i},{s:i},{s:i}]}", "epoch", 2, "replicas", 5, "places", "node", 1,
                                  "node", 2, "node", 3));
    expect(print(1, 0), "plan 2: 5 replicas of each stripe are wanted, 3 are possible\n");
}
