/* dispatch - one whole packet goes to the file of its family; the small ones are answered here.
 * Threads: the shard of the connection. */
#ifndef KEEL_BROKER_PROTOCOL_MQTT_DISPATCH_H
#define KEEL_BROKER_PROTOCOL_MQTT_DISPATCH_H

#include "broker/protocol/mqtt/decode.h"

struct mqtt_conn;

/* frame was admitted (receive.c) and body is all of it, borrowed. Afterwards the connection may be closing. */
void mqtt_conn_dispatch(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body);

#endif
