/* metrics - numbers that shards publish and the admin thread reads.
 *
 *   shard thread ──metrics_set (relaxed store)──▶ its own slots ──metrics_print (relaxed load)──▶ Prometheus text
 *
 * A slot has one writer, so a plain store is enough and no read-modify-write is needed on the hot path: the shard keeps its
 * counts in plain memory and publishes them a few times a second. Numbers of one scrape may be from slightly different moments.
 * Order: relaxed; nothing is published through these numbers but themselves, so they pair with nothing.
 * Lifetime: made by main.c before the shards and freed after them.   Threads: as drawn.   Units: in the name of each metric. */
#ifndef KEEL_BROKER_ADMIN_METRICS_H
#define KEEL_BROKER_ADMIN_METRICS_H

#include <stddef.h>
#include <stdint.h>

/* clang-format off */
/*    slot                    name                                  kind     help */
#define METRICS_TABLE(X)                                                                                                           \
    X(CONNECTIONS_OPEN,       "keel_connections_open",              gauge,   "Connections that are open now.")                     \
    X(CONNECTIONS_TOTAL,      "keel_connections_total",             counter, "Connections accepted.")                              \
    X(CONNECTIONS_TURNED_AWAY, "keel_connections_turned_away_total", counter, "Connections closed at once, for a thread had as many as it may.") \
    X(CONNECTIONS_TCP,        "keel_connections_tcp_total",         counter, "Of these, of plain MQTT.")                           \
    X(CONNECTIONS_TLS,        "keel_connections_tls_total",         counter, "Of these, of MQTT over TLS.")                        \
    X(CONNECTIONS_WS,         "keel_connections_ws_total",          counter, "Of these, of MQTT over WebSocket.")                  \
    X(CONNECTIONS_WSS,        "keel_connections_wss_total",         counter, "Of these, of MQTT over WebSocket over TLS.")         \
    X(CONNECTIONS_UNIX,       "keel_connections_unix_total",         counter, "Of these, of MQTT over a Unix socket.")         \
    X(SESSIONS_OPEN,          "keel_sessions_open",                 gauge,   "Sessions with a connected client.")                  \
    X(SESSIONS_STORED,        "keel_sessions_stored",               gauge,   "Stored sessions with subscriptions, connected or not.") \
    X(SESSIONS_STORED_OPEN,   "keel_sessions_stored_open",          gauge,   "Of these, with a connected client.")                 \
    X(SUBSCRIPTIONS_STORED,   "keel_subscriptions_stored",          gauge,   "Subscriptions of stored sessions.")                  \
    X(SUBSCRIPTIONS_STORED_OPEN, "keel_subscriptions_stored_open",  gauge,   "Of these, of connected clients: in keel_subscriptions as well.") \
    X(PACKETS_RECEIVED,       "keel_packets_received_total",        counter, "Packets of any kind taken from clients.")            \
    X(PACKETS_SENT,           "keel_packets_sent_total",            counter, "Packets of any kind sent to clients.")               \
    X(SUBSCRIPTIONS,          "keel_subscriptions",                 gauge,   "Subscriptions of connected clients.")                   \
    X(BYTES_RECEIVED,         "keel_received_bytes_total",          counter, "Bytes received from clients.")                       \
    X(BYTES_SENT,             "keel_sent_bytes_total",              counter, "Bytes sent to clients.")                             \
    X(PUBLISHES,              "keel_publishes_total",               counter, "PUBLISH packets taken from clients.")                \
    X(DELIVERIES,             "keel_deliveries_total",              counter, "Messages handed to clients.")                        \
    X(BRIDGES_UP,             "keel_bridges_up",                    gauge,   "Bridges to other brokers that are connected.")        \
    X(CAPTURED,               "keel_captured_total",                counter, "Messages put into the streams of capture rules.")    \
    X(REPLAYED,               "keel_replayed_total",                counter, "Captured messages handed to clients.")               \
    X(DROPPED,                "keel_dropped_total",                 counter, "QoS 0 messages dropped for readers that do not keep up.") \
    X(DUPLICATES,             "keel_duplicates_total",              counter, "QoS 2 publishes recognised as sent again.")          \
    X(STORED_APPENDS,         "keel_stored_appends_total",          counter, "Appends asked of the segment store.")                \
    X(EVICTIONS,              "keel_evictions_total",               counter, "Clients disconnected by the broker.")                \
    X(RETAINED_PUTS,          "keel_retained_puts_total",           counter, "Retained messages set or cleared.")                  \
    X(WILLS,                  "keel_wills_total",                   counter, "Wills published.")                                   \
    X(EXPIRED,                "keel_expired_total",                 counter, "Messages that expired before delivery.")             \
    X(DENIED,                 "keel_denied_total",                  counter, "Requests refused by a limit or a rule.")             \
    X(OVER_LIMIT,             "keel_over_limit_total",              counter, "CONNECT, PUBLISH and SUBSCRIBE refused for a limit of mqtt.* settings.") \
    X(HELD_BACK,              "keel_held_back_total",               counter, "Times that a client was not read for a while, as it publishes too fast.") \
    X(AUTHENTICATED,          "keel_authenticated_total",           counter, "Clients let in after they were asked who they are.")  \
    X(UNAUTHENTICATED,        "keel_unauthenticated_total",         counter, "Clients refused because of who they are.")            \
    X(AUTH_BUSY,              "keel_auth_busy_total",               counter, "Clients refused because too many waited to be checked.") \
    X(PROTOCOL_ERRORS,        "keel_protocol_errors_total",         counter, "Connections ended for what they sent.")              \
    X(STORE_REQUESTS_OPEN,    "keel_store_requests_open",           gauge,   "Requests to the segment store without an answer.")   \
    X(STORE_CONNECTED,        "keel_store_connections",             gauge,   "Connections to segment-store shards that are up.")   \
    X(HANDSHAKES,             "keel_tls_handshakes_total",          counter, "TLS handshakes that went through, with the upgrade behind it in wss.") \
    X(HANDSHAKES_OPEN,        "keel_tls_handshakes_open",           gauge,   "TLS handshakes under way.")                          \
    X(PROXY_FAULTS,           "keel_proxy_faults_total",            counter, "Connections closed for a missing, wrong or untrusted PROXY header.") \
    X(TRANSPORT_FAULTS,       "keel_transport_faults_total",        counter, "Connections ended by TLS or WebSocket.")             \
    X(TURNS,                  "keel_turns_total",                   counter, "Turns of the loop.")
/* clang-format on */

enum metric {
#define METRIC_ENUM(slot, name, kind, help) METRIC_##slot,
    METRICS_TABLE(METRIC_ENUM)
#undef METRIC_ENUM
        METRIC_COUNT,
};

/* The slots of one shard, on cache lines of their own. */
struct metrics_shard;
struct metrics;

struct metrics       *metrics_new(unsigned shard_count);
void                  metrics_free(struct metrics *metrics);
struct metrics_shard *metrics_of(struct metrics *metrics, unsigned shard);

/* Called by the shard's own thread. */
void metrics_set(struct metrics_shard *shard, enum metric metric, uint64_t value);
/* The value last published. Any thread. */
uint64_t metrics_get(const struct metrics_shard *shard, enum metric metric);
/* The sum over all shards. Any thread. */
uint64_t metrics_sum(const struct metrics *metrics, enum metric metric);

/* Prometheus' text format: per metric the sum, without labels, then one line per shard. Allocated with malloc, ended by '\0';
 * NULL when there is no memory. Any thread. */
char *metrics_print(const struct metrics *metrics, size_t *out_size);

#endif
