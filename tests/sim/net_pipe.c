/* net_pipe.c - segments, windows, retransmission, resets. */
#include "tests/sim/net_state.h"
#include "tests/sim/trace.h"

#include <errno.h>
#include <stdlib.h>

void net_drop_segments(struct list *segments)
{
    struct list *link;
    while ((link = list_pop_front(segments)) != NULL) {
        free(CONTAINER_OF(link, struct segment, link));
    }
}

void net_notify(struct end *end)
{
    if (end->notify != NULL && end->owner != NULL) {
        end->notify(end->owner);
    }
}

void net_break_end(struct end *end, int error)
{
    if (!net_held(end) || end->broken != 0) {
        return;
    }
    world_trace(net_world_of(end), "net breaks", end->process->name, end->id, (uint64_t)-error);
    end->broken    = error;
    end->connected = true;
    world_cancel(net_world_of(end), &end->out.arrive);
    net_drop_segments(&end->out.flying);
    if (rand_chance(world_rand(net_world_of(end), SALT_NET), 2)) {
        net_drop_segments(&end->peer->out.rx);
    }
    net_notify(end);
}

static void fly(struct end *from, enum segment_kind kind, struct bytes data, uint64_t hash)
{
    struct pipe    *pipe    = &from->out;
    struct segment *segment = malloc(sizeof *segment + data.size);
    ASSERT(segment != NULL);
    *segment = (struct segment){.kind = kind, .size = (uint32_t)data.size, .hash = hash};
    if (data.size != 0) {
        memcpy(segment->data, data.data, data.size);
    }
    uint64_t at_ns        = net_arrival_ns(from, data.size);
    at_ns                 = at_ns < pipe->last_arrival_ns ? pipe->last_arrival_ns : at_ns;
    segment->arrives_ns   = at_ns;
    pipe->last_arrival_ns = at_ns;
    bool first            = list_empty(&pipe->flying);
    list_push_back(&pipe->flying, &segment->link);
    if (first) {
        world_schedule(net_world_of(from), &pipe->arrive, at_ns);
    }
}

void net_fly_reset(struct end *from)
{
    LIST_EACH (&from->out.flying, link) {
        if (rand_chance(world_rand(net_world_of(from), SALT_NET), 4)) {
            while (from->out.flying.prev != link) {
                struct list *last = from->out.flying.prev;
                list_remove(last);
                free(CONTAINER_OF(last, struct segment, link));
            }
            break;
        }
    }
    fly(from, SEGMENT_RST, bytes_of(NULL, 0), 0);
}

static void acknowledge(struct pipe *pipe, uint32_t size)
{
    pipe->read_bytes += size;
    pipe->read_total += size;
    if (!event_scheduled(&pipe->ack)) {
        pipe->acking_bytes = pipe->read_bytes;
        pipe->read_bytes   = 0;
        world_schedule(net_world_of(pipe->to), &pipe->ack, net_arrival_ns(pipe->to, 0));
    }
}

void net_pipe_acked(struct event *event)
{
    struct pipe  *pipe  = CONTAINER_OF(event, struct pipe, ack);
    struct world *world = net_world_of(pipe->from);
    if (!net_gets_through(pipe->to)) {
        world_schedule(world, event, world->now_ns + world_between(world, SALT_NET, RETRY_FIRST_NS, SIM_S));
        return;
    }
    ASSERT(pipe->used_bytes >= pipe->acking_bytes);
    pipe->used_bytes -= pipe->acking_bytes;
    pipe->acking_bytes = 0;
    if (pipe->read_bytes != 0) {
        acknowledge(pipe, 0);
    }
    net_notify(pipe->from);
}

/* What flies to an end that nobody holds: the kernel drains it for a while after an orderly close, then it answers with a reset. */
static void arrive_unheld(struct pipe *pipe, const struct segment *segment)
{
    struct end *to = pipe->to;
    if (segment->kind != SEGMENT_DATA || !net_held(pipe->from)) {
        return;
    }
    if (to->state == END_CLOSED && net_world_of(to)->now_ns < to->drain_until_ns) {
        acknowledge(pipe, segment->size);
    } else {
        net_fly_reset(to);
    }
}

static void arrive_held(struct pipe *pipe, struct segment *segment)
{
    struct end *to = pipe->to;
    switch (segment->kind) {
    case SEGMENT_DATA:
        list_push_back(&pipe->rx, &segment->link);
        net_notify(to);
        return;
    case SEGMENT_FIN:
        to->fin = true;
        net_notify(to);
        break;
    case SEGMENT_RST:
        net_break_end(to, -ECONNRESET);
        break;
    }
    free(segment);
}

/* Sends again later, or gives up. */
static void pipe_stuck(struct pipe *pipe)
{
    struct world *world = net_world_of(pipe->from);
    if (pipe->stuck_since_ns == 0) {
        pipe->stuck_since_ns = world->now_ns;
        pipe->retry_ns       = RETRY_FIRST_NS;
    }
    if (world->now_ns - pipe->stuck_since_ns > world->faults.tcp_timeout_ns) {
        net_break_end(pipe->from, -ETIMEDOUT);
        net_drop_segments(&pipe->flying);
        return;
    }
    world_schedule(world, &pipe->arrive, net_next_retry_ns(world, &pipe->retry_ns));
}

void net_pipe_arrive(struct event *event)
{
    struct pipe    *pipe    = CONTAINER_OF(event, struct pipe, arrive);
    struct world   *world   = net_world_of(pipe->from);
    struct segment *segment = CONTAINER_OF(pipe->flying.next, struct segment, link);
    ASSERT(!list_empty(&pipe->flying));
    if (!net_gets_through(pipe->from) || pipe->to->state == END_CONNECTING) {
        pipe_stuck(pipe);
        return;
    }
    pipe->stuck_since_ns = 0;
    trace_often(world, "net arrives", pipe->to->process->name, pipe->to->process->name_hash, pipe->to->id,
                segment->size);
    bool remote = pipe->from->machine != pipe->to->machine;
    if (segment->kind == SEGMENT_DATA && remote && world_chance(world, SALT_NET, world->faults.reset_one_in)) {
        net_break_end(pipe->to, -ECONNRESET);
        net_break_end(pipe->from, -ECONNRESET);
        return;
    }
    list_remove(&segment->link);
    if (!list_empty(&pipe->flying)) {
        const struct segment *next = CONTAINER_OF(pipe->flying.next, struct segment, link);
        world_schedule(world, &pipe->arrive, next->arrives_ns);
    }
    if (net_held(pipe->to) && pipe->to->broken == 0) {
        arrive_held(pipe, segment);
    } else {
        arrive_unheld(pipe, segment);
        free(segment);
    }
}

size_t end_take(struct end *end, const uint8_t *data, size_t size, uint64_t *out_hash)
{
    struct pipe *pipe = &end->out;
    ASSERT(end->state == END_OPEN);
    size_t room  = end->broken != 0 ? 0 : pipe->window_bytes - pipe->used_bytes;
    size_t taken = size < room ? size : room;
    *out_hash    = hash_bytes(bytes_of(data, taken));
    for (size_t done = 0; done < taken;) {
        size_t       left = taken - done;
        struct bytes part = bytes_of(data + done, left < SEGMENT_MAX_BYTES ? left : SEGMENT_MAX_BYTES);
        fly(end, SEGMENT_DATA, part, part.size == taken ? *out_hash : hash_bytes(part));
        done += part.size;
    }
    pipe->used_bytes += (uint32_t)taken;
    pipe->taken_total += taken;
    return taken;
}

bool end_readable(const struct end *end)
{
    return !list_empty(&end->peer->out.rx);
}

size_t end_readable_bytes(const struct end *end, size_t limit)
{
    size_t size = 0;
    LIST_EACH (&end->peer->out.rx, link) {
        const struct segment *segment = CONTAINER_OF(link, struct segment, link);
        size += segment->size - segment->read;
        if (size >= limit) {
            return limit;
        }
    }
    return size;
}

size_t end_read(struct end *end, uint8_t *out, size_t size)
{
    struct pipe *pipe = &end->peer->out;
    size_t       done = 0;
    while (done < size && !list_empty(&pipe->rx)) {
        struct segment *segment = CONTAINER_OF(pipe->rx.next, struct segment, link);
        uint32_t        left    = segment->size - segment->read;
        uint32_t        part    = size - done < left ? (uint32_t)(size - done) : left;
        memcpy(out + done, segment->data + segment->read, part);
        segment->read += part;
        done += part;
        if (segment->read == segment->size) {
            list_remove(&segment->link);
            free(segment);
        }
    }
    if (done != 0) {
        ASSERT(pipe->read_total + done <= pipe->taken_total);
        acknowledge(pipe, (uint32_t)done);
    }
    return done;
}

struct segment *end_read_segment(struct end *end, size_t size)
{
    struct pipe *pipe = &end->peer->out;
    if (list_empty(&pipe->rx)) {
        return NULL;
    }
    struct segment *segment = CONTAINER_OF(pipe->rx.next, struct segment, link);
    if (segment->read != 0 || segment->size != size) {
        return NULL;
    }
    list_remove(&segment->link);
    ASSERT(size != 0 && pipe->read_total + size <= pipe->taken_total);
    acknowledge(pipe, segment->size);
    return segment;
}

void end_close(struct end *end, bool abort)
{
    struct world *world = net_world_of(end);
    ASSERT(net_held(end));
    bool was_open       = end->state == END_OPEN && end->broken == 0;
    end->state          = END_CLOSED;
    end->owner          = NULL;
    end->drain_until_ns = abort || !was_open ? 0 : world->now_ns + DRAIN_NS;
    if (conn_free_unheld(end->conn)) {
        return;
    }
    /* Unread input that was already here is drained too: it takes no part in the window any more. */
    struct pipe *in = &end->peer->out;
    LIST_EACH (&in->rx, link) {
        const struct segment *segment = CONTAINER_OF(link, struct segment, link);
        acknowledge(in, segment->size - segment->read);
    }
    net_drop_segments(&in->rx);
    if (!was_open) {
        return;
    }
    if (abort) {
        net_fly_reset(end);
    } else {
        fly(end, SEGMENT_FIN, bytes_of(NULL, 0), 0);
    }
}
