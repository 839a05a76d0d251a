/* tls_client - the other side of TLS: this broker as the client of another one (a bridge). */
#include "broker/transport/tls.h"

#include "broker/transport/gcm/gcm.h"
#include "broker/transport/tls_private.h"
#include "broker/transport/tls_wire.h"
#include "shared/base/err.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <string.h>

static bool wrong(char *why, size_t why_size, const char *what, const char *path)
{
    unsigned long error  = ERR_peek_last_error();
    const char   *reason = error == 0 ? NULL : ERR_reason_error_string(error);
    snprintf(why, why_size, "TLS: %s %s cannot be used: %s", what, path, reason == NULL ? "it cannot be read" : reason);
    ERR_clear_error();
    return false;
}

/* Whom to trust, and what to show when asked. */
static bool load(SSL_CTX *context, const struct tls_remote *remote, char *why, size_t why_size)
{
    if (*remote->authority != '\0' ? SSL_CTX_load_verify_locations(context, remote->authority, NULL) != 1
                                   : SSL_CTX_set_default_verify_paths(context) != 1) {
        return wrong(why, why_size, "the authority's certificate", remote->authority);
    }
    if (*remote->certificate != '\0' && SSL_CTX_use_certificate_chain_file(context, remote->certificate) != 1) {
        return wrong(why, why_size, "the certificate", remote->certificate);
    }
    if (*remote->certificate != '\0' && (SSL_CTX_use_PrivateKey_file(context, remote->key, SSL_FILETYPE_PEM) != 1 ||
                                         SSL_CTX_check_private_key(context) != 1)) {
        return wrong(why, why_size, "the key", remote->key);
    }
    return true;
}

/* The certificate has to be of this host; by name it is asked for, too (SNI). */
static bool expect_host(SSL *ssl, const char *host)
{
    uint8_t binary[16];
    bool    numeric = inet_pton(AF_INET, host, binary) == 1 || inet_pton(AF_INET6, host, binary) == 1;
    if (numeric) {
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    }
    return SSL_set1_host(ssl, host) == 1 && SSL_set_tlsext_host_name(ssl, host) == 1;
}

struct tls *tls_client_new(const struct tls_remote *remote, char *why, size_t why_size)
{
    tls_wire_prepare();
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new_ex(gcm_library(), gcm_properties(), TLS_client_method());
    SSL     *ssl     = NULL;
    snprintf(why, why_size, "TLS: out of memory");
    if (context != NULL) {
        SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
        tls_wire_offload(context);
        ssl = load(context, remote, why, why_size) ? SSL_new(context) : NULL;
    }
    SSL_CTX_free(context); /* the connection has its own share of it */
    if (ssl == NULL) {
        return NULL;
    }
    if (!expect_host(ssl, remote->host)) {
        SSL_free(ssl);
        return NULL;
    }
    struct tls *tls = tls_over(ssl, NULL, TLS_NAME_NONE);
    if (tls != NULL) {
        SSL_set_connect_state(ssl);
    }
    return tls;
}
