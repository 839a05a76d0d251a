/* The paths, asked over a real socket. */
#include "shared/admin/admin.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static bool let_in;

static bool ready(void *ctx, char *why, size_t why_size)
{
    (void)ctx;
    snprintf(why, why_size, "the segment store is not connected");
    return let_in;
}

/* The whole answer to one request. */
static const char *ask(uint16_t port, const char *request)
{
    static char        text[65536];
    struct sockaddr_in name = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int    fd   = socket(AF_INET, SOCK_STREAM, 0);
    size_t size = 0;
    cr_assert_eq(connect(fd, (void *)&name, sizeof name), 0);
    cr_assert_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    for (ssize_t got = 1; got > 0 && size < sizeof text - 1;) {
        got = read(fd, text + size, sizeof text - 1 - size);
        size += got > 0 ? (size_t)got : 0;
    }
    text[size] = '\0';
    close(fd);
    return text;
}

static char *print(void *ctx, size_t *out_size)
{
    char *text = strdup(ctx);
    *out_size  = strlen(text);
    return text;
}

static bool controlled(const char *path)
{
    return strncmp(path, "/change", 7) == 0;
}

static int control(void *ctx, const char *method, const char *path, const void *body, size_t size, char **out_text)
{
    (void)ctx;
    return asprintf(out_text, "%s %s %.*s\n", method, path, (int)size, (const char *)body) > 0 ? 201 : 500;
}

static const struct admin_page pages[] = {
    {"/one", "text/plain", print, "the first"}, {"/two", "application/json", print, "{\"second\": true}"}, {NULL}};

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

Test(admin, health_readiness_and_pages_are_answered)
{
    char              why[256];
    struct admin     *admin = NULL;
    struct admin_spec spec  = {
         .address = "127.0.0.1", .flag = "--admin", .pages = pages, .paths = "/one /two", .ready = ready};
    cr_assert_eq(admin_start(&spec, &admin, why, sizeof why), 0, "%s", why);
    uint16_t port = admin_port(admin);
    cr_assert_neq(port, 0);

    cr_expect(begins(ask(port, "GET /health HTTP/1.0\r\n\r\n"), "HTTP/1.0 200") ||
              begins(ask(port, "GET /health HTTP/1.0\r\n\r\n"), "HTTP/1.1 200"));
    const char *text = ask(port, "GET /ready HTTP/1.0\r\n\r\n");
    cr_expect_not_null(strstr(text, " 503 "), "%s", text);
    cr_expect_not_null(strstr(text, "not ready: the segment store is not connected\n"), "%s", text);
    let_in = true;
    cr_expect_not_null(strstr(ask(port, "GET /ready HTTP/1.0\r\n\r\n"), "\r\n\r\nready\n"));

    text = ask(port, "GET /two HTTP/1.0\r\n\r\n");
    cr_expect_not_null(strstr(text, "Content-Type: application/json\r\n"), "%s", text);
    cr_expect_not_null(strstr(text, "\r\n\r\n{\"second\": true}"), "%s", text);
    cr_expect_not_null(strstr(ask(port, "GET /one HTTP/1.0\r\n\r\n"), "\r\n\r\nthe first"));

    text = ask(port, "GET /nothing HTTP/1.0\r\n\r\n");
    cr_expect_not_null(strstr(text, " 404 "), "%s", text);
    cr_expect_not_null(strstr(text, "paths: /one /two\n"), "%s", text);
    cr_expect_not_null(strstr(ask(port, "POST /ready HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), " 405 "));
    cr_expect_not_null(strstr(ask(port, "PUT /change HTTP/1.0\r\nX-Keel: x\r\nContent-Length: 0\r\n\r\n"), " 405 "),
                       "without a control nothing is changed");
    admin_stop(admin);
}

Test(admin, what_changes_something_is_carried_out_for_those_who_may)
{
    char              why[256];
    struct admin     *admin = NULL;
    struct admin_spec spec  = {.address    = "127.0.0.1",
                               .flag       = "--admin",
                               .pages      = pages,
                               .paths      = "/one",
                               .ready      = ready,
                               .token      = "secret",
                               .controlled = controlled,
                               .control    = control};
    cr_assert_eq(admin_start(&spec, &admin, why, sizeof why), 0, "%s", why);
    uint16_t    port = admin_port(admin);
    const char *text = ask(port, "PUT /change/it HTTP/1.0\r\nX-Keel: x\r\nAuthorization: Bearer secret\r\n"
                                 "Content-Length: 4\r\n\r\nthis");
    cr_expect_not_null(strstr(text, " 201 "), "%s", text);
    cr_expect_not_null(strstr(text, "\r\n\r\nPUT /change/it this\n"), "%s", text);
    cr_expect_not_null(strstr(ask(port, "PUT /change HTTP/1.0\r\nX-Keel: x\r\nAuthorization: Bearer wrong!\r\n"
                                        "Content-Length: 0\r\n\r\n"),
                              " 401 "));
    cr_expect_not_null(strstr(ask(port, "PUT /change HTTP/1.0\r\nAuthorization: Bearer secret\r\n"
                                        "Content-Length: 0\r\n\r\n"),
                              " 403 "),
                       "without X-Keel");
    admin_stop(admin);
}

static void *stop_soon(void *admin)
{
    nanosleep(&(struct timespec){.tv_nsec = 30 * 1000 * 1000},
              NULL); /* the other one has looked by then, or need not wait */
    admin_stop(admin);
    return NULL;
}

Test(admin, a_port_that_is_free_again_is_waited_for)
{
    char              why[256];
    struct admin     *first = NULL, *second = NULL;
    struct admin_spec spec = {
        .address = "127.0.0.1", .flag = "--admin", .pages = pages, .paths = "/one /two", .ready = ready};
    pthread_t other;
    cr_assert_eq(admin_start(&spec, &first, why, sizeof why), 0, "%s", why);
    spec.port = admin_port(first);
    cr_assert_eq(pthread_create(&other, NULL, stop_soon, first), 0);
    cr_assert_eq(admin_start(&spec, &second, why, sizeof why), 0, "%s", why);
    pthread_join(other, NULL);
    admin_stop(second);
}

Test(admin, a_taken_port_is_an_error_with_a_sentence)
{
    char              why[256];
    struct admin     *first = NULL, *second = NULL;
    struct admin_spec spec = {
        .address = "127.0.0.1", .flag = "--admin", .pages = pages, .paths = "/one /two", .ready = ready};
    cr_assert_eq(admin_start(&spec, &first, why, sizeof why), 0, "%s", why);
    spec.port = admin_port(first);
    cr_expect_eq(admin_start(&spec, &second, why, sizeof why), -EADDRINUSE);
    cr_expect_not_null(strstr(why, "cannot listen on 127.0.0.1 port"), "%s", why);
    cr_expect_not_null(strstr(why, "; choose another address with --admin or stop what uses it"), "%s", why);
    spec.address = "nowhere";
    cr_expect_eq(admin_start(&spec, &second, why, sizeof why), -EINVAL);
    admin_stop(first);
    admin_stop(NULL);
}
