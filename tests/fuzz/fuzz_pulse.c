/* fuzz_pulse.c - the heartbeats of many stripes in one frame, and their answers: what comes out is what went in, whatever is beaten, answered, lost or begun anew;
 * and frames that say anything call nobody who is not there. */
#include "segstore/node/peers/pulse.h"

#include "tests/fuzz/script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SLOTS_MAX = 40, FLYING_MAX = 8, FRAME_MAX_BYTES = 2048 };

struct said {
    uint64_t term; /* 0: it did not beat, or was not answered */
    uint64_t commit;
};

struct frame {
    size_t      size;
    uint8_t     bytes[FRAME_MAX_BYTES];
    uint64_t    clock_ns;
    uint32_t    serial;
    struct said of[SLOTS_MAX];
};

/* Frames on their way, in their order. */
struct flow {
    uint32_t     first, end;
    struct frame at[FLYING_MAX];
};

struct pair {
    struct pulse_out out;
    struct pulse_in  in;
    uint32_t         slots;
    uint64_t         generation;
    uint32_t         serial;             /* of pulses put */
    struct said      beats[SLOTS_MAX];   /* for the next pulse */
    uint64_t         terms[SLOTS_MAX];   /* said last, of this connection */
    uint32_t         changed[SLOTS_MAX]; /* the pulse that said so first */
    uint64_t         clock_ns;
    bool             due;
    struct flow      pulses, answers;
};

static struct frame *push(struct flow *f)
{
    ASSERT(f->end - f->first < FLYING_MAX);
    struct frame *frame = &f->at[f->end++ % FLYING_MAX];
    *frame              = (struct frame){0};
    return frame;
}

static bool full(const struct flow *f)
{
    return f->end - f->first == FLYING_MAX;
}

static struct frame *pop(struct flow *f)
{
    return f->first == f->end ? NULL : &f->at[f->first++ % FLYING_MAX];
}

/* ---- the leader ---- */

static void begin(struct pair *p)
{
    pulse_out_begin(&p->out, ++p->generation);
    memset(p->beats, 0, sizeof p->beats);
    memset(p->terms, 0, sizeof p->terms);
    memset(p->changed, 0, sizeof p->changed);
    p->serial        = 0;
    p->due           = false;
    p->pulses.first  = p->pulses.end;
    p->answers.first = p->answers.end;
}

static void beat(struct pair *p, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    pulse_beat(&p->out, slot, term, commit, clock_ns);
    p->changed[slot] = p->terms[slot] == term ? p->changed[slot] : p->serial + 1;
    p->terms[slot]   = term;
    p->beats[slot]   = (struct said){term, commit};
    p->clock_ns      = p->due && p->clock_ns < clock_ns ? p->clock_ns : clock_ns;
    p->due           = true;
}

static void pulse(struct pair *p)
{
    if (!p->due || full(&p->pulses)) {
        return;
    }
    struct frame      *f = push(&p->pulses);
    struct wire_writer w = wire_writer_fixed(f->bytes, sizeof f->bytes);
    pulse_put(&p->out, p->serial, &w);
    ASSERT(!w.bad);
    f->size     = w.size;
    f->clock_ns = p->clock_ns;
    f->serial   = ++p->serial;
    memcpy(f->of, p->beats, sizeof f->of);
    memset(p->beats, 0, sizeof p->beats);
    p->due = false;
}

/* What one frame calls. */
struct heard {
    struct pair        *pair;
    const struct frame *frame;
    struct script      *script;
    struct said         of[SLOTS_MAX];
    uint64_t            count;
};

static void on_answer(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns)
{
    struct heard *h = ctx;
    ASSERT(slot < h->pair->slots && h->of[slot].term == 0 && clock_ns == h->frame->clock_ns);
    ASSERT(h->frame->of[slot].term == term); /* it was answered in the term that it is told of */
    h->of[slot].term = term;
}

static void answered(struct pair *p)
{
    const struct frame *f = pop(&p->answers);
    if (f == NULL) {
        return;
    }
    struct heard       h     = {.pair = p, .frame = f};
    struct wire_reader r     = wire_reader_of(bytes_of(f->bytes, f->size));
    bool               whole = pulse_ack_get(&p->out, &r, on_answer, &h);
    ASSERT(whole && wire_left(&r) == 0);
    for (uint32_t i = 0; i < p->slots; i++) { /* an answer in a term that still is the leader's is not lost */
        ASSERT(f->of[i].term == 0 || p->changed[i] > f->serial || h.of[i].term == p->terms[i]);
    }
}

/* ---- the follower ---- */

static void on_beat(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    struct heard *h = ctx;
    ASSERT(slot < h->pair->slots && h->of[slot].term == 0 && clock_ns == h->frame->clock_ns);
    h->of[slot] = (struct said){term, commit};
    if (script_u8(h->script) % 4 != 3) {
        pulse_ack_add(&h->pair->in, slot);
        h->count++;
    } else {
        h->of[slot].commit = UINT64_MAX - commit;
    }
}

static void hear(struct pair *p, struct script *s)
{
    const struct frame *f = full(&p->answers) ? NULL : pop(&p->pulses);
    if (f == NULL) {
        return;
    }
    struct heard       h     = {.pair = p, .frame = f, .script = s};
    struct wire_reader r     = wire_reader_of(bytes_of(f->bytes, f->size));
    bool               whole = pulse_get(&p->in, &r, on_beat, &h) == 0;
    ASSERT(whole && wire_left(&r) == 0 && p->in.ack_count == h.count && p->in.strain == f->serial - 1);
    struct frame *a = h.count > 0 ? push(&p->answers) : NULL;
    for (uint32_t i = 0; i < p->slots; i++) {
        bool answers = h.of[i].term != 0 && h.of[i].commit == f->of[i].commit;
        ASSERT(h.of[i].term == f->of[i].term);
        ASSERT(answers || h.of[i].term == 0 || h.of[i].commit == UINT64_MAX - f->of[i].commit);
        if (a != NULL && answers) {
            a->of[i] = f->of[i];
        }
    }
    if (a != NULL) {
        struct wire_writer w = wire_writer_fixed(a->bytes, sizeof a->bytes);
        pulse_ack_put(&p->in, &w);
        ASSERT(!w.bad);
        a->size     = w.size;
        a->clock_ns = f->clock_ns;
        a->serial   = f->serial;
    }
}

static void nobody(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    (void)ctx, (void)slot, (void)term, (void)commit, (void)clock_ns;
    ASSERT(false);
}

/* One is missing: the next one ends the connection. */
static void lose(struct pair *p)
{
    (void)pop(&p->pulses);
    const struct frame *f = pop(&p->pulses);
    if (f != NULL) {
        struct wire_reader r     = wire_reader_of(bytes_of(f->bytes, f->size));
        bool               whole = pulse_get(&p->in, &r, nobody, NULL) == 0;
        ASSERT(!whole);
    }
    begin(p);
}

/* ---- anything ---- */

static void any_beat(void *ctx, uint32_t slot, uint64_t term, uint64_t commit, uint64_t clock_ns)
{
    struct pulse_in *in = ctx;
    (void)commit;
    ASSERT(slot < in->slots && term != 0 && clock_ns == in->clock_ns);
    pulse_ack_add(in, slot);
}

static void any_answer(void *ctx, uint32_t slot, uint64_t term, uint64_t clock_ns)
{
    struct pair *p = ctx;
    (void)clock_ns;
    ASSERT(slot < p->slots && term == p->terms[slot] && term != 0);
}

static void tell_anything(struct pair *p, struct pulse_in *in, struct script *s)
{
    uint8_t            bytes[20 + UINT8_MAX];
    struct wire_writer w      = wire_writer_fixed(bytes, sizeof bytes);
    bool               answer = (script_u8(s) & 1) != 0;
    uint64_t           known  = answer ? p->out.generation : in->generation;
    wire_put_u64(&w, known != 0 ? known : 1);
    wire_put_u32(&w, answer ? p->serial : in->generation == 0 ? 1 : in->serial + 1);
    wire_put_u64(&w, 5);
    wire_put_bytes(&w, script_take(s, script_u8(s)));
    struct wire_reader r = wire_reader_of(wire_written(&w));
    if (answer) {
        (void)pulse_ack_get(&p->out, &r, any_answer, p);
    } else if (pulse_get(in, &r, any_beat, in) == 0 && in->ack_count > 0) {
        uint8_t            back[FRAME_MAX_BYTES];
        struct wire_writer ack = wire_writer_fixed(back, sizeof back);
        pulse_ack_put(in, &ack);
        ASSERT(!ack.bad);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct pair p;
    struct pulse_in    any;
    struct script      s = {bytes_of(data, size)};
    p                    = (struct pair){.slots = script_u8(&s) % SLOTS_MAX + 1};
    pulse_out_init(&p.out, p.slots);
    pulse_in_init(&p.in, p.slots);
    pulse_in_init(&any, p.slots);
    begin(&p);
    while (s.left.size > 0) {
        uint8_t what = script_u8(&s);
        switch (what % 8) {
        case 0:
        case 1:
            beat(&p, script_u8(&s) % p.slots, script_u8(&s) % 4u + 1, what / 64, script_u8(&s));
            break;
        case 2:
            pulse(&p);
            break;
        case 3:
            hear(&p, &s);
            break;
        case 4:
            answered(&p);
            break;
        case 5:
            lose(&p);
            break;
        case 6:
            begin(&p);
            break;
        case 7:
            tell_anything(&p, &any, &s);
            break;
        }
    }
    pulse_out_fini(&p.out);
    pulse_in_fini(&p.in);
    pulse_in_fini(&any);
    return 0;
}
