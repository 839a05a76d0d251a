/* tls - one TLS connection over OpenSSL without a socket, and the context that many share.
 *
 *     tls_receive: records ──(borrowed, read where they lie)──▶ OpenSSL ──▶ data()
 *     tls_send:    plain pieces ──(TLS 1.3 with AES-GCM of gcm.h: encrypted where they come to lie, seal.h)──▶ wire
 *                  plain pieces ──(else: small ones gathered, to records of up to 16 KiB)──▶ OpenSSL ──▶ wire
 *
 * Handshakes, receiving and all that is not data are OpenSSL's in either case, on both sides (tls_wire.h). A key that has sealed 2^23 records here
 * is updated (KeyUpdate); OpenSSL 3.0 alone leaves that to the other side.
 *
 * A context is made from files once and never changes; certificates are renewed by making another one. Connections keep the one
 * they began with.
 * Threads: tls_context_* any, a struct tls its shard.   Source: RFC 8446, RFC 5246; MQTT 5.0, 5.4.5. */
#ifndef KEEL_BROKER_TRANSPORT_TLS_H
#define KEEL_BROKER_TRANSPORT_TLS_H

#include "broker/transport/transport.h"

enum tls_client { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };
enum tls_name { TLS_NAME_NONE, TLS_NAME_CN, TLS_NAME_SAN };
enum { TLS_NAME_MAX_BYTES = 256 };

/* Paths of PEM files; empty: none. */
struct tls_spec {
    const char *certificate; /* with its chain */
    const char *key;
    const char *authority; /* who signs clients' certificates */
    const char *revoked;   /* a CRL of that authority */
    /* Further certificates, NAME.crt and NAME.key, chosen by the name that a client asks for (SNI). */
    const char     *directory;
    const char     *ciphers; /* of TLS 1.2, as OpenSSL writes them */
    bool            tls_1_3_only;
    enum tls_client client;
    enum tls_name   name; /* what of a client's certificate is its user name */
};

struct tls_context;
/* 0 and *out, or an error and a sentence that names the file. */
MUST_CHECK int      tls_context_new(const struct tls_spec *spec, struct tls_context **out, char *why, size_t why_size);
struct tls_context *tls_context_ref(struct tls_context *context);
void                tls_context_unref(struct tls_context *context);

struct tls;
struct tls *tls_new(struct tls_context *context);
/* As the client of another broker. Paths of PEM files; empty: none, and for authority what the system trusts. */
struct tls_remote {
    const char *host; /* whose certificate it has to be: a name or an address */
    const char *authority;
    const char *certificate; /* to be shown when asked, with its key */
    const char *key;
};
/* NULL with a sentence in why. Its first words go out with a tls_receive of no bytes. */
struct tls *tls_client_new(const struct tls_remote *remote, char *why, size_t why_size);
void        tls_free(struct tls *tls);
/* As transport_receive and transport_send; wire: where the records go. */
MUST_CHECK int tls_receive(struct tls *tls, struct bytes in, const struct transport_sink *sink, struct outq *wire);
MUST_CHECK int tls_send(struct tls *tls, struct outq *plain, struct outq *wire);
void           tls_end(struct tls *tls, struct outq *wire);
bool           tls_established(const struct tls *tls);
const char    *tls_why(const struct tls *tls);
const char    *tls_user(const struct tls *tls);

#endif
