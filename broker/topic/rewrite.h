/* rewrite - topics that clients publish to and filters that they subscribe to, made into others by an operator's rules.
 *
 *     publish|subscribe|all  SOURCE  [REGEX]  TARGET
 *     all a/+/b/# x/$2/$1                           $1: the level at the first wildcard, $2: all behind '#'
 *     publish legacy/# ^legacy/([a-z]+)-([0-9]+)$ $1/$2     with a regular expression (POSIX extended): its groups
 *
 * The first rule that matches is the one that is used, once. SOURCE matches a topic as a filter does, and a filter as if it were a topic, its
 * wildcards being levels like others. Of $share/group/filter and $exclusive/filter the filter is rewritten.
 * Threads: one per shard (regular expressions lock).   Memory: all at start, but for what regexec takes and gives back. */
#ifndef KEEL_BROKER_TOPIC_REWRITE_H
#define KEEL_BROKER_TOPIC_REWRITE_H

#include "broker/topic/template.h"
#include "shared/base/assert.h"

enum rewrite_action { REWRITE_PUBLISH = 1, REWRITE_SUBSCRIBE = 2 };

struct rewrite;

/* NULL when memory is out. */
struct rewrite *rewrite_new(void);
void            rewrite_free(struct rewrite *rewrite);
/* Copies what it needs. 0, or ERR_MALFORMED with a sentence about the rule. */
MUST_CHECK int rewrite_add(struct rewrite *rewrite, const char *rule, char *why, size_t why_size);
bool           rewrite_any(const struct rewrite *rewrite, enum rewrite_action action);
bool           rewrite_wants_user(const struct rewrite *rewrite);

/* What a topic or filter becomes: itself where no rule matches or the result has no room, else bytes at out, which has room for
 * TEMPLATE_RESULT_MAX. Whether the result is valid is for the caller to see. */
struct bytes rewrite_apply(const struct rewrite *rewrite, enum rewrite_action action, struct bytes topic,
                           struct bytes client_id, struct bytes user, uint8_t *out);

#endif
