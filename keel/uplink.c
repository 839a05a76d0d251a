/* uplink.c - words of the command line into the lines of a bridge (broker/bridge/spec.h), which the broker checks. */
#include "keel/uplink.h"

#include "keel/request.h"
#include "shared/config/settings.h"

#include <string.h>

enum { STATUS_USAGE = 2, WORDS_MAX = 256, BODY_MAX = 16384 };

static struct answer answer; /* large, and there is one thread */

struct line {
    struct settings settings;
    const char     *words[WORDS_MAX];
    int             count;
    char            body[BODY_MAX];
    size_t          body_size;
    bool            help, wrong;
};

static bool flag_value(int argc, char **argv, int *i, const char *name, const char **out)
{
    size_t size = strlen(name);
    if (strncmp(argv[*i], name, size) != 0 || (argv[*i][size] != '\0' && argv[*i][size] != '=')) {
        return false;
    }
    *out = argv[*i][size] == '=' ? argv[*i] + size + 1 : *i + 1 < argc ? argv[++*i] : "";
    return true;
}

/* One line of the body; a value with a newline in it would be two. */
static void add(struct line *line, const char *key, const char *value)
{
    size_t room = sizeof line->body - line->body_size;
    int    size = snprintf(line->body + line->body_size, room, "%s=%s\n", key, value);
    line->wrong = line->wrong || size < 0 || (size_t)size >= room || strchr(value, '\n') != NULL;
    line->body_size += line->wrong ? 0 : (size_t)size;
}

/* A file is named, and read by the broker; "stdin": the first line of standard input is given to it. */
static void add_password(struct line *line, const char *path)
{
    char text[512] = "";
    if (strcmp(path, "stdin") != 0) {
        add(line, "password_file", path);
        return;
    }
    if (fgets(text, sizeof text, stdin) == NULL) {
        fputs("keel ctl: no password can be read from standard input\n", stderr);
        line->wrong = true;
    }
    text[strcspn(text, "\r\n")] = '\0';
    add(line, "password", text);
}

/* False after a message. What is no flag of ours is a flag of the settings, or a word. */
static bool read_line(int argc, char **argv, struct line *line)
{
    static const char *const keys[][2] = {
        {"--address", "address"},   {"--version", "version"},       {"--client-id", "client_id"},
        {"--user", "user"},         {"--keep-alive", "keep_alive"}, {"--tls-ca", "tls_ca"},
        {"--tls-cert", "tls_cert"}, {"--tls-key", "tls_key"},       {"--topic", "topic"}};
    char *rest[WORDS_MAX] = {argv[0]};
    int   rest_count      = 1;
    char  error[CONFIG_ERROR_MAX];
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        const char *key   = NULL;
        for (size_t k = 0; k < sizeof keys / sizeof *keys && value == NULL; k++) {
            key = flag_value(argc, argv, &i, keys[k][0], &value) ? keys[k][1] : NULL;
        }
        if (line->count == WORDS_MAX || rest_count + 2 >= WORDS_MAX) {
            fputs("keel ctl: too many words\n", stderr);
            return false;
        }
        if (strcmp(argv[i], "--tls") == 0) {
            add(line, "tls", "yes");
        } else if (key != NULL) {
            add(line, key, value);
        } else if (flag_value(argc, argv, &i, "--password-file", &value)) {
            add_password(line, value);
        } else if (strcmp(argv[i], "--help") == 0) {
            line->help = true;
        } else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            rest[rest_count++] = argv[i];
            if (strchr(argv[i], '=') == NULL && i + 1 < argc) {
                rest[rest_count++] = argv[++i];
            }
        } else {
            line->words[line->count++] = argv[i];
        }
    }
    if (line->wrong) {
        fputs("keel ctl: what a bridge is told has at most 16 KiB, and no newline in a value\n", stderr);
        return false;
    }
    if (config_load(rest_count, rest, &settings_table, &line->settings, error) != 0) {
        fprintf(stderr, "keel ctl: %s\n", error);
        return false;
    }
    return true;
}

static int ask(const struct line *line, const char *method, const char *name, const char *body, bool show)
{
    char path[96];
    snprintf(path, sizeof path, name == NULL ? "/bridges" : "/bridges/%.64s", name);
    long status = request_send(&line->settings, method, path, body, &answer);
    if (status != 200) {
        if (status > 0) {
            fprintf(stderr, "keel ctl: %s", answer.size > 0 ? answer.text : "refused\n");
        }
        return 1;
    }
    if (show) {
        fputs(answer.text, stdout);
    }
    return 0;
}

/* A name goes into a path: what is no name is refused before it is sent. */
static bool name_valid(const char *name)
{
    size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    if (name[0] != '\0' && name[plain] == '\0' && plain <= 64) {
        return true;
    }
    fprintf(stderr, "keel ctl: %s: a bridge has a name of 1 to 64 letters, digits, '-', '_' or '.'\n", name);
    return false;
}

int uplink_run(int argc, char **argv)
{
    static struct line line;
    if (!read_line(argc, argv, &line)) {
        return STATUS_USAGE;
    }
    const char *verb  = line.count > 0 ? line.words[0] : "";
    bool        known = strcmp(verb, "create") == 0 || strcmp(verb, "info") == 0 || strcmp(verb, "delete") == 0;
    if (!line.help && strcmp(verb, "list") == 0 && line.count == 1) {
        return ask(&line, "GET", NULL, NULL, true);
    }
    if (!line.help && known && line.count == 2) {
        const char *name = line.words[1];
        if (!name_valid(name)) {
            return STATUS_USAGE;
        }
        return verb[0] == 'c'   ? ask(&line, "PUT", name, line.body, false)
               : verb[0] == 'i' ? ask(&line, "GET", name, NULL, true)
                                : ask(&line, "DELETE", name, NULL, false);
    }
    fputs(
        "keel ctl bridge create NAME --address HOST[:PORT] --topic 'PATTERN [out|in|both] [QOS] [LOCAL] [REMOTE]' ..\n"
        "    [--version 4|5] [--client-id ID] [--user NAME] [--password-file FILE|stdin] [--keep-alive S]\n"
        "    [--tls] [--tls-ca FILE] [--tls-cert FILE --tls-key FILE]     files of the broker's machine\n"
        "    A password file is the broker's own (mode 0600) and is read for each connection; a password from stdin is "
        "kept in the store as it is.\n"
        "    connects to another MQTT broker, as a client of it. LOCAL and REMOTE are prefixes that topics have here "
        "and there (\"\": none);\n"
        "    the direction is out and the QoS 0 unless said. One that is there already is made anew; what is owed to "
        "the other broker stays.\n"
        "    keel ctl bridge create office --address broker.example --topic 'sensors/# out 1 \"\" site-7/' --topic "
        "'commands/# in 1'\n"
        "keel ctl bridge list            name, address, state, messages sent, received and dropped, connections begun, "
        "why it is away\n"
        "keel ctl bridge info NAME\n"
        "keel ctl bridge delete NAME     with what is still owed to the other broker\n",
        line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
