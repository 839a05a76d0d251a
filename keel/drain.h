/* drain - `keel ctl drain`: sends the clients of a broker elsewhere, before it is stopped.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_DRAIN_H
#define KEEL_KEEL_DRAIN_H

/* argv[0] is the verb. Returns the exit status. */
int drain_run(int argc, char **argv);

#endif
