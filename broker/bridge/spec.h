/* spec - what one bridge is told: where the other broker is, as whom to come, and which topics go which way.
 *
 *   address=broker.example:1883
 *   version=5                       4 or 5
 *   client_id=keel.office           the one the other broker keeps a session for
 *   user=.. password_file=FILE      on the broker's machine, read for each connection, so that no password is in here ..
 *   password=..                     .. or the password itself
 *   keep_alive=60                   s
 *   tls=yes                         the address is then 8883 when it names no port, and its certificate is checked against the host
 *   tls_ca=FILE tls_cert=FILE tls_key=FILE      on the broker's machine; without tls_ca what the system trusts
 *   topic=PATTERN [out|in|both] [QOS] [LOCAL-PREFIX] [REMOTE-PREFIX]      one line each; as in mosquitto.conf; "" is an empty prefix
 *
 *   out   local   LOCAL-PREFIX  + PATTERN    ─▶  remote  REMOTE-PREFIX + what PATTERN matched
 *   in    remote  REMOTE-PREFIX + PATTERN    ─▶  local   LOCAL-PREFIX  + what PATTERN matched
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_BRIDGE_SPEC_H
#define KEEL_BROKER_BRIDGE_SPEC_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum {
    BRIDGE_NAME_MAX   = 64,
    BRIDGE_TOPICS_MAX = 64,
    BRIDGE_TEXT_MAX   = 256,
    BRIDGE_FILTER_MAX = 512,
    BRIDGE_SPEC_MAX   = 16384
};

enum bridge_way { BRIDGE_OUT = 1, BRIDGE_IN = 2 };

struct bridge_topic {
    uint8_t  ways; /* enum bridge_way */
    uint8_t  qos;
    uint16_t local_prefix_size;
    uint16_t remote_prefix_size;
    uint16_t local_size;
    uint16_t remote_size;
    char     local[BRIDGE_FILTER_MAX]; /* prefix and pattern */
    char     remote[BRIDGE_FILTER_MAX];
};

struct bridge_spec {
    char                host[BRIDGE_TEXT_MAX];
    uint16_t            port;
    uint8_t             version; /* enum mqtt_version: 4 or 5 */
    uint16_t            keep_alive_s;
    char                client_id[BRIDGE_TEXT_MAX];
    char                user[BRIDGE_TEXT_MAX]; /* empty: none; so is the next */
    char                password[BRIDGE_TEXT_MAX];
    char                password_file[BRIDGE_TEXT_MAX]; /* empty: none */
    bool                tls;
    char                tls_authority[BRIDGE_TEXT_MAX]; /* empty: none; so are the next two */
    char                tls_certificate[BRIDGE_TEXT_MAX];
    char                tls_key[BRIDGE_TEXT_MAX];
    uint32_t            topic_count;
    struct bridge_topic topics[BRIDGE_TOPICS_MAX];
};

/* Reads the lines. 0, or ERR_MALFORMED and a sentence without its newline in why. */
MUST_CHECK int bridge_spec_read(struct bytes name, struct bytes text, struct bridge_spec *out, char *why,
                                size_t why_size);
/* The rule of that way which takes the topic (a remote one for BRIDGE_IN), and its new name at out, with room for 65535 bytes: its size; 0: no rule
 * takes it, or the name would be too long. */
size_t bridge_map(const struct bridge_spec *spec, enum bridge_way way, struct bytes topic,
                  const struct bridge_topic **out_rule, uint8_t *out);
/* Does the topic match the filter (MQTT 4.7)? */
bool bridge_matches(struct bytes filter, struct bytes topic);

static inline struct bytes bridge_local(const struct bridge_topic *t)
{
    return bytes_of(t->local, t->local_size);
}
static inline struct bytes bridge_remote(const struct bridge_topic *t)
{
    return bytes_of(t->remote, t->remote_size);
}

#endif
