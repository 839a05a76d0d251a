/* streams.c - one request: over the desk, into the kernel, and the answer as text. */
#include "broker/shard/streams.h"

#include "broker/kernel/capture.h"
#include "broker/shard/question.h"
#include "shared/base/err.h"
#include "shared/base/instant.h"

#include <stdio.h>
#include <stdlib.h>

enum { NAME_AT = 9 /* behind "/streams/" */ };

struct streams_question {
    struct question        question; /* first */
    struct capture_request request;
    struct kernel *const  *kernel;
    char                   method[8];
    char                   path[NAME_AT + CAPTURE_NAME_MAX + 2];
};

/* ---- on the shard ------------------------------------------------------------------------------------------------------- */

static void refuse(struct streams_question *q, int error)
{
    switch (error) {
    case ERR_NOT_FOUND:
        question_say(&q->question, 404, "there is no stream of this name; `keel ctl stream list` shows those that are");
        break;
    case ERR_EXISTS:
        question_say(
            &q->question, 409,
            "a stream of this name is there and is of the other kind (--last-value or not); delete it first, or take "
            "another name");
        break;
    case ERR_MALFORMED:
        question_say(&q->question, 400,
                     capture_name_valid(bytes_of(q->request.rule.name, q->request.rule.name_size))
                         ? "this is no valid topic filter, or a shared one, which no stream has"
                         : "a stream has a name of 1 to 64 letters, digits, '-', '_' or '.'");
        break;
    default:
        question_say(&q->question, 503, err_sentence(error));
    }
}

static void changed(struct capture_request *request, int status)
{
    struct streams_question *q = CONTAINER_OF(request, struct streams_question, request);
    if (status != 0) {
        refuse(q, status);
    } else {
        question_say(&q->question, 200, "done");
    }
}

static void print_moment(FILE *to, const char *word, uint64_t ns)
{
    char text[INSTANT_TEXT_BYTES];
    instant_write(ns, text);
    fprintf(to, "%s: %.*s\n", word, ns != 0 ? INSTANT_TEXT_BYTES : 1, ns != 0 ? text : "-");
}

static void told(struct capture_request *request, int status)
{
    struct streams_question *q    = CONTAINER_OF(request, struct streams_question, request);
    char                    *text = NULL;
    size_t                   size = 0;
    const struct capture    *c =
        status != 0 ? NULL : capture_find(*q->kernel, bytes_of(request->rule.name, request->rule.name_size));
    if (c == NULL) {
        refuse(q, status != 0 ? status : ERR_NOT_FOUND);
        return;
    }
    FILE *to = open_memstream(&text, &size);
    if (to == NULL) {
        question_settle(&q->question, 500, NULL);
        return;
    }
    fprintf(to, "name: %.*s\nfilter: %.*s\nkind: %s\n", (int)c->name_size, (const char *)c->text, (int)c->filter_size,
            (const char *)c->text + c->name_size, c->latest ? "last-value" : "log");
    fprintf(to, "max_age_ns: %llu\nmax_bytes: %llu\nmax_count: %llu\n", (unsigned long long)c->max_age_ns,
            (unsigned long long)c->max_bytes, (unsigned long long)c->max_count);
    fprintf(to, "messages: %llu\nbytes: %llu\nfirst_offset: %llu\nnext_offset: %llu\n",
            (unsigned long long)request->stat.count, (unsigned long long)request->stat.bytes,
            (unsigned long long)request->stat.start, (unsigned long long)request->stat.next);
    print_moment(to, "first_time", request->stat.first_ns);
    print_moment(to, "last_time", request->stat.last_ns);
    print_moment(to, "changed", c->created_wall_ns);
    fclose(to);
    question_settle(&q->question, 200, text);
}

static void list(struct streams_question *q)
{
    char          *text = NULL;
    size_t         size = 0;
    FILE          *to   = open_memstream(&text, &size);
    struct kernel *k    = *q->kernel;
    if (to == NULL) {
        question_settle(&q->question, 500, NULL);
        return;
    }
    LIST_EACH (&k->captures, link) {
        const struct capture *c = CONTAINER_OF(link, struct capture, all);
        fprintf(to, "%.*s\t%.*s\t%s\t%llu\t%llu\t%llu\n", (int)c->name_size, (const char *)c->text, (int)c->filter_size,
                (const char *)c->text + c->name_size, c->latest ? "last-value" : "log",
                (unsigned long long)c->max_age_ns, (unsigned long long)c->max_bytes, (unsigned long long)c->max_count);
    }
    fclose(to);
    question_settle(&q->question, 200, text);
}

static void run(struct question *question)
{
    struct streams_question *q     = CONTAINER_OF(question, struct streams_question, question);
    struct kernel           *k     = *q->kernel;
    bool                     named = q->request.rule.name_size != 0;
    if (k == NULL || !kernel_ready(k)) {
        question_say(&q->question, 503, "the broker waits for the segment store");
    } else if (!named && strcmp(q->method, "GET") == 0 && strcmp(q->path, "/streams") == 0) {
        list(q);
    } else if (named && strcmp(q->method, "GET") == 0) {
        q->request.done = told;
        capture_stat(k, &q->request);
    } else if (named && strcmp(q->method, "PUT") == 0) {
        q->request.done = changed;
        capture_put(k, &q->request);
    } else if (named && strcmp(q->method, "DELETE") == 0) {
        q->request.done = changed;
        capture_delete(k, &q->request);
    } else {
        question_say(&q->question, 404, "paths: GET /streams, and GET, PUT and DELETE /streams/NAME");
    }
}

/* ---- on the other thread ------------------------------------------------------------------------------------------------ */

/* "key=value"; false: not understood. */
static bool take_line(struct capture_request *r, struct bytes line)
{
    const uint8_t *sign = line.size == 0 ? NULL : memchr(line.data, '=', line.size);
    if (sign == NULL) {
        return line.size == 0;
    }
    struct bytes key   = bytes_of(line.data, (size_t)(sign - line.data));
    struct bytes value = bytes_of(sign + 1, line.size - key.size - 1);
    uint64_t     latest;
    if (bytes_equal(key, bytes_str("filter"))) {
        if (value.size > sizeof r->rule.filter) {
            return false;
        }
        memcpy(r->rule.filter, value.data, value.size);
        r->rule.filter_size = (uint32_t)value.size;
        return true;
    }
    if (bytes_equal(key, bytes_str("last_value"))) {
        bool good      = bytes_number(value, &latest) && latest <= 1;
        r->rule.latest = good && latest == 1;
        return good;
    }
    return (bytes_equal(key, bytes_str("max_age_ns")) && bytes_number(value, &r->rule.max_age_ns)) ||
           (bytes_equal(key, bytes_str("max_bytes")) && bytes_number(value, &r->rule.max_bytes)) ||
           (bytes_equal(key, bytes_str("max_count")) && bytes_number(value, &r->rule.max_count));
}

static bool take_body(struct capture_request *r, struct bytes body)
{
    while (body.size != 0) {
        const uint8_t *end  = memchr(body.data, '\n', body.size);
        size_t         size = end == NULL ? body.size : (size_t)(end - body.data);
        if (!take_line(r, bytes_of(body.data, size))) {
            return false;
        }
        size += end != NULL;
        body = bytes_of(body.data + size, body.size - size);
    }
    return true;
}

static int answer(char **out_text, int status, const char *sentence)
{
    *out_text = strdup(sentence);
    return status;
}

int streams_handle(struct desk *desk, struct kernel *const *kernel, const char *method, const char *path,
                   struct bytes body, char **out_text)
{
    struct streams_question *q = question_new(sizeof *q, run);
    *out_text                  = NULL;
    if (q == NULL) {
        return 500;
    }
    const char *name = strncmp(path, "/streams/", NAME_AT) == 0 ? path + NAME_AT : "";
    size_t      size = strlen(name);
    if (size > CAPTURE_NAME_MAX || !take_body(&q->request, body)) {
        question_free(&q->question);
        return answer(out_text, 400,
                      "a stream's name has at most 64 characters; its lines are filter=, max_age_ns=, max_bytes=, "
                      "max_count= and last_value=0|1\n");
    }
    snprintf(q->method, sizeof q->method, "%s", method);
    snprintf(q->path, sizeof q->path, "%s", path);
    memcpy(q->request.rule.name, name, size);
    q->request.rule.name_size = (uint32_t)size;
    q->kernel                 = kernel;
    return question_ask(desk, &q->question, out_text);
}
