/* members - keel ctl members: which nodes keep the streams. */
#ifndef KEEL_KEEL_MEMBERS_H
#define KEEL_KEEL_MEMBERS_H

/* argv[0] is the verb. Returns the exit status. */
int members_run(int argc, char **argv);

#endif
