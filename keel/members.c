/* members - see members.h. */
#include "keel/members.h"

#include "keel/line.h"
#include "keel/look.h"

#include <stdio.h>
#include <stdlib.h>

enum { STATUS_USAGE = 2 };

/* The broker checks the form; here is asked whether there are such nodes. What is no number is for the broker to refuse. */
static bool all_named(const struct look *l, const char *numbers)
{
    for (const char *at = numbers; *at >= '0' && *at <= '9';) {
        char         *end  = NULL;
        unsigned long node = strtoul(at, &end, 10);
        if (node > 0 && node <= UINT16_MAX && !look_all_name(l, (unsigned)node)) {
            return false;
        }
        at = *end == ',' ? end + 1 : end;
    }
    return true;
}

static int name_members(const struct line *line)
{
    static struct look l;
    if (!look_at(&line->settings, &l)) {
        return 1;
    }
    bool there = all_named(&l, line->words[0]);
    look_end(&l);
    return there ? line_ask(&line->settings, "PUT", "/cluster/members", line->words[0], false) : STATUS_USAGE;
}

int members_run(int argc, char **argv)
{
    static struct line line;
    if (!line_read(argc, argv, NULL, &line)) {
        return STATUS_USAGE;
    }
    if (!line.help && line.count == 1) {
        return name_members(&line);
    }
    fputs("keel ctl members NUMBER,NUMBER,..   these nodes keep the streams from now on; those that are new get "
          "everything first,\n"
          "                                    then those that are not named are let go. segstore.nodes of all of them "
          "names them all.\n"
          "    --segstore-admin ADDR:PORT,..   where the nodes say whom they know\n",
          line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
