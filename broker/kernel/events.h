/* events - clients that come and go, and what they subscribe to, as messages for those who want to know:
 *
 *     $events/client/connected      {"clientid", "ts", "clean_start", "session_present", "expiry"}
 *     $events/client/disconnected   {"clientid", "ts", "reason"}     reason: normal, lost, taken_over, overrun, unavailable, shutdown
 *     $events/client/subscribed     {"clientid", "ts", "filter", "qos"}
 *     $events/client/unsubscribed   {"clientid", "ts", "filter"}
 *
 * ts: ms of the wall clock; expiry: s. Nothing is made while nobody is subscribed; at most limits.events_per_s a second are, and the next one
 * says how many were left out ("left_out"). QoS 1: a stored session gets those that happen while it is away.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_EVENTS_H
#define KEEL_BROKER_KERNEL_EVENTS_H

#include "broker/kernel/session.h"

void events_connected(const struct session *session, bool clean_start, bool session_present);
/* why: of events.h's reasons. */
void events_disconnected(const struct session *session, const char *why);
void events_subscribed(const struct session *session, struct bytes filter, int qos);
void events_unsubscribed(const struct session *session, struct bytes filter);

#endif
