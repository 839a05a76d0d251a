/* What shards say, as Prometheus' text and as JSON. */
#include "segstore/status/status.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static struct raft_members three(void)
{
    return (struct raft_members){.voters = {1, 2, 3}, .voter_count = 3};
}

static struct stripe_status led(uint16_t id, uint64_t commit, uint64_t match_2, uint64_t match_3)
{
    return (struct stripe_status){
        .id             = id,
        .leader         = 1,
        .term           = 7,
        .commit         = commit,
        .applied        = commit,
        .last           = commit + 1,
        .role           = RAFT_LEADER,
        .led            = true,
        .members        = three(),
        .follower_count = 2,
        .followers      = {{.node = 2, .progress = {.match = match_2, .active = true, .keeps_up = true}},
                           {.node = 3, .progress = {.match = match_3, .snapshot = true}}},
    };
}

static struct stripe_status followed(uint16_t id, uint16_t leader)
{
    return (struct stripe_status){.id = id, .leader = leader, .role = RAFT_FOLLOWER, .members = three()};
}

/* Two shards: stripes 0 2 4 and 1 3. */
static struct stripe_status first[3], second[2];
static struct shard_status  shards[2];

static void make(void)
{
    first[0]           = led(0, 100, 100, 60);
    first[1]           = followed(2, 3);
    first[2]           = followed(4, RAFT_NONE);
    first[2].repairing = true;
    first[1].missed    = 3;
    second[0]          = led(1, 10, 12, 3);
    second[1]          = followed(3, 2);
    second[1].damaged  = true;
    second[0].missed   = 4;
    second[0].lost     = 1;
    second[0].withheld = true;
    shards[0]          = (struct shard_status){.shard        = 0,
                                               .fresh        = true,
                                               .cluster_id   = 0xabc,
                                               .peers        = {{2, true}, {3, true}},
                                               .peer_count   = 2,
                                               .stripes      = first,
                                               .stripe_count = 3};
    shards[1]          = (struct shard_status){
                 .shard = 1, .peers = {{2, true}, {3, false}}, .peer_count = 2, .stripes = second, .stripe_count = 2};

    shards[0].values[STATUS_LOG_WRITES] = 5;
    shards[1].values[STATUS_LOG_WRITES] = 6;
    shard_status_sum(&shards[0]);
    shard_status_sum(&shards[1]);
}

Test(status, the_lag_of_a_stripe_is_that_of_its_slowest_follower)
{
    make();
    cr_expect_eq(stripe_status_lag(&first[0]), 40);
    cr_expect_eq(stripe_status_lag(&second[0]), 7, "one that has more than is committed lacks nothing");
    first[0].led = false;
    cr_expect_eq(stripe_status_lag(&first[0]), 0, "its leader knows");
}

Test(status, metrics_are_sums_over_the_shards_and_the_lag_is_the_largest)
{
    size_t size = 0;
    make();
    char *text = status_metrics(shards, 2, &size);
    cr_assert_not_null(text);
    cr_expect_eq(strlen(text), size);
    const char *const lines[] = {
        "# TYPE keel_segstore_log_writes_total counter\nkeel_segstore_log_writes_total 11\n"
        "keel_segstore_log_writes_total{shard=\"0\"} 5\nkeel_segstore_log_writes_total{shard=\"1\"} 6\n",
        "\nkeel_segstore_stripes 5\n",
        "\nkeel_segstore_stripes_led 2\n",
        "\nkeel_segstore_stripes_without_leader 1\n",
        "\nkeel_segstore_stripes_damaged 1\n",
        "\nkeel_segstore_stripes_repairing 1\n",
        "\nkeel_segstore_records_damaged 7\n",
        "\nkeel_segstore_records_lost 1\n",
        "\nkeel_segstore_images_withheld 1\n",
        "\nkeel_segstore_images_withheld{shard=\"0\"} 0\nkeel_segstore_images_withheld{shard=\"1\"} 1\n",
        "\nkeel_segstore_stripes_stopped 0\n",
        "\nkeel_segstore_follower_lag_entries 40\n",
        "\nkeel_segstore_follower_lag_entries{shard=\"1\"} 7\n",
        "\nkeel_segstore_peer_connected{node=\"2\"} 1\nkeel_segstore_peer_connected{node=\"3\"} 0\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        cr_expect_not_null(strstr(text, lines[i]), "%s is not in\n%s", lines[i], text);
    }
    free(text);
}

Test(status, a_node_alone_has_no_metric_of_peers)
{
    size_t size = 0;
    make();
    shards[0].peer_count = 0;
    char *text           = status_metrics(shards, 1, &size);
    cr_expect_null(strstr(text, "peer_connected"));
    free(text);
}

Test(status, the_cluster_is_told_as_json_with_its_stripes_in_order)
{
    size_t              size  = 0;
    struct nodes_status nodes = {.cluster = "a \"name\"",
                                 .self    = 1,
                                 .count   = 3,
                                 .at      = {{1, "127.0.0.1:7400"}, {2, "127.0.0.2:7400"}, {3, "[::1]:7400"}}};
    make();
    shards[0].unnamed = 9;
    char   *text      = status_cluster(&nodes, shards, 2, &size);
    json_t *all       = json_loadb(text, size, 0, NULL);
    cr_assert_not_null(all, "%s", text);
    cr_expect_str_eq(json_string_value(json_object_get(all, "cluster")), "a \"name\"");
    cr_expect_str_eq(json_string_value(json_object_get(all, "cluster_id")), "0000000000000abc");
    json_t *silent = json_object_get(all, "silent");
    cr_expect(json_array_size(silent) == 1 && json_integer_value(json_array_get(silent, 0)) == 1,
              "shard 1 was not fresh");

    cr_expect_eq(json_integer_value(json_object_get(json_object_get(all, "plan"), "unnamed")), 9);
    json_t *third = json_array_get(json_object_get(all, "nodes"), 2);
    cr_expect_str_eq(json_string_value(json_object_get(third, "address")), "[::1]:7400");
    json_t *connected = json_object_get(third, "connected");
    cr_expect(json_array_size(connected) == 2 && json_is_true(json_array_get(connected, 0)) &&
              json_is_false(json_array_get(connected, 1)));
    cr_expect_null(json_object_get(json_array_get(json_object_get(all, "nodes"), 0), "connected"), "this is itself");

    json_t *stripes = json_object_get(all, "stripes");
    cr_assert_eq(json_array_size(stripes), 5);
    for (size_t i = 0; i < 5; i++) {
        cr_expect_eq(json_integer_value(json_object_get(json_array_get(stripes, i), "stripe")), (json_int_t)i);
    }
    json_t     *zero = json_array_get(stripes, 0), *voters = NULL, *followers = NULL;
    json_int_t  term = 0, match = 0;
    const char *role     = "";
    int         snapshot = 0, serves = 0;
    cr_assert_eq(json_unpack(zero, "{s:I, s:s, s:b, s:{s:o}, s:o}", "term", &term, "role", &role, "serves", &serves,
                             "members", "voters", &voters, "followers", &followers),
                 0);
    cr_assert_eq(json_unpack(json_array_get(followers, 1), "{s:I, s:b}", "match", &match, "snapshot", &snapshot), 0);
    cr_expect(term == 7 && match == 60 && snapshot && serves && json_array_size(voters) == 3);
    cr_expect_str_eq(role, "leader");
    cr_expect_null(json_object_get(json_array_get(stripes, 2), "followers"));
    cr_expect(json_is_true(json_object_get(json_array_get(stripes, 3), "damaged")));
    cr_expect(json_is_true(json_object_get(json_array_get(stripes, 1), "image_withheld")));
    cr_expect(json_is_false(json_object_get(zero, "image_withheld")));
    json_decref(all);
    free(text);
}
