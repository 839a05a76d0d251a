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

/* AT_A_TIME of them are compared without a branch, so that the compiler takes several in one instruction; not where a run ends at once. */
enum { AT_A_TIME = 16, AT_FIRST = 4 };

static bool goes_on(const uint64_t *position, uint64_t step)
{
    return position[0] - position[-1] == step && position[0] != UINT64_MAX;
}

/* How many of those behind the first lie at that distance from the one before. */
static size_t run_at(const uint64_t *positions, size_t count, uint64_t step)
{
    size_t run = 1;
    while (run < count && run < AT_FIRST && goes_on(positions + run, step)) {
        run++;
    }
    for (; run >= AT_FIRST && run + AT_A_TIME <= count; run += AT_A_TIME) {
        uint64_t other = 0;
        for (size_t i = run; i < run + AT_A_TIME; i++) {
            other |= ((positions[i] - positions[i - 1]) ^ step) | (positions[i] == UINT64_MAX);
        }
        if (other != 0) {
            break;
        }
    }
    while (run < count && goes_on(positions + run, step)) {
        run++;
    }
    return run - 1;
}

/* .. or are none, too. */
static size_t run_none(const uint64_t *positions, size_t count)
{
    size_t run = 1;
    while (run < count && run < AT_FIRST && positions[run] == UINT64_MAX) {
        run++;
    }
    for (; run >= AT_FIRST && run + AT_A_TIME <= count; run += AT_A_TIME) {
        uint64_t other = 0;
        for (size_t i = run; i < run + AT_A_TIME; i++) {
            other |= ~positions[i];
        }
        if (other != 0) {
            break;
        }
    }
    while (run < count && positions[run] == UINT64_MAX) {
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
        if (positions[i] == UINT64_MAX) {
            run = run_none(positions + i, count - i);
            again_all(p, w, PACKING_NONE, run);
        } else {
            run     = run_at(positions + i, count - i, p->step);
            p->last = positions[i + run];
            again_all(p, w, PACKING_AGAIN, run);
        }
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
