/* fuzz_channel.c - two ends of a channel over packets that are lost, doubled, late or damaged, as the input says: each mail arrives once, in its order, byte for
 * byte. And an end that is told anything in packets whose sums are right. */
#include "broker/kernel/channel.h"

#include "shared/base/hash.h"
#include "tests/fuzz/script.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { FLYING_MAX = 8, ROUNDS_MAX = 20000, STEP_NS = 10000000, SUM_AT = 16, SUMMED_AT = 24 };

struct packet {
    int      to;
    size_t   size;
    uint8_t *bytes; /* NULL: none */
};

struct ends {
    struct channel at[2];
    uint32_t       put[2]; /* mails, by the end that put them */
    uint32_t       got[2]; /* .. and what of them has arrived at the other one */
    uint16_t       sizes[2][4096];
    uint64_t       now_ns;
    struct packet  flying[FLYING_MAX];
};

/* ---- mails ---- */

static uint8_t byte_of(int from, uint32_t nth, size_t at)
{
    return (uint8_t)(nth * 7 + at + (size_t)from);
}

static void put(struct ends *e, int from, uint16_t size)
{
    static uint8_t bytes[UINT16_MAX];
    uint32_t       nth = e->put[from];
    if (nth == 4096) {
        return;
    }
    for (size_t i = 0; i < size; i++) {
        bytes[i] = byte_of(from, nth, i);
    }
    const struct kernel_mail mail = {.kind = nth, .number = ~nth, .value = (uint64_t)nth << 40};
    if (channel_put(&e->at[from], &mail, bytes_of(bytes, size))) {
        e->sizes[from][nth] = size;
        e->put[from]++;
    }
}

static void take(struct ends *e, int to)
{
    int                from = 1 - to;
    size_t             at   = 0;
    struct kernel_mail mail;
    while (channel_mail(&e->at[to], &at, &mail)) {
        uint32_t nth = e->got[from]++;
        uint32_t counted;
        memcpy(&counted, mail.body, sizeof counted);
        ASSERT(nth < e->put[from] && mail.kind == nth && mail.number == ~nth && mail.value == (uint64_t)nth << 40);
        ASSERT(counted == sizeof counted + e->sizes[from][nth]);
        for (size_t i = 0; i < e->sizes[from][nth]; i++) {
            ASSERT(((uint8_t *)mail.body)[sizeof counted + i] == byte_of(from, nth, i));
        }
    }
    channel_taken(&e->at[to], at);
}

/* ---- packets ---- */

/* The next packet of an end, NULL: it has none. To be freed. */
static uint8_t *packet_of(struct ends *e, int from, size_t *out_size)
{
    uint8_t      head[CHANNEL_HEAD_BYTES];
    struct bytes bytes;
    if (!channel_next(&e->at[from], e->now_ns, head, &bytes)) {
        return NULL;
    }
    ASSERT(bytes.size <= CHANNEL_PIECE_BYTES);
    uint8_t *packet = malloc(sizeof head + bytes.size);
    ASSERT(packet != NULL);
    memcpy(packet, head, sizeof head);
    if (bytes.size != 0) {
        memcpy(packet + sizeof head, bytes.data, bytes.size);
    }
    *out_size = sizeof head + bytes.size;
    return packet;
}

static void drop(struct packet *p)
{
    free(p->bytes);
    *p = (struct packet){0};
}

static void arrive(struct ends *e, const struct packet *p)
{
    if (p->bytes != NULL) {
        bool taken = channel_arrived(&e->at[p->to], bytes_of(p->bytes, p->size), e->now_ns);
        ASSERT(taken);
    }
}

static void damage(struct ends *e, struct packet *p, uint16_t where)
{
    if (p->bytes != NULL) {
        size_t bit        = where % (p->size * 8);
        p->bytes[bit / 8] = (uint8_t)(p->bytes[bit / 8] ^ 1u << bit % 8);
        bool taken        = channel_arrived(&e->at[p->to], bytes_of(p->bytes, p->size), e->now_ns);
        ASSERT(!taken);
        drop(p);
    }
}

static void step(struct ends *e, struct script *s)
{
    uint8_t        what = script_u8(s);
    int            end  = what >> 7;
    struct packet *p    = &e->flying[what >> 4 & (FLYING_MAX - 1)];
    switch (what & 7) {
    case 0:
        put(e, end, script_u8(s));
        return;
    case 1:
        put(e, end, script_u16(s));
        return;
    case 2: /* over another one that was lost */
        drop(p);
        p->bytes = packet_of(e, what >> 3 & 1, &p->size);
        p->to    = 1 - (what >> 3 & 1);
        return;
    case 3:
        arrive(e, p);
        drop(p);
        return;
    case 4:
        arrive(e, p); /* and again later */
        return;
    case 5:
        damage(e, p, script_u16(s));
        return;
    case 6:
        e->now_ns += (uint64_t)script_u8(s) * STEP_NS;
        return;
    case 7:
        take(e, end);
        return;
    }
}

/* From now on nothing is lost: all arrives, and then it is quiet. */
static void settle(struct ends *e)
{
    for (int quiet = 0, round = 0; quiet < 4; round++) {
        bool said = false;
        ASSERT(round < ROUNDS_MAX);
        for (int from = 0; from < 2; from++) {
            struct packet p = {.to = 1 - from};
            p.bytes         = packet_of(e, from, &p.size);
            said |= p.bytes != NULL;
            arrive(e, &p);
            drop(&p);
            take(e, 1 - from);
        }
        quiet = said ? 0 : quiet + 1;
        e->now_ns += said ? 0 : 2000000000; /* what was lost before is missed */
    }
    for (int i = 0; i < 2; i++) {
        ASSERT(e->got[i] == e->put[i]);
        ASSERT(channel_wish_ns(&e->at[i]) == UINT64_MAX && e->at[i].out.size == 0 && e->at[i].in.size == 0);
    }
}

static void play(struct script *s)
{
    static struct ends e;
    e = (struct ends){0};
    channel_init(&e.at[0], 11, 12, 0);
    channel_init(&e.at[1], 12, 11, 1);
    while (s->left.size > 0) {
        step(&e, s);
    }
    settle(&e);
    for (int i = 0; i < FLYING_MAX; i++) {
        drop(&e.flying[i]);
    }
    channel_fini(&e.at[0]);
    channel_fini(&e.at[1]);
}

/* ---- anything ---- */

static void tell(struct channel *c, uint64_t seq, uint64_t ack, struct bytes bytes)
{
    uint8_t            packet[CHANNEL_HEAD_BYTES + UINT8_MAX];
    struct wire_writer w = wire_writer_fixed(packet, sizeof packet);
    wire_put_u64(&w, c->from);
    wire_put_u64(&w, c->to);
    wire_put_u64(&w, 0);
    wire_put_u64(&w, seq);
    wire_put_u64(&w, ack);
    wire_put_bytes(&w, bytes);
    uint64_t sum = hash_bytes(bytes_of(packet + SUMMED_AT, w.size - SUMMED_AT));
    memcpy(packet + SUM_AT, &sum, sizeof sum);
    bool taken = channel_arrived(c, wire_written(&w), 1);
    ASSERT(taken);
}

static void tell_anything(struct script *s)
{
    struct channel     c;
    uint8_t            head[CHANNEL_HEAD_BYTES];
    struct bytes       bytes;
    struct kernel_mail mail = {0};
    channel_init(&c, 11, 12, 0);
    while (s->left.size > 0) {
        uint8_t  what = script_u8(s);
        uint64_t seq  = what & 1 ? c.taken : (uint64_t)(int64_t)(int16_t)script_u16(s);
        uint64_t ack  = what & 2 ? c.sent : (uint64_t)(int64_t)(int16_t)script_u16(s);
        if (what & 4) {
            (void)channel_put(&c, &mail, bytes_of(head, what & 31));
        }
        (void)channel_next(&c, what, head, &bytes);
        tell(&c, seq, ack, script_take(s, script_u8(s)));
        size_t at = 0;
        while (channel_mail(&c, &at, &mail)) {
            uint32_t counted;
            memcpy(&counted, mail.body, sizeof counted);
            ASSERT(at <= c.in.size && (uint8_t *)mail.body + counted <= c.in.data + c.in.size);
        }
        channel_taken(&c, at);
        ASSERT(c.acked <= c.sent && c.sent <= c.acked + (c.out.size - c.done));
    }
    channel_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script s = {bytes_of(data, size)};
    if (script_u8(&s) % 4 == 3) {
        tell_anything(&s);
    } else {
        play(&s);
    }
    return 0;
}
