/* client - one broker shard's side: it writes what can be checked to the last byte, and checks it.
 *
 *   per stripe a stream; transaction n (from 0):  APPEND record n (idempotent: writer 1 + stripe, sequence n + 1)  +  TABLE_PUT "n % KEYS" = n
 *                                                 +  every 16th: TRIM of what is older than KEEP records
 *
 * Transactions of a stripe are sent in their order, so what a stripe holds is what the first N of them did, for one N. A crash leaves an N
 * of at least those that were answered, at most those that were asked for.
 * Threads: one, that of the io. */
#ifndef KEEL_TESTS_CRASH_CLIENT_H
#define KEEL_TESTS_CRASH_CLIENT_H

#include "shared/base/wire.h"
#include "shared/rpc/frame.h"

enum { CLIENT_STRIPES = 3, CLIENT_KEYS = 40, CLIENT_KEEP = 60, CLIENT_WINDOW = 8 };

struct io;
struct io_socket;

struct client {
    struct io          *io;
    struct io_socket   *socket;
    struct frame_reader reader;
    struct wire_writer  out;
    struct wire_writer  flying;
    bool                sending;
    bool                welcome;
    bool                answered; /* ask: the answer is in body */
    uint16_t            answer_kind;
    struct wire_writer  body;
    uint64_t            seed;
    uint64_t            want; /* transactions of each stripe */
    struct client_stripe {
        uint64_t stream_id;
        uint64_t term;
        uint64_t sent; /* transactions asked for: 0 .. sent - 1 */
        uint64_t acked;
    } stripes[CLIENT_STRIPES];
    char wrong[512]; /* the first thing that was: a sentence */
};

void client_open(struct client *client, struct io *io, uint16_t port);
/* Sends what there is to send. Once per turn. */
void client_turn(struct client *client);
/* Makes the streams, then keeps CLIENT_WINDOW transactions under way in each stripe until there are so many. turn: runs the store and the io once. */
void client_write(struct client *client, uint64_t want, void (*turn)(void *ctx), void *ctx);
/* Reads everything back and checks it: each stripe holds what its first N transactions did, acked <= N <= sent as the client says; sets both to N.
 * False: client->wrong says what is wrong. */
bool client_check(struct client *client, void (*turn)(void *ctx), void *ctx);
void client_fini(struct client *client);

#endif
