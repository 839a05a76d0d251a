/* reload - files that may be renewed while the broker runs: certificates and keys of TLS, users, rules, keys of tokens. On SIGHUP, and by
 * `keel ctl reload` (POST /reload). A file that is wrong changes nothing of its kind.
 * Threads: any. */
#ifndef KEEL_BROKER_RELOAD_H
#define KEEL_BROKER_RELOAD_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>

struct broker;
struct settings;

/* Reads the files of TLS and hands them to every shard for its new connections. 0, or an error with a sentence in why. */
MUST_CHECK int reload_tls(const struct settings *settings, struct broker *broker, char *why, size_t why_size);
/* All of them, by broker->settings; says in the log, and when out_text is not NULL in a malloc'ed text, what came of it. False: something was wrong. */
bool reload_all(struct broker *broker, char **out_text);
/* The request: its HTTP status. */
int reload_handle(struct broker *broker, const char *method, char **out_text);

#endif
