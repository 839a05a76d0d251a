/* request.c - one request, answered within ten seconds or not at all. */
#include "keel/request.h"

#include "shared/config/settings.h"

#include <curl/curl.h>
#include <string.h>

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

/* One request with these headers; -1: nobody answered, and why. */
static long perform(const struct config_address *to, const char *method, const char *path, const char *body,
                    struct curl_slist *headers, struct answer *answer, char *why, size_t why_size)
{
    char  address[80], url[8192], detail[CURL_ERROR_SIZE] = "";
    long  status = -1;
    CURL *curl   = curl_easy_init();
    config_address_text(to, address, sizeof address);
    if (curl == NULL) {
        snprintf(why, why_size, "no memory for an HTTP request");
        return -1;
    }
    snprintf(url, sizeof url, "http://%s%s", address, path);
    answer->size    = 0;
    answer->text[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 3L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, detail);
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        snprintf(why, why_size, "%s", detail);
    }
    curl_easy_cleanup(curl);
    return status;
}

long request_send(const struct settings *settings, const char *method, const char *path, const char *body,
                  struct answer *answer)
{
    char               address[80], token[CONFIG_TEXT_MAX + 32], why[CURL_ERROR_SIZE] = "";
    struct curl_slist *headers = curl_slist_append(NULL, "X-Keel: ctl");
    config_address_text(&settings->admin_listen, address, sizeof address);
    snprintf(token, sizeof token, "Authorization: Bearer %s", settings->admin_token);
    if (settings->admin_token[0] != '\0') {
        headers = curl_slist_append(headers, token);
    }
    long status = perform(&settings->admin_listen, method, path, body, headers, answer, why, sizeof why);
    if (status < 0) {
        fprintf(stderr, "keel ctl: no broker answers on %s: %s\n", address, why);
    }
    curl_slist_free_all(headers);
    return status;
}

long request_get(const struct config_address *from, const char *path, struct answer *answer, char *why, size_t why_size)
{
    return perform(from, "GET", path, NULL, NULL, answer, why, why_size);
}
