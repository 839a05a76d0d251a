/* wrong_clock - LD_PRELOAD: the wall clock of a program is WRONG_CLOCK seconds off; the clock that measures time is not. (libfaketime and jemalloc do not
 * get on with each other.) */
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static long off_s;

__attribute__((constructor)) static void begin(void)
{
    const char *text = getenv("WRONG_CLOCK");
    off_s            = text == NULL ? 0 : atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    int result = (int)syscall(SYS_clock_gettime, clock, out);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        out->tv_sec += off_s;
    }
    return result;
}
