/* members - see members.h. */
#include "keel/members.h"

#include "keel/line.h"

#include <stdio.h>

enum { STATUS_USAGE = 2 };

int members_run(int argc, char **argv)
{
    static struct line line;
    if (!line_read(argc, argv, &line)) {
        return STATUS_USAGE;
    }
    if (!line.help && line.count == 1) {
        return line_ask(&line.settings, "PUT", "/cluster/members", line.words[0], false);
    }
    fputs("keel ctl members NUMBER,NUMBER,..   these nodes keep the streams from now on; those that are new get "
          "everything first,\n"
          "                                    then those that are not named are let go. segstore.nodes of all of them "
          "names them all.\n",
          line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
