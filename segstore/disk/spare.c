/* spare.c - means over some writes, and accounts that the log pays. */
#include "segstore/disk/spare.h"

enum { MEAN_WEIGHT = 8, USUAL_WEIGHT = 32, BYTES_WEIGHT = 32, SLOW_TIMES = 2 };

static const uint64_t SLOW_LEAST_NS = 1000000;    /* less is the processor's, or another one's */
static const uint64_t REST_NS       = 20000000;   /* without a write for so long the log rests */
static const uint64_t LOOK_NS       = 2000000;    /* an account that waits for the log looks again */
static const uint64_t REST_RATE     = 256u << 20; /* bytes a second */
static const uint64_t LEAST_RATE    = 8u << 20;
static const uint64_t SECOND_NS     = 1000000000;

/* ---- the log ---- */

static uint64_t towards(uint64_t mean, uint64_t value, uint64_t weight)
{
    return mean == 0 ? value : mean - mean / weight + value / weight;
}

void spare_logged(struct spare *s, uint64_t bytes, uint64_t begun_ns, uint64_t now_ns)
{
    uint64_t took_ns = now_ns - begun_ns + 1;
    s->logged_bytes += bytes;
    s->logged_ns  = now_ns;
    s->mean_bytes = towards(s->mean_bytes, bytes, BYTES_WEIGHT);
    s->mean_ns    = towards(s->mean_ns, took_ns, MEAN_WEIGHT);
    if (s->beside_count == 0 && (s->beside_ns == 0 || s->beside_ns < begun_ns)) {
        s->usual_ns = towards(s->usual_ns, took_ns, USUAL_WEIGHT);
    }
}

void spare_begin(struct spare *s, uint64_t now_ns)
{
    s->beside_ns = now_ns;
    s->beside_count++;
}

void spare_end(struct spare *s, uint64_t now_ns)
{
    s->beside_ns = now_ns;
    s->beside_count--;
}

bool spare_slow(const struct spare *s, uint64_t now_ns)
{
    return s->usual_ns != 0 && s->mean_ns > SLOW_TIMES * s->usual_ns + SLOW_LEAST_NS &&
           now_ns < s->logged_ns + SECOND_NS;
}

bool spare_large(const struct spare *s)
{
    return s->mean_bytes >= SPARE_LARGE_BYTES;
}

/* ---- accounts ---- */

void spare_owe(struct spare_account *a, const struct spare *s, uint64_t bytes, uint64_t now_ns)
{
    if (a->debt_bytes == 0) {
        a->logged_bytes = s->logged_bytes;
        a->paid_ns      = now_ns;
    }
    a->debt_bytes += bytes;
}

uint64_t spare_pay(struct spare_account *a, const struct spare *s, uint64_t share, uint64_t now_ns)
{
    bool     rests  = now_ns >= s->logged_ns + REST_NS;
    uint64_t rate   = rests ? REST_RATE : LEAST_RATE;
    uint64_t passed = now_ns - a->paid_ns < SECOND_NS ? now_ns - a->paid_ns : SECOND_NS;
    uint64_t paid   = (s->logged_bytes - a->logged_bytes) * share / SPARE_ONE + rate * passed / SECOND_NS;
    a->logged_bytes = s->logged_bytes;
    a->paid_ns      = now_ns;
    a->debt_bytes   = a->debt_bytes > paid ? a->debt_bytes - paid : 0;
    if (a->debt_bytes == 0) {
        return 0;
    }
    uint64_t wait = a->debt_bytes * SECOND_NS / rate + 1;
    return rests || wait < LOOK_NS ? wait : LOOK_NS;
}
