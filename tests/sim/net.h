/* net - TCP between simulated machines, as a program sees it: what two kernels and the wire between them do.
 *
 *   end ── pipe ──▶ end        a connection is two ends and two pipes
 *       ◀── pipe ──
 *   pipe: taken from the sender ▶ flying segments ▶ rx (arrived, unread) ▶ read ▶ the window opens when the news is back
 *
 * Bytes of one direction arrive in order or not at all. What is lost on a cut link is sent again, at growing intervals, until the
 * timeout breaks the sender's end. A machine that lost power answers nothing; when it is back it answers with a reset, so the other
 * end of an idle connection stays half-open for ever.
 *
 * An end outlives its process (its last bytes still fly); it is freed with its connection when neither end is held any more.
 * Threads: one.   Errors: -errno. */
#ifndef KEEL_TESTS_SIM_NET_H
#define KEEL_TESTS_SIM_NET_H

#include "tests/sim/process.h"

#include <sys/uio.h>

/* One direction between two machines. Drawn from the faults of the world at first use; a scenario may change it. */
struct link {
    bool     drawn;
    bool     cut;
    uint64_t latency_ns;
    uint64_t jitter_ns;
    uint64_t bytes_per_second; /* 0: no limit */
    uint64_t free_at_ns;       /* the wire is busy until then */
};

struct net *net_new(struct world *world);
void        net_free(struct net *net);

struct link *net_link(struct machine *from, struct machine *to);
/* Both directions. */
void net_cut(struct machine *a, struct machine *b, bool cut);
/* From and to everyone else. */
void net_isolate(struct machine *machine, bool cut);
/* Connections with an end that is still held. */
uint32_t net_connection_count(const struct net *net);

/* ---- the sockets of a kernel, for io_sockets.c ---- */

struct conn;

struct segment {
    struct list link;
    uint64_t    arrives_ns;
    enum segment_kind { SEGMENT_DATA, SEGMENT_FIN, SEGMENT_RST } kind;
    uint32_t size;
    uint32_t read; /* bytes already read from its front */
    uint64_t hash; /* hash_bytes() of its data */
    uint8_t  data[];
};

struct end;

struct pipe {
    struct end  *from;
    struct end  *to;
    struct list  flying;
    struct list  rx;
    struct event arrive; /* of the first flying segment */
    struct event ack;    /* the sender learns what was read */
    uint64_t     last_arrival_ns;
    uint64_t     stuck_since_ns;
    uint64_t     retry_ns;
    uint32_t     window_bytes;
    uint32_t     used_bytes; /* taken and not yet known to be read */
    uint32_t     acking_bytes;
    uint32_t     read_bytes; /* read since the last ack left */
    uint64_t     taken_total;
    uint64_t     read_total;
};

enum end_state {
    END_CONNECTING,
    END_OPEN,
    END_CLOSED,   /* nobody holds it; what was taken still flies */
    END_VANISHED, /* its machine lost power */
};

struct end {
    struct conn    *conn;
    struct machine *machine;
    struct process *process;
    enum end_state  state;
    struct pipe     out;
    struct end     *peer;
    struct list     backlog; /* in listener->queue */
    uint64_t        id;
    uint64_t        drain_until_ns;
    uint16_t        port;
    bool            connected; /* the connect has ended, with broken as its result */
    bool            fin;       /* the peer's last byte is in rx */
    int             broken;    /* an error, or 0 */
    void           *owner;
    void (*notify)(void *owner); /* something above, or room in out, changed */
};

struct listener {
    struct machine *machine;
    struct process *process;
    struct list     link;
    struct list     queue;
    uint32_t        queued;
    uint32_t        backlog;
    uint16_t        port;
    bool            loopback_only;
    bool            reuse_port;
    void           *owner;
    void (*notify)(void *owner);
};

MUST_CHECK int net_listen(struct process *process, const char *address, uint16_t port, bool reuse_port,
                          uint32_t backlog, struct listener **out);
/* Connections that wait in its queue are reset. */
void        net_listener_close(struct listener *listener);
struct end *net_accept(struct listener *listener);

struct end *net_connect(struct process *process, const char *address, uint16_t port);
/* Takes what the window has room for; returns how much, and hash_bytes() of it. */
size_t end_take(struct end *end, const uint8_t *data, size_t size, uint64_t *out_hash);
/* Copies up to size arrived bytes; 0 when there are none. */
size_t end_read(struct end *end, uint8_t *out, size_t size);
/* The next segment, the caller's to free, when it has size bytes and none of them was read; else NULL. */
struct segment *end_read_segment(struct end *end, size_t size);
/* How many have arrived, limit at most. */
size_t end_readable_bytes(const struct end *end, size_t limit);
bool   end_readable(const struct end *end);
/* abort: a reset instead of an orderly end. */
void end_close(struct end *end, bool abort);
/* The end that process holds and nobody owns (being moved between shards), or NULL. */
struct end *net_find_loose(struct process *process, uint64_t id);
void        net_process_dies(struct process *process, bool power_lost);

#endif
