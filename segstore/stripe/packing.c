/* packing.c - distances, and how often the same one comes again. */
#include "segstore/stripe/packing.h"

#include "shared/base/err.h"

enum { KIND_BITS = 2, KIND_MASK = 3, DIGIT_BITS = 7, DIGIT_MASK = 0x7f, MORE = 0x80, BITS = 64 };

static const uint64_t STEP_MAX = 1ull << 61; /* of a distance, zigzag */

static void put_token(struct wire_writer *w, uint64_t number, uint8_t kind)
{
    uint64_t left = number << KIND_BITS | kind;
    for (; left > DIGIT_MASK; left >>= DIGIT_BITS) {
        wire_put_u8(w, (uint8_t)(left | MORE));
    }
    wire_put_u8(w, (uint8_t)left);
}

static uint64_t zigzag(uint64_t step)
{
    return step << 1 ^ (0 - (step >> (BITS - 1)));
}

void packing_flush(struct packing *p, struct wire_writer *w)
{
    if (p->count > 0) {
        put_token(w, p->count, p->kind);
        p->count = 0;
    }
}

static void again(struct packing *p, struct wire_writer *w, uint8_t kind)
{
    if (p->kind != kind || p->count == PACKING_AT_ONCE) {
        packing_flush(p, w);
    }
    p->kind = kind;
    p->count++;
}

void packing_put(struct packing *p, struct wire_writer *w, uint64_t position)
{
    if (position == UINT64_MAX) {
        again(p, w, PACKING_NONE);
        return;
    }
    uint64_t step = position - p->last;
    p->last       = position;
    if (step == p->step) {
        again(p, w, PACKING_AGAIN);
        return;
    }
    packing_flush(p, w);
    p->step = step;
    if (zigzag(step) < STEP_MAX) {
        put_token(w, zigzag(step), PACKING_STEP);
    } else {
        put_token(w, 0, PACKING_RAW);
        wire_put_u64(w, position);
    }
}

/* How many of those behind the first lie at that distance from the one before, or are none as it is (distance 0). */
static size_t run_of(const uint64_t *positions, size_t count, uint64_t step)
{
    bool   none = positions[0] == UINT64_MAX;
    size_t run  = 1;
    while (run < count && positions[run] - positions[run - 1] == step && (positions[run] == UINT64_MAX) == none) {
        run++;
    }
    return run - 1;
}

static void again_all(struct packing *p, struct wire_writer *w, uint8_t kind, size_t count)
{
    while (count > 0) {
        again(p, w, kind);
        size_t room = PACKING_AT_ONCE - p->count;
        size_t more = count - 1 < room ? count - 1 : room;
        p->count += (uint32_t)more;
        count -= 1 + more;
    }
}

void packing_put_all(struct packing *p, struct wire_writer *w, const uint64_t *positions, size_t count)
{
    for (size_t i = 0, run; i < count; i += 1 + run) {
        packing_put(p, w, positions[i]);
        bool none = positions[i] == UINT64_MAX;
        run       = run_of(positions + i, count - i, none ? 0 : p->step);
        p->last   = none ? p->last : positions[i + run];
        again_all(p, w, none ? PACKING_NONE : PACKING_AGAIN, run);
    }
}

/* ---- back ---- */

static int get_number(struct wire_reader *r, uint64_t *out)
{
    *out = 0;
    for (unsigned shift = 0; shift < BITS; shift += DIGIT_BITS) {
        uint64_t digit = wire_get_u8(r);
        if (r->bad) {
            return 1;
        }
        uint64_t bits = digit & DIGIT_MASK;
        if (bits << shift >> shift != bits || (digit == 0 && shift > 0)) {
            return ERR_MALFORMED;
        }
        *out |= bits << shift;
        if ((digit & MORE) == 0) {
            return 0;
        }
    }
    return ERR_MALFORMED;
}

int packing_token(struct packing *p, struct wire_reader *r)
{
    uint64_t token;
    int      result = get_number(r, &token);
    if (result != 0) {
        return result;
    }
    uint64_t number = token >> KIND_BITS;
    p->kind         = token & KIND_MASK;
    p->count        = 1;
    switch ((enum packing_kind)p->kind) {
    case PACKING_STEP:
        p->step = number >> 1 ^ (0 - (number & 1));
        return 0;
    case PACKING_RAW:
        p->step = wire_get_u64(r) - p->last;
        return r->bad ? 1 : number == 0 ? 0 : ERR_MALFORMED;
    case PACKING_AGAIN:
    case PACKING_NONE:
        p->count = (uint32_t)number;
        return number > 0 && number <= PACKING_AT_ONCE ? 0 : ERR_MALFORMED;
    }
    return ERR_MALFORMED;
}
