/* assert - our own bugs end the process, in release builds too.
 * ASSERT_MEMORY says that memory was to be had where there is no other way: then the process ends, and what is durable is there at the next start.
 * ASSERT states what must be true of arguments, results and invariants; ASSERT_SLOW walks whole
 * structures and exists in debug, sanitizer and simulator builds only. Input and disks never
 * fail an assertion: they fail with errors (err.h).
 * Threads: any. */
#ifndef KEEL_SHARED_BASE_ASSERT_H
#define KEEL_SHARED_BASE_ASSERT_H

#include <stdbool.h>

#define MUST_CHECK                         __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_arg, first_arg) __attribute__((format(printf, format_arg, first_arg)))
#define LIKELY(x)                          __builtin_expect(!!(x), 1)
#define UNLIKELY(x)                        __builtin_expect(!!(x), 0)

/* "a implies b": reads as a sentence inside ASSERT. */
#define IMPLIES(a, b) (!(a) || (b))

#define ASSERT(x)        (LIKELY(x) ? (void)0 : assert_failed(#x, __FILE__, __LINE__))
#define ASSERT_MEMORY(x) (LIKELY(x) ? (void)0 : assert_memory(__FILE__, __LINE__))

#ifdef KEEL_SLOW_CHECKS
#define ASSERT_SLOW(x) ASSERT(x)
#else
#define ASSERT_SLOW(x) ((void)sizeof(x))
#endif

/* Prints the condition, file and line, then aborts. */
__attribute__((noreturn, cold)) void assert_failed(const char *condition, const char *file, int line);
/* Prints that there is no memory, and what to do; then aborts. */
__attribute__((noreturn, cold)) void assert_memory(const char *file, int line);

/* Ends the process with a sentence for the operator: for what only main.c may decide, and for a failed fsync. */
__attribute__((noreturn, cold)) PRINTF_LIKE(2, 3) void fatal(int exit_status, const char *format, ...);

#endif
