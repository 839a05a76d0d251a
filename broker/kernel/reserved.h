/* reserved - topics that begin with '$' and mean something to this broker.
 *
 *     $delayed/<seconds>/<topic>   is published to <topic> that many seconds later       delayed.h
 *     $exclusive/..  $share/..     are for filters only
 *     $SYS/..  $events/..          are the broker's own: clients read them; but bridges of Mosquitto say in
 *                                  $SYS/broker/connection/<bridge>/state how they are
 *
 * Any other topic that begins with '$' is like all topics, but for leading wildcards [MQTT-4.7.2-1].
 * Threads: any; pure. */
#ifndef KEEL_BROKER_KERNEL_RESERVED_H
#define KEEL_BROKER_KERNEL_RESERVED_H

#include "broker/kernel/kernel.h"

struct reserved {
    int status; /* 0, or why a client may not publish to it: ERR_DENIED, ERR_MALFORMED, ERR_QUOTA (the delay is too long) */
    bool         ignored; /* not published, and the client is not told */
    bool         delayed;
    uint32_t     delay_s;
    struct bytes topic; /* to which it is published in the end */
};

struct reserved reserved_look(const struct kernel_limits *limits, struct bytes topic);

#endif
