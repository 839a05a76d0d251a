/* ban - see ban.h. */
#include "keel/ban.h"

#include "broker/auth/bans.h"
#include "keel/line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_USAGE = 2 };

/* "/auth/bans/KIND/NAME"; false after a message. */
static bool path_of(const struct line *line, char *out, size_t size)
{
    char          before[64];
    enum ban_kind kind = ban_kind_of(bytes_str(line->words[1]));
    size_t        name = strlen(line->words[2]);
    if (kind == BAN_KINDS) {
        fprintf(stderr, "keel ctl: \"%s\" cannot be banned; a client, a user or an address can\n", line->words[1]);
        return false;
    }
    if (name == 0 || name > BAN_NAME_MAX_BYTES) {
        fprintf(stderr, "keel ctl: a name has 1 to %d bytes\n", BAN_NAME_MAX_BYTES);
        return false;
    }
    snprintf(before, sizeof before, "/auth/bans/%s/", ban_kind_name(kind));
    line_path(before, line->words[2], out, size);
    return true;
}

/* span: NULL, or for how long. */
static int add(const struct line *line, const char *path, const char *span, const char *reason)
{
    char  body[BAN_REASON_MAX_BYTES + 64];
    bool  given                = span != NULL;
    char *end                  = NULL;
    span                       = given ? span : "0";
    unsigned long long seconds = strtoull(span, &end, 10);
    if (*span < '0' || *span > '9' || *end != '\0' || seconds > 4000000000u || (given && seconds == 0)) {
        fprintf(stderr, "keel ctl: --for wants a number of seconds from 1 to 4000000000, not \"%s\"\n", span);
        return STATUS_USAGE;
    }
    if (strlen(reason) > BAN_REASON_MAX_BYTES || strchr(reason, '\n') != NULL) {
        fprintf(stderr, "keel ctl: a reason is one line of at most %d bytes\n", BAN_REASON_MAX_BYTES);
        return STATUS_USAGE;
    }
    snprintf(body, sizeof body, "%llu %s", seconds, reason);
    return line_ask(&line->settings, "PUT", path, body, false);
}

int ban_run(int argc, char **argv)
{
    static struct line     line;
    char                   path[3 * BAN_NAME_MAX_BYTES + 64];
    const char            *span = NULL, *reason = "";
    const struct line_flag flags[] = {{"--for", .value = &span}, {"--reason", .value = &reason}, {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    const char *verb = line.count > 0 ? line.words[0] : "";
    if (!line.help && strcmp(verb, "list") == 0 && line.count == 1) {
        return line_ask(&line.settings, "GET", "/auth/bans", NULL, true);
    }
    if (!line.help && strcmp(verb, "add") == 0 && line.count == 3) {
        return path_of(&line, path, sizeof path) ? add(&line, path, span, reason) : STATUS_USAGE;
    }
    if (!line.help && strcmp(verb, "remove") == 0 && line.count == 3) {
        return path_of(&line, path, sizeof path) ? line_ask(&line.settings, "DELETE", path, NULL, false) : STATUS_USAGE;
    }
    line_complain(&line, "list|add|remove");
    fputs("keel ctl ban list                                     kind, name, until when, why\n"
          "keel ctl ban add client|user|address NAME             it is refused (0x8A), and disconnected if it is here "
          "(0x98)\n"
          "    --for SECONDS                                     for so long; else until it is removed\n"
          "    --reason TEXT                                     shown by list\n"
          "keel ctl ban remove client|user|address NAME\n",
          line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
