/* channel - mails to one shard of another broker and from it, each once and in order, over packets that may be lost, doubled or late.
 *
 *     mail    | kind u32 | number u32 | value u64 | size u32, itself counted | bytes |               one behind the other: a stream of bytes
 *     packet  | to u64 | from u64 | sum u64 | seq u64 | ack u64 | bytes of the stream, from seq on |
 *
 * to, from: births (company.h) of the two processes: what was said to or by an earlier life of one of them is passed over. sum: XXH3-64 of what follows it, made where the
 * bytes are made and checked where they are taken. ack: all before it was taken. What is not acknowledged in time is sent again, from its beginning and perhaps another
 * way (store_relay_send). Pure: time is handed in.
 * Threads: the shard.   Units: ns, bytes. */
#ifndef KEEL_BROKER_KERNEL_CHANNEL_H
#define KEEL_BROKER_KERNEL_CHANNEL_H

#include "broker/kernel/kernel.h"
#include "shared/base/wire.h"

enum {
    CHANNEL_HEAD_BYTES   = 40,
    CHANNEL_PIECE_BYTES  = 64 * 1024,   /* of one packet */
    CHANNEL_FLYING_BYTES = 1024 * 1024, /* sent and not acknowledged */
    CHANNEL_FULL_BYTES =
        4 * 1024 * 1024, /* beyond it no mail is taken; one that is may be as large as this beside it */
};

struct channel {
    uint64_t           to;   /* birth of the other process */
    uint64_t           from; /* of this one */
    struct wire_writer out;  /* what is not acknowledged lies behind `done` in it */
    size_t             done;
    uint64_t           acked;    /* all of the stream before it */
    uint64_t           sent;     /* the next byte to send */
    uint64_t           again_ns; /* when it is sent again; UINT64_MAX: nothing is under way */
    uint64_t           patience_ns;
    uint32_t           way;
    struct wire_writer in;     /* a mail that is not whole */
    uint64_t           taken;  /* all of the other's stream before it is here */
    bool               heard;  /* of the other one, once */
    bool               answer; /* an acknowledgement is due */
};

void channel_init(struct channel *channel, uint64_t to, uint64_t from, uint32_t way);
void channel_fini(struct channel *channel);
/* bytes: what the mail carries. False: it is full, nothing was taken. */
MUST_CHECK bool channel_put(struct channel *channel, const struct kernel_mail *mail, struct bytes bytes);
/* A packet arrived: what is new of it is behind `in`. False: it is not one of these two births, or damaged. */
MUST_CHECK bool channel_arrived(struct channel *channel, struct bytes packet, uint64_t now_ns);
/* The next whole mail that arrived, its body beginning with its size as mail.h has it: borrowed until channel_taken. *at: 0 at first. */
MUST_CHECK bool channel_mail(const struct channel *channel, size_t *at, struct kernel_mail *out);
/* All before at was looked at. */
void channel_taken(struct channel *channel, size_t at);
/* What is to be sent now: the head of a packet, and its bytes. False: nothing. */
MUST_CHECK bool channel_next(struct channel *channel, uint64_t now_ns, uint8_t head[CHANNEL_HEAD_BYTES],
                             struct bytes *out_bytes);
/* When channel_next may have something though nothing happens. */
static inline uint64_t channel_wish_ns(const struct channel *channel)
{
    return channel->again_ns;
}

#endif
