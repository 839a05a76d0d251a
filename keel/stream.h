/* stream - `keel ctl stream`: rules that capture messages in streams.
 * Threads: the main one. */
#ifndef KEEL_KEEL_STREAM_H
#define KEEL_KEEL_STREAM_H

/* argv[0] is "stream". Returns the exit status of the process: 0 done, 1 refused or not reachable, 2 wrong usage. */
int stream_run(int argc, char **argv);

#endif
