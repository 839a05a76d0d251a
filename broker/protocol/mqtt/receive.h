/* receive - bytes become packets: read where they lie, the tail of one that is incomplete kept until the rest has come.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_RECEIVE_H
#define KEEL_BROKER_PROTOCOL_MQTT_RECEIVE_H

#include "broker/protocol/mqtt/conn.h"

/* May packets be taken from it now? */
bool mqtt_conn_reads(const struct mqtt_conn *conn);
/* Takes what waits, as far as the client may be read. */
void mqtt_conn_take_waiting(struct mqtt_conn *conn);
/* Receives while it reads; stops when it does not and enough waits. */
void mqtt_conn_flow(struct mqtt_conn *conn);

#endif
