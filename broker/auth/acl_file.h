/* acl_file - the rules of a file.
 *
 *   rules:
 *     - allow user alice both home/#                      a rule is a line, as `keel ctl acl add` takes it
 *     - {allow: publish, user: bob, topic: "in/%c/#"}     or a map: allow or deny with the action; user, client, group, address, qos, retain;
 *     - deny: both                                        topic: one filter or a list of them
 *       topic: [secret/#, "eq #"]
 *
 * Threads: any; pure (the text is read by the caller). */
#ifndef KEEL_BROKER_AUTH_ACL_FILE_H
#define KEEL_BROKER_AUTH_ACL_FILE_H

#include "broker/auth/acl.h"

enum { ACL_FILE_RULES_MAX = 100000 };

/* The rules, in a malloc'ed array of malloc'ed rules. True; or false with a sentence in why that begins with the line's number. */
MUST_CHECK bool acl_file_read(struct bytes text, struct acl_rule ***out_rules, uint32_t *out_count, char *why,
                              size_t why_size);
void            acl_file_free(struct acl_rule **rules, uint32_t count);

#endif
