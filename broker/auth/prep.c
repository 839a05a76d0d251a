/* prep.c - one character after the other against the prohibited ranges. */
#include "broker/auth/prep.h"

/* RFC 3454: B.1 (mapped to nothing), C.1.2 (spaces), C.2 .. C.9 (prohibited). */
static const struct {
    uint32_t first, last;
} refused[] = {
    {0x0000, 0x001f}, {0x007f, 0x00a0}, {0x00ad, 0x00ad},   {0x0340, 0x0341},   {0x034f, 0x034f},      {0x06dd, 0x06dd},
    {0x070f, 0x070f}, {0x1680, 0x1680}, {0x1806, 0x1806},   {0x180b, 0x180e},   {0x2000, 0x200f},      {0x2028, 0x202f},
    {0x205f, 0x206f}, {0x2ff0, 0x2ffb}, {0x3000, 0x3000},   {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},      {0xfe00, 0xfe0f},
    {0xfeff, 0xfeff}, {0xfff9, 0xffff}, {0x1d173, 0x1d17a}, {0xe0000, 0xe007f}, {0xf0000, UINT32_MAX},
};

/* The next character, UINT32_MAX when the bytes are not UTF-8. */
static uint32_t next(struct bytes *text)
{
    uint8_t  first = text->data[0];
    size_t   size  = first < 0x80 ? 1 : first >= 0xc2 && first < 0xe0 ? 2 : (first & 0xf0) == 0xe0 ? 3 : 4;
    uint32_t value = size == 1 ? first : first & (0x7fu >> size);
    if (size > text->size || (first >= 0x80 && first < 0xc2) || first > 0xf4) {
        return UINT32_MAX;
    }
    for (size_t i = 1; i < size; i++) {
        if ((text->data[i] & 0xc0) != 0x80) {
            return UINT32_MAX;
        }
        value = value << 6 | (text->data[i] & 0x3f);
    }
    *text         = bytes_of(text->data + size, text->size - size);
    bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
    return overlong ? UINT32_MAX : value;
}

const char *prep_check(struct bytes text)
{
    if (text.size == 0) {
        return "it is empty";
    }
    while (text.size > 0) {
        uint32_t c = next(&text);
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
            if (c >= refused[i].first && c <= refused[i].last) {
                return c == UINT32_MAX ? "it is not UTF-8" : "it has a character that SASLprep prohibits or changes";
            }
        }
        if ((c & 0xfffe) == 0xfffe) {
            return "it has a non-character of Unicode";
        }
    }
    return NULL;
}
