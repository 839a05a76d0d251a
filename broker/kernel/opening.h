/* opening - a session between its CONNECT and opened(): what open.c, which claims and fences it, and restore.c, which loads what a stored one has, share.
 *
 * Lives from kernel_open to open_finish or open_refuse.   Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_OPENING_H
#define KEEL_BROKER_KERNEL_OPENING_H

#include "broker/kernel/mail.h"
#include "broker/kernel/session.h"
#include "broker/kernel/will.h"

struct opening {
    struct session     *session;
    struct store_call   call;
    struct store_scan   scan;
    struct announcement announcement;
    struct will         will; /* views into kept */
    struct timer        retry;
    uint32_t            retries;
    bool                clean_start;
    bool                ended; /* the former session was, by a transaction of its own */
    bool                found;
    bool                present;
    bool                discard_will; /* these three from kernel_close, when it came first */
    bool                set_expiry;
    uint32_t            expiry_s;
    int                 error;
    uint8_t             kept[];
};

/* Everything is loaded, or error: opened() is told, and the opening is freed. A session whose client is gone is closed as if it had been open. */
void open_finish(struct session *s, int error);
/* Loads its subscriptions, then where its replays stand, then its packet ids, and ends with open_finish. */
void restore_begin(struct session *s);

#endif
