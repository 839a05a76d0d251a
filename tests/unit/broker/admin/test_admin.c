/* The three paths, asked over a real socket. */
#include "broker/admin/admin.h"

#include "broker/admin/metrics.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static bool begins(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

Test(admin, health_readiness_and_metrics_are_answered)
{
    char              why[256];
    struct metrics   *metrics = metrics_new(2);
    struct admin     *admin   = NULL;
    struct admin_spec spec    = {.address = "127.0.0.1", .metrics = metrics, .ready = ready};
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

    metrics_set(metrics_of(metrics, 0), METRIC_PUBLISHES, 3);
    metrics_set(metrics_of(metrics, 1), METRIC_PUBLISHES, 4);
    text = ask(port, "GET /metrics HTTP/1.0\r\n\r\n");
    cr_expect_not_null(strstr(text, "# TYPE keel_publishes_total counter\nkeel_publishes_total 7\n"
                                    "keel_publishes_total{shard=\"0\"} 3\nkeel_publishes_total{shard=\"1\"} 4\n"));

    cr_expect_not_null(strstr(ask(port, "GET /nothing HTTP/1.0\r\n\r\n"), " 404 "));
    cr_expect_not_null(strstr(ask(port, "POST /ready HTTP/1.0\r\nContent-Length: 0\r\n\r\n"), " 405 "));
    admin_stop(admin);
    metrics_free(metrics);
}

Test(admin, a_taken_port_is_an_error_with_a_sentence)
{
    char              why[256];
    struct metrics   *metrics = metrics_new(1);
    struct admin     *first = NULL, *second = NULL;
    struct admin_spec spec = {.address = "127.0.0.1", .metrics = metrics, .ready = ready};
    cr_assert_eq(admin_start(&spec, &first, why, sizeof why), 0, "%s", why);
    spec.port = admin_port(first);
    cr_expect_eq(admin_start(&spec, &second, why, sizeof why), -EADDRINUSE);
    cr_expect_not_null(strstr(why, "cannot listen on 127.0.0.1 port"), "%s", why);
    spec.address = "nowhere";
    cr_expect_eq(admin_start(&spec, &second, why, sizeof why), -EINVAL);
    admin_stop(first);
    admin_stop(NULL);
    metrics_free(metrics);
}
