/* leftover.c - see leftover.h. */
#include "shared/base/leftover.h"

#include "shared/base/log.h"

#include <time.h>

enum {
    LEFTOVER_LOOKS    = 500,
    LEFTOVER_PAUSE_NS = 10 * 1000 * 1000, /* 5 s in all */
};

bool leftover_wait(unsigned *looks, const char *what)
{
    if (*looks == LEFTOVER_LOOKS) {
        return false;
    }
    if (++*looks == 1) {
        log_info("another process still has %s: waiting 5 s for it to let go, as one that was killed does", what);
    }
    nanosleep(&(struct timespec){.tv_nsec = LEFTOVER_PAUSE_NS}, NULL);
    return true;
}
