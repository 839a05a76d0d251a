/* hex - packets in tests as text: "10 0c 'MQTT' 05", digits in pairs, characters in quotes, spaces ignored. */
#ifndef KEEL_TESTS_UNIT_BROKER_PROTOCOL_MQTT_HEX_H
#define KEEL_TESTS_UNIT_BROKER_PROTOCOL_MQTT_HEX_H

#include "shared/base/bytes.h"

#include <ctype.h>
#include <stdlib.h>

static inline size_t hex_parse(const char *text, uint8_t *out, size_t room)
{
    size_t size   = 0;
    bool   quoted = false;
    for (const char *at = text; *at != '\0'; at++) {
        if (*at == '\'') {
            quoted = !quoted;
        } else if (quoted) {
            out[size++] = (uint8_t)*at;
        } else if (isxdigit((unsigned char)*at)) {
            char digits[3] = {at[0], at[1], '\0'};
            out[size++]    = (uint8_t)strtoul(digits, NULL, 16);
            at++;
        }
        if (size == room) {
            abort();
        }
    }
    return size;
}

#endif
