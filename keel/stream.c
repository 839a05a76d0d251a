/* stream.c - words of the command line into requests of the admin HTTP (broker/shard/streams.h), and sizes and ages as people write them. */
#include "keel/stream.h"

#include "keel/line.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { STATUS_USAGE = 2 };

#define DEFAULT_AGE   "7d"
#define DEFAULT_BYTES "1G"

/* What is said of a stream; NULL: nothing. */
struct limits {
    const char *filter, *max_age, *max_bytes, *max_count;
    bool        last_value;
};

struct scale {
    const char *suffix;
    uint64_t    factor;
};

static const struct scale ages[]  = {{"s", 1000000000u},
                                     {"m", 60000000000u},
                                     {"h", 3600000000000u},
                                     {"d", 86400000000000u},
                                     {"w", 604800000000000u},
                                     {"ms", 1000000u},
                                     {NULL, 0}};
static const struct scale sizes[] = {
    {"", 1},         {"K", 1u << 10},   {"KiB", 1u << 10}, {"M", 1u << 20},     {"MiB", 1u << 20},
    {"G", 1u << 30}, {"GiB", 1u << 30}, {"T", 1ull << 40}, {"TiB", 1ull << 40}, {NULL, 0}};
static const struct scale counts[] = {{"", 1}, {"k", 1000}, {"M", 1000000}, {NULL, 0}};

/* "0" is no limit whatever the scale. */
static bool number_of(const char *text, const struct scale *scales, uint64_t *out)
{
    char    *end   = NULL;
    uint64_t value = *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
    if (end == NULL) {
        return false;
    }
    for (; scales->suffix != NULL; scales++) {
        if ((strcmp(end, scales->suffix) == 0 || (value == 0 && *end == '\0')) &&
            value <= UINT64_MAX / scales->factor) {
            *out = value * scales->factor;
            return true;
        }
    }
    return false;
}

static int ask(const struct line *line, const char *method, const char *name, const char *body, bool show)
{
    char path[96];
    snprintf(path, sizeof path, name == NULL ? "/streams" : "/streams/%s", name);
    return line_ask(&line->settings, method, path, body, show);
}

static int create(const struct line *line, const char *name, const struct limits *limits)
{
    bool        none      = limits->max_age == NULL && limits->max_bytes == NULL && limits->max_count == NULL;
    bool        defaults  = none && !limits->last_value;
    const char *age       = limits->max_age != NULL ? limits->max_age : defaults ? DEFAULT_AGE : "0";
    const char *bytes     = limits->max_bytes != NULL ? limits->max_bytes : defaults ? DEFAULT_BYTES : "0";
    const char *count     = limits->max_count != NULL ? limits->max_count : "0";
    uint64_t    max_age   = 0;
    uint64_t    max_bytes = 0;
    uint64_t    max_count = 0;
    char        body[2048];
    if (limits->filter == NULL || *limits->filter == '\0' || strlen(limits->filter) > 1024 ||
        strchr(limits->filter, '\n') != NULL) {
        fputs("keel ctl: --filter FILTER says what is captured, at most 1024 bytes\n", stderr);
        return STATUS_USAGE;
    }
    if (!number_of(age, ages, &max_age)) {
        fprintf(stderr, "keel ctl: --max-age %s: a number and s, m, h, d or w; 0: no limit\n", age);
        return STATUS_USAGE;
    }
    if (!number_of(bytes, sizes, &max_bytes)) {
        fprintf(stderr, "keel ctl: --max-bytes %s: a number, and if wanted K, M, G or T; 0: no limit\n", bytes);
        return STATUS_USAGE;
    }
    if (!number_of(count, counts, &max_count)) {
        fprintf(stderr, "keel ctl: --max-count %s: a number, and if wanted k or M; 0: no limit\n", count);
        return STATUS_USAGE;
    }
    snprintf(body, sizeof body,
             "filter=%s\nmax_age_ns=%" PRIu64 "\nmax_bytes=%" PRIu64 "\nmax_count=%" PRIu64 "\nlast_value=%d\n",
             limits->filter, max_age, max_bytes, max_count, limits->last_value);
    if (ask(line, "PUT", name, body, false) != 0) {
        return 1;
    }
    printf("%s captures %s", name, limits->filter);
    if (defaults) {
        printf(", and keeps it %s and %s at most (say --max-age, --max-bytes or --max-count for something else)",
               DEFAULT_AGE, DEFAULT_BYTES);
    }
    printf("; read it with a subscription to $stream/%s\n", name);
    return 0;
}

int stream_run(int argc, char **argv)
{
    static struct line     line;
    struct limits          limits  = {0};
    const struct line_flag flags[] = {
        {"--filter", .value = &limits.filter},        {"--max-age", .value = &limits.max_age},
        {"--max-bytes", .value = &limits.max_bytes},  {"--max-count", .value = &limits.max_count},
        {"--last-value", .said = &limits.last_value}, {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    const char *verb = line.count > 0 ? line.words[0] : "";
    const char *name = line.count == 2 ? line.words[1] : "";
    if (!line.help && strcmp(verb, "list") == 0 && line.count == 1) {
        return ask(&line, "GET", NULL, NULL, true);
    }
    bool known = strcmp(verb, "create") == 0 || strcmp(verb, "info") == 0 || strcmp(verb, "delete") == 0;
    if (!line.help && known && line.count == 2) {
        if (!line_name_valid("a stream", name)) {
            return STATUS_USAGE;
        }
        return verb[0] == 'c'   ? create(&line, name, &limits)
               : verb[0] == 'i' ? ask(&line, "GET", name, NULL, true)
                                : ask(&line, "DELETE", name, NULL, false);
    }
    line_complain(&line, "create|list|info|delete");
    fputs(
        "keel ctl stream create NAME --filter FILTER [--max-age 7d] [--max-bytes 10G] [--max-count N] [--last-value]\n"
        "    keeps every message that matches, whatever its QoS, until it is too old or too much; when it is there "
        "already, its\n"
        "    filter and limits are changed. --last-value keeps the newest message of each topic only.\n"
        "keel ctl stream list            name, filter, kind, max age (ns), max bytes, max count; 0: no limit\n"
        "keel ctl stream info NAME       what is in it\n"
        "keel ctl stream delete NAME     with all that is in it\n\n"
        "    MQTT clients read it by subscribing to $stream/NAME, from the first message on; MQTT 5 clients say where "
        "to begin with the user\n"
        "    property keel-from, others with $stream/NAME/from/POSITION: first, last, next, offset:N, "
        "time:2026-01-01T00:00:00Z\n",
        line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
