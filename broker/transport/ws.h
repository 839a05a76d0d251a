/* ws - one WebSocket connection of a server, without a socket: the HTTP upgrade, then frames.
 *
 *   UPGRADING ──GET path, Sec-WebSocket-Protocol: mqtt──▶ OPEN ──close frame, fault──▶ ENDED
 *        '── anything else: an HTTP answer that says what is wrong ──────────────────▶ ENDED
 *
 * MQTT lies in binary frames; packets and frames of a client need not begin or end together. Fragments are handed on as they come, so no
 * message is ever gathered in memory. Frames of a client must be masked; extensions are not offered. To the client each packet is a frame
 * of its own: the standard allows more and less, and there are clients that cannot read either.
 * Threads: the shard.   Source: RFC 6455; MQTT 5.0, 6. */
#ifndef KEEL_BROKER_TRANSPORT_WS_H
#define KEEL_BROKER_TRANSPORT_WS_H

#include "broker/transport/transport.h"

struct ws;

/* path: outlives the connection. NULL: out of memory. */
struct ws *ws_new(const char *path);
void       ws_free(struct ws *ws);
/* As transport_receive; out: where answers go. */
MUST_CHECK int ws_receive(struct ws *ws, struct bytes in, const struct transport_sink *sink, struct outq *out);
/* Moves what is queued, whole packets in the end, into binary frames, as much as is worth one send. 0 or ERR_FULL. */
MUST_CHECK int ws_send(struct ws *ws, struct outq *plain, struct outq *out);
void           ws_end(struct ws *ws, struct outq *out);
bool           ws_established(const struct ws *ws);
const char    *ws_why(const struct ws *ws);

#endif
