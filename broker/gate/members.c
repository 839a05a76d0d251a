/* members.c - numbers between commas. */
#include "broker/gate/members.h"

#include <stdint.h>

const char *members_row(struct bytes text, struct wire_writer *out)
{
    static const char usage[] =
        "the nodes are numbers from 1 to 65535 with commas between them, each once, at most 24, like 1,2,4";
    uint16_t nodes[MEMBERS_COUNT_MAX];
    uint16_t count = 0;
    size_t   at    = 0;
    do {
        uint32_t number = 0;
        size_t   begun  = at;
        for (; at < text.size && text.data[at] >= '0' && text.data[at] <= '9' && number <= UINT16_MAX; at++) {
            number = number * 10 + (uint32_t)(text.data[at] - '0');
        }
        if (at == begun || number == 0 || number > UINT16_MAX || count == MEMBERS_COUNT_MAX) {
            return usage;
        }
        for (uint16_t i = 0; i < count; i++) {
            if (nodes[i] == number) {
                return usage;
            }
        }
        nodes[count++] = (uint16_t)number;
    } while (at < text.size && text.data[at++] == ',');
    if (at < text.size || text.data[text.size - 1] == ',') {
        return usage;
    }
    wire_put_u16(out, count);
    for (uint16_t i = 0; i < count; i++) {
        wire_put_u16(out, nodes[i]);
    }
    return NULL;
}

uint32_t members_number(struct bytes text, uint32_t max)
{
    uint32_t number = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max) {
            return 0;
        }
        number = number * 10 + (uint32_t)(text.data[i] - '0');
    }
    return number <= max ? number : 0;
}
