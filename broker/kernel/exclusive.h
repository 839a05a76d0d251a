/* exclusive - "$exclusive/<filter>" has one subscriber at a time, on all shards; it is a group that nobody else may join.
 *
 *     shard of a session ──MAIL_EXCLUSIVE_ASK──▶ home of the filter (hash): held by another client id? ──MAIL_EXCLUSIVE_ANSWER──▶ subscribe.c
 *              └─────────unsubscribed, session closed: MAIL_EXCLUSIVE_RELEASE──▶ free, unless a stored session has it: then when that ends
 *
 * A session that is connected and subscribed (or about to be) is known at the home; one that is away, by its stored subscription, as on every shard. When there
 * are several broker processes the home is a shard of the senior (company.h). Its heir knows who is subscribed from the groups, and is asked again by those who were not answered.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_EXCLUSIVE_H
#define KEEL_BROKER_KERNEL_EXCLUSIVE_H

#include "broker/kernel/session.h"

/* Asks for a subscription; answered by subscribe_exclusive_answer (life.h), perhaps before it returns. */
void exclusive_ask(struct session *session, uint32_t ticket, uint32_t index, struct bytes filter);
/* The session of that serial on this shard does not have it any more. */
void exclusive_release(struct kernel *kernel, uint64_t serial, struct bytes filter);
void exclusive_receive(struct kernel *kernel, unsigned from, const struct kernel_mail *mail);
/* That shard has gone, and its sessions. */
void exclusive_lost(struct kernel *kernel, unsigned shard);
/* Another process may be the senior. */
void exclusive_senior(struct kernel *kernel);
void exclusive_fini(struct kernel *kernel);

#endif
