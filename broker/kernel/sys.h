/* sys - what the broker says of itself, under $SYS: values that the first shard gathers at an interval and tells to all.
 *
 *     shard 0: kernel_sys(values) ──MAIL_SYS──▶ every shard: kept, and given to its subscribers (QoS 0)
 *                                                      new subscriber ──▶ the values that are kept, as if they were retained
 *
 * Nothing of it is stored. Values: count times topic blob, payload blob.
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_SYS_H
#define KEEL_BROKER_KERNEL_SYS_H

#include "broker/kernel/session.h"

/* A new subscription gets what is kept and matches. */
void sys_replay(struct session *session, struct bytes filter, uint32_t sub_id);
void sys_receive(struct kernel *kernel, const struct kernel_mail *mail);
void sys_fini(struct kernel *kernel);

#endif
