/* bridge.c - see the picture in bridge.h: the life of the connection, and what the shard asks. */
#include "broker/bridge/inside.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/base/sm.h"

#include <stdio.h>
#include <stdlib.h>

static const struct sm_state states[] = {
    /*                     name          may be followed by */
    [BRIDGE_AWAY]       = {"away", SM(BRIDGE_CONNECTING)},
    [BRIDGE_CONNECTING] = {"connecting", SM(BRIDGE_GREETING) | SM(BRIDGE_AWAY)},
    [BRIDGE_GREETING]   = {"greeting", SM(BRIDGE_OPENING) | SM(BRIDGE_AWAY)},
    [BRIDGE_OPENING]    = {"opening", SM(BRIDGE_UP) | SM(BRIDGE_AWAY)},
    [BRIDGE_UP]         = {"up", SM(BRIDGE_AWAY)},
};

static void on_timer(struct timer *timer, uint64_t now_ns);

const char *bridge_state_name(const struct bridge *b)
{
    return states[b->state].name;
}

const char *bridge_why(const struct bridge *b)
{
    return b->state == BRIDGE_UP ? "" : b->why;
}

void bridge_step(struct bridge *b, enum bridge_state next)
{
    sm_step(states, &b->state, (uint8_t)next);
}

/* ---- the connection's life --------------------------------------------------------------------------------------------------- */

static void local_close(struct bridge *b)
{
    if (b->local && b->client.session != NULL) {
        struct close_request request = {.discard_will = b->ending};
        kernel_close(b->kernel, &b->client, &request); /* its will says that it is away */
    }
    b->local = false;
}

static void wait_again(struct bridge *b)
{
    uint64_t wait_ns = b->backoff_ns / 2 + b->port.random(b->port.ctx) % (b->backoff_ns / 2);
    b->backoff_ns    = b->backoff_ns * 2 < BACKOFF_LAST_NS ? b->backoff_ns * 2 : BACKOFF_LAST_NS;
    timer_arm(b->timers, &b->timer, b->now_ns + wait_ns, on_timer);
}

/* For those who ask later. */
static void explain(struct bridge *b, const char *why)
{
    if (why != b->why) {
        (void)snprintf(b->why, sizeof b->why, "%s", why);
    }
}

static void gone(struct bridge *b, const char *why)
{
    explain(b, why);
    b->explained = false;
    if (b->stopped) {
        log_info("bridge %.*s to %s:%u is stopped", (int)b->name_size, (const char *)b->name, b->spec.host,
                 b->spec.port);
    } else if (b->state == BRIDGE_UP || b->backoff_ns >= BACKOFF_LAST_NS || b->backoff_ns == BACKOFF_FIRST_NS) {
        log_warn("bridge %.*s to %s:%u: %s; trying again", (int)b->name_size, (const char *)b->name, b->spec.host,
                 b->spec.port, why);
    }
    if (b->state == BRIDGE_UP && b->now_ns - b->up_ns > BACKOFF_LAST_NS) {
        b->backoff_ns = BACKOFF_FIRST_NS;
    }
    bridge_step(b, BRIDGE_AWAY);
    mqtt_input_fini(&b->input);
    b->full        = false;
    b->pinged      = false;
    b->paused      = false;
    b->warned_size = false;
    b->skip_bytes  = 0;
    local_close(b);
    if (!b->stopped) {
        wait_again(b);
    }
}

/* We end it. Inside of input or a call of the kernel it is done at the end. */
void bridge_drop(struct bridge *b, const char *why)
{
    if (b->state == BRIDGE_AWAY) {
        return;
    }
    if (b->in_input) {
        b->doomed    = true;
        b->explained = true;
        explain(b, why);
        log_warn("bridge %.*s to %s:%u: %s", (int)b->name_size, (const char *)b->name, b->spec.host, b->spec.port, why);
        return;
    }
    b->doomed = false;
    b->port.close(b->port.ctx);
    gone(b, why);
}

void bridge_end_call(struct bridge *b)
{
    if (b->doomed) {
        bridge_drop(b, b->explained ? b->why : "the connection is given up");
    }
}

void bridge_connected(struct bridge *b)
{
    bridge_step(b, BRIDGE_GREETING);
    b->heard_ns = b->now_ns;
    timer_arm(b->timers, &b->timer, b->now_ns + GREET_NS, on_timer);
    bridge_greet(b);
}

void bridge_lost(struct bridge *b, const char *why)
{
    gone(b, why);
}

void bridge_arm_keep_alive(struct bridge *b)
{
    uint64_t each_ns = b->keep_alive_s * SECOND_NS;
    timer_arm(b->timers, &b->timer, b->now_ns + each_ns / 2, on_timer);
}

static void keep_alive(struct bridge *b)
{
    uint64_t each_ns = b->keep_alive_s * SECOND_NS;
    if (b->now_ns - b->heard_ns >= each_ns + each_ns / 2) {
        bridge_drop(b, "nothing was heard for one and a half keep alives");
        return;
    }
    if (b->now_ns - b->sent_ns >= each_ns / 2 || b->now_ns - b->heard_ns >= each_ns / 2) {
        bridge_send_packet(b, &(struct mqtt_packet){.type = MQTT_PINGREQ});
    }
    if (b->state != BRIDGE_AWAY) {
        bridge_arm_keep_alive(b);
    }
}

static void on_timer(struct timer *timer, uint64_t now_ns)
{
    struct bridge *b = CONTAINER_OF(timer, struct bridge, timer);
    b->now_ns        = now_ns;
    switch ((enum bridge_state)b->state) {
    case BRIDGE_AWAY:
        if (!b->prepared || b->local) { /* our subscriptions first, or what is owed before we come is not kept */
            if (!b->local) {
                bridge_local_open(b);
            }
            timer_arm(b->timers, &b->timer, b->now_ns + PREPARE_NS, on_timer);
            return;
        }
        bridge_step(b, BRIDGE_CONNECTING);
        b->counters.connects++;
        timer_arm(b->timers, &b->timer, b->now_ns + GREET_NS, on_timer);
        b->port.connect(b->port.ctx);
        break;
    case BRIDGE_CONNECTING:
    case BRIDGE_GREETING:
    case BRIDGE_OPENING:
        bridge_drop(b, "no answer within 10 s");
        break;
    case BRIDGE_UP:
        keep_alive(b);
        break;
    }
}

/* ---- from the shard ---------------------------------------------------------------------------------------------------------------- */

struct bridge *bridge_new(struct kernel *kernel, struct timer_wheel *timers, struct outq *out,
                          const struct bridge_port *port, struct bytes name, const struct bridge_spec *spec)
{
    struct bridge *b = calloc(1, sizeof *b);
    if (b == NULL) {
        return NULL;
    }
    ASSERT(name.size <= sizeof b->name);
    b->client.ops  = &bridge_ops;
    b->kernel      = kernel;
    b->timers      = timers;
    b->out         = out;
    b->port        = *port;
    b->spec        = *spec;
    b->bridge_bit  = true;
    b->receive_max = RECEIVE_MAX_V311;
    b->backoff_ns  = BACKOFF_FIRST_NS;
    b->name_size   = (uint16_t)name.size;
    b->prepared    = true;
    for (uint32_t i = 0; i < spec->topic_count; i++) {
        b->prepared = b->prepared && (spec->topics[i].ways & BRIDGE_OUT) == 0;
    }
    memcpy(b->name, name.data, name.size);
    return b;
}

void bridge_begin(struct bridge *b, uint64_t now_ns, uint64_t wall_ns)
{
    b->now_ns  = now_ns;
    b->wall_ns = wall_ns;
}

void bridge_turn(struct bridge *b)
{
    if (b->state == BRIDGE_AWAY && b->local && b->prepared && !b->ending) {
        local_close(b); /* it was opened to record our subscriptions, or for a connection that is gone */
    }
    if (b->state == BRIDGE_AWAY && !b->stopped && !timer_armed(&b->timer) && kernel_ready(b->kernel)) {
        timer_arm(b->timers, &b->timer, b->now_ns, on_timer);
    }
    bridge_end_call(b);
    if (b->state == BRIDGE_UP && !mqtt_input_empty(&b->input)) {
        bridge_work(b); /* what came while our session was opened */
    }
}

void bridge_stop(struct bridge *b)
{
    b->stopped = true;
    timer_cancel(b->timers, &b->timer);
    if (b->state == BRIDGE_UP) {
        bridge_send_packet(b, &(struct mqtt_packet){.type = MQTT_DISCONNECT});
    }
    if (b->state != BRIDGE_AWAY) {
        bridge_drop(b, "it is stopped");
    }
    local_close(b);
}

void bridge_end(struct bridge *b)
{
    bridge_stop(b);
    b->ending = true;
    if (!kernel_ready(b->kernel)) {
        b->ended = true; /* its session expires */
        return;
    }
    bridge_local_open(b);
}

bool bridge_ended(const struct bridge *b)
{
    return b->ended || (b->ending && !b->local);
}

void bridge_free(struct bridge *b)
{
    if (b == NULL) {
        return;
    }
    local_close(b);
    timer_cancel(b->timers, &b->timer);
    mqtt_input_fini(&b->input);
    free(b);
}
