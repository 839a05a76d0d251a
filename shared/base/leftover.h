/* leftover - what a killed process still holds: its ring ends behind it, in the kernel, once the operations under way have ended, and until then the port of its
 * listeners and the lock of its files stay taken. An fsync on a slow disk makes that seconds. A port may also be another process's for a moment, the local end of
 * a connection.
 * Whoever is started in its place waits. Nothing tells when it is free, so this looks again and again, at start only.
 * Threads: the one that starts. */
#ifndef KEEL_SHARED_BASE_LEFTOVER_H
#define KEEL_SHARED_BASE_LEFTOVER_H

#include <stdbool.h>

/* For a start-up that meets what another process still has: waits 10 ms. False once 5 s were waited, counted in *looks (0 at first). */
bool leftover_wait(unsigned *looks, const char *what);

#endif
