/* hook - somebody else's program decides, over HTTP (broker/auth/message.h): who is let in, and who may do what.
 *
 * Answers about access are remembered for a while, a bounded number of them (broker/auth/cache.h). When the hook does not answer, or too many wait
 * for it, the configuration says what that means (hook.down).
 * Threads: the shard. */
#ifndef KEEL_BROKER_GATE_HOOK_H
#define KEEL_BROKER_GATE_HOOK_H

#include "broker/auth/message.h"

struct gate;
struct hook;
struct web;

/* NULL when memory is out. */
struct hook *hook_new(struct gate *gate, struct web *web);
/* Nothing of it is under way any more. Accepts NULL. */
void hook_free(struct hook *hook);

/* A login under way. Zeroed, embedded in who asks. */
struct hook_login;
/* done comes later, with what the hook says; the claims are the asker's then. NULL: it cannot be asked; *out_says is what that means. */
struct hook_login *hook_login(struct hook *hook, const struct auth_request                                  *request,
                              void (*done)(void *ctx, enum hook_says says, struct jwt_claims *claims), void *ctx,
                              enum hook_says *out_says);
/* No done comes any more. */
void hook_login_forget(struct hook_login *login);

#endif
