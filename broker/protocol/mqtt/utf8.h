/* utf8 - which bytes are a string, a topic name and a topic filter of MQTT.
 *   string   well-formed UTF-8 without U+0000, surrogates or overlong forms [MQTT-1.5.4-1] [MQTT-1.5.4-2]; a byte order mark is a character
 *   name     a string of one character or more, without # and + [MQTT-3.3.2-2] and without control characters (U+0001..1F, U+007F..9F),
 *            which a receiver may refuse (1.5.4)
 *   filter   the same, with # alone in the last level and + alone in any [MQTT-4.7.1-1] [MQTT-4.7.1-2]; $share/name/filter has a
 *            name without / # + [MQTT-4.8.2-1] [MQTT-4.8.2-2]; neither it nor $exclusive/filter has another of the two in it
 * Threads: any; pure. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_UTF8_H
#define KEEL_BROKER_PROTOCOL_MQTT_UTF8_H

#include "shared/base/bytes.h"

bool mqtt_string_valid(struct bytes text);
bool mqtt_topic_name_valid(struct bytes topic);
bool mqtt_topic_filter_valid(struct bytes filter);
/* A client identifier or user name: a string without control characters, which logs and lists would carry on. May be empty. */
bool mqtt_identity_valid(struct bytes text);

/* Does it begin with "$share/"? */
bool mqtt_topic_filter_shared(struct bytes filter);
/* Is it "$share/" and a valid name of a group, with nothing behind that? */
bool mqtt_topic_filter_only_share(struct bytes filter);
/* Has a valid filter a # or + in it? */
bool mqtt_topic_filter_wildcard(struct bytes filter);

#endif
