/* value - one setting between its text and its field.
 * Threads: any; pure but for the locale. */
#ifndef KEEL_SHARED_CONFIG_VALUE_H
#define KEEL_SHARED_CONFIG_VALUE_H

#include "shared/config/config.h"

/* Parses text as key wants it into its field of the struct at out. 0, or ERR_MALFORMED with a half sentence
 * ("wants a number from 1 to 65535, not \"many\"") in why; the field is then as it was. */
MUST_CHECK int value_parse(const struct config_key *key, const char *text, void *out, char *why, size_t why_size);

#endif
