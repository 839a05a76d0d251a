/* template - one pass over the text. */
#include "broker/topic/template.h"

bool template_valid(struct bytes text, unsigned captures)
{
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c    = text.data[i];
        uint8_t next = i + 1 < text.size ? text.data[i + 1] : 0;
        if (c == '%' && next != 'c' && next != 'u' && next != '%') {
            return false;
        }
        if (c == '$' && next >= '0' && next <= '9' && (next == '0' || (unsigned)(next - '0') > captures)) {
            return false;
        }
        i += (c == '%' || c == '$') && (next == '%' || next == '$');
    }
    return text.size != 0;
}

bool template_wants_user(struct bytes text)
{
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] == '%') {
            if (text.data[i + 1] == 'u') {
                return true;
            }
            i++;
        }
    }
    return false;
}

/* A name that is one level and no wildcard. */
static bool is_level(struct bytes name)
{
    for (size_t i = 0; i < name.size; i++) {
        if (name.data[i] == '/' || name.data[i] == '+' || name.data[i] == '#') {
            return false;
        }
    }
    return name.size != 0;
}

bool template_fill(struct bytes text, const struct template_values *v, uint8_t *out, size_t *out_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t      c     = text.data[i];
        uint8_t      next  = i + 1 < text.size ? text.data[i + 1] : 0;
        struct bytes value = bytes_of(text.data + i, 1);
        if (c == '%') {
            value = next == 'c' ? v->client_id : next == 'u' ? v->user : value;
            if (next != '%' && !is_level(value)) {
                return false;
            }
            i++;
        } else if (c == '$' && next >= '1' && next <= '9') {
            value = v->captures[next - '1'];
            i++;
        } else if (c == '$' && next == '$') {
            i++;
        }
        if (value.size > TEMPLATE_RESULT_MAX - size) {
            return false;
        }
        if (value.size != 0) {
            memcpy(out + size, value.data, value.size);
        }
        size += value.size;
    }
    *out_size = size;
    return true;
}

int template_words(const char *text, struct bytes *words, int max)
{
    int count = 0;
    for (const char *at = text;;) {
        while (*at == ' ' || *at == '\t') {
            at++;
        }
        if (*at == '\0') {
            return count;
        }
        bool        quoted = *at == '"';
        const char *begin  = quoted ? at + 1 : at;
        size_t      size   = quoted ? strcspn(begin, "\"") : strcspn(begin, " \t");
        if (count == max || (quoted && begin[size] == '\0')) {
            return -1;
        }
        words[count++] = bytes_of(begin, size);
        at             = begin + size + quoted;
    }
}
