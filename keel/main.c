/* main.c - the keel command: which subcommand is meant. */
#include "keel/ctl.h"
#include "keel/dev.h"
#include "shared/base/version.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <string.h>

static const char usage[] = "keel - a message platform: MQTT clients, an fsynced log\n"
                            "\n"
                            "  keel dev      runs a segment store and a broker on this machine, in the foreground\n"
                            "  keel ctl      asks a running broker how it is\n"
                            "  keel config   prints a configuration file with every key, its default and what it does\n"
                            "\n"
                            "  keel COMMAND --help says more; keel --version which one this is.\n";

static int config_run(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--help") != 0) {
        fprintf(stderr, "keel config: %s: unexpected argument; keel config takes none\n", argv[1]);
        return 2;
    }
    if (argc > 1) {
        puts("keel config - prints a configuration file with every key, its default and what it does");
        return 0;
    }
    config_print_yaml(&settings_table, stdout);
    return 0;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(int argc, char **argv);
    } commands[] = {{"dev", dev_run}, {"ctl", ctl_run}, {"config", config_run}};

    if (argc < 2) {
        fputs(usage, stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        puts("keel " KEEL_VERSION);
        return 0;
    }
    const char *nearest = commands[0].name;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 1, argv + 1);
        }
        if (config_distance(argv[1], commands[i].name) < config_distance(argv[1], nearest)) {
            nearest = commands[i].name;
        }
    }
    bool near = config_is_near(argv[1], config_distance(argv[1], nearest));
    fprintf(stderr,
            near ? "keel: %s: unknown command; did you mean %s?\n"
                 : "keel: %s: unknown command; keel --help lists them\n",
            argv[1], nearest);
    return 2;
}
