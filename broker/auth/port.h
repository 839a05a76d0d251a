/* port - what a protocol asks before it lets a client in: who is this? Fulfilled by broker/gate; by a table in tests.
 *
 *     begin(attempt, request) ──▶ answered(AUTH_ALLOWED | AUTH_REFUSED)                       a password, a token, a certificate, nothing
 *                             ──▶ answered(AUTH_CONTINUES, data) ──▶ respond(data) ──▶ ..     an exchange of several steps (SCRAM)
 *
 * answered() may come before begin or respond return, or much later; after AUTH_ALLOWED, AUTH_REFUSED or cancel() nothing comes any more.
 * Threads: the shard. */
#ifndef KEEL_BROKER_AUTH_PORT_H
#define KEEL_BROKER_AUTH_PORT_H

#include "shared/base/bytes.h"

struct ticket;

/* All borrowed until begin returns. */
struct auth_request {
    struct bytes client_id;
    struct bytes user_name;
    struct bytes password;
    struct bytes method; /* enhanced authentication: its name */
    struct bytes data;   /* and what the client says first */
    bool         has_user_name;
    bool         has_password;
    bool         has_method;
    bool         has_data;
    bool         loopback; /* the listener is reached from this machine only */
    uint8_t      protocol_version;
    uint16_t     port;
    const char  *address;          /* of the peer */
    const char  *certificate_user; /* checked by the transport; NULL: none */
    const char  *listener;         /* its name; NULL: none */
    struct bytes only_user;        /* re-authentication: nobody else may come out of it; size 0 with again: anonymous */
    bool         again;
};

enum auth_outcome { AUTH_ALLOWED, AUTH_CONTINUES, AUTH_REFUSED };

enum auth_refusal {
    AUTH_BAD_CREDENTIALS,
    AUTH_NOT_AUTHORIZED,
    AUTH_BAD_METHOD,
    AUTH_PROTOCOL, /* the exchange does not follow its rules */
    AUTH_BANNED,
    AUTH_QUOTA, /* too many of its kind are here */
    AUTH_BUSY,  /* too many wait to be checked */
    AUTH_UNAVAILABLE,
};

struct auth_answer {
    enum auth_outcome outcome;
    enum auth_refusal refusal; /* AUTH_REFUSED */
    const char       *why;     /* AUTH_REFUSED: a constant sentence for the log */
    struct bytes      data;    /* borrowed: what the client is to be told in this step */
    bool              has_data;
    struct ticket    *ticket;          /* AUTH_ALLOWED: the client's, from now on; NULL when this was again */
    uint64_t          expires_wall_ns; /* AUTH_ALLOWED again: until when; 0: for ever */
};

struct auth_attempt {
    void (*answered)(struct auth_attempt *attempt, const struct auth_answer *answer);
    void *job; /* the port's; zeroed by the protocol */
};

struct auth_port {
    void *ctx;
    void (*begin)(void *ctx, struct auth_attempt *attempt, const struct auth_request *request);
    void (*respond)(void *ctx, struct auth_attempt *attempt, struct bytes data);
    void (*cancel)(void *ctx, struct auth_attempt *attempt); /* no answer comes after this */
};

#endif
