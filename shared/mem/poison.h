/* poison - tells the address sanitizer which memory of a pool nobody may touch now. Nothing in other builds.
 * Threads: any. */
#ifndef KEEL_SHARED_MEM_POISON_H
#define KEEL_SHARED_MEM_POISON_H

#include <stddef.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/asan_interface.h>
#endif
#endif

static inline void poison(const void *memory, size_t size_bytes)
{
#ifdef ASAN_POISON_MEMORY_REGION
    ASAN_POISON_MEMORY_REGION(memory, size_bytes);
#else
    (void)memory;
    (void)size_bytes;
#endif
}

static inline void unpoison(const void *memory, size_t size_bytes)
{
#ifdef ASAN_UNPOISON_MEMORY_REGION
    ASAN_UNPOISON_MEMORY_REGION(memory, size_bytes);
#else
    (void)memory;
    (void)size_bytes;
#endif
}

#endif
