/* networks - see networks.h. */
#include "broker/shard/networks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BITS_MAX = 8 * ACL_ADDRESS_BYTES, MAPPED_BITS = 96, WORD_MAX_BYTES = 64 };

static bool read_one(char *word, struct networks *out)
{
    char         *slash = strchr(word, '/');
    char         *end   = NULL;
    unsigned long most  = strchr(word, ':') != NULL ? BITS_MAX : BITS_MAX - MAPPED_BITS;
    unsigned long bits  = most;
    if (slash != NULL) {
        *slash = '\0';
        bits   = strtoul(slash + 1, &end, 10);
        if (slash[1] < '0' || slash[1] > '9' || *end != '\0' || bits > most) {
            return false;
        }
    }
    out->each[out->count].bits = (uint8_t)(bits + BITS_MAX - most);
    return acl_address(word, out->each[out->count++].address);
}

bool networks_read(const char *text, struct networks *out, char *why, size_t why_size)
{
    *out = (struct networks){0};
    while (*text != '\0') {
        char   word[WORD_MAX_BYTES] = "", shown[WORD_MAX_BYTES];
        size_t size                 = strcspn(text, ", \t");
        if (size >= sizeof word || (size > 0 && out->count == NETWORKS_MAX)) {
            snprintf(why, why_size, "proxy.trusted has more than %d addresses, or one that is too long", NETWORKS_MAX);
            return false;
        }
        memcpy(word, text, size);
        memcpy(shown, word, sizeof shown);
        if (size > 0 && !read_one(word, out)) {
            snprintf(why, why_size, "proxy.trusted: \"%s\" is neither an address nor a prefix like 10.0.0.0/8", shown);
            return false;
        }
        text += size + (text[size] != '\0');
    }
    return true;
}

bool networks_have(const struct networks *networks, const char *address)
{
    uint8_t at[ACL_ADDRESS_BYTES];
    if (!acl_address(address, at)) {
        return false;
    }
    for (uint32_t i = 0; i < networks->count; i++) {
        unsigned whole = networks->each[i].bits / 8u, rest = networks->each[i].bits % 8u;
        if (memcmp(at, networks->each[i].address, whole) == 0 &&
            (rest == 0 || (at[whole] ^ networks->each[i].address[whole]) >> (8 - rest) == 0)) {
            return true;
        }
    }
    return false;
}

bool network_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0 || strncmp(address, "::ffff:127.", 11) == 0;
}
