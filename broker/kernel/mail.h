/* mail - what the kernels of one broker tell each other, and those of other brokers of the same store (company.h).
 *
 *     A mail that finds no room waits here, in order, and goes at the end of a later turn. Nothing is dropped.
 *
 * Announcements (interest, routes, members of groups) are counted: the other side confirms how many it has taken in, so that a SUBACK can wait until every
 * shard delivers to the new subscription. Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_MAIL_H
#define KEEL_BROKER_KERNEL_MAIL_H

#include "broker/kernel/state.h"

enum mail_kind {                   /* from -> to                      value                body */
                 MAIL_CONFIRM = 1, /* receiver -> announcer           announcements        - */
                 MAIL_INTEREST, /* announcer -> every shard        -                    flags u8 (1 any, 2 QoS 1 and 2), filter */
                 MAIL_ROUTE,  /* shard of a session -> every     version              as route.h says */
                 MAIL_MEMBER, /* shard of a session -> every     serial               joined u8, flags u8, id u32, stream_id u64, since u64, whole filter */
                 MAIL_PUBLISH, /* shard of the publisher -> some  publisher's serial   message, then, if it is counted (marks.h): writer u64, epoch u64, sequence u64 */
                 MAIL_PUBLISH_MEMBER, /* shard of the publisher -> one   member's serial      flags u8, id u32, filter blob (empty: unknown), message, its number likewise */
                 MAIL_EXCLUSIVE_ASK, /* subscribing session -> home    serial         ticket u32, index u32, client id blob, filter */
                 MAIL_EXCLUSIVE_ANSWER, /* home -> subscribing session    serial         ticket u32, index u32, -status u32, filter */
                 MAIL_EXCLUSIVE_RELEASE, /* former holder -> home          serial         filter */
                 MAIL_SYS,               /* shard 0 -> every              -                    values of $SYS */
                 MAIL_STANDING, /* shard of a member -> every    its serial           number: its load, highest bit: it is slow */
                 MAIL_SLOW,    /* full queue -> publisher         publisher's serial   - */
                 MAIL_RELIEF,  /* full queue -> publisher         -                    - */
                 MAIL_CLAIM,   /* opening session -> home         serial               client id */
                 MAIL_GRANT,   /* home -> opening session         serial               - */
                 MAIL_EVICT,   /* home -> owner                   serial               - */
                 MAIL_RELEASE, /* former owner -> home            serial               client id */
                 MAIL_CAPTURE, /* shard that changed it -> every  version              deleted u8, name blob, row */
                 /* To and from shards of other processes only (far.h, rival.h): */
                 MAIL_TOLD, /* shard -> new shard              -                    - ; all that stands here was told before. Later: do you live? (far.h) */
                 MAIL_RIVAL,        /* home -> home there              ticket               stamp u64, client id */
                 MAIL_RIVAL_ANSWER, /* home there -> home         ticket               - ; number: 1 it is refused */
};

enum { MAIL_WAITING_MAX_BYTES = 4 << 20 }; /* beyond it publishers are paused */

/* The first number from `from` on whose bit is set; SHARDS_MAX: none. */
static inline unsigned mail_bit(uint64_t bits, unsigned from)
{
    bits = from >= SHARDS_MAX ? 0 : bits & (UINT64_MAX << from);
    return bits == 0 ? SHARDS_MAX : (unsigned)__builtin_ctzll(bits);
}
/* The numbers of the bits that are set. */
#define MAIL_EACH(shard, bits) \
    for (unsigned shard = mail_bit(bits, 0); shard != SHARDS_MAX; shard = mail_bit(bits, shard + 1))

/* The body begins with its size (u32), so that it can be counted and read. Begin, write, post. */
struct wire_writer mail_begin(void);
/* Takes the body; one that turned bad (no memory) is dropped and logged: false. */
bool mail_post(struct kernel *kernel, unsigned shard, enum mail_kind kind, uint64_t value, struct wire_writer *body);
/* Without a body. */
bool mail_signal(struct kernel *kernel, unsigned shard, enum mail_kind kind, uint64_t value);
bool mail_number(struct kernel *kernel, unsigned shard, enum mail_kind kind, uint64_t value, uint32_t number);
/* To every other shard, and counted. */
void               mail_announce(struct kernel *kernel, enum mail_kind kind, uint64_t value, struct wire_writer *body);
struct wire_reader mail_read(const struct kernel_mail *mail);

/* Something that waits until all announcements so far have been taken in everywhere. */
struct announcement {
    struct list link;
    uint64_t    until[SHARDS_MAX];
    void (*confirmed)(struct kernel *kernel, struct announcement *announcement);
};

/* Calls confirmed, before it returns when nothing is outstanding. */
void mail_when_confirmed(struct kernel *kernel, struct announcement *announcement,
                         void (*confirmed)(struct kernel *, struct announcement *));
/* The same for the shards of this process alone. */
void mail_when_confirmed_here(struct kernel *kernel, struct announcement *announcement,
                              void (*confirmed)(struct kernel *, struct announcement *));
void mail_forget(struct announcement *announcement);
void mail_confirm_received(struct kernel *kernel, unsigned from, uint64_t count);
/* Something was announced to us. */
void mail_announced(struct kernel *kernel, unsigned from);
/* That shard is nobody's any more: what waits for it is dropped. */
void mail_drop(struct kernel *kernel, unsigned shard);
/* A shard has gone: what waited for it only goes on. */
void mail_recheck(struct kernel *kernel);
/* Confirms what came in, posts what waits; false: some still waits. */
bool mail_flush(struct kernel *kernel);
bool mail_congested(const struct kernel *kernel);
void mail_fini(struct kernel *kernel);

#endif
