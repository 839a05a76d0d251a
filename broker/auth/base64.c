/* base64.c - six bits at a time. */
#include "broker/auth/base64.h"

#include "shared/base/err.h"

static const char letters_plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
static const char letters_url[]   = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

size_t base64_encode(enum base64_kind kind, struct bytes data, char *out)
{
    const char *letters = kind == BASE64_URL ? letters_url : letters_plain;
    size_t      size    = 0;
    for (size_t i = 0; i < data.size; i += 3) {
        size_t   left = data.size - i < 3 ? data.size - i : 3;
        uint32_t bits = (uint32_t)data.data[i] << 16;
        bits |= left > 1 ? (uint32_t)data.data[i + 1] << 8 : 0;
        bits |= left > 2 ? data.data[i + 2] : 0;
        for (size_t n = 0; n < 4; n++) {
            if (n <= left) {
                out[size++] = letters[bits >> (18 - 6 * n) & 63];
            } else if (kind == BASE64_PADDED) {
                out[size++] = '=';
            }
        }
    }
    out[size] = '\0';
    return size;
}

static int value_of(enum base64_kind kind, uint8_t c)
{
    if (c >= 'A' && c <= 'Z') {
        return c - 'A';
    }
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 26;
    }
    if (c >= '0' && c <= '9') {
        return c - '0' + 52;
    }
    return c == (kind == BASE64_URL ? '-' : '+') ? 62 : c == (kind == BASE64_URL ? '_' : '/') ? 63 : -1;
}

int64_t base64_decode(enum base64_kind kind, struct bytes text, uint8_t *out, size_t room)
{
    size_t size = text.size;
    if (kind == BASE64_PADDED) {
        if (size % 4 != 0) {
            return ERR_MALFORMED;
        }
        for (int i = 0; i < 2 && size > 0 && text.data[size - 1] == '='; i++) {
            size--;
        }
    }
    if (size % 4 == 1) {
        return ERR_MALFORMED;
    }
    size_t   count = 0;
    uint32_t bits  = 0;
    unsigned held  = 0;
    for (size_t i = 0; i < size; i++) {
        int value = value_of(kind, text.data[i]);
        if (value < 0) {
            return ERR_MALFORMED;
        }
        bits = bits << 6 | (uint32_t)value;
        held += 6;
        if (held < 8) {
            continue;
        }
        held -= 8;
        if (count == room) {
            return ERR_TOO_BIG;
        }
        out[count++] = (uint8_t)(bits >> held);
        bits &= (1u << held) - 1;
    }
    return bits == 0 ? (int64_t)count : ERR_MALFORMED;
}
