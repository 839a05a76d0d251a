/* flight.c - what readers have sent and nobody acknowledged: it shares the Receive Maximum with the session's own messages. */
#include "broker/kernel/reading.h"

#include "shared/base/err.h"

#include <stdlib.h>

uint32_t readers_reserved(const struct session *s)
{
    return readers_of(s) == NULL || readers_of(s)->count == 0 ? 0 : s->receive_max / 2u;
}

static uint32_t own_inflight(const struct session *s)
{
    return s->delivery == NULL ? 0 : s->delivery->inflight;
}

uint32_t readers_slots(const struct session *s)
{
    uint32_t half = s->receive_max / 2u;
    return half == 0 ? 1 : half < READER_FLIGHTS_MAX ? half : READER_FLIGHTS_MAX;
}

/* With a Receive Maximum of 1 there is nothing to divide. */
bool readers_block_own(const struct session *s)
{
    return readers_of(s) != NULL && s->receive_max == 1 && readers_of(s)->inflight != 0;
}

bool readers_slot_free(const struct session *s)
{
    const struct readers *all = readers_of(s);
    return all->inflight < readers_slots(s) && all->end - all->first < READER_FLIGHTS_MAX &&
           !(s->receive_max == 1 && own_inflight(s) != 0);
}

bool flight_room(struct readers *all)
{
    if (all->end - all->first < all->capacity) {
        return true;
    }
    uint32_t       capacity = all->capacity == 0 ? 16 : all->capacity * 2;
    struct flight *flights  = calloc(capacity, sizeof *flights);
    if (flights == NULL) {
        return false;
    }
    for (uint64_t i = all->first; i != all->end; i++) {
        flights[i & (capacity - 1)] = all->flights[i & (all->capacity - 1)];
    }
    free(all->flights);
    all->flights  = flights;
    all->capacity = capacity;
    return true;
}

uint16_t flight_id(uint64_t count)
{
    return (uint16_t)(WINDOW_WIDTH_MAX + 1 + count % READER_IDS);
}

static void flight_end(struct session *s, struct flight *flight)
{
    struct readers *all = readers_of(s);
    flight->reader->inflight--;
    flight->reader = NULL;
    all->inflight--;
    while (all->first != all->end && flight_at(all, all->first)->reader == NULL) {
        all->first++;
    }
}

uint64_t reader_position(const struct reader *r)
{
    const struct readers *all = readers_of(r->session);
    for (uint64_t i = all->first; r->inflight != 0 && i != all->end; i++) {
        if (flight_at(all, i)->reader == r) {
            return flight_at(all, i)->offset;
        }
    }
    return r->next;
}

int readers_done(struct session *s, uint16_t id)
{
    struct readers *all = readers_of(s);
    if (all == NULL || id <= WINDOW_WIDTH_MAX || all->first == all->end) {
        return ERR_NOT_FOUND;
    }
    uint64_t       ahead  = (id - (uint32_t)flight_id(all->first) + READER_IDS) % READER_IDS;
    struct flight *flight = ahead < all->end - all->first ? flight_at(all, all->first + ahead) : NULL;
    if (flight == NULL || flight->reader == NULL) {
        return ERR_NOT_FOUND;
    }
    reader_moved(flight->reader);
    flight_end(s, flight);
    return 0;
}
