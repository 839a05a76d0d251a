/* admin.c - three paths over libmicrohttpd. */
#include "broker/admin/admin.h"

#include "broker/admin/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 64, IDLE_TIMEOUT_S = 10, WHY_MAX = 256, BACKLOG = 64 };

struct admin {
    struct admin_spec  spec;
    struct MHD_Daemon *daemon;
    uint16_t           port;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *type, const char *text,
                              size_t size, enum MHD_ResponseMemoryMode memory)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(size, (void *)(uintptr_t)text, memory);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    }
    enum MHD_Result result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result say(struct MHD_Connection *connection, unsigned status, const char *text)
{
    return answer(connection, status, "text/plain; charset=utf-8", text, strlen(text), MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result ready(const struct admin *admin, struct MHD_Connection *connection)
{
    char why[WHY_MAX] = "", line[WHY_MAX + 16];
    if (admin->spec.ready(admin->spec.ctx, why, sizeof why)) {
        return say(connection, MHD_HTTP_OK, "ready\n");
    }
    snprintf(line, sizeof line, "not ready: %s\n", why);
    return say(connection, MHD_HTTP_SERVICE_UNAVAILABLE, line);
}

static enum MHD_Result metrics(const struct admin *admin, struct MHD_Connection *connection)
{
    size_t size = 0;
    char  *text = metrics_print(admin->spec.metrics, &size);
    if (text == NULL) {
        return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory to print the metrics\n");
    }
    return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", text, size,
                  MHD_RESPMEM_MUST_FREE);
}

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state)
{
    const struct admin *admin = ctx;
    (void)version;
    (void)body;
    (void)state;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0) {
        *body_size = 0;
        return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET is answered here\n");
    }
    if (strcmp(path, "/health") == 0) {
        return say(connection, MHD_HTTP_OK, "healthy\n");
    }
    if (strcmp(path, "/ready") == 0) {
        return ready(admin, connection);
    }
    if (strcmp(path, "/metrics") == 0) {
        return metrics(admin, connection);
    }
    return say(connection, MHD_HTTP_NOT_FOUND, "paths: /health /ready /metrics\n");
}

/* A listening socket on address:port, or -errno. */
static int listen_on(const char *address, uint16_t port, uint16_t *out_port)
{
    struct sockaddr_storage name = {0};
    struct sockaddr_in     *four = (void *)&name;
    struct sockaddr_in6    *six  = (void *)&name;
    socklen_t               size = sizeof *four;
    int                     on   = 1;
    if (inet_pton(AF_INET, address, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port   = htons(port);
    } else if (inet_pton(AF_INET6, address, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port   = htons(port);
        size             = sizeof *six;
    } else {
        return -EINVAL;
    }
    int fd = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return -errno;
    }
    socklen_t got = sizeof name;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 || bind(fd, (void *)&name, size) != 0 ||
        listen(fd, BACKLOG) != 0 || getsockname(fd, (void *)&name, &got) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    *out_port = ntohs(name.ss_family == AF_INET ? four->sin_port : six->sin6_port);
    return fd;
}

int admin_start(const struct admin_spec *spec, struct admin **out, char *why, size_t why_size)
{
    uint16_t port = 0;
    int      fd   = listen_on(spec->address, spec->port, &port);
    if (fd < 0) {
        snprintf(why, why_size, "admin HTTP cannot listen on %s port %u: %s", spec->address, spec->port, strerror(-fd));
        return fd;
    }
    struct admin *admin = calloc(1, sizeof *admin);
    if (admin != NULL) {
        admin->spec = *spec;
        admin->port = port;
        admin->daemon =
            MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, NULL, NULL, handle, admin,
                             MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                             MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S, MHD_OPTION_END);
    }
    if (admin == NULL || admin->daemon == NULL) {
        snprintf(why, why_size, "admin HTTP on %s port %u: its thread cannot be started", spec->address, port);
        free(admin);
        close(fd);
        return -ENOMEM;
    }
    *out = admin;
    return 0;
}

uint16_t admin_port(const struct admin *admin)
{
    return admin->port;
}

void admin_stop(struct admin *admin)
{
    if (admin == NULL) {
        return;
    }
    MHD_stop_daemon(admin->daemon); /* closes the listening socket, joins the thread */
    free(admin);
}
