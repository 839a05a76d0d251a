/* Filters match as MQTT 4.7 says, and what they skip could not have matched. */
#include "segstore/stripe/filter.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static bool matches(const char *filter, const char *key)
{
    struct filter_seek seek;
    return filter_step(bytes_str(filter), bytes_str(key), &seek) == FILTER_MATCH;
}

Test(stripe_filter, the_examples_of_the_standard_match)
{
    cr_assert(matches("sport/tennis/player1/#", "sport/tennis/player1"));
    cr_assert(matches("sport/tennis/player1/#", "sport/tennis/player1/ranking"));
    cr_assert(matches("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon"));
    cr_assert(matches("sport/#", "sport"));
    cr_assert(matches("#", "sport/x"));
    cr_assert(matches("sport/tennis/+", "sport/tennis/player1"));
    cr_assert(!matches("sport/tennis/+", "sport/tennis/player1/ranking"));
    cr_assert(!matches("sport/+", "sport"));
    cr_assert(matches("sport/+", "sport/"));
    cr_assert(matches("+/+", "/finance"));
    cr_assert(matches("/+", "/finance"));
    cr_assert(!matches("+", "/finance"));
}

Test(stripe_filter, wildcards_in_front_do_not_match_dollar)
{
    cr_assert(!matches("#", "$SYS/x"));
    cr_assert(!matches("+/x", "$SYS/x"));
    cr_assert(matches("$SYS/#", "$SYS/x"));
    cr_assert(matches("$SYS/+", "$SYS/x"));
    cr_assert(matches("+/$SYS", "x/$SYS"));
}

/* Level by level, with no cleverness at all. */
static bool naive(const char *filter, const char *key, bool first)
{
    if (first && *key == '$' && (*filter == '+' || *filter == '#')) {
        return false;
    }
    if (strcmp(filter, "#") == 0) {
        return true;
    }
    size_t f = strcspn(filter, "/");
    size_t k = strcspn(key, "/");
    if (!(f == 1 && *filter == '+') && (f != k || memcmp(filter, key, f) != 0)) {
        return false;
    }
    if (filter[f] == '\0' || key[k] == '\0') {
        return filter[f] == key[k] || strcmp(filter + f, "/#") == 0;
    }
    return naive(filter + f + 1, key + k + 1, false);
}

static void draw(struct rand *r, char *out, bool filter)
{
    static const char letters[] = "a/b!/$0";
    size_t            size      = 1 + rand_below(r, 7);
    for (size_t i = 0; i < size; i++) {
        out[i] = letters[rand_below(r, 7)];
    }
    out[size] = '\0';
    for (size_t i = 0; filter && i < size; i++) { /* whole levels become wildcards */
        bool begins = i == 0 || out[i - 1] == '/';
        bool ends   = i + 1 == size || out[i + 1] == '/';
        if (begins && ends && out[i] != '/' && rand_chance(r, 2)) {
            out[i] = '+';
        }
    }
    if (filter && rand_chance(r, 3)) {
        strcpy(out[size - 1] == '/' ? out + size : out + size, out[size - 1] == '/' ? "#" : "/#");
    }
}

static int compare(const void *a, const void *b)
{
    return strcmp(a, b);
}

Test(stripe_filter, skipping_finds_what_looking_at_every_key_finds)
{
    enum { KEYS = 300 };
    static char keys[KEYS][16];
    struct rand r;
    rand_init(&r, 1, 1);
    for (int round = 0; round < 2000; round++) {
        char filter[20];
        draw(&r, filter, true);
        for (int i = 0; i < KEYS && round % 50 == 0; i++) {
            draw(&r, keys[i], false);
        }
        qsort(keys, KEYS, sizeof keys[0], compare);
        int looked = 0;
        for (int i = 0; i < KEYS;) {
            struct filter_seek  seek;
            enum filter_verdict verdict = filter_step(bytes_str(filter), bytes_str(keys[i]), &seek);
            cr_assert_eq(verdict == FILTER_MATCH, naive(filter, keys[i], true), "%s %s", filter, keys[i]);
            looked++;
            int next = i + 1;
            if (verdict == FILTER_SEEK) {
                char to[64] = {0};
                memcpy(to, seek.head.data, seek.head.size);
                memcpy(to + seek.head.size, seek.tail.data, seek.tail.size);
                struct bytes target = bytes_of(to, seek.head.size + seek.tail.size);
                cr_assert_gt(bytes_compare(target, bytes_str(keys[i])), 0);
                while (next < KEYS && bytes_compare(bytes_str(keys[next]), target) < 0) {
                    cr_assert(!naive(filter, keys[next], true), "%s skips %s at %s", filter, keys[next], keys[i]);
                    next++;
                }
            } else if (verdict == FILTER_END) {
                for (; next < KEYS; next++) {
                    cr_assert(!naive(filter, keys[next], true), "%s ends before %s", filter, keys[next]);
                }
            }
            i = next;
        }
        cr_assert_leq(looked, KEYS);
    }
}
