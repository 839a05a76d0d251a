/* line - see line.h. */
#include "keel/line.h"

#include "keel/request.h"

#include <stdio.h>
#include <string.h>

static struct answer answer; /* large, and there is one thread */

static bool flag_value(int argc, char **argv, int *i, const char *name, const char **out)
{
    size_t size = strlen(name);
    if (strncmp(argv[*i], name, size) != 0 || (argv[*i][size] != '\0' && argv[*i][size] != '=')) {
        return false;
    }
    if (argv[*i][size] == '=') {
        *out = argv[*i] + size + 1;
    } else {
        *out = *i + 1 < argc ? argv[++*i] : "";
    }
    return true;
}

bool line_read(int argc, char **argv, struct line *line)
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
        if (strcmp(argv[i], "--help") == 0) {
            line->help = true;
        } else if (strcmp(argv[i], "--delete") == 0) {
            line->delete = true;
        } else if (strcmp(argv[i], "--stop") == 0) {
            line->stop = true;
        } else if (strcmp(argv[i], "--permanent") == 0) {
            line->permanent = true;
        } else if (flag_value(argc, argv, &i, "--password-file", &line->password_file) ||
                   flag_value(argc, argv, &i, "--to", &line->to) ||
                   flag_value(argc, argv, &i, "--groups", &line->groups) ||
                   flag_value(argc, argv, &i, "--for", &line->span) ||
                   flag_value(argc, argv, &i, "--reason", &line->reason) ||
                   flag_value(argc, argv, &i, "--at", &line->at)) {
            continue;
        } else if (strncmp(argv[i], "--", 2) == 0 && argv[i][2] != '\0') {
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

void line_path(const char *before, const char *name, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "%s", before);
    for (; *name != '\0' && at + 4 < size; name++) {
        bool plain = (*name >= '0' && *name <= '9') || ((*name | 0x20) >= 'a' && (*name | 0x20) <= 'z') ||
                     strchr("-_.~", *name) != NULL;
        at += (size_t)snprintf(out + at, size - at, plain ? "%c" : "%%%02X", plain ? *name : (unsigned char)*name);
    }
}
