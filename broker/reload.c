/* reload - see reload.h. */
#include "broker/reload.h"

#include "broker/guard.h"
#include "broker/shard/shard.h"
#include "broker/transport/tls.h"
#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/config/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int reload_tls(const struct settings *settings, struct broker *broker, char *why, size_t why_size)
{
    const struct tls_spec spec = {.certificate  = settings->tls_certificate,
                                  .key          = settings->tls_key,
                                  .authority    = settings->tls_authority,
                                  .revoked      = settings->tls_revoked,
                                  .directory    = settings->tls_directory,
                                  .ciphers      = settings->tls_ciphers,
                                  .tls_1_3_only = settings->tls_version == 1,
                                  .client       = (enum tls_client)settings->tls_client,
                                  .name         = (enum tls_name)settings->tls_name};
    if (settings->mqtts_listen.host[0] == '\0' && settings->wss_listen.host[0] == '\0') {
        return 0;
    }
    if (*spec.certificate == '\0' || *spec.key == '\0') {
        snprintf(why, why_size,
                 "TLS is wanted (mqtts.listen, wss.listen), but tls.cert and tls.key do not both name a file");
        return ERR_MALFORMED;
    }
    struct tls_context *context = NULL;
    int                 result  = tls_context_new(&spec, &context, why, why_size);
    if (result < 0) {
        return result;
    }
    for (unsigned i = 0; i < broker->shard_count; i++) {
        tls_context_unref(
            atomic_exchange_explicit(&broker->tls_next[i], tls_context_ref(context), memory_order_acq_rel));
    }
    tls_context_unref(context);
    return 0;
}

bool reload_all(struct broker *broker, char **out_text)
{
    const struct settings *settings = broker->settings;
    char                   auth_why[600], tls_why[600];
    bool                   auth   = guard_reload(broker, settings, auth_why, sizeof auth_why);
    bool                   secure = settings->mqtts_listen.host[0] != '\0' || settings->wss_listen.host[0] != '\0';
    bool                   tls    = reload_tls(settings, broker, tls_why, sizeof tls_why) == 0;
    if (auth) {
        log_info("users, rules and keys of tokens were read again from their files");
    } else {
        log_error("%s; users, rules and keys of tokens stay as they were", auth_why);
    }
    if (!tls) {
        log_error("%s; new connections go on with the certificates read before", tls_why);
    } else if (secure) {
        log_info("the files of TLS were read again; new connections use them");
    }
    if (out_text != NULL &&
        asprintf(out_text, "users, rules, keys of tokens: %s\ncertificates: %s\n", auth ? "read again" : auth_why,
                 !tls     ? tls_why
                 : secure ? "read again"
                          : "there are none") < 0) {
        *out_text = NULL;
    }
    return auth && tls;
}

int reload_handle(struct broker *broker, const char *method, char **out_text)
{
    if (strcmp(method, "POST") != 0) {
        *out_text = strdup("only POST is answered here\n");
        return 405;
    }
    return reload_all(broker, out_text) ? 200 : 409;
}
