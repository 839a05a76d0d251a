/* login - between CONNECT and CONNACK: who is the client? And again later, when it wants to (MQTT 5, 4.12).
 *
 *     CONNECT ──▶ port.begin ──allowed──▶ may it leave its will? ──▶ kernel open ──▶ CONNACK
 *                     │  ▲
 *           continues ▼  │ respond
 *                  AUTH ─┘ AUTH              (again in an open connection: AUTH 0x19, .., AUTH 0x00)
 *
 * While somebody thinks about it, a copy of CONNECT is kept; nothing but AUTH and DISCONNECT is read, and those only in an exchange of several steps.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_LOGIN_H
#define KEEL_BROKER_PROTOCOL_MQTT_LOGIN_H

#include "broker/protocol/mqtt/decode.h"

struct mqtt_client;
struct mqtt_conn;

/* A CONNECT that is admitted; body is all of it, borrowed. The connection may be closing afterwards. */
void mqtt_login_begin(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body,
                      const struct mqtt_connect *connect);
/* An AUTH packet. */
MUST_CHECK struct mqtt_fault mqtt_login_auth(struct mqtt_conn *conn, const struct mqtt_disconnect *auth);
/* Is it the client's turn in an exchange? Then it is read before it is let in. */
bool mqtt_login_listens(const struct mqtt_client *client);
/* The method, and what is to be said in CONNACK; size 0: nothing. */
struct bytes mqtt_login_method(const struct mqtt_client *client);
struct bytes mqtt_login_data(const struct mqtt_client *client);
/* What it holds for that. */
size_t mqtt_login_memory_bytes(const struct mqtt_client *client);
/* CONNACK was sent. */
void mqtt_login_done(struct mqtt_client *client);
/* Nothing is asked any more, and what the client may do is forgotten. */
void mqtt_login_fini(struct mqtt_client *client);
/* Rules have changed, or the session is resumed: subscriptions that are not allowed any more are ended. */
void mqtt_login_recheck(struct mqtt_conn *conn);

#endif
