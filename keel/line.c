/* line - see line.h. */
#include "keel/line.h"

#include "keel/request.h"

#include <stdio.h>
#include <string.h>

static struct answer answer; /* large, and there is one thread */

/* 0: it is another one. 1: it is taken. -1: its value is missing, which was said. */
static int take_flag(int argc, char **argv, int *i, const struct line_flag *flag)
{
    size_t      size  = strlen(flag->name);
    const char *said  = argv[*i];
    bool        equal = strncmp(said, flag->name, size) == 0 && said[size] == '=';
    if (flag->said != NULL) {
        *flag->said = *flag->said || strcmp(said, flag->name) == 0;
        return strcmp(said, flag->name) == 0;
    }
    if (!equal && strcmp(said, flag->name) != 0) {
        return 0;
    }
    if (!equal && *i + 1 == argc) {
        fprintf(stderr, "keel ctl: %s: a value is missing\n", flag->name);
        return -1;
    }
    const char *value = equal ? said + size + 1 : argv[++*i];
    if (flag->each != NULL) {
        flag->each(flag->name, value);
    } else {
        *flag->value = value;
    }
    return 1;
}

static int take_any(int argc, char **argv, int *i, const struct line_flag *flags)
{
    int taken = 0;
    for (; flags != NULL && flags->name != NULL && taken == 0; flags++) {
        taken = take_flag(argc, argv, i, flags);
    }
    return taken;
}

/* What is neither a flag of the verb nor of the settings is near to one of the verb: says so. */
static bool is_misspelt(const char *said, const struct line_flag *flags)
{
    char        name[64];
    const char *best = NULL;
    unsigned    min  = UINT32_MAX;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(said, "="), said);
    for (size_t i = 0; i < settings_table.count; i++) {
        const char *flag = settings_table.keys[i].flag;
        if (flag != NULL && config_distance(name + 2, flag) == 0) {
            return false;
        }
    }
    for (; flags != NULL && flags->name != NULL; flags++) {
        unsigned distance = config_distance(name + 2, flags->name + 2);
        best              = distance < min ? flags->name : best;
        min               = distance < min ? distance : min;
    }
    if (strcmp(name, "--set") == 0 || best == NULL || !config_is_near(name + 2, min)) {
        return false;
    }
    fprintf(stderr, "keel ctl: %s: unknown flag; did you mean %s?\n", name, best);
    return true;
}

bool line_read(int argc, char **argv, const struct line_flag *flags, struct line *line)
{
    char *rest[WORDS_MAX] = {argv[0]};
    int   rest_count      = 1;
    char  error[CONFIG_ERROR_MAX];
    memset(line, 0, sizeof *line);
    for (int i = 1; i < argc; i++) {
        if (line->count == WORDS_MAX || rest_count + 2 >= WORDS_MAX) {
            fputs("keel ctl: too many words\n", stderr);
            return false;
        }
        int taken = take_any(argc, argv, &i, flags);
        if (taken < 0) {
            return false;
        }
        if (taken > 0) {
            continue;
        }
        if (strcmp(argv[i], "--help") == 0) {
            line->help = true;
        } else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
            if (is_misspelt(argv[i], flags)) {
                return false;
            }
            rest[rest_count++] = argv[i];
            if (strchr(argv[i], '=') == NULL && i + 1 < argc) {
                rest[rest_count++] = argv[++i];
            }
        } else {
            line->words[line->count++] = argv[i];
        }
    }
    if (config_load(rest_count, rest, &settings_table, &line->settings, error) != 0) {
        fprintf(stderr, "keel ctl: %s\n", error);
        return false;
    }
    return true;
}

int line_ask(const struct settings *settings, const char *method, const char *path, const char *body, bool show)
{
    long status = request_send(settings, method, path, body, &answer);
    if (status < 0) {
        return 1;
    }
    if (status != 200) {
        fprintf(stderr, "keel ctl: %s", answer.size > 0 ? answer.text : "refused\n");
        return 1;
    }
    if (show) {
        fputs(answer.text, stdout);
    }
    return 0;
}

void line_complain(const struct line *line, const char *verbs)
{
    const char *said = line->count > 0 ? line->words[0] : "";
    size_t      size = strlen(said);
    if (line->help || size == 0) {
        return;
    }
    for (const char *at = verbs; *at != '\0'; at += strcspn(at, "|") + (at[strcspn(at, "|")] == '|')) {
        if (strcspn(at, "|") == size && memcmp(at, said, size) == 0) {
            fprintf(stderr, "keel ctl: %s: words are missing, or there are too many\n", said);
            return;
        }
    }
    fprintf(stderr, "keel ctl: %s: unknown; it is one of %s\n", said, verbs);
}

bool line_name_valid(const char *what, const char *name)
{
    size_t plain = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.");
    if (name[0] != '\0' && name[plain] == '\0' && plain <= 64) {
        return true;
    }
    fprintf(stderr, "keel ctl: %s: %s has a name of 1 to 64 letters, digits, '-', '_' or '.'\n", name, what);
    return false;
}

void line_path(const char *before, const char *name, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "%s", before);
    for (; *name != '\0' && at + 4 < size; name++) {
        bool plain = (*name >= '0' && *name <= '9') || ((*name | 0x20) >= 'a' && (*name | 0x20) <= 'z') ||
                     strchr("-_.~", *name) != NULL;
        at += (size_t)snprintf(out + at, size - at, plain ? "%c" : "%%%02X", plain ? *name : (unsigned char)*name);
    }
}
