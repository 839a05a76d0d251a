/* uplink - `keel ctl bridge`: connections to other MQTT brokers.
 * Threads: the main one. */
#ifndef KEEL_KEEL_UPLINK_H
#define KEEL_KEEL_UPLINK_H

/* argv[0] is "bridge". Returns the exit status of the process: 0 done, 1 refused or not reachable, 2 wrong usage. */
int uplink_run(int argc, char **argv);

#endif
