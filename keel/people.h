/* people - `keel ctl passwd`, `users` and `acl`: who may come in, and what they may do there.
 * A password is hashed here: only what is kept of it goes to the broker, or into a file. */
#ifndef KEEL_KEEL_PEOPLE_H
#define KEEL_KEEL_PEOPLE_H

/* argv[0] is the verb. Return the exit status. */
int people_passwd(int argc, char **argv);
int people_users(int argc, char **argv);
int people_acl(int argc, char **argv);

#endif
