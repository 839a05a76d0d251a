/* uplink.c - words of the command line into the lines of a bridge (broker/bridge/spec.h), which the broker checks. */
#include "keel/uplink.h"

#include "keel/line.h"

#include <string.h>

enum { STATUS_USAGE = 2, BODY_MAX = 16384 };

/* What the broker is sent: one line for each flag, in their order. */
static struct {
    char   text[BODY_MAX];
    size_t size;
    bool   wrong;
} body;

/* One line of the body; a value with a newline in it would be two. */
static void add(const char *key, const char *value)
{
    size_t room = sizeof body.text - body.size;
    int    size = snprintf(body.text + body.size, room, "%s=%s\n", key, value);
    body.wrong  = body.wrong || size < 0 || (size_t)size >= room || strchr(value, '\n') != NULL;
    body.size += body.wrong ? 0 : (size_t)size;
}

/* "--client-id" is client_id there. */
static void add_flag(const char *name, const char *value)
{
    char key[32];
    snprintf(key, sizeof key, "%s", name + strlen("--"));
    for (char *at = strchr(key, '-'); at != NULL; at = strchr(at, '-')) {
        *at = '_';
    }
    add(key, value);
}

/* A file is named, and read by the broker; "stdin": the first line of standard input is given to it. */
static void add_password(const char *name, const char *path)
{
    char text[512] = "";
    if (strcmp(path, "stdin") != 0) {
        add_flag(name, path);
        return;
    }
    if (fgets(text, sizeof text, stdin) == NULL) {
        fputs("keel ctl: no password can be read from standard input\n", stderr);
        body.wrong = true;
    }
    text[strcspn(text, "\r\n")] = '\0';
    add("password", text);
}

static int ask(const struct line *line, const char *method, const char *name, const char *sent, bool show)
{
    char path[96];
    snprintf(path, sizeof path, name == NULL ? "/bridges" : "/bridges/%.64s", name);
    return line_ask(&line->settings, method, path, sent, show);
}

static int create(const struct line *line, const char *name)
{
    int status = ask(line, "PUT", name, body.text, false);
    if (status == 0) {
        printf("%s connects; keel ctl bridge info %s says how it is\n", name, name);
    }
    return status;
}

int uplink_run(int argc, char **argv)
{
    static struct line     line;
    bool                   tls     = false;
    const struct line_flag flags[] = {{"--address", .each = add_flag},
                                      {"--version", .each = add_flag},
                                      {"--client-id", .each = add_flag},
                                      {"--user", .each = add_flag},
                                      {"--keep-alive", .each = add_flag},
                                      {"--tls-ca", .each = add_flag},
                                      {"--tls-cert", .each = add_flag},
                                      {"--tls-key", .each = add_flag},
                                      {"--topic", .each = add_flag},
                                      {"--password-file", .each = add_password},
                                      {"--tls", .said = &tls},
                                      {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    if (tls) {
        add("tls", "yes");
    }
    if (body.wrong) {
        fputs("keel ctl: what a bridge is told has at most 16 KiB, and no newline in a value\n", stderr);
        return STATUS_USAGE;
    }
    const char *verb  = line.count > 0 ? line.words[0] : "";
    bool        known = strcmp(verb, "create") == 0 || strcmp(verb, "info") == 0 || strcmp(verb, "delete") == 0;
    if (!line.help && strcmp(verb, "list") == 0 && line.count == 1) {
        return ask(&line, "GET", NULL, NULL, true);
    }
    if (!line.help && known && line.count == 2) {
        const char *name = line.words[1];
        if (!line_name_valid("a bridge", name)) {
            return STATUS_USAGE;
        }
        return verb[0] == 'c'   ? create(&line, name)
               : verb[0] == 'i' ? ask(&line, "GET", name, NULL, true)
                                : ask(&line, "DELETE", name, NULL, false);
    }
    line_complain(&line, "create|list|info|delete");
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
