/* rand - xoshiro256++, seeded by splitmix64. One generator per purpose, seeded with run seed and a salt, so that an
 * extra draw in one place does not shift the others. Not for secrets.
 * Source: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021).
 * Threads: those of the owner. */
#ifndef KEEL_SHARED_BASE_RAND_H
#define KEEL_SHARED_BASE_RAND_H

#include <stdbool.h>
#include <stdint.h>

struct rand {
    uint64_t state[4];
};

static inline uint64_t rand_rotl(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static inline void rand_init(struct rand *r, uint64_t seed, uint64_t salt)
{
    uint64_t x = seed ^ (salt * 0x9e3779b97f4a7c15u);
    for (int i = 0; i < 4; i++) {
        x += 0x9e3779b97f4a7c15u;
        uint64_t z  = x;
        z           = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z           = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        r->state[i] = z ^ (z >> 31);
    }
}

static inline uint64_t rand_u64(struct rand *r)
{
    uint64_t *s      = r->state;
    uint64_t  result = rand_rotl(s[0] + s[3], 23) + s[0];
    uint64_t  t      = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rand_rotl(s[3], 45);
    return result;
}

/* Uniform in [0, below); below must not be 0. */
static inline uint64_t rand_below(struct rand *r, uint64_t below)
{
    return (uint64_t)(((unsigned __int128)rand_u64(r) * below) >> 64);
}

/* True once in one_in draws on average. */
static inline bool rand_chance(struct rand *r, uint64_t one_in)
{
    return rand_below(r, one_in) == 0;
}

#endif
