/* group_reader.c - asks everyone, believes nobody. */
#include "tests/sim/group_reader.h"

#include "shared/base/err.h"
#include "shared/loop/io.h"
#include "shared/rpc/schema.h"

/* Ids: what (8 bits), stripe (8), zeros. */
enum what { WHAT_READ = 2, WHAT_SCAN };

enum { PAUSE_MS = 10 };

static uint64_t id_of(enum what what, uint32_t stripe)
{
    return (uint64_t)what << 56 | (uint64_t)stripe << 48;
}

static void send_read(struct group_reader *reader, struct group_link *link, uint32_t stripe)
{
    struct reader_question *q        = &reader->reads[link->node - 1][stripe];
    uint64_t                answered = reader->client->stripes[stripe].answered;
    size_t                  begun    = frame_begin(&link->out, RPC_READ, id_of(WHAT_READ, stripe));
    q->asked                         = true;
    q->known                         = answered > reader->seen[stripe] ? answered : reader->seen[stripe];
    wire_put_u64(&link->out, reader->client->stripes[stripe].stream_id);
    wire_put_u64(&link->out, q->known > 0 ? q->known - 1 : 0);
    wire_put_u32(&link->out, 1);
    wire_put_u32(&link->out, 1);
    group_link_end(link, begun);
}

static void send_scan(struct group_reader *reader, struct group_link *link, uint32_t stripe)
{
    size_t begun = frame_begin(&link->out, RPC_SCAN, id_of(WHAT_SCAN, stripe));
    /* What was not acknowledged is asked again: the row goes back, but not behind what was. */
    reader->scans[link->node - 1][stripe] =
        (struct reader_question){.asked = true, .known = reader->client->stripes[stripe].answered};
    wire_put_u16(&link->out, (uint16_t)stripe);
    wire_put_u8(&link->out, RPC_SCAN_KEY);
    wire_put_u8(&link->out, 0);
    wire_put_u32(&link->out, GROUP_TABLE);
    wire_put_u32(&link->out, 0);
    wire_put_u32(&link->out, 0);
    wire_put_blob(&link->out, bytes_str("last"));
    wire_put_u16(&link->out, (uint16_t)stripe);
    wire_put_blob(&link->out, (struct bytes){0});
    group_link_end(link, begun);
}

/* Records: how many an answer knows of. */
static void judge(struct group_reader *reader, const struct group_link *link, uint32_t stripe,
                  struct reader_question *q, const char *what, uint64_t records)
{
    sim_check(reader->world, records >= q->known,
              "a %s of stripe %u at %s knows of %llu records; %llu were acknowledged or read before it was asked", what,
              stripe, link->name, (unsigned long long)records, (unsigned long long)q->known);
    reader->answers++;
    q->asked = false;
}

static void read_done(struct group_reader *reader, struct group_link *link, uint32_t stripe, struct wire_reader *r)
{
    (void)wire_get_u64(r);
    uint64_t next = wire_get_u64(r);
    judge(reader, link, stripe, &reader->reads[link->node - 1][stripe], "READ", next);
    reader->seen[stripe] = next > reader->seen[stripe] ? next : reader->seen[stripe];
}

static void scan_done(struct group_reader *reader, struct group_link *link, uint32_t stripe, struct wire_reader *r)
{
    uint64_t last = UINT64_MAX; /* no row: no records */
    (void)wire_get_u8(r);
    if (wire_get_u32(r) > 0) {
        (void)wire_get(r, 2 + 8 + 8);
        (void)wire_get_blob(r);
        struct bytes value = wire_get_blob(r);
        sim_check(reader->world, !r->bad && value.size == sizeof last, "row last of stripe %u is whole", stripe);
        memcpy(&last, value.data, sizeof last);
    }
    judge(reader, link, stripe, &reader->scans[link->node - 1][stripe], "SCAN", last + 1);
}

static void refused(struct group_reader *reader, struct group_link *link, uint64_t id, int status)
{
    uint32_t                stripe = (uint32_t)(id >> 48) & 0xff;
    bool                    scan   = (enum what)(id >> 56) == WHAT_SCAN;
    struct reader_question *q = scan ? &reader->scans[link->node - 1][stripe] : &reader->reads[link->node - 1][stripe];
    /* The record that is asked for may have been trimmed since. */
    sim_check(reader->world, status == ERR_NOT_LEADER || (status == ERR_TRIMMED && !scan),
              "%s answers a question about stripe %u with %s", link->name, stripe, err_name(status));
    q->asked = false;
}

static void on_frame(void *ctx, struct group_link *link, const struct frame *frame)
{
    struct group_reader *reader = ctx;
    struct wire_reader   r      = wire_reader_of(frame->body);
    uint32_t             stripe = (uint32_t)(frame->id >> 48) & 0xff;
    switch (frame->kind) {
    case RPC_READ_DONE:
        read_done(reader, link, stripe, &r);
        return;
    case RPC_SCAN_DONE:
        scan_done(reader, link, stripe, &r);
        return;
    case RPC_ERROR:
        refused(reader, link, frame->id, (int)wire_get_u32(&r));
        return;
    default:
        sim_fail(reader->world, "an answer of kind %u", frame->kind);
    }
}

static void on_down(void *ctx, struct group_link *link)
{
    struct group_reader *reader = ctx;
    for (uint32_t i = 0; i < GROUP_STRIPES_MAX; i++) {
        reader->reads[link->node - 1][i].asked = false;
        reader->scans[link->node - 1][i].asked = false;
    }
}

static const struct group_link_hooks hooks = {.frame = on_frame, .down = on_down};

static uint64_t turn(void *ctx)
{
    struct group_reader *reader = ctx;
    uint64_t             now_ns = io_now_ns(reader->io);
    for (uint32_t i = 0; i < reader->link_count; i++) {
        struct group_link *link = &reader->links[i];
        bool               due  = link->up && now_ns >= reader->ask_ns[i];
        for (uint32_t s = 0; s < reader->client->stripe_count && due; s++) {
            reader->ask_ns[i] = now_ns + PAUSE_MS * SIM_MS;
            if (reader->client->stripes[s].stream_id == 0) {
                continue;
            }
            if (!reader->reads[i][s].asked) {
                send_read(reader, link, s);
            }
            if (!reader->scans[i][s].asked) {
                send_scan(reader, link, s);
            }
        }
        group_link_turn(link, reader->io);
    }
    return now_ns + PAUSE_MS * SIM_MS;
}

static int start(struct process *process, void *ctx)
{
    static const struct io_config config = {.sockets_max = 16, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    struct group_reader          *reader = ctx;
    char                          why[128];
    struct core                  *core   = core_new(process);
    int                           result = io_open(&config, &reader->io, why, sizeof why);
    if (result == 0) {
        core_run(core, reader, turn);
    }
    return result;
}

static void destroy(void *ctx)
{
    struct group_reader *reader = ctx;
    for (uint32_t i = 0; i < reader->link_count; i++) {
        group_link_fini(&reader->links[i]);
    }
}

void group_reader_start(struct group_reader *reader, struct group *g, const struct group_client *client)
{
    *reader = (struct group_reader){.world = g->world, .client = client, .link_count = g->count};
    for (uint32_t i = 0; i < g->count; i++) {
        group_link_init(&reader->links[i], g->world, (uint16_t)(i + 1), client->instance, 2, &hooks, reader);
    }
    const struct process_spec spec = {"reader", start, destroy, NULL, reader};
    reader->process                = process_new(machine_new(g->world, "reader", 0), &spec);
    sim_check(g->world, process_start(reader->process) == 0, "the reader starts");
}

void group_reader_end(struct group_reader *reader)
{
    process_crash(reader->process);
}
