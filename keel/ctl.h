/* ctl - `keel ctl`: asks a running broker over its admin HTTP.
 * Threads: the main one. */
#ifndef KEEL_KEEL_CTL_H
#define KEEL_KEEL_CTL_H

/* argv[0] is the command's name. Returns the exit status of the process: 0 answered and ready, 1 not ready or not reachable, 2 wrong usage. */
int ctl_run(int argc, char **argv);

#endif
