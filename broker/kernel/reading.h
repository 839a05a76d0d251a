/* reading - the inside of reader.h, for the files that share it; nobody else includes this.
 *
 *   reader.c    which readers a session has, where each begins      follow.c   records from the store to the client
 *   flight.c    slots of the Receive Maximum, acknowledgements      bookmark.c  positions that outlive a connection
 *
 * Threads: the shard. */
#ifndef KEEL_BROKER_KERNEL_READING_H
#define KEEL_BROKER_KERNEL_READING_H

#include "broker/kernel/delivery.h"
#include "broker/kernel/position.h"
#include "broker/kernel/reader.h"
#include "broker/kernel/store.h"

enum { READER_FLIGHTS_MAX = 4096, READER_IDS = 65535 - WINDOW_WIDTH_MAX };
_Static_assert(READER_FLIGHTS_MAX <= READER_IDS, "ids under way are different");

enum reader_state { READER_LOOKING, READER_FOUND, READER_READING, READER_WAITING, READER_ABSENT };

struct reader {
    struct list          link;  /* in readers.list */
    struct list          dirty; /* in kernel.cursors */
    struct session      *session;
    struct reader_asker *asker; /* NULL: begun, or forgotten */
    struct store_call    look;
    struct store_call    move;
    struct store_follow  follow;
    struct position      position; /* that was asked for */
    uint64_t             stream_id;
    uint64_t             next;          /* the first offset that was not handed out */
    uint64_t             stored;        /* the position in its row */
    uint64_t             not_before_ns; /* published earlier: passed over */
    uint32_t             credit;        /* given and not used */
    uint32_t             inflight;
    uint32_t             sub_id;
    uint8_t              flags; /* enum sub_flags */
    uint8_t              state;
    bool                 following;
    bool                 looking;
    bool                 moving;
    bool                 begun;
    bool                 dropped; /* freed when the store has answered */
    uint8_t              name_size;
    uint16_t             filter_size;
    uint16_t             spec_size;
    uint8_t              text[]; /* filter (the name in it), then the position's text */
};

/* One QoS 1 delivery that is not acknowledged. */
struct flight {
    struct reader *reader; /* NULL: acknowledged */
    uint64_t       offset;
};

/* All readers of one session. */
struct readers {
    struct list    link; /* in kernel.reading */
    struct list    list;
    struct flight *flights; /* ring of READER_FLIGHTS_MAX at most, a power of two */
    uint32_t       capacity;
    uint64_t       first; /* of a count of flights; id = WINDOW_WIDTH_MAX + 1 + count % READER_IDS */
    uint64_t       end;
    uint32_t       inflight;
    uint32_t       count;
};

static inline struct readers *readers_of(const struct session *s)
{
    return s->delivery == NULL ? NULL : s->delivery->readers;
}

static inline struct bytes reader_filter_of(const struct reader *r)
{
    return bytes_of(r->text, r->filter_size);
}

static inline struct bytes reader_name_of(const struct reader *r)
{
    return bytes_of(r->text + strlen("$stream/"), r->name_size);
}

static inline struct bytes reader_spec_of(const struct reader *r)
{
    return bytes_of(r->text + r->filter_size, r->spec_size);
}

static inline struct flight *flight_at(const struct readers *all, uint64_t count)
{
    return &all->flights[count & (all->capacity - 1)];
}

/* reader.c */
struct reader *reader_new(struct session *session, struct bytes filter, struct bytes name, struct bytes spec);
void           reader_free(struct reader *reader);
/* Asks the store where its position is; the answer begins it, or its asker is told. */
void reader_look(struct reader *reader);

/* follow.c */
void reader_read_on(struct reader *reader);
void reader_stop(struct reader *reader, enum reader_state state);

/* flight.c */
uint32_t readers_slots(const struct session *session);
bool     readers_slot_free(const struct session *session);
/* Makes sure of memory for one more flight. */
bool     flight_room(struct readers *all);
uint16_t flight_id(uint64_t count);
/* All below is acknowledged. */
uint64_t reader_position(const struct reader *reader);

/* bookmark.c: its position is another one: its row is written at the end of the turn. */
void reader_moved(struct reader *reader);

#endif
