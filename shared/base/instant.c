/* instant.c - days from the civil calendar and back. */
#include "shared/base/instant.h"

#define SECOND_NS 1000000000ull

enum { DAY_S = 86400, YEAR_MIN = 1970, YEAR_MAX = 2261 };

/* Years begin in March here, so that the leap day is the last one. */
static int64_t days_of(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t shifted = month > 2 ? month - 3 : month + 9;
    return 365 * year + year / 4 - year / 100 + year / 400 + (153 * shifted + 2) / 5 + day - 1 - 719468;
}

struct reader {
    struct bytes left;
    bool         bad;
};

static int64_t number(struct reader *r, size_t digits, int64_t min, int64_t max)
{
    int64_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        bool digit = i < r->left.size && r->left.data[i] >= '0' && r->left.data[i] <= '9';
        r->bad     = r->bad || !digit;
        value      = value * 10 + (digit ? r->left.data[i] - '0' : 0);
    }
    if (r->bad || value < min || value > max) {
        r->bad = true;
        return min;
    }
    r->left = bytes_of(r->left.data + digits, r->left.size - digits);
    return value;
}

static bool skip(struct reader *r, char a, char b)
{
    if (r->bad || r->left.size == 0 || (r->left.data[0] != a && r->left.data[0] != b)) {
        return false;
    }
    r->left = bytes_of(r->left.data + 1, r->left.size - 1);
    return true;
}

static void need(struct reader *r, char a, char b)
{
    r->bad = !skip(r, a, b) || r->bad;
}

static int64_t fraction_ns(struct reader *r)
{
    int64_t ns    = 0;
    int64_t digit = (int64_t)SECOND_NS / 10;
    size_t  count = 0;
    for (; count < r->left.size && r->left.data[count] >= '0' && r->left.data[count] <= '9'; count++, digit /= 10) {
        ns += (r->left.data[count] - '0') * digit;
    }
    r->bad  = r->bad || count == 0;
    r->left = bytes_of(r->left.data + count, r->left.size - count);
    return ns;
}

/* Seconds to take away. */
static int64_t zone_s(struct reader *r)
{
    if (skip(r, 'Z', 'z')) {
        return 0;
    }
    bool east = skip(r, '+', '+');
    if (!east) {
        need(r, '-', '-');
    }
    int64_t hours = number(r, 2, 0, 23);
    need(r, ':', ':');
    int64_t seconds = hours * 3600 + number(r, 2, 0, 59) * 60;
    return east ? seconds : -seconds;
}

bool instant_read(struct bytes text, uint64_t *out_ns)
{
    static const uint8_t month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    struct reader        r            = {.left = text};
    int64_t              year         = number(&r, 4, YEAR_MIN, YEAR_MAX);
    need(&r, '-', '-');
    int64_t month = number(&r, 2, 1, 12);
    need(&r, '-', '-');
    bool    leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    int64_t day  = number(&r, 2, 1, month_days[month - 1] + (month == 2 && leap));
    need(&r, 'T', ' ');
    int64_t seconds = number(&r, 2, 0, 23) * 3600;
    need(&r, ':', ':');
    seconds += number(&r, 2, 0, 59) * 60;
    int64_t ns = 0;
    if (skip(&r, ':', ':')) {
        seconds += number(&r, 2, 0, 59);
        ns = skip(&r, '.', '.') ? fraction_ns(&r) : 0;
    }
    seconds += days_of(year, month, day) * DAY_S - zone_s(&r);
    if (r.bad || r.left.size != 0 || seconds < 0) {
        return false;
    }
    *out_ns = (uint64_t)seconds * SECOND_NS + (uint64_t)ns;
    return true;
}

static void digits_of(char *out, size_t digits, uint64_t value)
{
    for (size_t i = digits; i-- > 0; value /= 10) {
        out[i] = (char)('0' + value % 10);
    }
}

void instant_write(uint64_t ns, char out[INSTANT_TEXT_BYTES])
{
    uint64_t seconds = ns / SECOND_NS;
    uint64_t days    = seconds / DAY_S + 719468;
    uint64_t rest    = seconds % DAY_S;
    uint64_t era     = days / 146097;
    uint64_t day     = days % 146097;
    uint64_t year    = (day - day / 1460 + day / 36524 - day / 146096) / 365;
    uint64_t in_year = day - (365 * year + year / 4 - year / 100);
    uint64_t shifted = (5 * in_year + 2) / 153;
    uint64_t month   = shifted < 10 ? shifted + 3 : shifted - 9;
    memcpy(out, "0000-00-00T00:00:00.000Z", INSTANT_TEXT_BYTES);
    digits_of(out, 4, era * 400 + year + (month <= 2));
    digits_of(out + 5, 2, month);
    digits_of(out + 8, 2, in_year - (153 * shifted + 2) / 5 + 1);
    digits_of(out + 11, 2, rest / 3600);
    digits_of(out + 14, 2, rest / 60 % 60);
    digits_of(out + 17, 2, rest % 60);
    digits_of(out + 20, 3, ns / 1000000 % 1000);
}
