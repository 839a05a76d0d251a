/* admin.c - a few paths over libmicrohttpd. */
#include "shared/admin/admin.h"

#include "shared/base/leftover.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PAGES_MAX = 8 };
enum { CONNECTIONS_MAX = 64, IDLE_TIMEOUT_S = 10, WHY_MAX = 256, BACKLOG = 64, BODY_MAX = 16 * 1024 };

struct admin {
    struct admin_spec  spec;
    struct MHD_Daemon *daemon;
    uint16_t           port;
    struct admin_page  pages[PAGES_MAX + 1];
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

static enum MHD_Result show(struct MHD_Connection *connection, const struct admin_page *page)
{
    size_t size = 0;
    char  *text = page->print(page->ctx, &size);
    if (text == NULL) {
        return say(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "no memory to print this\n");
    }
    return answer(connection, MHD_HTTP_OK, page->type, text, size, MHD_RESPMEM_MUST_FREE);
}

/* ---- what changes something --------------------------------------------------------------------------------------------------- */

/* A request whose body comes in parts. */
struct incoming {
    size_t size;
    bool   too_big;
    char   body[BODY_MAX];
};

static bool from_here(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    if (info == NULL) {
        return false;
    }
    const struct sockaddr_in  *four = (const void *)info->client_addr;
    const struct sockaddr_in6 *six  = (const void *)info->client_addr;
    if (info->client_addr->sa_family == AF_INET) {
        return ntohl(four->sin_addr.s_addr) >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&six->sin6_addr) ||
           (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) && six->sin6_addr.s6_addr[12] == 127);
}

/* As long as the token, whatever was given. */
static bool token_given(const struct admin *admin, struct MHD_Connection *connection)
{
    const char   *given = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    const char   *token = admin->spec.token;
    size_t        size  = strlen(token);
    unsigned char wrong = 0;
    if (given == NULL || strncmp(given, "Bearer ", 7) != 0 || strlen(given + 7) != size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        wrong = (unsigned char)(wrong | (token[i] ^ given[7 + i]));
    }
    return wrong == 0;
}

/* 0, or the status that refuses it, with a sentence in *why. */
static unsigned refused(const struct admin *admin, struct MHD_Connection *connection, const char **why)
{
    if (MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "X-Keel") == NULL ||
        MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Origin") != NULL) {
        *why = "the header X-Keel is missing, or a web page sends this\n";
        return MHD_HTTP_FORBIDDEN;
    }
    const char *token = admin->spec.token != NULL ? admin->spec.token : "";
    if (token[0] != '\0' && !token_given(admin, connection)) {
        *why = "the token is missing or not the one of admin.token\n";
        return MHD_HTTP_UNAUTHORIZED;
    }
    if (token[0] == '\0' && !from_here(connection)) {
        *why = "changes are taken from this machine only, unless admin.token is set\n";
        return MHD_HTTP_FORBIDDEN;
    }
    return 0;
}

static enum MHD_Result control(const struct admin *admin, struct MHD_Connection *connection, const char *path,
                               const char *method, const char *body, size_t *body_size, void **state)
{
    struct incoming *in = *state;
    if (in == NULL) {
        *state = calloc(1, sizeof *in);
        return *state != NULL ? MHD_YES : MHD_NO;
    }
    if (*body_size > 0) {
        in->too_big = in->too_big || *body_size > sizeof in->body - in->size;
        if (!in->too_big) {
            memcpy(in->body + in->size, body, *body_size);
            in->size += *body_size;
        }
        *body_size = 0;
        return MHD_YES;
    }
    const char *why    = NULL;
    unsigned    status = refused(admin, connection, &why);
    if (status == 0 && in->too_big) {
        status = MHD_HTTP_CONTENT_TOO_LARGE;
        why    = "the body is larger than anything that is taken here\n";
    }
    if (status != 0) {
        return say(connection, status, why);
    }
    char *text = NULL;
    int   code = admin->spec.control(admin->spec.ctx, method, path, in->body, in->size, &text);
    if (text == NULL) {
        return say(connection, (unsigned)code, "");
    }
    return answer(connection, (unsigned)code, "text/plain; charset=utf-8", text, strlen(text), MHD_RESPMEM_MUST_FREE);
}

static void completed(void *ctx, struct MHD_Connection *connection, void **state, enum MHD_RequestTerminationCode how)
{
    (void)ctx;
    (void)connection;
    (void)how;
    free(*state);
    *state = NULL;
}

/* ---- paths ------------------------------------------------------------------------------------------------------------------- */

static enum MHD_Result handle(void *ctx, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *body, size_t *body_size, void **state)
{
    const struct admin *admin = ctx;
    (void)version;
    if (admin->spec.controlled != NULL && admin->spec.controlled(path)) {
        return control(admin, connection, path, method, body, body_size, state);
    }
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
    for (const struct admin_page *page = admin->pages; page->path != NULL; page++) {
        if (strcmp(path, page->path) == 0) {
            return show(connection, page);
        }
    }
    char line[WHY_MAX];
    snprintf(line, sizeof line, "paths: %s\n", admin->spec.paths);
    return say(connection, MHD_HTTP_NOT_FOUND, line);
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
    uint16_t port  = 0;
    unsigned looks = 0;
    int      fd;
    do {
        fd = listen_on(spec->address, spec->port, &port);
    } while (fd == -EADDRINUSE && leftover_wait(&looks, "the port of admin HTTP"));
    if (fd < 0) {
        snprintf(why, why_size,
                 "admin HTTP cannot listen on %s port %u: %s; choose another address with %s or stop what uses it",
                 spec->address, spec->port, strerror(-fd), spec->flag);
        return fd;
    }
    struct admin *admin = calloc(1, sizeof *admin);
    if (admin != NULL) {
        admin->spec = *spec;
        for (size_t i = 0; spec->pages[i].path != NULL; i++) {
            ASSERT(i < PAGES_MAX);
            admin->pages[i] = spec->pages[i];
        }
        admin->port = port;
        admin->daemon =
            MHD_start_daemon(MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL, 0, NULL,
                             NULL, handle, admin, MHD_OPTION_NOTIFY_COMPLETED, completed, NULL,
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
