/* ban - `keel ctl ban`: who is not let in.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_BAN_H
#define KEEL_KEEL_BAN_H

/* argv[0] is the verb. Returns the exit status. */
int ban_run(int argc, char **argv);

#endif
