/* group_client.c - follows leaders, remembers what was promised. */
#include "tests/sim/group_client.h"

#include "shared/base/err.h"
#include "shared/loop/io.h"
#include "shared/record/record.h"
#include "shared/rpc/op.h"
#include "shared/rpc/schema.h"

#include <stdio.h>
#include <string.h>

enum { LARGE_BYTES = 300000 };

/* Ids: what (8 bits), stripe (8), epoch (12), number (36). */
enum what { WHAT_CREATE = 2, WHAT_TXN, WHAT_TRIM, WHAT_READ, WHAT_MEMBERS, WHAT_SCAN };

static uint64_t id_of(const struct group_client *c, enum what what, uint32_t stripe, uint64_t number)
{
    return (uint64_t)what << 56 | (uint64_t)stripe << 48 | (c->stripes[stripe].epoch & 0xfff) << 36 | number;
}

/* Byte i of it is 31 * i, for as long as the longest payload from any start: every payload is a piece of it. */
static const uint8_t *the_payload(uint64_t start)
{
    static uint8_t bytes[LARGE_BYTES + 256]; /* the same whenever it is made */
    if (bytes[1] == 0) {
        for (size_t at = 0; at < sizeof bytes; at++) {
            bytes[at] = (uint8_t)(at * 31);
        }
    }
    return bytes + start % 256;
}

static struct record record_of(const struct group_client *c, uint32_t stripe, uint64_t n)
{
    struct rand random;
    rand_init(&random, c->world->seed, stripe * 1000003u + n);
    bool   large = c->large_one_in != 0 && rand_chance(&random, c->large_one_in);
    size_t size  = large ? LARGE_BYTES : (size_t)rand_below(&random, 2000);
    return (struct record){.qos             = 1,
                           .publish_wall_ns = n,
                           .topic           = bytes_str("a/b"),
                           .payload         = bytes_of(the_payload(n * 7 + stripe), size)};
}

static struct group_link *link_of(struct group_client *c, const struct client_stripe *s)
{
    struct group_link *link = s->leader == 0 || s->leader > c->link_count ? NULL : &c->links[s->leader - 1];
    return link != NULL && link->up ? link : NULL;
}

/* ---- requests ---- */

static size_t txn_begin(struct group_link *link, uint32_t stripe, uint64_t id)
{
    size_t begun = frame_begin(&link->out, RPC_TXN, id);
    wire_put_u16(&link->out, (uint16_t)stripe);
    wire_put_u16(&link->out, (uint16_t)((struct group_client *)link->ctx)->stripes[stripe].epoch); /* the round */
    wire_put_u64(&link->out, ((struct group_client *)link->ctx)->stripes[stripe].term);
    return begun;
}

static void send_op(struct group_link *link, uint32_t stripe, uint64_t id, const struct op *op)
{
    size_t begun = txn_begin(link, stripe, id);
    op_encode(&link->out, op);
    group_link_end(link, begun);
}

static void send_txn(struct group_link *link, uint32_t stripe, uint64_t n)
{
    struct group_client *c = ((struct group_client *)link->ctx);
    char                 key[24];
    struct record        record = record_of(c, stripe, n);
    size_t               begun  = txn_begin(link, stripe, id_of(c, WHAT_TXN, stripe, n));
    snprintf(key, sizeof key, "%08llu", (unsigned long long)n);
    size_t append = op_append_begin(&link->out, 1 + stripe, 1, n + 1);
    op_append_target(&link->out, c->stripes[stripe].stream_id, bytes_str(key));
    op_append_end(&link->out, append, 1, &record);
    struct op put = {.kind = OP_TABLE_PUT, .table = GROUP_TABLE, .name = bytes_str(key), .value = bytes_str("there")};
    op_encode(&link->out, &put);
    /* Done late, behind a later one, this one would bring an old value back. */
    struct op last = {
        .kind = OP_TABLE_PUT, .table = GROUP_TABLE, .name = bytes_str("last"), .value = bytes_of(&n, sizeof n)};
    op_encode(&link->out, &last);
    group_link_end(link, begun);
}

static void send_read(struct group_link *link, uint32_t stripe, uint64_t from)
{
    struct client_stripe *s = &((struct group_client *)link->ctx)->stripes[stripe];
    size_t begun = frame_begin(&link->out, RPC_READ, id_of(((struct group_client *)link->ctx), WHAT_READ, stripe, 0));
    wire_put_u64(&link->out, s->stream_id);
    wire_put_u64(&link->out, from);
    s->read_limit = s->lost != 0 ? 1 : 20; /* a READ fails with the first that cannot be read */
    wire_put_u32(&link->out, s->read_limit);
    wire_put_u32(&link->out, 100000);
    group_link_end(link, begun);
    s->reading       = true;
    s->read_asked    = from;
    s->read_answered = s->answered;
}

static void send_scan(struct group_link *link, uint32_t stripe)
{
    struct group_client  *c = link->ctx;
    struct client_stripe *s = &c->stripes[stripe];
    char                  after[24];
    size_t                begun = frame_begin(&link->out, RPC_SCAN, id_of(c, WHAT_SCAN, stripe, 0));
    snprintf(after, sizeof after, "%08llu", (unsigned long long)s->scanned - 1);
    wire_put_u16(&link->out, (uint16_t)stripe);
    wire_put_u8(&link->out, RPC_SCAN_PREFIX);
    wire_put_u8(&link->out, 0);
    wire_put_u32(&link->out, GROUP_TABLE);
    wire_put_u32(&link->out, 0);
    wire_put_u32(&link->out, 0);
    wire_put_blob(&link->out, (struct bytes){0});
    wire_put_u16(&link->out, (uint16_t)stripe);
    wire_put_blob(&link->out, s->scanned > 0 ? bytes_str(after) : (struct bytes){0});
    group_link_end(link, begun);
    s->scanning = true;
}

/* ---- leaders ---- */

/* What was under way to the former one is asked again. */
static void restart(struct group_client *c, struct client_stripe *s)
{
    c->row_sent = c->row_sent && s != &c->stripes[0]; /* or two answers come, the later one for the next row */
    s->epoch++;
    s->sent     = s->answered;
    s->creating = false;
    s->reading  = false;
    s->scanning = false;
}

static void on_leaders(void *ctx, struct wire_reader *r)
{
    struct group_client *c = ctx;
    for (uint16_t count = wire_get_u16(r); count > 0; count--) {
        uint16_t stripe = wire_get_u16(r);
        uint16_t leader = wire_get_u16(r);
        uint64_t term   = wire_get_u64(r);
        sim_check(c->world, !r->bad && stripe < c->stripe_count, "a list of leaders is whole");
        struct client_stripe *s = &c->stripes[stripe];
        if (leader != 0 && (term > s->term || (term == s->term && s->leader == 0))) {
            s->term   = term;
            s->leader = leader;
            restart(c, s);
        }
    }
}

/* ---- answers ---- */

static void txn_done(struct group_client *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    uint64_t              n      = id & 0xfffffffff;
    struct client_stripe *s      = &c->stripes[stripe];
    int                   status = (int)wire_get_u32(r);
    if (id != id_of(c, (enum what)(id >> 56), stripe, n)) {
        return; /* of an earlier leader */
    }
    if (status == ERR_NOT_LEADER ||
        status == ERR_DISK_FULL) { /* another round: all that is not answered, in its order */
        s->refused++;
        restart(c, s);
        s->later_ns = io_now_ns(c->io) + 20 * SIM_MS;
        return;
    }
    sim_check(c->world, status == 0, "transaction %llu of stripe %u is refused: %s", (unsigned long long)n, stripe,
              err_name(status));
    switch ((enum what)(id >> 56)) {
    case WHAT_CREATE:
        s->stream_id = wire_get_u64(r);
        s->creating  = false;
        return;
    case WHAT_TRIM:
        s->trimmed = n > s->trimmed ? n : s->trimmed;
        return;
    case WHAT_TXN: {
        bool duplicate = wire_get_u8(r) != 0;
        (void)wire_get_u32(r);
        uint64_t offset = wire_get_u64(r);
        sim_check(c->world, offset == n || (duplicate && offset == OP_OFFSET_NONE),
                  "record %llu of stripe %u was acknowledged at offset %llu", (unsigned long long)n, stripe,
                  (unsigned long long)offset);
        sim_check(c->world, n == s->answered, "answers of stripe %u come in order: %llu behind %llu", stripe,
                  (unsigned long long)n, (unsigned long long)s->answered);
        s->answered = n + 1;
        s->acked_ns = c->world->now_ns;
        return;
    }
    case WHAT_MEMBERS:
        c->row_name[0] = '\0';
        return;
    case WHAT_READ:
    case WHAT_SCAN:
        sim_fail(c->world, "TXN_DONE for a request that was none");
    }
}

static void read_done(struct group_client *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    struct client_stripe *s      = &c->stripes[stripe];
    if (id != id_of(c, WHAT_READ, stripe, 0)) {
        return;
    }
    uint64_t start = wire_get_u64(r);
    uint64_t next  = wire_get_u64(r);
    uint32_t count = wire_get_u32(r);
    uint64_t at    = UINT64_MAX;
    s->reading     = false;
    sim_check(c->world, start <= s->read_asked, "a READ of stripe %u from %llu is answered though it begins at %llu",
              stripe, (unsigned long long)s->read_asked, (unsigned long long)start);
    sim_check(c->world, next >= s->read_answered,
              "a READ of stripe %u knows %llu records, %llu were acknowledged before it", stripe,
              (unsigned long long)next, (unsigned long long)s->read_answered);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t      offset = wire_get_u64(r);
        struct bytes  tag    = wire_get(r, wire_get_u8(r));
        struct record record;
        int64_t       size = record_decode(bytes_of(r->at, wire_left(r)), &record);
        sim_check(c->world, size > 0, "record %llu of stripe %u is damaged", (unsigned long long)offset, stripe);
        (void)wire_get(r, (size_t)size);
        char          key[24];
        struct record expected = record_of(c, stripe, offset);
        snprintf(key, sizeof key, "%08llu", (unsigned long long)offset);
        sim_check(c->world,
                  record.publish_wall_ns == offset && bytes_equal(expected.payload, record.payload) &&
                      bytes_equal(tag, bytes_str(key)),
                  "offset %llu of stripe %u holds another record (%llu)", (unsigned long long)offset, stripe,
                  (unsigned long long)record.publish_wall_ns);
        sim_check(c->world, at == UINT64_MAX || offset == at, "offset %llu of stripe %u comes behind %llu",
                  (unsigned long long)offset, stripe, (unsigned long long)at);
        at = offset + 1;
    }
    if (c->reading_all) {
        sim_check(c->world, count == 0 || at - count <= s->read_from || at - count <= start,
                  "records of stripe %u are missing from %llu on", stripe, (unsigned long long)s->read_from);
        s->read_from    = count > 0 ? at : s->read_from;
        s->records_read = s->read_from >= next;
        sim_check(c->world, count > 0 || s->records_read, "records of stripe %u are missing from %llu to %llu", stripe,
                  (unsigned long long)s->read_from, (unsigned long long)next);
    }
}

/* Each transaction that was acknowledged left its row, and the last one its number. */
static void scan_done(struct group_client *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    struct client_stripe *s      = &c->stripes[stripe];
    if (id != id_of(c, WHAT_SCAN, stripe, 0)) {
        return;
    }
    s->scanning   = false;
    bool     more = wire_get_u8(r) != 0;
    uint64_t last = UINT64_MAX;
    for (uint32_t count = wire_get_u32(r); count > 0 && !r->bad; count--) {
        char expected[24];
        (void)wire_get(r, 2 + 8 + 8);
        struct bytes key   = wire_get_blob(r);
        struct bytes value = wire_get_blob(r);
        if (bytes_equal(key, bytes_str("last"))) {
            memcpy(&last, value.data, sizeof last);
            continue;
        }
        snprintf(expected, sizeof expected, "%08llu", (unsigned long long)s->scanned++);
        sim_check(c->world, bytes_equal(key, bytes_str(expected)), "row %s of stripe %u is missing: %.*s follows",
                  expected, stripe, (int)key.size, (const char *)key.data);
    }
    sim_check(c->world, !r->bad, "a page of rows is whole");
    if (!more) {
        sim_check(c->world, s->scanned == s->answered && (last == s->answered - 1 || s->answered == 0),
                  "stripe %u has %llu rows, the last one put is %lld; %llu transactions were acknowledged", stripe,
                  (unsigned long long)s->scanned, (long long)last, (unsigned long long)s->answered);
        s->all_read = true;
    }
}

static void on_error(struct group_client *c, uint64_t id, struct wire_reader *r)
{
    uint32_t              stripe = (uint32_t)(id >> 48) & 0xff;
    struct client_stripe *s      = &c->stripes[stripe];
    int                   status = (int)wire_get_u32(r);
    if ((enum what)(id >> 56) == WHAT_SCAN && status == ERR_NOT_LEADER) {
        s->scanning = s->scanning && id != id_of(c, WHAT_SCAN, stripe, 0);
        return;
    }
    if ((enum what)(id >> 56) == WHAT_READ &&
        (status == ERR_NOT_LEADER || status == ERR_TRIMMED || status == ERR_UNAVAILABLE)) {
        if (id == id_of(c, WHAT_READ, stripe, 0)) {
            s->reading   = false;
            s->read_from = status == ERR_TRIMMED ? s->read_from + 1 : s->read_from;
        }
        return;
    }
    if ((enum what)(id >> 56) == WHAT_READ && s->lost != 0 && status == ERR_CORRUPT) {
        if (id == id_of(c, WHAT_READ, stripe, 0)) {
            sim_check(c->world,
                      (s->lost > s->read_asked && s->lost <= s->read_asked + s->read_limit) ||
                          (s->read_limit == 1 && s->read_asked < s->may_be_count && s->may_be_lost[s->read_asked]),
                      "none of %u records from %llu of stripe %u is lost, and they cannot be read: %s", s->read_limit,
                      (unsigned long long)s->read_asked, stripe, err_name(status));
            s->reading = false;
            s->lost_told += s->read_asked < s->lost;
            s->read_from += s->read_limit == 1 && s->read_from == s->read_asked; /* asked before it was lost: again */
            s->all_read = s->read_from >= s->answered;
        }
        return;
    }
    sim_fail(c->world, "request %llx is answered with %s", (unsigned long long)id, err_name(status));
}

/* ---- connections ---- */

static void on_down(void *ctx, struct group_link *link)
{
    struct group_client *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].leader == link->node) {
            restart(c, &c->stripes[i]);
        }
    }
}

static void on_frame(void *ctx, struct group_link *link, const struct frame *frame)
{
    struct group_client *c = ctx;
    struct wire_reader   r = wire_reader_of(frame->body);
    (void)link;
    switch (frame->kind) {
    case RPC_TXN_DONE:
        txn_done(c, frame->id, &r);
        return;
    case RPC_READ_DONE:
        read_done(c, frame->id, &r);
        return;
    case RPC_SCAN_DONE:
        scan_done(c, frame->id, &r);
        return;
    case RPC_ERROR:
        on_error(c, frame->id, &r);
        return;
    default:
        sim_fail(c->world, "an answer of kind %u", frame->kind);
    }
}

static const struct group_link_hooks hooks = {.frame = on_frame, .leaders = on_leaders, .down = on_down};

/* ---- the process ---- */

static void pump(struct group_client *c, uint32_t stripe)
{
    struct client_stripe *s    = &c->stripes[stripe];
    struct group_link    *link = link_of(c, s);
    uint64_t              now  = io_now_ns(c->io);
    if (link == NULL || now < s->later_ns) {
        return;
    }
    if (s->stream_id == 0) {
        if (!s->creating) {
            struct op op = {.kind  = OP_STREAM_CREATE,
                            .flags = world_chance(c->world, SALT_LIMITS, 2) ? STREAM_QUEUE : 0,
                            .name  = bytes_str("the stream")};
            send_op(link, stripe, id_of(c, WHAT_CREATE, stripe, 0), &op);
            s->creating = true;
        }
        return;
    }
    if (stripe == 0 && c->row_name[0] != '\0' && !c->row_sent) {
        struct op op = {.kind  = c->row_size > 0 ? OP_TABLE_PUT : OP_TABLE_DELETE,
                        .table = RPC_TABLE_CLUSTER,
                        .name  = bytes_str(c->row_name),
                        .value = bytes_of(c->row, c->row_size)};
        send_op(link, stripe, id_of(c, WHAT_MEMBERS, stripe, 0), &op);
        c->row_sent = true;
    }
    while (s->sent < s->wanted && s->sent < s->answered + c->window) {
        send_txn(link, stripe, s->sent++);
    }
    if (s->trim > s->trimmed && s->answered == s->wanted) {
        struct op op = {.kind = OP_TRIM, .stream_id = s->stream_id, .offset = s->trim};
        send_op(link, stripe, id_of(c, WHAT_TRIM, stripe, s->trim), &op);
        s->later_ns = now + 20 * SIM_MS;
    }
    if (!s->scanning && s->records_read && !s->all_read) {
        send_scan(link, stripe);
    } else if (!s->reading && c->reading_all && !s->records_read) {
        send_read(link, stripe, s->read_from);
    } else if (!s->reading && !c->reading_all && world_chance(c->world, SALT_SCENARIO, c->read_one_in)) {
        send_read(link, stripe, s->answered > 3 && s->answered - 3 > s->trim ? s->answered - 3 : s->answered);
    }
}

static uint64_t turn(void *ctx)
{
    struct group_client *c   = ctx;
    uint64_t             now = io_now_ns(c->io);
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        pump(c, i);
    }
    for (uint32_t i = 0; i < c->link_count; i++) {
        group_link_turn(&c->links[i], c->io);
    }
    return now + 20 * SIM_MS;
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct group_client          *c      = ctx;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &c->io, why, sizeof why);
    if (result == 0) {
        core_run(core, c, turn);
    }
    return result;
}

static void destroy(void *ctx)
{
    struct group_client *c = ctx;
    for (uint32_t i = 0; i < c->link_count; i++) {
        group_link_fini(&c->links[i]);
    }
}

void group_client_start(struct group_client *c, struct group *g)
{
    struct world *world = g->world;
    *c                  = (struct group_client){.world        = world,
                                                .link_count   = g->count,
                                                .stripe_count = g->stripes,
                                                .window       = (uint32_t)world_between(world, SALT_SCENARIO, 1, 16),
                                                .large_one_in = (uint32_t)world_between(world, SALT_SCENARIO, 20, 100),
                                                .read_one_in  = (uint32_t)world_between(world, SALT_SCENARIO, 3, 30),
                                                .instance     = rand_u64(world_rand(world, SALT_SCENARIO)) | 1};
    for (uint32_t i = 0; i < g->count; i++) {
        group_link_init(&c->links[i], world, (uint16_t)(i + 1), c->instance, 1, &hooks, c);
    }
    const struct process_spec spec = {"client", start, destroy, NULL, c};
    c->process                     = process_new(machine_new(world, "client", 0), &spec);
    sim_check(world, process_start(c->process) == 0, "the client starts");
}

void group_client_want(struct group_client *c, uint32_t stripe, uint64_t count)
{
    struct client_stripe *s = &c->stripes[stripe];
    s->wanted               = count > s->wanted ? count : s->wanted; /* what was sent may be there: it is asked again */
}

void group_client_trim(struct group_client *c, uint32_t stripe, uint64_t offset)
{
    c->stripes[stripe].trim = offset > c->stripes[stripe].trim ? offset : c->stripes[stripe].trim;
}

void group_client_row(struct group_client *c, const char *name, const uint16_t *numbers, uint16_t count)
{
    struct wire_writer w = wire_writer_fixed(c->row, sizeof c->row);
    for (uint16_t i = 0; i < count; i++) {
        wire_put_u16(&w, numbers[i]);
    }
    snprintf(c->row_name, sizeof c->row_name, "%s", name);
    c->row_size = w.size;
    c->row_sent = false;
}

void group_client_members(struct group_client *c, const uint16_t *nodes, uint16_t count)
{
    uint16_t numbers[1 + GROUP_MAX] = {count};
    memcpy(numbers + 1, nodes, count * sizeof *nodes);
    group_client_row(c, "members", numbers, (uint16_t)(count + 1));
}

bool group_client_answered(void *ctx)
{
    const struct group_client *c = ctx;
    if (c->row_name[0] != '\0') {
        return false;
    }
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (c->stripes[i].answered < c->stripes[i].wanted || c->stripes[i].trimmed < c->stripes[i].trim) {
            return false;
        }
    }
    return true;
}

void group_client_read_all(struct group_client *c)
{
    c->reading_all = true;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        struct client_stripe *s = &c->stripes[i];
        s->all_read             = s->stream_id == 0;
        s->records_read         = false;
        s->read_from            = s->trim > 0 ? s->trim - 1 : 0; /* refused, if it was trimmed */
        s->scanned              = 0;
        s->reading              = false;
        s->scanning             = false;
        s->epoch++;
    }
}

bool group_client_all_read(void *ctx)
{
    const struct group_client *c = ctx;
    for (uint32_t i = 0; i < c->stripe_count; i++) {
        if (!c->stripes[i].all_read) {
            return false;
        }
    }
    return true;
}

void group_client_check_at(struct group_client *c, struct group *g, uint32_t member)
{
    group_lead(g, member, 60 * SIM_S);
    group_client_read_all(c);
    sim_check(c->world, group_run_until(g, group_client_all_read, c, 60 * SIM_S), "all is read from %s",
              g->members[member].name);
}

void group_client_end(struct group_client *c)
{
    process_crash(c->process);
}
