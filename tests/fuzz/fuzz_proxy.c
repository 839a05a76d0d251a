/* The PROXY header, split as the input says. It ends whole or refused, and never takes a byte behind it. */
#include "broker/transport/proxy.h"
#include "shared/base/err.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct proxy at_once = {0}, in_pieces = {0};
    struct bytes all = bytes_of(data, size), rest = all;
    int          first = proxy_feed(&at_once, &all), result = 0;
    size_t       step = size > 0 ? 1u + data[size - 1] % 7u : 1;
    while (result == 0 && rest.size > 0) {
        struct bytes part = bytes_of(rest.data, rest.size < step ? rest.size : step);
        size_t       was  = part.size;
        result            = proxy_feed(&in_pieces, &part);
        rest              = bytes_of(rest.data + (was - part.size), rest.size - (was - part.size));
    }
    ASSERT(first == result && rest.size == all.size);
    ASSERT(first != 1 || strcmp(at_once.address, in_pieces.address) == 0);
    return 0;
}
