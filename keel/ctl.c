/* ctl.c - HTTP GET with libcurl, answers shown as they come. */
#include "keel/ctl.h"

#include "shared/config/settings.h"

#include <curl/curl.h>
#include <string.h>

enum { STATUS_USAGE = 2 };

static void print_help(FILE *to)
{
    fputs("keel ctl - asks a running broker over its admin HTTP\n\n"
          "  keel ctl status   [--admin ADDR:PORT]   is it ready, and its counters; exit status 1 when it is not ready "
          "or not reachable\n"
          "  keel ctl metrics  [--admin ADDR:PORT]   its metrics in Prometheus' text format\n\n"
          "  --config and --set admin.listen=ADDR:PORT are understood too.\n",
          to);
}

struct answer {
    char   text[256 * 1024];
    size_t size;
};

static size_t take(char *data, size_t unit, size_t count, void *ctx)
{
    struct answer *answer = ctx;
    size_t         size   = unit * count;
    if (size >= sizeof answer->text - answer->size) {
        return 0; /* larger than any answer of ours: curl reports it */
    }
    memcpy(answer->text + answer->size, data, size);
    answer->size += size;
    answer->text[answer->size] = '\0';
    return size;
}

/* GET path: the HTTP status, or -1 after a message. */
static long get(const struct settings *settings, const char *path, struct answer *answer)
{
    char  address[80], url[128], why[CURL_ERROR_SIZE] = "";
    long  status = -1;
    CURL *curl   = curl_easy_init();
    if (curl == NULL) {
        fputs("keel ctl: no memory for an HTTP request\n", stderr);
        return -1;
    }
    config_address_text(&settings->admin_listen, address, sizeof address);
    snprintf(url, sizeof url, "http://%s%s", address, path);
    answer->size = 0;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 5L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        fprintf(stderr, "keel ctl: no broker answers on %s: %s\n", address, why);
    }
    curl_easy_cleanup(curl);
    return status;
}

static int ctl_status(const struct settings *settings)
{
    static struct answer answer; /* large, and there is one thread */
    long                 ready = get(settings, "/ready", &answer);
    if (ready < 0) {
        return 1;
    }
    fputs(answer.text, stdout);
    if (get(settings, "/metrics", &answer) == 200) { /* the sums: lines without labels */
        char *state = NULL;
        for (char *line = strtok_r(answer.text, "\n", &state); line != NULL; line = strtok_r(NULL, "\n", &state)) {
            if (*line != '#' && strchr(line, '{') == NULL) {
                puts(line);
            }
        }
    }
    return ready == 200 ? 0 : 1;
}

static int ctl_metrics(const struct settings *settings)
{
    static struct answer answer;
    long                 status = get(settings, "/metrics", &answer);
    if (status == 200) {
        fputs(answer.text, stdout);
    }
    return status == 200 ? 0 : 1;
}

int ctl_run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(const struct settings *settings);
    } verbs[] = {{"status", ctl_status}, {"metrics", ctl_metrics}};

    if (argc < 2 || strcmp(argv[1], "--help") == 0) {
        print_help(argc < 2 ? stderr : stdout);
        return argc < 2 ? STATUS_USAGE : 0;
    }
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(argv[1], verbs[i].name) != 0) {
            continue;
        }
        struct settings settings;
        char            error[CONFIG_ERROR_MAX];
        int             loaded = config_load(argc - 1, argv + 1, &settings_table, &settings, error);
        if (loaded == CONFIG_HELP) {
            print_help(stdout);
            return 0;
        }
        if (loaded != 0) {
            fprintf(stderr, "keel ctl: %s\n", error);
            return STATUS_USAGE;
        }
        return verbs[i].run(&settings);
    }
    fprintf(stderr, "keel ctl: %s: unknown command; did you mean %s?\n", argv[1],
            config_distance(argv[1], "status") <= config_distance(argv[1], "metrics") ? "status" : "metrics");
    return STATUS_USAGE;
}
