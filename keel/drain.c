/* drain - see drain.h. */
#include "keel/drain.h"

#include "keel/line.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_USAGE = 2, SECONDS_MAX = 86400, REFERENCE_MAX_BYTES = 255 };

int drain_run(int argc, char **argv)
{
    static struct line     line;
    char                   body[REFERENCE_MAX_BYTES + 64];
    char                  *end  = NULL;
    const char            *span = "30", *to = "";
    bool                   stop = false, permanent = false;
    const struct line_flag flags[] = {{"--for", .value = &span},
                                      {"--to", .value = &to},
                                      {"--stop", .said = &stop},
                                      {"--permanent", .said = &permanent},
                                      {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    if (line.help || line.count != 0) {
        fputs("keel ctl drain            new clients are refused, those who are here are sent away; /ready is 503\n"
              "    --for SECONDS         evenly spread over so long (30)\n"
              "    --to HOST:PORT        where MQTT 5 clients are told to go (Server Reference)\n"
              "    --permanent           for good (0x9D), not for now (0x9C)\n"
              "keel ctl drain --stop     clients are let in again\n",
              line.help ? stdout : stderr);
        return line.help ? 0 : STATUS_USAGE;
    }
    if (stop) {
        return line_ask(&line.settings, "DELETE", "/drain", NULL, false);
    }
    unsigned long seconds = strtoul(span, &end, 10);
    if (*span < '0' || *span > '9' || *end != '\0' || seconds > SECONDS_MAX) {
        fprintf(stderr, "keel ctl: --for wants a number of seconds from 0 to %d, not \"%s\"\n", SECONDS_MAX, span);
        return STATUS_USAGE;
    }
    if (strlen(to) > REFERENCE_MAX_BYTES || strpbrk(to, " \r\n") != NULL) {
        fprintf(stderr, "keel ctl: --to wants HOST:PORT, at most %d bytes\n", REFERENCE_MAX_BYTES);
        return STATUS_USAGE;
    }
    snprintf(body, sizeof body, "%lu %s %s", seconds, permanent ? "permanent" : "temporary", to);
    return line_ask(&line.settings, "PUT", "/drain", body, false);
}
