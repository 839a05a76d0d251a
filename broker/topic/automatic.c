/* automatic - words into options. */
#include "broker/topic/automatic.h"

#include "shared/base/err.h"

#include <stdio.h>

enum { WORDS_MAX = 5 };

/* "name=digit" with a digit from 0 to max. */
static bool option(struct bytes word, const char *name, uint8_t max, uint8_t *out)
{
    size_t size = strlen(name);
    if (word.size != size + 2 || memcmp(word.data, name, size) != 0 || word.data[size] != '=' ||
        word.data[size + 1] < '0' || word.data[size + 1] > '0' + max) {
        return false;
    }
    *out = (uint8_t)(word.data[size + 1] - '0');
    return true;
}

int automatic_add(struct automatic *automatic, const char *text, char *why, size_t why_size)
{
    struct bytes words[WORDS_MAX];
    int          count = template_words(text, words, WORDS_MAX);
    uint8_t      qos = 0, nl = 0, rap = 0, rh = 0;
    bool         understood = count > 0 && template_valid(words[0], 0);
    for (int i = 1; i < count; i++) {
        understood = understood && (option(words[i], "qos", 2, &qos) || option(words[i], "nl", 1, &nl) ||
                                    option(words[i], "rap", 1, &rap) || option(words[i], "rh", 2, &rh));
    }
    if (!understood || automatic->count == AUTOMATIC_MAX) {
        snprintf(why, why_size, "\"%.120s\": %s", text,
                 understood ? "there are 64 already"
                            : "wants FILTER [qos=0..2] [nl=0|1] [rap=0|1] [rh=0..2], with %c or %u for the client");
        return ERR_MALFORMED;
    }
    automatic->items[automatic->count++] = (struct automatic_item){
        .filter = words[0], .qos = qos, .no_local = nl, .retain_as_published = rap, .retain_handling = rh};
    return 0;
}

bool automatic_wants_user(const struct automatic *automatic)
{
    for (unsigned i = 0; i < automatic->count; i++) {
        if (template_wants_user(automatic->items[i].filter)) {
            return true;
        }
    }
    return false;
}
