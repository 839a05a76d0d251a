/* transport - see transport.h. */
#include "broker/transport/transport.h"

#include "broker/transport/tls.h"
#include "broker/transport/ws.h"
#include "shared/base/err.h"

#include <stdlib.h>

struct transport {
    struct tls                  *tls; /* or NULL */
    struct ws                   *ws;  /* or NULL */
    struct outq                  wire;
    struct outq                  frames;    /* between the two, when there are both */
    struct list                  unused;    /* neither queue reports to the shard: the peer looks after them */
    const struct transport_sink *sink;      /* while transport_receive runs */
    int                          ws_result; /* of the frames inside a TLS record */
};

struct transport *transport_new(const struct transport_env *env, enum transport_kind kind)
{
    bool              secure    = kind == TRANSPORT_TLS || kind == TRANSPORT_WSS;
    bool              web       = kind == TRANSPORT_WS || kind == TRANSPORT_WSS;
    struct transport *transport = calloc(1, sizeof *transport);
    ASSERT(secure || web);
    if (transport == NULL) {
        return NULL;
    }
    list_init(&transport->unused);
    outq_init(&transport->wire, env->chunks, &transport->unused);
    outq_init(&transport->frames, env->chunks, &transport->unused);
    transport->tls = secure && env->tls != NULL ? tls_new(env->tls) : NULL;
    transport->ws  = web ? ws_new(env->ws_path) : NULL;
    if ((secure && transport->tls == NULL) || (web && transport->ws == NULL)) {
        transport_free(transport);
        return NULL;
    }
    return transport;
}

void transport_free(struct transport *transport)
{
    if (transport != NULL) {
        tls_free(transport->tls);
        ws_free(transport->ws);
        outq_fini(&transport->wire);
        outq_fini(&transport->frames);
        free(transport);
    }
}

/* What the frames put out goes into records at once. */
static int seal(struct transport *transport)
{
    return tls_send(transport->tls, &transport->frames, &transport->wire);
}

static void on_plain(void *ctx, struct bytes data)
{
    struct transport *transport = ctx;
    if (transport->ws_result == 0) {
        transport->ws_result = ws_receive(transport->ws, data, transport->sink, &transport->frames);
    }
}

int transport_receive(struct transport *transport, struct bytes in, const struct transport_sink *sink)
{
    if (transport->tls == NULL) {
        return ws_receive(transport->ws, in, sink, &transport->wire);
    }
    if (transport->ws == NULL) {
        return tls_receive(transport->tls, in, sink, &transport->wire);
    }
    const struct transport_sink inner = {.data = on_plain, .ctx = transport};
    transport->sink                   = sink;
    transport->ws_result              = 0;
    int result                        = tls_receive(transport->tls, in, &inner, &transport->wire);
    transport->sink                   = NULL;
    int sealed                        = seal(transport);
    if (transport->ws_result != 0) {
        tls_end(transport->tls, &transport->wire);
    }
    return transport->ws_result != 0 ? transport->ws_result : result != 0 ? result : sealed;
}

int transport_send(struct transport *transport, struct outq *plain)
{
    if (transport->ws == NULL) {
        return tls_send(transport->tls, plain, &transport->wire);
    }
    if (transport->tls == NULL) {
        return ws_send(transport->ws, plain, &transport->wire);
    }
    int result = ws_send(transport->ws, plain, &transport->frames);
    return result != 0 ? result : seal(transport);
}

void transport_end(struct transport *transport)
{
    if (transport->ws != NULL) {
        ws_end(transport->ws, transport->tls == NULL ? &transport->wire : &transport->frames);
    }
    if (transport->tls != NULL) {
        (void)!seal(transport);
        tls_end(transport->tls, &transport->wire);
    }
}

struct outq *transport_wire(struct transport *transport)
{
    return &transport->wire;
}

bool transport_established(const struct transport *transport)
{
    return (transport->tls == NULL || tls_established(transport->tls)) &&
           (transport->ws == NULL || ws_established(transport->ws));
}

const char *transport_why(const struct transport *transport)
{
    const char *why = transport->ws != NULL ? ws_why(transport->ws) : "";
    return *why == '\0' && transport->tls != NULL ? tls_why(transport->tls) : why;
}

const char *transport_user(const struct transport *transport)
{
    return transport->tls == NULL ? "" : tls_user(transport->tls);
}
