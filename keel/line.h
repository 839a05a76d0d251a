/* line - the command lines of those `keel ctl` verbs that have words and flags of their own, and the requests that they become.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_LINE_H
#define KEEL_KEEL_LINE_H

#include "shared/config/settings.h"

#include <stdbool.h>
#include <stddef.h>

enum { WORDS_MAX = 256 };

/* What is not among these flags is a flag of the settings, or a word. */
struct line {
    struct settings settings;
    const char     *words[WORDS_MAX];
    int             count;
    const char     *password_file, *to, *groups, *at, *span, *reason;
    bool delete, help, stop, permanent;
};

/* False after a message. */
bool line_read(int argc, char **argv, struct line *line);
/* Sends a request and shows what the broker says; its status as an exit status. */
int line_ask(const struct settings *settings, const char *method, const char *path, const char *body, bool show);
/* Behind what stands there: the name, escaped for a URL. */
void line_path(const char *before, const char *name, char *out, size_t size);

#endif
