/* hash - XXH3, inlined so that it uses the machine's vector units.
 * hash_bytes places names on stripes and stands in formats: its value for given bytes never changes.
 * Threads: any. */
#ifndef KEEL_SHARED_BASE_HASH_H
#define KEEL_SHARED_BASE_HASH_H

#include "shared/base/bytes.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

static inline uint64_t hash_bytes(struct bytes bytes)
{
    return XXH3_64bits(bytes.data, bytes.size);
}

static inline uint64_t hash_bytes_seeded(struct bytes bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(bytes.data, bytes.size, seed);
}

static inline uint64_t hash_u64(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    x *= 0xd6e8feb86659fd93u;
    x ^= x >> 32;
    return x;
}

#endif
