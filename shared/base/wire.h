/* wire - little-endian numbers in and out of memory; every format on disk and in RPC is written with these.
 * A reader never passes its end: after a read that would, `bad` is true, results are 0 and it stays so; check once at
 * the end. A writer grows its memory (malloc) up to a limit it was given, or writes into fixed memory and turns `bad`.
 * Threads: those of the owner. */
#ifndef KEEL_SHARED_BASE_WIRE_H
#define KEEL_SHARED_BASE_WIRE_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

struct wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool           bad;
};

static inline struct wire_reader wire_reader_of(struct bytes bytes)
{
    return (struct wire_reader){.at = bytes.data, .end = bytes.size != 0 ? bytes.data + bytes.size : bytes.data};
}

static inline size_t wire_left(const struct wire_reader *r)
{
    return (size_t)(r->end - r->at);
}

/* A view of the next size bytes; an empty one when fewer are left. */
static inline struct bytes wire_get(struct wire_reader *r, size_t size)
{
    if (UNLIKELY(r->bad || wire_left(r) < size)) {
        r->bad = true;
        return (struct bytes){0};
    }
    struct bytes view = bytes_of(r->at, size);
    r->at += size;
    return view;
}

#define WIRE_GETTER(name, type)                                \
    static inline type name(struct wire_reader *r)             \
    {                                                          \
        type value = 0;                                        \
        if (UNLIKELY(r->bad || wire_left(r) < sizeof value)) { \
            r->bad = true;                                     \
            return 0;                                          \
        }                                                      \
        memcpy(&value, r->at, sizeof value);                   \
        r->at += sizeof value;                                 \
        return value;                                          \
    }
WIRE_GETTER(wire_get_u8, uint8_t)
WIRE_GETTER(wire_get_u16, uint16_t)
WIRE_GETTER(wire_get_u32, uint32_t)
WIRE_GETTER(wire_get_u64, uint64_t)
#undef WIRE_GETTER

/* A u32 length, then that many bytes. */
static inline struct bytes wire_get_blob(struct wire_reader *r)
{
    return wire_get(r, wire_get_u32(r));
}

struct wire_writer {
    uint8_t *data;
    size_t   size;     /* written so far */
    size_t   capacity; /* of data */
    size_t   limit;    /* may grow to this; 0: fixed memory, never grows */
    bool     bad;      /* something did not fit: everything after it was left out */
};

/* Writes into memory the caller owns. */
static inline struct wire_writer wire_writer_fixed(void *memory, size_t capacity)
{
    return (struct wire_writer){.data = memory, .capacity = capacity};
}

/* Starts empty and grows by malloc up to limit bytes; wire_writer_fini frees it. */
static inline struct wire_writer wire_writer_growing(size_t limit)
{
    return (struct wire_writer){.limit = limit};
}

void wire_writer_fini(struct wire_writer *w);
/* Room for size more bytes at the end, counted as written, or NULL (and bad) when they do not fit. */
uint8_t *wire_reserve_slow(struct wire_writer *w, size_t size);

static inline uint8_t *wire_reserve(struct wire_writer *w, size_t size)
{
    if (LIKELY(!w->bad && w->capacity - w->size >= size)) {
        uint8_t *room = w->data + w->size;
        w->size += size;
        return room;
    }
    return wire_reserve_slow(w, size);
}

/* gcc 12 follows the writer into the branch where it is full and warns of the write that is not made there. */
#pragma GCC diagnostic push
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#endif
static inline void wire_put(struct wire_writer *w, const void *data, size_t size)
{
    uint8_t *room = wire_reserve(w, size);
    if (LIKELY(room != NULL && size != 0)) {
        memcpy(room, data, size);
    }
}
static inline void wire_put_u8(struct wire_writer *w, uint8_t v)
{
    wire_put(w, &v, sizeof v);
}
static inline void wire_put_u16(struct wire_writer *w, uint16_t v)
{
    wire_put(w, &v, sizeof v);
}
static inline void wire_put_u32(struct wire_writer *w, uint32_t v)
{
    wire_put(w, &v, sizeof v);
}
static inline void wire_put_u64(struct wire_writer *w, uint64_t v)
{
    wire_put(w, &v, sizeof v);
}

#pragma GCC diagnostic pop

static inline void wire_put_bytes(struct wire_writer *w, struct bytes b)
{
    wire_put(w, b.data, b.size);
}

/* A u32 length, then the bytes. */
static inline void wire_put_blob(struct wire_writer *w, struct bytes b)
{
    wire_put_u32(w, (uint32_t)b.size);
    wire_put(w, b.data, b.size);
}

static inline struct bytes wire_written(const struct wire_writer *w)
{
    return bytes_of(w->data, w->size);
}

#endif
