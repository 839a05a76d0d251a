/* uring_name.c - host names. The resolver of the C library may block for seconds, so it runs on a thread that lives for one
 * question; the answer is pushed to a stack of the io and the bell is rung. */
#include "shared/loop/uring.h"

#include "shared/base/err.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* More questions at once than this wait for nothing good: a cluster has fewer peers. */
enum { LOOKUPS_MAX = 64 };

struct uring_name {
    struct uring_name      *next;
    struct io              *io;
    struct io_socket       *socket;
    struct sockaddr_storage address;
    int                     error;
    uint16_t                port;
    char                    host[256];
};

bool name_parse(const char *text, uint16_t port, struct sockaddr_storage *out)
{
    struct sockaddr_in  *four = (struct sockaddr_in *)out;
    struct sockaddr_in6 *six  = (struct sockaddr_in6 *)out;
    memset(out, 0, sizeof *out);
    if (inet_pton(AF_INET, text, &four->sin_addr) == 1) {
        four->sin_family = AF_INET;
        four->sin_port   = htons(port);
        return true;
    }
    if (inet_pton(AF_INET6, text, &six->sin6_addr) == 1) {
        six->sin6_family = AF_INET6;
        six->sin6_port   = htons(port);
        return true;
    }
    return false;
}

static int lookup_error(int error)
{
    switch (error) {
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno != 0 ? -errno : -EHOSTUNREACH;
    case EAI_AGAIN:
        return ERR_TIMEOUT;
    default:
        return ERR_NOT_FOUND;
    }
}

static void *lookup(void *ctx)
{
    struct uring_name *name  = ctx;
    struct addrinfo    hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo   *found = NULL;
    char               port[8];
    snprintf(port, sizeof port, "%u", name->port);
    int error = getaddrinfo(name->host, port, &hints, &found);
    if (error == 0) {
        memcpy(&name->address, found->ai_addr, found->ai_addrlen);
        freeaddrinfo(found);
    } else {
        name->error = lookup_error(error);
    }
    struct io         *io  = name->io;
    struct uring_name *top = atomic_load_explicit(&io->resolved, memory_order_relaxed);
    do {
        name->next = top; /* release: the answer is seen with the pointer; pairs with the exchange in names_take */
    } while (
        !atomic_compare_exchange_weak_explicit(&io->resolved, &top, name, memory_order_release, memory_order_relaxed));
    io_wake(io);
    atomic_fetch_sub_explicit(&io->resolving_count, 1,
                              memory_order_release); /* the last touch of io; pairs with names_wait */
    return NULL;
}

int name_lookup(struct io_socket *socket, const char *host, uint16_t port)
{
    struct io *io = socket->io;
    if (strlen(host) >= sizeof((struct uring_name *)0)->host) {
        return -ENAMETOOLONG;
    }
    if (atomic_load_explicit(&io->resolving_count, memory_order_relaxed) >= LOOKUPS_MAX) {
        return -EAGAIN;
    }
    struct uring_name *name = calloc(1, sizeof *name);
    if (name == NULL) {
        return -ENOMEM;
    }
    name->io     = io;
    name->socket = socket;
    name->port   = port;
    snprintf(name->host, sizeof name->host, "%s", host);
    pthread_t      thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    atomic_fetch_add_explicit(&io->resolving_count, 1, memory_order_relaxed);
    int error = pthread_create(&thread, &attributes, lookup, name);
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        atomic_fetch_sub_explicit(&io->resolving_count, 1, memory_order_relaxed);
        free(name);
        return -error;
    }
    socket->connect_pending = true;
    return 0;
}

/* All answers that are there. */
static struct uring_name *names_take(struct io *io)
{
    if (LIKELY(atomic_load_explicit(&io->resolved, memory_order_relaxed) == NULL)) {
        return NULL;
    }
    return atomic_exchange_explicit(&io->resolved, NULL, memory_order_acquire);
}

void names_after_turn(struct io *io)
{
    for (struct uring_name *name = names_take(io), *next; name != NULL; name = next) {
        next = name->next;
        socket_resolved(name->socket, &name->address, name->error);
        free(name);
    }
}

void names_wait(struct io *io)
{
    while (atomic_load_explicit(&io->resolving_count, memory_order_acquire) > 0) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    for (struct uring_name *name = names_take(io), *next; name != NULL; name = next) {
        next = name->next;
        free(name);
    }
}
