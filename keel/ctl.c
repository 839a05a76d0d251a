/* ctl.c - which verb is meant; answers of the broker shown as they come. */
#include "keel/ctl.h"

#include "keel/ban.h"
#include "keel/drain.h"
#include "keel/members.h"
#include "keel/node.h"
#include "keel/overview.h"
#include "keel/people.h"
#include "keel/request.h"
#include "keel/stream.h"
#include "keel/uplink.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <string.h>

enum { STATUS_USAGE = 2 };

static void print_help(FILE *to)
{
    fputs("keel ctl - asks a running broker over its admin HTTP\n\n"
          "  keel ctl status   [--admin ADDR:PORT]   is it ready, and its counters; exit status 1 when it is not ready "
          "or not reachable\n"
          "  keel ctl metrics  [--admin ADDR:PORT]   its metrics in Prometheus' text format\n"
          "  keel ctl cluster  [--segstore-admin ADDR:PORT,..]   the nodes of the segment store, as all of those asked "
          "see "
          "them; exit status 1 when something is not well\n"
          "  keel ctl passwd   NAME                  sets or removes a password (--help says more)\n"
          "  keel ctl users                          who has one\n"
          "  keel ctl acl      list|add|remove       who may publish and subscribe to what\n"
          "  keel ctl ban      list|add|remove       who is not let in\n"
          "  keel ctl reload                         reads certificates, users, rules and keys again\n"
          "  keel ctl drain    [--stop]              sends all clients to other brokers\n"
          "  keel ctl members  NUMBER,NUMBER,..      which nodes of a cluster keep the streams\n"
          "  keel ctl node     drain|return|remove|replace|replicas   moves replicas between nodes of a cluster\n"
          "  keel ctl stripes  [--segstore-admin ..]   the same as cluster, with a line for each stripe\n"
          "  keel ctl stream   create|list|info|delete   messages that are kept and can be read again\n"
          "  keel ctl bridge   create|list|info|delete   connections to other MQTT brokers\n\n"
          "  --config and --set admin.listen=ADDR:PORT are understood too.\n",
          to);
}

static int ctl_status(const struct settings *settings)
{
    static struct answer answer; /* large, and there is one thread */
    long                 ready = request_send(settings, "GET", "/ready", NULL, &answer);
    if (ready < 0) {
        return 1;
    }
    fputs(answer.text, stdout);
    if (request_send(settings, "GET", "/metrics", NULL, &answer) == 200) { /* the sums: lines without labels */
        char *state = NULL;
        for (char *line = strtok_r(answer.text, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
            if (*line != '#' && strchr(line, '{') == NULL) {
                puts(line);
            }
        }
    }
    return ready == 200 ? 0 : 1;
}

static int ctl_metrics(const struct settings *settings)
{
    static struct answer answer;
    long                 status = request_send(settings, "GET", "/metrics", NULL, &answer);
    if (status == 200) {
        fputs(answer.text, stdout);
    }
    return status == 200 ? 0 : 1;
}

/* The nodes that do not answer are part of the picture. */
static int show_cluster(const struct settings *settings, bool stripes_too)
{
    static struct answer           answer;
    static struct overview_answer  answers[CONFIG_ADDRESSES_MAX];
    const struct config_addresses *nodes = &settings->segstore_admin;
    if (nodes->at[0].host[0] == '\0') {
        fputs("keel ctl: segstore.admin is off; say where to ask with --segstore-admin ADDR:PORT,..\n", stderr);
        return STATUS_USAGE;
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        struct overview_answer *one    = &answers[i];
        long                    status = request_get(&nodes->at[i], "/cluster", &answer, one->why, sizeof one->why);
        config_address_text(&nodes->at[i], one->address, sizeof one->address);
        one->said = status == 200 ? json_loadb(answer.text, answer.size, 0, NULL) : NULL;
        if (status >= 0 && one->said == NULL) {
            snprintf(one->why, sizeof one->why, "what answers there is no segment store (status %ld)", status);
        }
    }
    int status = overview_print(stdout, answers, nodes->count, stripes_too);
    for (uint32_t i = 0; i < nodes->count; i++) {
        json_decref(answers[i].said);
    }
    return status;
}

static int ctl_cluster(const struct settings *settings)
{
    return show_cluster(settings, false);
}

static int ctl_stripes(const struct settings *settings)
{
    return show_cluster(settings, true);
}

static int ctl_reload(const struct settings *settings)
{
    static struct answer answer;
    long                 status = request_send(settings, "POST", "/reload", "", &answer);
    if (status < 0) {
        return 1;
    }
    fputs(answer.text, status == 200 ? stdout : stderr);
    return status == 200 ? 0 : 1;
}

int ctl_run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct settings *settings);
    } verbs[] = {{"status", ctl_status},
                 {"metrics", ctl_metrics},
                 {"cluster", ctl_cluster},
                 {"stripes", ctl_stripes},
                 {"reload", ctl_reload}};
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } more[] = {{"passwd", people_passwd}, {"users", people_users},  {"acl", people_acl},
                {"ban", ban_run},          {"members", members_run}, {"node", node_run},
                {"drain", drain_run},      {"stream", stream_run},   {"bridge", uplink_run}};

    if (argc < 2 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? STATUS_USAGE : 0;
    }
    const char *nearest = "status";
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        if (strcmp(argv[1], more[i].name) == 0) {
            return more[i].run(argc - 1, argv + 1);
        }
        nearest = config_distance(argv[1], more[i].name) < config_distance(argv[1], nearest) ? more[i].name : nearest;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        nearest = config_distance(argv[1], verbs[i].name) < config_distance(argv[1], nearest) ? verbs[i].name : nearest;
        if (strcmp(argv[1], verbs[i].name) != 0) {
            continue;
        }
        struct settings settings;
        char            error[CONFIG_ERROR_MAX];
        int             loaded = config_load(argc - 1, argv + 1, &settings_table, &settings, error);
        if (loaded == CONFIG_HELP) {
            print_help(stdout);
            return 0;
        }
        if (loaded != 0) {
            fprintf(stderr, "keel ctl: %s\n", error);
            return STATUS_USAGE;
        }
        return verbs[i].run(&settings);
    }
    bool near = config_is_near(argv[1], config_distance(argv[1], nearest));
    fprintf(stderr,
            near ? "keel ctl: %s: unknown command; did you mean %s?\n"
                 : "keel ctl: %s: unknown command; keel ctl --help lists them\n",
            argv[1], nearest);
    return STATUS_USAGE;
}
