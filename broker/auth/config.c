/* config.c - the words of the chain. */
#include "broker/auth/config.h"

#include <stdio.h>

bool auth_chain_read(const char *text, struct auth_config *out, char *why, size_t why_size)
{
    static const char *const words[AUTH_LINKS] = {"cert", "password", "jwt", "http"};
    unsigned                 seen              = 0;
    out->link_count                            = 0;
    while (*text != '\0') {
        size_t   size  = strcspn(text, ", []");
        unsigned found = AUTH_LINKS;
        for (unsigned i = 0; size > 0 && i < AUTH_LINKS; i++) {
            found = strlen(words[i]) == size && memcmp(words[i], text, size) == 0 ? i : found;
        }
        if (size > 0 && (found == AUTH_LINKS || (seen >> found & 1) != 0)) {
            snprintf(why, why_size, "auth.chain wants some of cert, password, jwt and http, each once, not \"%.40s\"",
                     text);
            return false;
        }
        if (size > 0) {
            seen |= 1u << found;
            out->links[out->link_count++] = (uint8_t)found;
        }
        text += size > 0 ? size : 1;
    }
    return true;
}
