/* template - a topic or filter with places for what is known of a client, and of the topic that a rule matched.
 *
 *     plant/$1/by/%c     $1 .. $9: what the wildcards or the groups of the rule matched;  %c client identifier, %u user name;  %% and $$ themselves
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_TOPIC_TEMPLATE_H
#define KEEL_BROKER_TOPIC_TEMPLATE_H

#include "shared/base/bytes.h"

enum { TEMPLATE_CAPTURES_MAX = 9, TEMPLATE_RESULT_MAX = 65535 };

struct template_values {
    struct bytes client_id;
    struct bytes user; /* empty: it gave none */
    struct bytes captures[TEMPLATE_CAPTURES_MAX];
    unsigned     capture_count;
};

/* Does the text ask for something that is never there: a capture above captures, or "%x"? */
bool template_valid(struct bytes text, unsigned captures);
bool template_wants_user(struct bytes text);
/* Writes the text with its places filled in at out, which has room for TEMPLATE_RESULT_MAX. False: it does not fit, there is no user name, or
 * a client identifier or user name has a '/', '+' or '#' in it, which would name something else than was meant. */
bool template_fill(struct bytes text, const struct template_values *values, uint8_t *out, size_t *out_size);

/* The words of a setting, apart by blanks; "in quotes" with blanks in it. Returns how many there are, or -1: more than max, or a quote without its end. */
int template_words(const char *text, struct bytes *words, int max);

#endif
