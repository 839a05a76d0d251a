/* topic - what is a valid topic name, a valid topic filter, and the parts of a shared one (MQTT 5.0, 4.7 and 4.8).
 *
 *     a/b/c          name: no '+', no '#'
 *     a/+/c/#        filter: '+' is a whole level, '#' a whole level and the last
 *     $share/g/a/#   filter of the group g: neither "/", "+" nor "#" in g, the rest is a filter of its own
 *   $exclusive/a/# filter of one subscriber at a time; the rest is a filter of its own, neither shared nor exclusive
 *
 * That the bytes are UTF-8 was checked by the protocol. Threads: any; pure. */
#ifndef KEEL_BROKER_KERNEL_TOPIC_H
#define KEEL_BROKER_KERNEL_TOPIC_H

#include "shared/base/bytes.h"

enum { TOPIC_MAX_BYTES = 65535 };

/* May it be subscribed to? A filter that begins with "$share/" must be a complete shared one. */
bool topic_filter_valid(struct bytes filter);
/* Has it a wildcard? Of a valid filter. */
bool topic_filter_wild(struct bytes filter);
/* A shared filter: true, and its two parts. Of a valid filter. */
bool topic_share_split(struct bytes filter, struct bytes *out_group, struct bytes *out_filter);

/* An exclusive filter: true, and the filter behind "$exclusive/". Of a valid filter. */
bool topic_exclusive_split(struct bytes filter, struct bytes *out_filter);
/* Either of the two: one of several subscribers gets each message. Of a valid filter. */
bool topic_group_split(struct bytes filter, struct bytes *out_group, struct bytes *out_filter);
/* The same, without the parts. */
bool topic_is_grouped(struct bytes filter);
/* The level that begins at *at; moves *at behind it and its '/', or beyond size at the end. */
struct bytes topic_level(struct bytes topic, size_t *at);
/* Does a valid filter, neither shared nor exclusive, match a topic? */
bool topic_matches(struct bytes filter, struct bytes topic);

#endif
