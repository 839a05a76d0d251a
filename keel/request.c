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

long request_send(const struct settings *settings, const char *method, const char *path, const char *body,
                  struct answer *answer)
{
    char               address[80], url[8192], token[CONFIG_TEXT_MAX + 32], why[CURL_ERROR_SIZE] = "";
    long               status  = -1;
    struct curl_slist *headers = NULL;
    CURL              *curl    = curl_easy_init();
    if (curl == NULL) {
        fputs("keel ctl: no memory for an HTTP request\n", stderr);
        return -1;
    }
    config_address_text(&settings->admin_listen, address, sizeof address);
    snprintf(url, sizeof url, "http://%s%s", address, path);
    snprintf(token, sizeof token, "Authorization: Bearer %s", settings->admin_token);
    headers = curl_slist_append(headers, "X-Keel: ctl");
    if (settings->admin_token[0] != '\0') {
        headers = curl_slist_append(headers, token);
    }
    answer->size    = 0;
    answer->text[0] = '\0';
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    if (body != NULL) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    }
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, why);
    if (curl_easy_perform(curl) == CURLE_OK) {
        curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    } else {
        fprintf(stderr, "keel ctl: no broker answers on %s: %s\n", address, why);
    }
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    return status;
}
