/* line - the command lines of those `keel ctl` verbs that have words and flags of their own, and the requests that they become.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_LINE_H
#define KEEL_KEEL_LINE_H

#include "shared/config/settings.h"

#include <stdbool.h>
#include <stddef.h>

enum { WORDS_MAX = 256 };

/* A flag of a verb. One of the three says what becomes of it; a table of them ends with an empty one. */
struct line_flag {
    const char  *name;  /* "--for" */
    const char **value; /* it has a value, which goes here; NULL as long as it is not said */
    bool        *said;  /* it has none */
    void (*each)(const char *name, const char *value); /* it has one, and may be said several times */
};

/* What is not among its flags is a flag of the settings, or a word. */
struct line {
    struct settings settings;
    const char     *words[WORDS_MAX];
    int             count;
    bool            help;
};

/* flags may be NULL: none. False after a message. */
bool line_read(int argc, char **argv, const struct line_flag *flags, struct line *line);
/* A command that none of the usages fits: says what is wrong with its first word, above the usage. verbs: "create|list". */
void line_complain(const struct line *line, const char *verbs);
/* The name of a stream or a bridge, which goes into a path. False after a message: what ("a stream") has no such name. */
bool line_name_valid(const char *what, const char *name);
/* Sends a request and shows what the broker says; its status as an exit status. */
int line_ask(const struct settings *settings, const char *method, const char *path, const char *body, bool show);
/* Behind what stands there: the name, escaped for a URL. */
void line_path(const char *before, const char *name, char *out, size_t size);

#endif
