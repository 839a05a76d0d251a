/* What a wrong key, value or flag is answered with, and that right ones arrive. */
#include "shared/config/settings.h"

#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct settings settings;
static char            error[CONFIG_ERROR_MAX];

static int yaml(const char *text)
{
    config_defaults(&settings_table, &settings);
    error[0] = '\0';
    return config_read_yaml("keel.yaml", text, strlen(text), &settings_table, &settings, error);
}

#define LOAD(...) load((char *[]){"keel", __VA_ARGS__}, (int)(sizeof((char *[]){"keel", __VA_ARGS__}) / sizeof(char *)))

static int load(char *const *argv, int argc)
{
    error[0] = '\0';
    return config_load(argc, argv, &settings_table, &settings, error);
}

#define EXPECT_ERROR(call, sentence)       \
    do {                                   \
        cr_expect_eq(call, ERR_MALFORMED); \
        cr_expect_str_eq(error, sentence); \
    } while (0)

Test(config, nested_keys_and_dotted_keys_reach_the_same_field)
{
    cr_assert_eq(yaml("mqtt:\n  receive_max: 7\n"), 0, "%s", error);
    cr_expect_eq(settings.receive_max, 7);
    cr_assert_eq(yaml("mqtt.receive_max: 8\n"), 0, "%s", error);
    cr_expect_eq(settings.receive_max, 8);
}

Test(config, every_type_is_read)
{
    cr_assert_eq(yaml("log_level: debug\npin: false\nmqtt: {listen: '[::1]:0', packet_max: 64KiB}\nsegstore: {data: "
                      "/var/lib/keel}\n"),
                 0, "%s", error);
    cr_expect_eq(settings.log_level, 3);
    cr_expect_eq(settings.pin, false);
    cr_expect_str_eq(settings.mqtt_listen.host, "::1");
    cr_expect_eq(settings.mqtt_listen.port, 0);
    cr_expect_eq(settings.packet_max_bytes, 65536);
    cr_expect_str_eq(settings.data, "/var/lib/keel");
}

Test(config, an_empty_file_and_an_empty_group_leave_the_defaults)
{
    cr_expect_eq(yaml(""), 0, "%s", error);
    cr_expect_eq(yaml("# nothing\n"), 0, "%s", error);
    cr_expect_eq(yaml("mqtt:\n  # receive_max: 1\nsegstore:\n"), 0, "%s", error);
    cr_expect_eq(settings.receive_max, 256);
}

Test(config, an_unknown_key_names_file_line_and_the_nearest_key)
{
    EXPECT_ERROR(yaml("mqtt:\n  receive_max: 1\n  recieve_max: 2\n"),
                 "keel.yaml:3: unknown key \"mqtt.recieve_max\"; did you mean \"mqtt.receive_max\"?");
    EXPECT_ERROR(yaml("\nreceive_max: 2\n"),
                 "keel.yaml:2: unknown key \"receive_max\"; did you mean \"mqtt.receive_max\"?");
    EXPECT_ERROR(yaml("store:\n  data: x\n"),
                 "keel.yaml:2: unknown key \"store.data\"; did you mean \"segstore.data\"?");
}

Test(config, a_wrong_value_names_file_line_key_and_what_fits)
{
    EXPECT_ERROR(yaml("mqtt:\n  receive_max: many\n"),
                 "keel.yaml:2: mqtt.receive_max wants a number of packets from 1 to 65535, not \"many\"");
    EXPECT_ERROR(yaml("mqtt:\n  receive_max: 0\n"),
                 "keel.yaml:2: mqtt.receive_max wants a number of packets from 1 to 65535, not \"0\"");
    EXPECT_ERROR(yaml("mqtt:\n  receive_max: 65536\n"),
                 "keel.yaml:2: mqtt.receive_max wants a number of packets from 1 to 65535, not \"65536\"");
    EXPECT_ERROR(yaml("pin: maybe"), "keel.yaml:1: pin wants true or false, not \"maybe\"");
    EXPECT_ERROR(yaml("log_level: loud"), "keel.yaml:1: log_level wants one of error|warn|info|debug, not \"loud\"");
    EXPECT_ERROR(yaml("log_level: in"), "keel.yaml:1: log_level wants one of error|warn|info|debug, not \"in\"");
    EXPECT_ERROR(yaml("mqtt: {listen: somewhere}"), "keel.yaml:1: mqtt.listen wants a numeric ADDRESS:PORT such as "
                                                    "127.0.0.1:1883 or [::1]:1883, not \"somewhere\"");
    cr_expect_eq(yaml("mqtt: {listen: '127.0.0.1:65536'}"), ERR_MALFORMED);
    cr_expect_eq(yaml("mqtt: {receive_max: -1}"), ERR_MALFORMED);
    cr_expect_eq(yaml("mqtt: {receive_max: 1KiB}"), ERR_MALFORMED);
    cr_expect_eq(yaml("mqtt: {packet_max: 17179869184GiB}"), ERR_MALFORMED);
    cr_expect_eq(settings.packet_max_bytes, 1 << 20, "a refused value changes nothing");
}

Test(config, a_store_may_be_found_at_several_addresses)
{
    cr_expect_eq(yaml("segstore: {address: '10.0.0.1:7400, [::1]:7401,127.0.0.1:2'}"), 0, "%s", error);
    cr_expect_eq(settings.segstore_address.count, 3);
    cr_expect_str_eq(settings.segstore_address.at[1].host, "::1");
    cr_expect(settings.segstore_address.at[1].port == 7401 && settings.segstore_address.at[2].port == 2);
    cr_expect_eq(yaml("segstore: {address: '127.0.0.1:1,'}"), ERR_MALFORMED);
    cr_expect_eq(yaml("segstore: {address: '127.0.0.1:1 127.0.0.1:2'}"), ERR_MALFORMED);
    cr_expect_eq(yaml("segstore: {address: '1.1.1.1:1,1.1.1.1:2,1.1.1.1:3,1.1.1.1:4,1.1.1.1:5,1.1.1.1:6,1.1.1.1:7,"
                      "1.1.1.1:8,1.1.1.1:9'}"),
                 ERR_MALFORMED);
    cr_expect_eq(settings.segstore_address.count, 1, "a refused value changes nothing");
}

Test(config, addresses_are_off_where_the_table_allows_it)
{
    cr_expect_eq(yaml("segstore: {admin: off}"), 0, "%s", error);
    cr_expect(settings.segstore_admin.count == 1 && settings.segstore_admin.at[0].host[0] == '\0');
    EXPECT_ERROR(yaml("segstore: {admin: nowhere}"),
                 "keel.yaml:1: segstore.admin wants off or 1 to 8 numeric ADDRESS:PORT such "
                 "as 127.0.0.1:7400, with commas in between, not \"nowhere\"");
    cr_expect_eq(yaml("segstore: {address: off}"), ERR_MALFORMED);
}

Test(config, a_key_set_twice_is_refused)
{
    EXPECT_ERROR(yaml("shards: 1\npin: true\nshards: 2\n"), "keel.yaml:3: shards is already set in line 1");
}

Test(config, what_is_not_keys_and_values_is_refused_with_its_line)
{
    EXPECT_ERROR(yaml("shards: [1]\n"), "keel.yaml:1: a list is not expected here");
    EXPECT_ERROR(yaml("just words\n"), "keel.yaml:1: wants keys and values, such as `mqtt:`");
    EXPECT_ERROR(yaml("? {a: b}\n: 1\n"), "keel.yaml:1: a key must be a word");
    cr_expect_eq(yaml("a: {b: {c: {d: {e: {f: {g: {h: {i: 1}}}}}}}}"), ERR_MALFORMED);
    cr_expect_eq(yaml("mqtt:\n\t- x\n"), ERR_MALFORMED);
    cr_expect_eq(strncmp(error, "keel.yaml:2: ", 13), 0, "%s", error);
}

Test(config, the_command_line_wins_over_the_defaults_from_left_to_right)
{
    cr_assert_eq(LOAD("--shards", "2", "--set", "shards=3", "--mqtt=127.0.0.2:0"), 0, "%s", error);
    cr_expect_eq(settings.shards, 3);
    cr_expect_str_eq(settings.mqtt_listen.host, "127.0.0.2");
    cr_expect_eq(LOAD("--help"), CONFIG_HELP);
}

Test(config, the_command_line_wins_over_the_file_wherever_it_stands)
{
    char path[] = "/tmp/keel-config-XXXXXX";
    int  fd     = mkstemp(path);
    cr_assert(fd >= 0 && write(fd, "shards: 5\npin: false\n", 21) == 21);
    close(fd);
    cr_expect_eq(LOAD("--shards", "2", "--config", path), 0, "%s", error);
    cr_expect_eq(settings.shards, 2);
    cr_expect_eq(settings.pin, false);
    unlink(path);
    cr_expect_eq(LOAD("--config", "/nowhere/keel.yaml"), ERR_MALFORMED);
    cr_expect_str_eq(error, "/nowhere/keel.yaml: cannot be read: No such file or directory");
}

Test(config, wrong_flags_are_named)
{
    EXPECT_ERROR(LOAD("--shard", "2"), "--shard: unknown flag; did you mean --shards?");
    EXPECT_ERROR(LOAD("--hepl"), "--hepl: unknown flag; did you mean --help?");
    EXPECT_ERROR(LOAD("--verbose", "2"), "--verbose: unknown flag");
    EXPECT_ERROR(LOAD("--set", "nothing.like_it=1"), "--set: unknown key \"nothing.like_it\"");
    EXPECT_ERROR(LOAD("--shards"), "--shards: a value is missing");
    EXPECT_ERROR(LOAD("--set", "shards"), "--set shards: wants key=value");
    EXPECT_ERROR(LOAD("--set", "shart=1"), "--set: unknown key \"shart\"; did you mean \"shards\"?");
    EXPECT_ERROR(LOAD("--shards", "x"), "--shards: wants a number from 0 to 256, not \"x\"");
    EXPECT_ERROR(LOAD("loose"), "loose: unexpected argument; flags begin with -- (see --help)");
}

Test(config, distance_counts_edits_and_swaps)
{
    cr_expect_eq(config_distance("", ""), 0);
    cr_expect_eq(config_distance("abc", "abc"), 0);
    cr_expect_eq(config_distance("abc", "acb"), 1);
    cr_expect_eq(config_distance("abc", "ab"), 1);
    cr_expect_eq(config_distance("abc", "xbcd"), 2);
    cr_expect_eq(config_distance("", "abc"), 3);
}

/* The file that documents every key is the table itself, printed. */
static bool list_is(const struct config_list *list, const char *joined)
{
    char all[256] = "";
    for (const char *item = NULL; (item = config_list_next(list, item)) != NULL;) {
        strcat(strcat(all, item), ";");
    }
    return strcmp(all, joined) == 0;
}

Test(config, a_list_is_a_sequence_and_the_command_line_adds_to_it)
{
    cr_assert_eq(yaml("share:\n  strategies:\n    - a=sticky\n    - b c=random\n  strategy: random\n"), 0, "%s", error);
    cr_expect(list_is(&settings.share_strategies, "a=sticky;b c=random;"));
    cr_expect_eq(settings.share_strategies.count, 2);
    cr_expect_eq(settings.share_strategy, 1);
    cr_assert_eq(yaml("share: {strategies: [x=sticky], strategy: sticky}\n"), 0, "%s", error);
    cr_expect(list_is(&settings.share_strategies, "x=sticky;"));
    cr_assert_eq(yaml("share: {strategies: []}\n"), 0, "%s", error);
    cr_expect(list_is(&settings.share_strategies, ""));
    cr_assert_eq(LOAD("--set", "share.strategies=a=sticky", "--set=share.strategies=b=random"), 0, "%s", error);
    cr_expect(list_is(&settings.share_strategies, "a=sticky;b=random;"));
    cr_assert_eq(LOAD("--set", "share.strategies=a=sticky", "--set=share.strategies="), 0, "%s", error);
    cr_expect(list_is(&settings.share_strategies, ""));
}

Test(config, what_is_no_list_where_one_is_wanted_is_refused)
{
    EXPECT_ERROR(yaml("share: {strategies: x=sticky}\n"),
                 "keel.yaml:1: a list is expected here: [..], or lines that begin with \"- \"");
    EXPECT_ERROR(yaml("share: {strategy: [sticky]}\n"), "keel.yaml:1: a list is not expected here");
    EXPECT_ERROR(yaml("share: {strategies: [[a]]}\n"), "keel.yaml:1: a list is not expected here");
    EXPECT_ERROR(yaml("share: {strategies: [{a: b}]}\n"), "keel.yaml:1: an item of a list must be a text");
    EXPECT_ERROR(yaml("share:\n  strategies: [a=b]\n  strategies: [a=b]\n"),
                 "keel.yaml:3: share.strategies is already set in line 2");
}

Test(config, deploy_keel_yaml_is_the_printed_table)
{
    char  *printed = NULL, stored[65536];
    size_t size    = 0;
    FILE  *memory  = open_memstream(&printed, &size);
    config_print_yaml(&settings_table, memory);
    fclose(memory);
    FILE *file = fopen("deploy/keel.yaml", "r");
    cr_assert_not_null(file);
    size_t stored_size = fread(stored, 1, sizeof stored, file);
    fclose(file);
    cr_expect(stored_size == size && memcmp(stored, printed, size) == 0, "run: build/keel config > deploy/keel.yaml");
    cr_expect_eq(config_read_yaml("deploy/keel.yaml", printed, size, &settings_table, &settings, error), 0, "%s",
                 error);
    free(printed);
}

/* YAML forbids a key twice in one map; other readers keep the last of two sections. */
Test(config, each_section_stands_once_in_the_printed_table)
{
    char  *printed = NULL, *rest = NULL, seen[64][64];
    size_t size = 0, sections = 0;
    FILE  *memory = open_memstream(&printed, &size);
    config_print_yaml(&settings_table, memory);
    fclose(memory);
    for (char *line = strtok_r(printed, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == ' ' || line[0] == '#') {
            continue;
        }
        cr_assert_lt(sections, sizeof seen / sizeof *seen);
        snprintf(seen[sections], sizeof *seen, "%.*s", (int)strcspn(line, ":"), line);
        for (size_t i = 0; i < sections; i++) {
            cr_expect_str_neq(seen[i], seen[sections], "it stands twice");
        }
        sections++;
    }
    cr_expect_gt(sections, 10);
    free(printed);
}
