/* settings - every setting of Keel: one table for all programs, so one file serves a whole machine.
 * Each program reads what concerns it; `keel config` prints the table as a documented file (deploy/keel.yaml).
 * A setting stands here only when a program reads it, among those of its section: YAML forbids a section twice in one file.
 * Lifetime: filled once at start-up by config_load, then constant.   Threads: any may read. */
#ifndef KEEL_SHARED_CONFIG_SETTINGS_H
#define KEEL_SHARED_CONFIG_SETTINGS_H

#include "shared/config/config.h"

#include <stdbool.h>

/* clang-format off */
/*     field                  key                       flag        type     default           min  max         unit      sentence */
#define SETTINGS_TABLE(X)                                                                                                       \
    X(config,                 NULL,                     "config",   FILE,    NULL,             0, 255, "FILE",                  \
      "The YAML file to read; flags win over it.")                                                                              \
    X(ready_fd,               NULL,                     "ready-fd", NUMBER,  "0",              0, 1048576, NULL,                \
      "An open file descriptor that is told, in one line, when the program is ready; 0: none.")                                 \
    X(log_level,              "log_level",              NULL,       CHOICE,  "info",           0, 0, "error|warn|info|debug",   \
      "The least important lines that are still logged.")                                                                       \
    X(shards,                 "shards",                 "shards",   NUMBER,  "0",              0, 256, NULL,                    \
      "Threads of each process, each with its own ring and core; 0: one per core it may run on.")                               \
    X(pin,                    "pin",                    NULL,       BOOL,    "true",           0, 0, NULL,                      \
      "Pins each shard to a core when there are at least as many cores as shards.")                                             \
    X(broker_name,            "broker.name",            NULL,       TEXT,    "",               0, 255, "NAME",                  \
      "What tells this broker from others at the same segment store, also after a restart: then it need not wait for what its former process left. Empty: host name and mqtt.listen.") \
    X(mqtt_listen,            "mqtt.listen",            "mqtt",     ADDRESS, "127.0.0.1:1883", 0, 0, NULL,                      \
      "Where MQTT clients connect; port 0 picks a free one.")                                                                   \
    X(mqtt_unix,              "mqtt.unix",              NULL,       TEXT,    "",               0, 255, "PATH",                  \
      "A Unix socket for MQTT clients of this machine (served by the first shard); empty: none.")                               \
    X(mqtt_unix_mode,         "mqtt.unix_mode",         NULL,       CHOICE,  "group",          0, 0, "owner|group|all",         \
      "Who may connect to it: its owner (0600), its group (0660), everybody (0666).")                                           \
    X(mqtt_proxy,             "mqtt.proxy",             NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "Whether connections to mqtt.listen begin with a PROXY header (version 1 or 2), as those of load balancers do.")          \
    X(connections_max,        "mqtt.connections_max",   NULL,       NUMBER,  "1000000",        1, 10000000, "connections",      \
      "Clients at once in one process, within LimitNOFILE; further ones are refused (0x97).")                                   \
    X(connections_per_address, "mqtt.connections_per_address", NULL, NUMBER, "0",             0, 4294967295, "connections",     \
      "Connections of one address to one broker; further ones are refused (0x97). 0: any.")                                     \
    X(connections_per_user,   "mqtt.connections_per_user", NULL,    NUMBER,  "0",              0, 4294967295, "connections",    \
      "The same of one user.")                                                                                                  \
    X(connect_timeout_s,      "mqtt.connect_timeout",   NULL,       NUMBER,  "10",             1, 3600, "s",                    \
      "How long a new connection may take to send its CONNECT.")                                                                \
    X(keep_alive_max_s,       "mqtt.keep_alive_max",    NULL,       NUMBER,  "0",              0, 65535, "s",                   \
      "The longest keep alive: MQTT 5 clients that ask for more, or for none, are told this one; 0: no bound.")                 \
    X(packet_max_bytes,       "mqtt.packet_max",        NULL,       NUMBER,  "1MiB",           16, 2097152, "bytes",            \
      "The largest packet that a client may send; larger ones end its connection with 0x95.")                                   \
    X(receive_max,            "mqtt.receive_max",       NULL,       NUMBER,  "256",            1, 65535, "packets",             \
      "QoS 1 and 2 packets that a client may have unacknowledged; one more ends its connection with 0x93.")                     \
    X(inflight_max,           "mqtt.inflight_max",      NULL,       NUMBER,  "4096",           1, 65535, "packets",             \
      "QoS 1 and 2 deliveries that may be unacknowledged per client, when its own Receive Maximum allows more.")                \
    X(topic_alias_max,        "mqtt.topic_alias_max",   NULL,       NUMBER,  "16",             0, 1024, "aliases",              \
      "Topic aliases that a client may set; memory is taken by those who use them only.")                                       \
    X(subscriptions_max,      "mqtt.subscriptions_max", NULL,       NUMBER,  "10000",          1, 1000000, "filters",           \
      "Subscriptions of one client; further ones are refused with 0x97.")                                                       \
    X(topic_bytes_max,        "mqtt.topic_max",         NULL,       NUMBER,  "65535",          1, 65535, "bytes",               \
      "The longest topic or filter.")                                                                                           \
    X(topic_levels_max,       "mqtt.topic_levels_max",  NULL,       NUMBER,  "200",            1, 65536, "levels",              \
      "Levels of a topic or filter at most.")                                                                                   \
    X(client_id_bytes_max,    "mqtt.client_id_max",     NULL,       NUMBER,  "65535",          23, 65535, "bytes",              \
      "The longest client identifier.")                                                                                         \
    X(publish_rate,           "mqtt.publish_rate",      NULL,       NUMBER,  "0",              0, 1000000000, "messages/s",     \
      "What one client may publish; a second's worth may come at once, then it is read no faster. 0: any.")                     \
    X(publish_bytes_rate,     "mqtt.publish_bytes_rate", NULL,      NUMBER,  "0",              0, 1099511627776, "bytes/s",     \
      "The same in bytes of PUBLISH packets. 0: any.")                                                                          \
    X(publish_patience_s,     "mqtt.publish_patience",  NULL,       NUMBER,  "60",             0, 86400, "s",                   \
      "A client that is over its rate for so long without a break is disconnected (0x96). 0: never.")                           \
    X(connection_rate,        "mqtt.connection_rate",   NULL,       NUMBER,  "0",              0, 1000000000, "connections/s",  \
      "CONNECTs of this broker, shared out evenly among its shards; further ones are refused (0x9F). 0: any.")                  \
    X(session_expiry_max_s,   "mqtt.session_expiry_max", NULL,      NUMBER,  "4294967295",     0, 4294967295, "s",              \
      "Caps the session expiry that clients ask for; 4294967295: sessions may be kept for ever.")                               \
    X(retain,                 "mqtt.retain",            NULL,       BOOL,    "true",           0, 0, NULL,                      \
      "Whether retained messages are kept; when not, clients are told so.")                                                     \
    X(qos_max,                "mqtt.qos_max",           NULL,       NUMBER,  "2",              0, 2, NULL,                      \
      "The highest QoS of messages and subscriptions; clients are told, and a PUBLISH or will above it ends the connection (0x9B).") \
    X(wildcards,              "mqtt.wildcards",         NULL,       BOOL,    "true",           0, 0, NULL,                      \
      "Whether filters may have wildcards; when not, clients are told so, and such a filter is refused (0xA2).")                \
    X(shared,                 "mqtt.shared",            NULL,       BOOL,    "true",           0, 0, NULL,                      \
      "Whether there are shared subscriptions; when not, clients are told so, and one is refused (0x9E).")                      \
    X(live_queue_bytes,       "mqtt.live_queue",        NULL,       NUMBER,  "1MiB",           4096, 1073741824, "bytes",       \
      "QoS 1 and 2 messages waiting in memory for one client without a stored session; beyond it publishers are paused.")       \
    X(overrun_after_ms,       "mqtt.overrun_after",     NULL,       NUMBER,  "10000",          1, 3600000, "ms",                \
      "How long such a client may pause publishers before it is disconnected.")                                                 \
    X(delayed_max_s,          "mqtt.delayed_max",       NULL,       NUMBER,  "4294967",        0, 4294967295, "s",              \
      "The longest delay of $delayed/<seconds>/<topic>; longer ones are refused with 0x97; 0: no such topics.")                 \
    X(rewrites,               "mqtt.rewrite",           NULL,       LIST,    NULL,             0, 0,                            \
      "publish|subscribe|all SOURCE [REGEX] TARGET",                                                                            \
      "Topics and filters that are made into others before rights are looked at; the first rule that matches (docs/features.md).") \
    X(automatics,             "mqtt.auto_subscribe",    NULL,       LIST,    NULL,             0, 0,                            \
      "FILTER [qos=0..2] [nl=0|1] [rap=0|1] [rh=0..2]",                                                                         \
      "Subscriptions that every client has from its CONNECT on; %c is its identifier, %u its user name.")                       \
    X(mqtts_listen,           "mqtts.listen",           "mqtts",    ADDRESS, "off",            0, 1, NULL,                      \
      "Where MQTT clients connect over TLS (8883 by custom), or off.")                                                          \
    X(mqtts_proxy,            "mqtts.proxy",            NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "The same of mqtts.listen as mqtt.proxy; the header comes before TLS.")                                                                \
    X(ws_listen,              "ws.listen",              "ws",       ADDRESS, "off",            0, 1, NULL,                      \
      "Where MQTT clients connect over WebSocket (8083 by custom), or off.")                                                    \
    X(ws_path,                "ws.path",                NULL,       TEXT,    "/mqtt",          1, 255, "PATH",                  \
      "The path of the WebSocket's HTTP request.")                                                                              \
    X(ws_proxy,               "ws.proxy",               NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "The same of ws.listen as mqtt.proxy.")                                                                                                \
    X(wss_listen,             "wss.listen",             "wss",      ADDRESS, "off",            0, 1, NULL,                      \
      "Where MQTT clients connect over WebSocket and TLS (8084 by custom), or off.")                                            \
    X(wss_proxy,              "wss.proxy",              NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "The same of wss.listen as mqtt.proxy; the header comes before TLS.")                                                                                               \
    X(proxy_trusted,          "proxy.trusted",          NULL,       TEXT,    "127.0.0.1, ::1", 0, 255, "ADDRESSES",             \
      "Who may send PROXY headers (mqtt.proxy): addresses and prefixes; connections of others to a listener that wants one are closed.")               \
    X(tls_certificate,        "tls.cert",               NULL,       TEXT,    "",               0, 255, "FILE",                  \
      "The certificate that clients are shown, with its chain, in PEM; SIGHUP reads it and all files of tls.* again.")          \
    X(tls_key,                "tls.key",                NULL,       TEXT,    "",               0, 255, "FILE",                  \
      "Its private key, in PEM.")                                                                                               \
    X(tls_directory,          "tls.directory",          NULL,       TEXT,    "",               0, 255, "DIR",                   \
      "More certificates, NAME.crt with NAME.key, shown to clients that ask for NAME (SNI); _.example.org stands for *.example.org.") \
    X(tls_authority,          "tls.ca",                 NULL,       TEXT,    "",               0, 255, "FILE",                  \
      "Certificates of those who sign clients' certificates, in PEM.")                                                          \
    X(tls_revoked,            "tls.crl",                NULL,       TEXT,    "",               0, 255, "FILE",                  \
      "Their list of revoked certificates, in PEM; empty: none is checked.")                                                    \
    X(tls_client,             "tls.client_cert",        NULL,       CHOICE,  "none",           0, 0, "none|optional|required",  \
      "Whether clients show a certificate.")                                                                                    \
    X(tls_name,               "tls.user_name",          NULL,       CHOICE,  "none",           0, 0, "none|cn|san",             \
      "What of a client's certificate counts as its user name.")                                                                \
    X(tls_version,            "tls.min_version",        NULL,       CHOICE,  "1.2",            0, 0, "1.2|1.3",                 \
      "The oldest version of TLS that is spoken.")                                                                              \
    X(tls_ciphers,            "tls.ciphers",            NULL,       TEXT,    "",               0, 255, "LIST",                  \
      "Ciphers of TLS 1.2 as OpenSSL lists them; empty: OpenSSL's own choice.")                                                 \
    X(tls_handshakes_max,     "tls.handshakes_max",     NULL,       NUMBER,  "256",            1, 65536, "handshakes",          \
      "TLS handshakes under way at once in one shard; further connections wait to be accepted.")                                \
    X(flap_connects,          "flapping.connects",      NULL,       NUMBER,  "0",              0, 1000000, "connections",       \
      "A client identifier that connects more often than this within flapping.window is banned. 0: none is.")                   \
    X(flap_window_s,          "flapping.window",        NULL,       NUMBER,  "60",             1, 86400, "s",                   \
      "See flapping.connects.")                                                                                                 \
    X(flap_ban_s,             "flapping.ban",           NULL,       NUMBER,  "300",            1, 31536000, "s",                \
      "How long such a client is banned; `keel ctl ban` shows and ends it.")                                                    \
    X(auth_chain,             "auth.chain",             NULL,       TEXT,    "cert, password, jwt, http", 0, 255, "LINKS",      \
      "Who is asked about a client, in this order, until one knows it: cert, password, jwt, http.")                             \
    X(auth_anonymous,         "auth.anonymous",         NULL,       CHOICE,  "loopback",       0, 0, "loopback|true|false",     \
      "Whether clients without a name are let in: on listeners of 127.0.0.1 and ::1 only, everywhere, or nowhere.")             \
    X(auth_password_file,     "auth.password_file",     NULL,       TEXT,    NULL,             0, 255, "FILE",                  \
      "Users besides those of `keel ctl passwd`, a line each (`keel ctl passwd --to FILE`, mosquitto_passwd); SIGHUP reads it again.") \
    X(argon2_memory_kib,      "auth.argon2_memory",     NULL,       NUMBER,  "19456",          8, 4194304, "KiB",               \
      "Memory that `keel ctl passwd` makes a password cost to try.")                                                            \
    X(argon2_passes,          "auth.argon2_passes",     NULL,       NUMBER,  "2",              1, 1000, "passes",               \
      "Passes over that memory.")                                                                                               \
    X(scram_iterations,       "auth.scram_iterations",  NULL,       NUMBER,  "10000",          4096, 10000000, "iterations",    \
      "Iterations of the keys that `keel ctl passwd` makes for SCRAM-SHA-256.")                                                 \
    X(auth_threads,           "auth.threads",           NULL,       NUMBER,  "2",              1, 64, "threads",                \
      "Threads that check passwords and tokens, beside the shards.")                                                            \
    X(auth_queue_max,         "auth.queue_max",         NULL,       NUMBER,  "1024",           1, 1000000, "clients",           \
      "Clients that may wait for them; further ones are answered 0x89 (Server busy).")                                          \
    X(jwt_secret,             "auth.jwt_secret",        NULL,       TEXT,    NULL,             0, 255, "SECRET",                \
      "The secret that tokens are signed with (HS256, HS384, HS512).")                                                          \
    X(jwt_key_file,           "auth.jwt_key_file",      NULL,       TEXT,    NULL,             0, 255, "FILE",                  \
      "Public keys or certificates (PEM), or a JWKS, that tokens are checked with (RS and ES as well).")                        \
    X(jwt_issuer,             "auth.jwt_issuer",        NULL,       TEXT,    NULL,             0, 255, "TEXT",                  \
      "Whose tokens are taken (iss); empty: anybody's with a good signature.")                                                  \
    X(jwt_audience,           "auth.jwt_audience",      NULL,       TEXT,    NULL,             0, 255, "TEXT",                  \
      "What they must be meant for (aud); empty: anything.")                                                                    \
    X(jwt_user_claim,         "auth.jwt_user_claim",    NULL,       TEXT,    "sub",            1, 255, "CLAIM",                 \
      "The claim that is the user name.")                                                                                       \
    X(jwt_leeway_s,           "auth.jwt_leeway",        NULL,       NUMBER,  "0",              0, 3600, "s",                    \
      "How wrong clocks may be, for exp and nbf.")                                                                              \
    X(jwt_disconnect,         "auth.jwt_disconnect",    NULL,       BOOL,    "true",           0, 0, NULL,                      \
      "Whether a client is disconnected (0x87) when its token expires.")                                                        \
    X(auth_http_url,          "auth.http_url",          NULL,       TEXT,    NULL,             0, 255, "URL",                   \
      "The hook that is asked who is let in (POST of JSON, see docs/access.md).")                                               \
    X(acl_file,               "acl.file",               NULL,       TEXT,    NULL,             0, 255, "FILE",                  \
      "Access rules besides those of `keel ctl acl`, which come first (YAML, see docs/access.md); SIGHUP reads it again.")      \
    X(acl_http_url,           "acl.http_url",           NULL,       TEXT,    NULL,             0, 255, "URL",                   \
      "The hook that is asked where no access rule speaks.")                                                                    \
    X(acl_default,            "acl.default",            NULL,       CHOICE,  "allow",          0, 0, "allow|deny",              \
      "What is meant where no rule speaks.")                                                                                    \
    X(acl_denied,             "acl.denied",             NULL,       CHOICE,  "tell",           0, 0, "tell|hide",               \
      "What a client is told of what it may not publish or subscribe to: 0x87 (not authorized), or 0x80, which could have any reason.") \
    X(acl_denied_v3,          "acl.denied_v3",          NULL,       CHOICE,  "drop",           0, 0, "drop|disconnect",         \
      "What happens to a denied publish before MQTT 5, which has no word for it: acknowledged and dropped, or the end of the connection.") \
    X(hook_token,             "hook.token",             NULL,       TEXT,    NULL,             0, 255, "TOKEN",                 \
      "What hooks are shown: Authorization: Bearer TOKEN.")                                                                     \
    X(hook_timeout_ms,        "hook.timeout",           NULL,       NUMBER,  "3000",           1, 60000, "ms",                  \
      "How long a hook may take.")                                                                                              \
    X(hook_down,              "hook.down",              NULL,       CHOICE,  "deny",           0, 0, "deny|ignore",             \
      "What it means when a hook does not answer: denied, or as if it were not configured.")                                    \
    X(hook_waiting_max,       "hook.waiting_max",       NULL,       NUMBER,  "1024",           1, 1000000, "requests",          \
      "Requests to hooks under way; beyond it a hook counts as down.")                                                          \
    X(hook_cache_entries,     "hook.cache_max",         NULL,       NUMBER,  "100000",         0, 10000000, "answers",          \
      "Answers about access that each shard remembers; 0: none.")                                                               \
    X(hook_cache_ms,          "hook.cache_ttl",         NULL,       NUMBER,  "60000",          0, 86400000, "ms",               \
      "How long.")                                                                                                              \
    X(admin_listen,           "admin.listen",           "admin",    ADDRESS, "127.0.0.1:7480", 0, 0, NULL,                      \
      "Where the broker answers HTTP: /health, /ready and /metrics; port 0 picks a free one.")                                  \
    X(admin_token,            "admin.token",            NULL,       TEXT,    NULL,             0, 255, "TOKEN",                 \
      "What changes of users and rules over the admin HTTP must carry; without one they are taken from this machine only.")     \
    X(share_strategy,         "share.strategy",         NULL,       CHOICE,  "round_robin",    0, 0,                            \
      "round_robin|random|sticky|hash_client|hash_topic|least_inflight",                                                        \
      "Which member of a shared subscription gets a message; members that take nothing now are passed over.")                   \
    X(share_strategies,       "share.strategies",       NULL,       LIST,    NULL,             0, 0, "GROUP=STRATEGY",          \
      "Groups of shared subscriptions that have a strategy of their own.")                                                      \
    X(sys_interval_s,         "sys.interval",           NULL,       NUMBER,  "10",             0, 86400, "s",                   \
      "Time between two publications of the $SYS topics; 0: there are none.")                                                   \
    X(sys_publish,            "sys.publish",            NULL,       CHOICE,  "refuse",         0, 0, "refuse|ignore",           \
      "What becomes of a client's PUBLISH to $SYS or $events: answered with 0x87, or dropped without a word.")                  \
    X(events_rate,            "events.rate",            NULL,       NUMBER,  "1000",           0, 1000000, "events",            \
      "Messages on $events topics that each shard may make in a second, for those who subscribe to them; 0: none.")             \
    X(segstore_address,       "segstore.address",       "segstore", ADDRESSES, "127.0.0.1:7400", 0, 0, NULL,                    \
      "Where the segment store listens and brokers find it; port 0 picks a free one. Brokers may be given several nodes, with commas.") \
    X(segstore_admin,         "segstore.admin",         "segstore-admin", ADDRESSES, "127.0.0.1:7481", 0, 1, NULL,              \
      "Where the segment store answers HTTP: /health, /ready, /metrics and /cluster; port 0 picks a free one, or off. keel ctl cluster may be given several nodes, with commas.") \
    X(node,                   "segstore.node",          NULL,       NUMBER,  "1",              1, 65535, NULL,                  \
      "This node's number among segstore.nodes; its data directory belongs to it.")                                             \
    X(nodes,                  "segstore.nodes",         NULL,       LIST,    NULL,             0, 0, "NUMBER@HOST:PORT[/RACK]", \
      "All nodes that keep the streams together, this one among them, the same list on each; empty: this one stands alone.")    \
    X(cluster,                "segstore.cluster",       NULL,       TEXT,    "",               0, 64, "NAME",                   \
      "The cluster's name, the same on all its nodes: nodes of another cluster are turned away.")                               \
    X(join,                   "segstore.join",          NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "A new data directory waits to be taken in (keel ctl members) instead of forming a cluster with segstore.nodes.")         \
    X(replicas,               "segstore.replicas",      NULL,       NUMBER,  "3",              1, 7, "nodes",                   \
      "How many nodes keep each stripe, in different racks where there are enough; `keel ctl node replicas` changes it for good.") \
    X(replace_after_s,        "segstore.replace_after", NULL,       NUMBER,  "900",            0, 31536000, "s",                \
      "A node that is away for so long is replaced by a spare one, or its replicas are spread over the others; 0: never.")      \
    X(transfer_rate,          "segstore.transfer_rate", NULL,       NUMBER,  "1GiB",           65536, 1099511627776, "bytes",   \
      "What this node sends others a second at most so that they get what they missed, all cores together.")                    \
    X(transfer_rate_min,      "segstore.transfer_rate_min", NULL,   NUMBER,  "32MiB",          65536, 1099511627776, "bytes",   \
      "So much of it a second even while producers wait twice as long as else; between the two it keeps below that.")           \
    X(catchup_memory,         "segstore.catchup_memory", NULL,      NUMBER,  "64MiB",          4096, 1099511627776, "bytes",    \
      "Memory to remember where entries lie that a node missed, 40 bytes each: behind that it gets the state of each stripe.")  \
    X(heartbeat_ms,           "segstore.heartbeat",     NULL,       NUMBER,  "100",            10, 10000, "ms",                 \
      "How often a stripe's leader tells the other nodes that it is there.")                                                    \
    X(election_ms,            "segstore.election",      NULL,       NUMBER,  "600",            50, 60000, "ms",                 \
      "After so long without a leader, at most twice as long, another node takes the lead of a stripe; at least 4 heartbeats.") \
    X(data,                   "segstore.data",          "data",     TEXT,    "data",           1, 255, "DIR",                   \
      "The directory of the segment store; made when it is missing.")                                                           \
    X(stripes,                "segstore.stripes",       NULL,       NUMBER,  "64",             1, 4096, "stripes",              \
      "Stripes of a new data directory; an existing one keeps the number it was made with.")                                    \
    X(wal_file_bytes,         "segstore.wal_file",      NULL,       NUMBER,  "64MiB",          1048576, 1073741824, "bytes",    \
      "Size of one file of the log; a new one is made ahead of use, and filled with zeroes as far as the disk has time for it.") \
    X(wal_depth,              "segstore.wal_depth",     NULL,       NUMBER,  "2",              1, 2, "writes",                  \
      "Durable writes of the log under way at once; 1 costs less processor where the disk is not what is waited for.")          \
    X(disk_sector_bytes,      "segstore.sector",        NULL,       NUMBER,  "4096",           512, 4096, "bytes",              \
      "What the device writes at once, whole or not at all: 4096, or 512 where it does not promise more.")                      \
    X(checkpoint_bytes,       "segstore.checkpoint",    NULL,       NUMBER,  "256MiB",         1048576, 1099511627776, "bytes", \
      "Log written between two checkpoints, or as much as a checkpoint is large; bounds how long a restart reads.")             \
    X(checkpoint_s,           "segstore.checkpoint_interval", NULL, NUMBER,  "60",             1, 86400, "s",                   \
      "Time between two checkpoints when something changed.")                                                                   \
    X(tail_bytes,             "segstore.tail",          NULL,       NUMBER,  "16MiB",          1048576, 1099511627776, "bytes", \
      "Memory of each shard for the end of the log, from which readers that keep up are served.")                               \
    X(log_bytes,              "segstore.log_budget",    NULL,       NUMBER,  "16GiB",          1048576, 1099511627776, "bytes", \
      "Log of a shard above which files that are mostly dead are emptied at once, by moving what is still held in them to runs.") \
    X(reclaim_age_s,          "segstore.reclaim_age",   NULL,       NUMBER,  "600",            0, 31536000, "s",                \
      "Below the budget only files older than this are emptied: most of what is queued goes by itself.")                        \
    X(reclaim_rate,           "segstore.reclaim_rate",  NULL,       NUMBER,  "64MiB",          0, 1099511627776, "bytes",       \
      "What emptying files may read and write, all shards together; 0: they are kept as long as anything in them is held.")     \
    X(cold_depth,             "segstore.cold_reads",    NULL,       NUMBER,  "4",              1, 64, "reads",                  \
      "Reads of old records from disk under way at once, of each shard; the end of the log is served from memory.")             \
    X(cold_rate,              "segstore.cold_rate",     NULL,       NUMBER,  "1GiB",           0, 1099511627776, "bytes/s",     \
      "What readers of old records may read from disk, all shards together, so that they do not slow down writes; 0: any.")     \
    X(accept_damage,          "segstore.accept_damage", NULL,       BOOL,    "false",          0, 0, NULL,                      \
      "Starts although damage took entries that were acknowledged, and goes on without them; for an operator who has read why.") \
    X(scrub_period_s,         "segstore.scrub_period",  NULL,       NUMBER,  "604800",         0, 31536000, "s",                \
      "In which all of the log is read again in the background, to find what the disk has changed; 0: never.")                  \
    X(broker_lease_ms,        "segstore.broker_lease",  NULL,       NUMBER,  "2000",           2000, 600000, "ms",              \
      "How long a broker that is gone may take to come back before its clients count as disconnected.")                         \
    X(table_bytes_max,        "segstore.table_max",     NULL,       NUMBER,  "1GiB",           1048576, 1099511627776, "bytes", \
      "Keys and values of all tables (sessions, subscriptions, retained messages), in memory, shared out evenly among the stripes.") \
    X(retained_max,           "segstore.retained_max",  NULL,       NUMBER,  "0",              0, 1000000000000, "messages",    \
      "Retained messages, shared out evenly among the stripes; further topics are refused (0x97). 0: any.")                     \
    X(retained_bytes_max,     "segstore.retained_bytes_max", NULL,  NUMBER,  "0",              0, 1099511627776, "bytes",       \
      "Their topics and payloads, likewise. 0: within segstore.table_max.")                                                     \
    X(streams_max,            "segstore.streams_max",   NULL,       NUMBER,  "1000000",        1, 1000000000, "streams",        \
      "Streams, one per stored session, shared out evenly among the stripes; sessions of a full one are refused (0x97).")       \
    X(delays_max,             "segstore.delayed_max",   NULL,       NUMBER,  "1000000",        1, 1000000000, "messages",       \
      "Messages of $delayed topics that wait for their time, shared out likewise; further ones are refused with 0x97.")         \
    X(stream_records_max,     "segstore.backlog_max",   NULL,       NUMBER,  "1000000",        0, 1000000000000, "records",     \
      "Records waiting in one stream; a publish to a full one is refused with 0x97; 0: no limit.")                              \
    X(stream_bytes_max,       "segstore.backlog_bytes_max", NULL,   NUMBER,  "0",              0, 1099511627776, "bytes",       \
      "Bytes of records waiting in one session's stream; a publish to a full one is refused with 0x97; 0: no limit.")           \
    X(disk_reserve_bytes,     "segstore.disk_reserve",  NULL,       NUMBER,  "256MiB",         0, 1099511627776, "bytes",       \
      "Below this much free disk appends are refused with 0x97 while reads and acknowledgements go on.")
/* clang-format on */

#define SETTING_NUMBER(field)    uint64_t field;
#define SETTING_CHOICE(field)    uint64_t field;
#define SETTING_BOOL(field)      bool field;
#define SETTING_TEXT(field)      char field[CONFIG_TEXT_MAX];
#define SETTING_FILE(field)      char field[CONFIG_TEXT_MAX];
#define SETTING_ADDRESS(field)   struct config_address field;
#define SETTING_ADDRESSES(field) struct config_addresses field;
#define SETTING_LIST(field)      struct config_list field;

struct settings {
#define SETTING_FIELD(field, key, flag, type, initial, min, max, unit, sentence) SETTING_##type(field)
    SETTINGS_TABLE(SETTING_FIELD)
#undef SETTING_FIELD
};

extern const struct config_table settings_table;

#endif
