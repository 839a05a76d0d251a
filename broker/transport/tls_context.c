/* tls_context - certificates, keys and rules from files; which certificate a client is shown. */
#include "broker/transport/tls.h"

#include "broker/transport/gcm/gcm.h"
#include "broker/transport/tls_private.h"
#include "broker/transport/tls_wire.h"
#include "shared/base/err.h"

#include <dirent.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* A certificate for the name that a client asks for. */
struct named {
    struct named *next;
    SSL_CTX      *ssl;
    char          host[256];
};

struct tls_context {
    _Atomic uint32_t refs;
    SSL_CTX         *ssl;
    struct named    *named;
    enum tls_name    name;
};

static int failed(char *why, size_t why_size, const char *what, const char *path)
{
    unsigned long first  = ERR_peek_error();
    unsigned long error  = ERR_peek_last_error();
    const char   *reason = error == 0 ? NULL : ERR_reason_error_string(error);
    if (ERR_SYSTEM_ERROR(first)) { /* what follows says "system lib" */
        reason = strerror(ERR_GET_REASON(first));
    }
    snprintf(why, why_size, "%s %s cannot be used: %s", what, path, reason == NULL ? "it cannot be read" : reason);
    ERR_clear_error();
    return ERR_MALFORMED;
}

static int load_pair(SSL_CTX *ssl, const char *certificate, const char *key, char *why, size_t why_size)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1) {
        return failed(why, why_size, "the certificate", certificate);
    }
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 || SSL_CTX_check_private_key(ssl) != 1) {
        return failed(why, why_size, "the key", key);
    }
    return 0;
}

static int load_trust(SSL_CTX *ssl, const struct tls_spec *spec, char *why, size_t why_size)
{
    if (spec->client == TLS_CLIENT_NONE) {
        return 0;
    }
    if (*spec->authority == '\0') {
        snprintf(why, why_size, "clients' certificates are wanted, but tls.ca does not say who signs them");
        return ERR_MALFORMED;
    }
    if (SSL_CTX_load_verify_locations(ssl, spec->authority, NULL) != 1) {
        return failed(why, why_size, "the authority's certificate", spec->authority);
    }
    SSL_CTX_set_client_CA_list(ssl, SSL_load_client_CA_file(spec->authority));
    if (*spec->revoked != '\0') {
        X509_STORE  *store  = SSL_CTX_get_cert_store(ssl);
        X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
        if (lookup == NULL || X509_load_crl_file(lookup, spec->revoked, X509_FILETYPE_PEM) < 1) {
            return failed(why, why_size, "the list of revoked certificates", spec->revoked);
        }
        X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    }
    SSL_CTX_set_verify(
        ssl, SSL_VERIFY_PEER | (spec->client == TLS_CLIENT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0), NULL);
    return 0;
}

static SSL_CTX *context_for(const struct tls_spec *spec, const char *certificate, const char *key, char *why,
                            size_t why_size)
{
    SSL_CTX *ssl = SSL_CTX_new_ex(gcm_library(), gcm_properties(), TLS_server_method());
    if (ssl == NULL) {
        snprintf(why, why_size, "OpenSSL is out of memory");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(ssl, spec->tls_1_3_only ? TLS1_3_VERSION : TLS1_2_VERSION);
    SSL_CTX_set_options(ssl, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                 SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    tls_wire_offload(ssl);
    /* AES-128 first: as safe for as long as it matters here, and a third faster. */
    SSL_CTX_set_ciphersuites(ssl, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256");
    SSL_CTX_set_session_id_context(ssl, (const unsigned char *)"keel", 4);
    if (*spec->ciphers != '\0' && SSL_CTX_set_cipher_list(ssl, spec->ciphers) != 1) {
        (void)failed(why, why_size, "the cipher list", spec->ciphers);
    } else if (load_pair(ssl, certificate, key, why, why_size) == 0 && load_trust(ssl, spec, why, why_size) == 0) {
        return ssl;
    }
    SSL_CTX_free(ssl);
    return NULL;
}

/* ---- the name that a client asks for ---------------------------------------------------------------------------------- */

/* "*.example.org" stands for one level, as in certificates. */
static bool host_matches(const char *pattern, const char *host)
{
    if (strncmp(pattern, "*.", 2) != 0) {
        return strcasecmp(pattern, host) == 0;
    }
    const char *dot = strchr(host, '.');
    return dot != NULL && dot != host && strcasecmp(pattern + 1, dot) == 0;
}

static int choose(SSL *ssl, int *alert, void *ctx)
{
    (void)alert;
    const struct tls_context *context = ctx;
    const char               *host    = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    for (const struct named *n = context->named; host != NULL && n != NULL; n = n->next) {
        if (host_matches(n->host, host)) {
            SSL_set_SSL_CTX(ssl, n->ssl);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_OK; /* the first certificate, as without a name */
}

/* NAME.crt with NAME.key beside it; "_" in front stands for "*". */
static int load_named(struct tls_context *context, const struct tls_spec *spec, char *why, size_t why_size)
{
    DIR *directory = opendir(spec->directory);
    int  result    = 0;
    if (directory == NULL) {
        snprintf(why, why_size, "the directory of certificates %s cannot be read", spec->directory);
        return ERR_NOT_FOUND;
    }
    for (struct dirent *entry; result == 0 && (entry = readdir(directory)) != NULL;) {
        size_t        size = strlen(entry->d_name);
        struct named *named =
            size > 4 && strcmp(entry->d_name + size - 4, ".crt") == 0 ? calloc(1, sizeof *named) : NULL;
        if (named == NULL) {
            continue;
        }
        char certificate[600], key[600];
        snprintf(certificate, sizeof certificate, "%s/%s", spec->directory, entry->d_name);
        snprintf(key, sizeof key, "%s/%.*s.key", spec->directory, (int)size - 4, entry->d_name);
        snprintf(named->host, sizeof named->host, "%.*s", (int)size - 4, entry->d_name);
        if (named->host[0] == '_') {
            named->host[0] = '*';
        }
        named->ssl = context_for(spec, certificate, key, why, why_size);
        if (named->ssl == NULL) {
            free(named);
            result = ERR_MALFORMED;
            continue;
        }
        named->next    = context->named;
        context->named = named;
    }
    closedir(directory);
    return result;
}

int tls_context_new(const struct tls_spec *spec, struct tls_context **out, char *why, size_t why_size)
{
    tls_wire_prepare();
    struct tls_context *context = calloc(1, sizeof *context);
    if (context == NULL) {
        snprintf(why, why_size, "out of memory for TLS");
        return ERR_FULL;
    }
    atomic_init(&context->refs, 1);
    context->name = spec->name;
    context->ssl  = context_for(spec, spec->certificate, spec->key, why, why_size);
    int result    = context->ssl == NULL ? ERR_MALFORMED : 0;
    if (result == 0 && *spec->directory != '\0') {
        result = load_named(context, spec, why, why_size);
    }
    if (result != 0) {
        tls_context_unref(context);
        return result;
    }
    SSL_CTX_set_tlsext_servername_callback(context->ssl, choose);
    SSL_CTX_set_tlsext_servername_arg(context->ssl, context);
    *out = context;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *context)
{
    atomic_fetch_add_explicit(&context->refs, 1, memory_order_relaxed);
    return context;
}

void tls_context_unref(struct tls_context *context)
{
    if (context == NULL || atomic_fetch_sub_explicit(&context->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    for (struct named *n = context->named, *next; n != NULL; n = next) {
        next = n->next;
        SSL_CTX_free(n->ssl);
        free(n);
    }
    SSL_CTX_free(context->ssl);
    free(context);
}

struct tls *tls_new(struct tls_context *context)
{
    SSL *ssl = SSL_new(context->ssl);
    return ssl == NULL ? NULL : tls_over(ssl, context, context->name);
}
