/* control - what operators change: users and access rules of the store's tables, asked by the admin's HTTP thread, carried out by a shard.
 *
 *   GET    /auth/users            NAME<tab>groups, one line each
 *   PUT    /auth/users/NAME       body: the line of credential.h without the name. The password itself is never sent.
 *   DELETE /auth/users/NAME
 *   GET    /auth/rules            NUMBER<tab>rule, in the order in which they count; those of the file come after them, without a number
 *   POST   /auth/rules[/NUMBER]   body: a rule; without a number it goes to the end. Answer: its number
 *   DELETE /auth/rules/NUMBER
 *   GET    /auth/bans                 KIND<tab>NAME<tab>until when, or "-"<tab>why
 *   PUT    /auth/bans/KIND/NAME       body: SECONDS (0: for ever), a blank, why. KIND: client, user, address
 *   DELETE /auth/bans/KIND/NAME
 *
 * Lifetime: made and freed by main.c, after the admin thread.   Threads: control_handle on any thread, waits up to five seconds. */
#ifndef KEEL_BROKER_GATE_CONTROL_H
#define KEEL_BROKER_GATE_CONTROL_H

#include "shared/base/bytes.h"

struct desk;
struct gate;

struct control_answer {
    int   status; /* HTTP */
    char *text;   /* malloc'ed, ended by a zero; NULL: none */
};

/* desk: of a shard; *gate: the gate of that shard, which is there while somebody sits at the desk. */
struct control_answer control_handle(struct desk *desk, struct gate *const *gate, const char *method, const char *path,
                                     struct bytes body);

#endif
