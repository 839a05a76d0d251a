/* value.c - numbers with units, words, addresses. */
#include "shared/config/value.h"

#include "shared/base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static int parse_number(const struct config_key *key, const char *text, uint64_t *out)
{
    static const struct {
        const char *suffix;
        unsigned    shift;
    } scales[]    = {{"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    char *end     = NULL;
    errno         = 0;
    uint64_t wide = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || errno != 0) { /* strtoull itself takes a sign and blanks */
        return ERR_MALFORMED;
    }
    if (key->unit != NULL && (strcmp(key->unit, "bytes") == 0 || strcmp(key->unit, "bytes/s") == 0)) {
        end += *end == ' ';
        for (size_t i = 0; i < sizeof scales / sizeof *scales; i++) {
            if (strcmp(end, scales[i].suffix) == 0 && wide <= UINT64_MAX >> scales[i].shift) {
                wide <<= scales[i].shift;
                end += strlen(end);
            }
        }
    }
    if (*end != '\0' || wide < key->min || wide > key->max) {
        return ERR_MALFORMED;
    }
    *out = wide;
    return 0;
}

/* Which of the words in "a|b|c" text is. */
static int parse_choice(const struct config_key *key, const char *text, uint64_t *out)
{
    uint64_t index = 0;
    for (const char *word = key->unit; word != NULL; index++) {
        const char *bar  = strchr(word, '|');
        size_t      size = bar != NULL ? (size_t)(bar - word) : strlen(word);
        if (strlen(text) == size && memcmp(word, text, size) == 0) {
            *out = index;
            return 0;
        }
        word = bar != NULL ? bar + 1 : NULL;
    }
    return ERR_MALFORMED;
}

static int parse_address(const char *text, struct config_address *out)
{
    struct config_address parsed = {.port = 0};
    const char           *colon  = strrchr(text, ':');
    if (colon == NULL || colon == text || colon[1] < '0' || colon[1] > '9') {
        return ERR_MALFORMED;
    }
    char    *end  = NULL;
    uint64_t port = strtoull(colon + 1, &end, 10);
    bool     six  = text[0] == '[' && colon[-1] == ']';
    size_t   size = (size_t)(colon - text) - (six ? 2 : 0);
    if (*end != '\0' || port > UINT16_MAX || size >= sizeof parsed.host) {
        return ERR_MALFORMED;
    }
    memcpy(parsed.host, text + (six ? 1 : 0), size);
    unsigned char binary[sizeof(struct in6_addr)];
    if (inet_pton(six ? AF_INET6 : AF_INET, parsed.host, binary) != 1) {
        return ERR_MALFORMED;
    }
    parsed.port = (uint16_t)port;
    *out        = parsed;
    return 0;
}

static int parse_addresses(const char *text, struct config_addresses *out)
{
    struct config_addresses parsed = {.count = 0};
    for (const char *item = text; item != NULL;) {
        const char *comma = strchr(item, ',');
        size_t      size  = comma != NULL ? (size_t)(comma - item) : strlen(item);
        char        one[96];
        for (; size > 0 && *item == ' '; size--) {
            item++;
        }
        if (size >= sizeof one || parsed.count == CONFIG_ADDRESSES_MAX) {
            return ERR_MALFORMED;
        }
        memcpy(one, item, size);
        one[size] = '\0';
        if (parse_address(one, &parsed.at[parsed.count++]) < 0) {
            return ERR_MALFORMED;
        }
        item = comma != NULL ? comma + 1 : NULL;
    }
    *out = parsed;
    return 0;
}

static int parse_text(const struct config_key *key, const char *text, char *out)
{
    size_t size = strlen(text);
    if (size < key->min || size >= CONFIG_TEXT_MAX) {
        return ERR_MALFORMED;
    }
    memset(out, 0, CONFIG_TEXT_MAX);
    memcpy(out, text, size);
    return 0;
}

static int add_item(const char *text, struct config_list *out)
{
    size_t size = strlen(text) + 1;
    if (size == 1) {
        *out = (struct config_list){0};
        return 0;
    }
    if (size > sizeof out->items - out->size) {
        return ERR_MALFORMED;
    }
    memcpy(out->items + out->size, text, size);
    out->size += (uint32_t)size;
    out->count++;
    return 0;
}

const char *config_list_next(const struct config_list *list, const char *item)
{
    const char *next = item == NULL ? list->items : item + strlen(item) + 1;
    return next < list->items + list->size ? next : NULL;
}

/* What would have been right, for the sentence. */
static void wanted(const struct config_key *key, char *text, size_t size)
{
    const char *unit = key->unit != NULL ? key->unit : "";
    switch (key->type) {
    case CONFIG_NUMBER:
        snprintf(text, size, "a number%s%s from %" PRIu64 " to %" PRIu64, *unit != '\0' ? " of " : "", unit, key->min,
                 key->max);
        break;
    case CONFIG_BOOL:
        snprintf(text, size, "true or false");
        break;
    case CONFIG_CHOICE:
        snprintf(text, size, "one of %s", unit);
        break;
    case CONFIG_ADDRESS:
        snprintf(text, size, "%sa numeric ADDRESS:PORT such as 127.0.0.1:1883 or [::1]:1883",
                 key->max == 1 ? "off or " : "");
        break;
    case CONFIG_ADDRESSES:
        snprintf(text, size, "%s1 to %d numeric ADDRESS:PORT such as 127.0.0.1:7400, with commas in between",
                 key->max == 1 ? "off or " : "", CONFIG_ADDRESSES_MAX);
        break;
    case CONFIG_LIST:
        snprintf(text, size, "items of the form %s, %d bytes in all", unit, CONFIG_LIST_MAX);
        break;
    case CONFIG_TEXT:
    case CONFIG_FILE:
        snprintf(text, size, "a text of %" PRIu64 " to %d bytes", key->min, CONFIG_TEXT_MAX - 1);
        break;
    }
}

int value_parse(const struct config_key *key, const char *text, void *out, char *why, size_t why_size)
{
    char *field  = (char *)out + key->field;
    int   result = ERR_MALFORMED;
    switch (key->type) {
    case CONFIG_NUMBER:
        result = parse_number(key, text, (uint64_t *)(void *)field);
        break;
    case CONFIG_CHOICE:
        result = parse_choice(key, text, (uint64_t *)(void *)field);
        break;
    case CONFIG_BOOL:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            *(bool *)field = text[0] == 't';
            result         = 0;
        }
        break;
    case CONFIG_ADDRESS:
        if (key->max == 1 && strcmp(text, "off") == 0) {
            *(struct config_address *)(void *)field = (struct config_address){0};
            result                                  = 0;
            break;
        }
        result = parse_address(text, (struct config_address *)(void *)field);
        break;
    case CONFIG_ADDRESSES:
        if (key->max == 1 && strcmp(text, "off") == 0) {
            *(struct config_addresses *)(void *)field = (struct config_addresses){.count = 1};
            result                                    = 0;
            break;
        }
        result = parse_addresses(text, (struct config_addresses *)(void *)field);
        break;
    case CONFIG_LIST:
        result = add_item(text, (struct config_list *)(void *)field);
        break;
    case CONFIG_TEXT:
    case CONFIG_FILE:
        result = parse_text(key, text, field);
        break;
    }
    if (result != 0) {
        char want[160];
        wanted(key, want, sizeof want);
        snprintf(why, why_size, "wants %s, not \"%.80s\"", want, text);
    }
    return result;
}
