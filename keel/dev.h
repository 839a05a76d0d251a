/* dev - `keel dev`: one segment store and one broker on this machine, in the foreground.
 *
 *   start keel-segstore ─ready─▶ start keel-broker ─ready─▶ "keel ready …" ─signal─▶ stop broker ─▶ stop store ─▶ 0
 *            └──────── dies ─────────┴──────── dies ───────────┴─▶ stop the other ─▶ its status and a message
 *
 * The programs are those beside this one. Each reports readiness by a line on the descriptor given with --ready-fd:
 *   keel-segstore ready listen=ADDR:PORT admin=ADDR:PORT          keel-broker ready mqtt=ADDR:PORT admin=ADDR:PORT
 * The store's HTTP gets a free port unless segstore.admin is something else than its default.
 * Children get this command's own arguments, and live in process groups of their own so that Ctrl-C stops them in order.
 * Threads: the main one. */
#ifndef KEEL_KEEL_DEV_H
#define KEEL_KEEL_DEV_H

/* argv[0] is the command's name, its flags follow. Returns the exit status of the process. */
int dev_run(int argc, char **argv);

#endif
