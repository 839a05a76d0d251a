/* guard - what main.c does about who may do what: reads the files of users, rules and keys, makes the threads that check, and hands what operators change
 * to a shard.
 * Threads: main's; guard_control on those of the admin. */
#ifndef KEEL_BROKER_GUARD_H
#define KEEL_BROKER_GUARD_H

#include "shared/base/assert.h"

#include <stdbool.h>
#include <stddef.h>

struct broker;
struct broker_config;
struct settings;

/* Fills config->auth from files. False with a sentence in why. Says in the log who will be let in where. */
MUST_CHECK bool guard_read(const struct settings *settings, struct broker_config *config, char *why, size_t why_size);
/* Desks, workers and the thread for hooks: before the shards. */
void guard_open(struct broker *broker, const struct settings *settings);
/* Behind the shards and the admin. */
void guard_close(struct broker *broker, const struct broker_config *config);
/* Users and rules of files, and keys of tokens, are read again. False with a sentence in why: nothing has changed. Any thread. */
MUST_CHECK bool guard_reload(struct broker *broker, const struct settings *settings, char *why, size_t why_size);
/* For admin_spec.control; ctx: the struct broker. */
int guard_control(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text);

#endif
