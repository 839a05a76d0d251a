/* login.c - see login.h. */
#include "broker/protocol/mqtt/login.h"

#include "broker/auth/ticket.h"
#include "broker/protocol/mqtt/connect.h"
#include "broker/protocol/mqtt/encode.h"
#include "broker/protocol/mqtt/identity.h"
#include "broker/protocol/mqtt/life.h"
#include "broker/protocol/mqtt/property.h"
#include "broker/protocol/mqtt/topics.h"

#include <stdlib.h>

enum { METHOD_MAX_BYTES = 64, UNSUBSCRIBE_MAX = 256 };

struct mqtt_login {
    struct auth_attempt attempt; /* first */
    struct mqtt_conn   *conn;
    struct mqtt_frame   frame;
    uint8_t            *body; /* CONNECT, kept once somebody thinks about it */
    uint8_t            *data; /* for CONNACK */
    size_t              data_size;
    size_t              body_size;
    bool                asked;   /* the port owes an answer, or waits for what the client says */
    bool                listens; /* it is the client's turn */
    bool                calling; /* begin or respond is under way */
    bool                settled; /* in that call it was answered */
    bool                again;   /* the client is let in already */
    uint8_t             method_size;
    char                method[METHOD_MAX_BYTES];
};

/* ---- refusals ------------------------------------------------------------------------------------------------------------------ */

static struct mqtt_fault fault_of(const struct auth_answer *answer, bool open)
{
    static const uint8_t codes[][2] = {
        /*                          CONNACK                          DISCONNECT */
        [AUTH_BAD_CREDENTIALS] = {MQTT_BAD_USER_NAME_OR_PASSWORD, MQTT_NOT_AUTHORIZED},
        [AUTH_NOT_AUTHORIZED]  = {MQTT_NOT_AUTHORIZED, MQTT_NOT_AUTHORIZED},
        [AUTH_BAD_METHOD]      = {MQTT_BAD_AUTHENTICATION_METHOD, MQTT_BAD_AUTHENTICATION_METHOD},
        [AUTH_PROTOCOL]        = {MQTT_NOT_AUTHORIZED, MQTT_NOT_AUTHORIZED},
        [AUTH_BANNED]          = {MQTT_BANNED, MQTT_ADMINISTRATIVE_ACTION}, /* 0x8A is for CONNACK alone */
        [AUTH_QUOTA]           = {MQTT_QUOTA_EXCEEDED, MQTT_QUOTA_EXCEEDED},
        [AUTH_BUSY]            = {MQTT_SERVER_BUSY, MQTT_SERVER_BUSY},
        [AUTH_UNAVAILABLE]     = {MQTT_SERVER_UNAVAILABLE, MQTT_SERVER_BUSY},
    };
    return mqtt_fault((enum mqtt_reason)codes[answer->refusal][open], answer->why);
}

/* ---- the end --------------------------------------------------------------------------------------------------------------------- */

static void login_free(struct mqtt_client *client)
{
    struct mqtt_login *login = client->login;
    client->login            = NULL;
    if (login == NULL) {
        return;
    }
    if (login->asked) {
        client->env->auth->cancel(client->env->auth->ctx, &login->attempt);
    }
    free(login->body);
    free(login->data);
    free(login);
}

void mqtt_login_fini(struct mqtt_client *client)
{
    login_free(client);
    ticket_free(client->ticket);
    client->ticket = NULL;
}

void mqtt_login_done(struct mqtt_client *client)
{
    struct mqtt_login *login = client->login;
    if (login == NULL) {
        return;
    }
    free(login->body);
    free(login->data);
    login->body      = NULL;
    login->data      = NULL;
    login->data_size = 0;
    login->again     = true;
    if (login->method_size == 0) { /* nobody asks it again */
        login_free(client);
    }
}

bool mqtt_login_listens(const struct mqtt_client *client)
{
    return client->login != NULL && client->login->listens;
}

struct bytes mqtt_login_method(const struct mqtt_client *client)
{
    const struct mqtt_login *login = client->login;
    return login == NULL ? (struct bytes){0} : bytes_of(login->method, login->method_size);
}

struct bytes mqtt_login_data(const struct mqtt_client *client)
{
    const struct mqtt_login *login = client->login;
    return login == NULL ? (struct bytes){0} : bytes_of(login->data, login->data_size);
}

size_t mqtt_login_memory_bytes(const struct mqtt_client *client)
{
    const struct mqtt_login *login = client->login;
    return (login == NULL ? 0 : sizeof *login + login->body_size + login->data_size) +
           ticket_memory_bytes(client->ticket);
}

/* ---- let in ------------------------------------------------------------------------------------------------------------------------ */

/* The wish that a will is. */
static enum access will_allowed(struct mqtt_client *client, const struct mqtt_connect *connect)
{
    struct bytes          topic = client->env->topics == NULL || !connect->has_will
                                      ? connect->will_topic
                                      : mqtt_topics_publish(client, connect->will_topic);
    const struct acl_wish wish  = {
         .action = ACL_PUBLISH, .qos = connect->will_qos, .retain = connect->will_retain, .topic = topic};
    return connect->has_will ? ticket_check(client->ticket, &wish) : ACCESS_ALLOW;
}

/* Who it is, is known: its session is opened unless it may not leave its will. */
static void let_in(struct mqtt_conn *conn, const struct mqtt_connect *connect)
{
    struct mqtt_client *client = &conn->client;
    /* Rules of topics mean the name that was proven; where nobody proves names, the one that was said. */
    struct bytes proven = client->ticket != NULL ? ticket_user(client->ticket) : (struct bytes){0};
    if (!mqtt_topics_user(client, proven.size > 0 ? proven : connect->user_name)) {
        mqtt_conn_fault(conn, client->version, mqtt_fault(MQTT_SERVER_BUSY, "no memory for a user name"));
        return;
    }
    enum access access = will_allowed(client, connect);
    if (access == ACCESS_WAIT) {
        client->waiting = true;
        return;
    }
    ticket_settled(client->ticket);
    if (access == ACCESS_DENY) {
        mqtt_conn_fault(conn, client->version,
                        mqtt_fault(MQTT_NOT_AUTHORIZED, "it may not publish to the topic of its will"));
        return;
    }
    sm_step(mqtt_conn_states, &conn->state, CONN_OPENING);
    timer_cancel(client->env->timers, &client->timer);
    conn->session           = true;
    struct mqtt_fault fault = mqtt_connect_open(client, connect);
    if (fault.why != NULL) {
        conn->session = false; /* the kernel was not asked */
        mqtt_conn_fault(conn, client->version, fault);
    }
}

/* From the copy. */
static void let_in_later(struct mqtt_conn *conn)
{
    struct mqtt_login *login = conn->client.login;
    struct mqtt_packet packet;
    struct mqtt_fault  fault =
        mqtt_decode(MQTT_V5, MQTT_FROM_CLIENT, login->frame, bytes_of(login->body, login->body_size), &packet);
    ASSERT(fault.why == NULL); /* it was decoded before */
    let_in(conn, &packet.connect);
}

/* ---- the ticket ------------------------------------------------------------------------------------------------------------------- */

static void on_again(void *ctx)
{
    struct mqtt_client *client = ctx;
    struct mqtt_conn   *conn   = mqtt_conn_of(client);
    if (conn->state == CONN_AUTHENTICATING && client->waiting) {
        client->waiting = false;
        let_in_later(conn);
        return;
    }
    client->waiting       = false;
    client->recheck       = client->recheck || client->recheck_waits;
    client->recheck_waits = false;
    mqtt_client_soon(client);
}

static void on_changed(void *ctx)
{
    struct mqtt_client *client = ctx;
    if (mqtt_conn_of(client)->state == CONN_OPEN) {
        client->recheck = true;
        mqtt_client_soon(client);
    }
}

static void on_revoked(void *ctx, const char *why)
{
    struct mqtt_client *client = ctx;
    if (mqtt_conn_of(client)->state != CONN_CLOSING) {
        mqtt_client_doom(client, MQTT_NOT_AUTHORIZED, why);
    }
}

static void on_banned(void *ctx, const char *why)
{
    struct mqtt_client *client = ctx;
    if (mqtt_conn_of(client)->state != CONN_CLOSING) {
        mqtt_client_doom(client, MQTT_ADMINISTRATIVE_ACTION, why);
    }
}

static const struct ticket_owner ticket_owner = {
    .again = on_again, .changed = on_changed, .revoked = on_revoked, .banned = on_banned};

struct revoked {
    struct mqtt_client *client;
    uint32_t            count;
    size_t              size;
    struct bytes        filters[UNSUBSCRIBE_MAX];
    bool                waits, more;
};

static void recheck_one(void *ctx, struct bytes filter, uint8_t qos)
{
    struct revoked       *revoked = ctx;
    const struct acl_wish wish    = {.action = ACL_SUBSCRIBE, .qos = qos, .topic = filter};
    enum access           access  = ticket_check(revoked->client->ticket, &wish);
    revoked->waits                = revoked->waits || access == ACCESS_WAIT;
    if (access != ACCESS_DENY || mqtt_topics_automatic(revoked->client, filter)) {
        return;
    }
    uint8_t *copy = revoked->count < UNSUBSCRIBE_MAX ? malloc(filter.size) : NULL;
    if (copy == NULL) {
        revoked->more = true;
        return;
    }
    memcpy(copy, filter.data, filter.size);
    revoked->filters[revoked->count++] = bytes_of(copy, filter.size);
}

void mqtt_login_recheck(struct mqtt_conn *conn)
{
    struct mqtt_client *client  = &conn->client;
    struct mqtt_env    *env     = client->env;
    struct revoked      revoked = {.client = client};
    client->recheck             = false;
    if (client->ticket == NULL || conn->state != CONN_OPEN) {
        return;
    }
    env->kernel_api->subscriptions(env->kernel, &client->kernel, recheck_one, &revoked);
    client->recheck_waits = revoked.waits;
    if (!revoked.waits &&
        mqtt_input_empty(&conn->input)) { /* else the packet at the front may need what was answered */
        ticket_settled(client->ticket);
    }
    if (revoked.count > 0) {
        env->counters.subscriptions_denied += revoked.count;
        env->kernel_api->unsubscribe(env->kernel, &client->kernel, 0, revoked.filters, (int)revoked.count);
    }
    for (uint32_t i = 0; i < revoked.count; i++) {
        free((uint8_t *)(uintptr_t)revoked.filters[i].data);
    }
    if (revoked.more) { /* once these are gone */
        client->recheck = true;
        mqtt_client_soon(client);
    }
}

/* ---- the port ------------------------------------------------------------------------------------------------------------------------ */

static void send_auth(struct mqtt_client *client, enum mqtt_reason reason_code, const struct auth_answer *answer)
{
    struct mqtt_packet packet  = {.type = MQTT_AUTH, .disconnect = {.reason_code = (uint8_t)reason_code}};
    size_t             size    = answer->data.size + client->login->method_size + 16;
    uint8_t           *scratch = mqtt_env_scratch(client->env, size);
    if (scratch == NULL) {
        mqtt_client_doom(client, MQTT_SERVER_BUSY, "no memory for what must be sent to it");
        return;
    }
    struct wire_writer w = wire_writer_fixed(scratch, size);
    mqtt_property_put_bytes(&w, MQTT_AUTHENTICATION_METHOD, mqtt_login_method(client));
    if (answer->has_data) {
        mqtt_property_put_bytes(&w, MQTT_AUTHENTICATION_DATA, answer->data);
    }
    ASSERT(!w.bad);
    packet.disconnect.properties.raw = wire_written(&w);
    mqtt_client_send(client, &packet);
}

static void let_in_by_port(struct mqtt_conn *conn, const struct auth_answer *answer)
{
    struct mqtt_client *client = &conn->client;
    struct mqtt_login  *login  = client->login;
    client->env->counters.authenticated++;
    client->ticket = answer->ticket;
    if (client->ticket != NULL) {
        ticket_own(client->ticket, &ticket_owner, client);
    }
    if (answer->has_data && answer->data.size > 0) {
        login->data = malloc(answer->data.size);
        if (login->data == NULL) {
            mqtt_conn_fault(conn, client->version,
                            mqtt_fault(MQTT_SERVER_BUSY, "no memory for what must be sent to it"));
            return;
        }
        memcpy(login->data, answer->data.data, answer->data.size);
        login->data_size = answer->data.size;
    }
    if (!login->calling || login->body != NULL) {
        let_in_later(conn);
    } /* else the call that is under way goes on with CONNECT as it lies there */
}

static void on_answered(struct auth_attempt *attempt, const struct auth_answer *answer)
{
    struct mqtt_login  *login  = CONTAINER_OF(attempt, struct mqtt_login, attempt);
    struct mqtt_conn   *conn   = login->conn;
    struct mqtt_client *client = &conn->client;
    login->settled             = true;
    if (answer->outcome == AUTH_CONTINUES) {
        login->listens = true;
        send_auth(client, MQTT_CONTINUE_AUTHENTICATION, answer);
        if (!login->calling) {
            mqtt_client_soon(client);
        }
        return;
    }
    login->asked   = false;
    login->listens = false;
    if (answer->outcome == AUTH_REFUSED) {
        if (answer->refusal == AUTH_QUOTA) {
            client->env->counters.over_limit++;
        } else {
            client->env->counters.unauthenticated++;
        }
        mqtt_conn_fault(conn, client->version, fault_of(answer, login->again));
    } else if (login->again) {
        send_auth(client, MQTT_SUCCESS, answer);
        if (client->ticket != NULL) {
            ticket_extend(client->ticket, answer->expires_wall_ns, client->env->wall_ns, client->env->now_ns);
        }
    } else {
        let_in_by_port(conn, answer);
    }
}

static void fill(struct auth_request *request, const struct mqtt_client *client)
{
    const struct peer_identity *identity = client->identity;
    request->client_id                   = bytes_of(client->id, client->id_size);
    request->protocol_version            = client->version;
    request->loopback                    = identity != NULL && identity->loopback;
    request->address                     = identity != NULL && identity->address[0] != '\0' ? identity->address : NULL;
    request->port                        = identity != NULL ? identity->port : 0;
    request->listener                    = identity != NULL ? identity->listener : NULL;
    request->certificate_user            = identity != NULL ? identity->certificate_user : NULL;
}

static bool keep_connect(struct mqtt_login *login, struct mqtt_frame frame, struct bytes body)
{
    login->body = malloc(body.size);
    if (login->body == NULL) {
        return false;
    }
    memcpy(login->body, body.data, body.size);
    login->body_size = body.size;
    login->frame     = frame;
    return true;
}

static struct mqtt_login *login_new(struct mqtt_conn *conn, const struct mqtt_connect *connect)
{
    struct bytes       method = connect->properties.authentication_method;
    bool               named  = mqtt_has(&connect->properties, MQTT_AUTHENTICATION_METHOD);
    struct mqtt_login *login  = calloc(1, sizeof *login);
    if (login == NULL) {
        return NULL;
    }
    login->conn             = conn;
    login->attempt.answered = on_answered;
    if (named && method.size > 0 && method.size <= sizeof login->method) {
        memcpy(login->method, method.data, method.size);
        login->method_size = (uint8_t)method.size;
    }
    return login;
}

void mqtt_login_begin(struct mqtt_conn *conn, struct mqtt_frame frame, struct bytes body,
                      const struct mqtt_connect *connect)
{
    struct mqtt_client           *client = &conn->client;
    const struct auth_port       *port   = client->env->auth;
    const struct mqtt_properties *p      = &connect->properties;
    bool                          named  = mqtt_has(p, MQTT_AUTHENTICATION_METHOD);
    if (named &&
        (port == NULL || p->authentication_method.size == 0 || p->authentication_method.size > METHOD_MAX_BYTES)) {
        mqtt_conn_fault(conn, client->version, /* [MQTT-4.12.0-1] */
                        mqtt_fault(MQTT_BAD_AUTHENTICATION_METHOD, "an authentication method that is not known here"));
        return;
    }
    if (port == NULL) {
        let_in(conn, connect);
        return;
    }
    struct mqtt_login *login = client->login = login_new(conn, connect);
    if (login == NULL) {
        mqtt_conn_fault(conn, client->version, mqtt_fault(MQTT_SERVER_BUSY, "no memory to ask who it is"));
        return;
    }
    struct auth_request request = {
        .user_name     = connect->user_name,
        .password      = connect->password,
        .method        = p->authentication_method,
        .data          = p->authentication_data,
        .has_user_name = connect->has_user_name,
        .has_password  = connect->has_password,
        .has_method    = named,
        .has_data      = mqtt_has(p, MQTT_AUTHENTICATION_DATA),
    };
    fill(&request, client);
    login->asked   = true;
    login->calling = true;
    port->begin(port->ctx, &login->attempt, &request);
    if (conn->state == CONN_CLOSING) { /* refused at once */
        login->calling = false;
        return;
    }
    login->calling = false;
    bool known     = login->settled && !login->asked;
    if (known) {
        let_in(conn, connect);
    }
    if (conn->state == CONN_AUTHENTICATING && !keep_connect(login, frame, body)) {
        mqtt_conn_fault(conn, client->version, mqtt_fault(MQTT_SERVER_BUSY, "no memory to ask who it is"));
    }
}

static struct mqtt_fault begin_again(struct mqtt_conn *conn, const struct mqtt_disconnect *auth)
{
    struct mqtt_client     *client  = &conn->client;
    struct mqtt_login      *login   = client->login;
    const struct auth_port *port    = client->env->auth;
    struct auth_request     request = {
            .method     = mqtt_login_method(client),
            .data       = auth->properties.authentication_data,
            .has_method = true,
            .has_data   = mqtt_has(&auth->properties, MQTT_AUTHENTICATION_DATA),
            .again      = true,
            .only_user  = client->ticket != NULL ? ticket_user(client->ticket) : (struct bytes){0},
    };
    if (login->asked) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "a re-authentication while one is under way");
    }
    fill(&request, client);
    login->asked       = true;
    login->attempt.job = NULL;
    port->begin(port->ctx, &login->attempt, &request);
    return MQTT_FINE;
}

struct mqtt_fault mqtt_login_auth(struct mqtt_conn *conn, const struct mqtt_disconnect *auth)
{
    struct mqtt_client     *client = &conn->client;
    struct mqtt_login      *login  = client->login;
    const struct auth_port *port   = client->env->auth;
    if (login == NULL || login->method_size == 0) { /* no method was agreed on in CONNECT [MQTT-4.12.0-6] */
        return mqtt_has(&auth->properties, MQTT_AUTHENTICATION_METHOD)
                   ? mqtt_fault(MQTT_BAD_AUTHENTICATION_METHOD, "AUTH with a method that CONNECT did not name")
                   : mqtt_fault(MQTT_PROTOCOL_ERROR, "AUTH without an authentication under way");
    }
    if (!mqtt_has(&auth->properties, MQTT_AUTHENTICATION_METHOD) ||
        !bytes_equal(auth->properties.authentication_method, mqtt_login_method(client))) {
        return mqtt_fault(MQTT_PROTOCOL_ERROR,
                          "AUTH with another method than CONNECT"); /* [MQTT-4.12.0-5] [MQTT-4.12.1-1] */
    }
    if (auth->reason_code == MQTT_REAUTHENTICATE && conn->state == CONN_OPEN) {
        return begin_again(conn, auth);
    }
    if (auth->reason_code != MQTT_CONTINUE_AUTHENTICATION || !login->listens) { /* [MQTT-4.12.0-3] */
        return mqtt_fault(MQTT_PROTOCOL_ERROR, "AUTH where none is expected");
    }
    login->listens = false;
    port->respond(port->ctx, &login->attempt, auth->properties.authentication_data);
    return MQTT_FINE;
}
