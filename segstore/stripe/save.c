/* save.c - the state of a stripe as bytes, in slices (image.h); and its hash, for which the order does not depend on how it came to be. */
#include "segstore/stripe/image.h"
#include "segstore/stripe/packing.h"

#include "shared/base/hash.h"

#include <stdlib.h>

enum saving_part { SAVING_HEAD, SAVING_STREAMS, SAVING_WRITERS, SAVING_ITEMS, SAVING_TIMERS, SAVING_SUM, SAVING_DONE };

struct stripe_saving {
    const struct stripe *stripe;
    /* Positions as they are; else only whether they are needed still, which is the same on every replica. */
    bool                 place;
    uint8_t              part;
    void               **streams; /* in order, or NULL: as they lie in the map */
    void               **timers;
    size_t               at;     /* in streams or timers, or in the map */
    const struct stream *stream; /* begun and not ended */
    uint64_t             offset; /* of it, the next to be written */
    struct packing       packing;
    size_t               begun; /* of this slice */
    size_t               work;  /* positions in it: packed to next to nothing, each costs as much as a byte */
    const struct list   *writer;
    const struct table  *table;
    const struct item   *item;
    XXH3_state_t        *sum;
    void (*told)(void *ctx, uint64_t position); /* NULL: nobody */
    void *ctx;
};

static int by_id(const void *a, const void *b)
{
    const struct stream *const *left  = a;
    const struct stream *const *right = b;
    return (*left)->local < (*right)->local ? -1 : (*left)->local > (*right)->local;
}

static int image_by_order(const void *a, const void *b)
{
    const struct deadline *const *left  = a;
    const struct deadline *const *right = b;
    return (*left)->node.order < (*right)->node.order ? -1 : (*left)->node.order > (*right)->node.order;
}

/* The entries of a map as an array in order; the caller frees it. */
static void **image_sorted(const struct map *map, int (*compare)(const void *, const void *))
{
    void **entries = malloc((map->count + 1) * sizeof(void *));
    ASSERT(entries != NULL);
    size_t count = 0;
    MAP_EACH(map, void, entry)
    {
        entries[count++] = entry;
    }
    ASSERT(count == map->count);
    qsort(entries, count, sizeof(void *), compare);
    return entries;
}

/* The next of a map, in order or as it lies; NULL after the last. */
static const void *next_of(struct stripe_saving *saving, const struct map *map, void **in_order)
{
    if (in_order != NULL) {
        return saving->at == map->count ? NULL : in_order[saving->at++];
    }
    while ((saving->at = map_walk_from(map, saving->at)) < map_walk_end(map)) {
        const void *entry = map_walk(map, saving->at++);
        if (entry != NULL) {
            return entry;
        }
    }
    return NULL;
}

static void save_cursor(const struct cursor *cursor, struct wire_writer *w)
{
    wire_put_u32(w, cursor->id);
    wire_put_u64(w, cursor->position);
    wire_put_u64(w, cursor->sent);
    wire_put_u32(w, cursor->range_count);
    for (uint32_t i = 0; i < cursor->range_count; i++) {
        op_range_append(w, cursor->ranges[i]);
    }
}

static void save_keeping(const struct keeping *keeping, struct wire_writer *w)
{
    wire_put_u8(w, keeping != NULL);
    if (keeping == NULL) {
        return;
    }
    wire_put_u64(w, keeping->limits.max_age_ns);
    wire_put_u64(w, keeping->limits.max_bytes);
    wire_put_u64(w, keeping->limits.max_count);
    wire_put_u64(w, keeping->bytes);
    wire_put_u32(w, keeping->mark_count - keeping->mark_first);
    for (uint32_t i = keeping->mark_first; i < keeping->mark_count; i++) {
        wire_put_u64(w, keeping->marks[i].offset);
        wire_put_u64(w, keeping->marks[i].first_ns);
        wire_put_u64(w, keeping->marks[i].last_ns);
        wire_put_u64(w, keeping->marks[i].bytes);
    }
}

static void stream_begin(const struct stripe *s, const struct stream *stream, struct wire_writer *w)
{
    wire_put_u64(w, stream_id(s, stream));
    wire_put_u8(w, stream->flags);
    wire_put_u64(w, stream->start);
    wire_put_u64(w, stream->next);
    wire_put_u64(w, stream->epoch);
    wire_put_u64(w, stream->owner);
    wire_put_blob(w, stream_name(stream));
    if ((stream->flags & STREAM_LATEST) != 0) {
        wire_put_u64(w, stream->keeping->latest->topics.count);
    }
}

static void tell(const struct stripe_saving *saving, uint64_t position)
{
    if (saving->told != NULL && position != UINT64_MAX) {
        saving->told(saving->ctx, position);
    }
}

static void save_latest(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    const struct latest *latest = saving->stream->keeping->latest;
    const struct slot   *slot   = latest_from(latest, saving->offset);
    for (; slot != NULL && w->size < until; slot = latest_after(latest, slot)) {
        wire_put_u64(w, slot->offset);
        wire_put_u64(w, saving->place ? slot->position : 0);
        tell(saving, slot->position);
        wire_put_u64(w, slot->topic->time_ns);
        wire_put_u32(w, slot->topic->record_bytes);
        wire_put_blob(w, bytes_of(slot->topic->name, slot->topic->name_size));
        saving->offset = slot->offset + 1;
    }
    saving->offset = slot == NULL ? saving->stream->next : saving->offset;
}

/* A slice has something, and its work is done. */
static bool is_full(const struct stripe_saving *saving, const struct wire_writer *w, size_t until)
{
    return w->size > saving->begun && (saving->work >= until || w->size >= until - saving->work);
}

/* How many positions this slice has room for. */
static uint64_t room_for(const struct stripe_saving *saving, const struct wire_writer *w, size_t until)
{
    size_t used = w->size + saving->work;
    return used + 1 < until ? until - used : 1;
}

static void save_positions(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    const struct stream *stream = saving->stream;
    while (saving->offset < stream->next && !is_full(saving, w, until)) {
        const uint64_t *positions = stream_slot(stream, saving->offset);
        uint64_t        left      = stream->next - saving->offset;
        uint64_t        room      = room_for(saving, w, until);
        size_t          count     = offsets_run(stream->shape, saving->offset, left < room ? left : room);
        if (saving->place) {
            packing_put_all(&saving->packing, w, positions, count);
        }
        for (size_t i = 0; i < count && !saving->place; i++) {
            packing_put(&saving->packing, w, positions[i] == UINT64_MAX ? UINT64_MAX : 0);
        }
        for (size_t i = 0; i < count && saving->told != NULL; i++) {
            tell(saving, positions[i]);
        }
        saving->work += count;
        saving->offset += count;
    }
    if (saving->offset == stream->next) {
        packing_flush(&saving->packing, w);
        saving->packing = (struct packing){0};
    }
}

static void stream_end(const struct stream *stream, struct wire_writer *w)
{
    save_keeping(stream_keeping(stream), w);
    uint32_t cursors = 0;
    for (const struct cursor *c = stream_cursor(stream); c != NULL; c = c->next) {
        cursors++;
    }
    wire_put_u32(w, cursors);
    for (const struct cursor *c = stream_cursor(stream); c != NULL; c = c->next) {
        save_cursor(c, w);
    }
}

static void save_streams(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    const struct stripe *s = saving->stripe;
    while (!is_full(saving, w, until) && !w->bad) {
        const struct stream *stream = saving->stream;
        if (stream == NULL) {
            saving->stream = stream = next_of(saving, &s->streams_by_id, saving->streams);
            if (stream == NULL) {
                saving->part   = SAVING_WRITERS;
                saving->at     = 0;
                saving->writer = s->writers_by_use.next;
                wire_put_u32(w, (uint32_t)s->writers.count);
                return;
            }
            saving->offset = stream->start;
            stream_begin(s, stream, w);
        }
        if ((stream->flags & STREAM_LATEST) != 0) {
            save_latest(saving, w, until);
        }
        if ((stream->flags & STREAM_LATEST) == 0) {
            save_positions(saving, w, until);
        }
        if (saving->offset == stream->next) {
            stream_end(stream, w);
            saving->stream = NULL;
        }
    }
}

static void save_writers(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    const struct stripe *s = saving->stripe;
    for (; saving->writer != &s->writers_by_use; saving->writer = saving->writer->next) {
        if (w->size >= until) {
            return;
        }
        const struct writer *writer = CONTAINER_OF(saving->writer, const struct writer, link);
        wire_put_u64(w, writer->id);
        wire_put_u64(w, writer->epoch);
        wire_put_u64(w, writer->sequence);
        wire_put_u64(w, writer->offset);
    }
    saving->part  = SAVING_ITEMS;
    saving->table = s->tables;
    saving->item  = s->tables == NULL ? NULL : s->tables->first[0];
    wire_put_u64(w, s->items.count);
}

static void save_items(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    while (saving->table != NULL) {
        for (; saving->item != NULL; saving->item = saving->item->next[0]) {
            if (w->size >= until) {
                return;
            }
            const struct item *item = saving->item;
            wire_put_u32(w, saving->table->id);
            wire_put_blob(w, item_key(item));
            wire_put_blob(w, bytes_of(item->value->data, item->value->size));
            wire_put_u64(w, item->value->version);
            wire_put_u64(w, item->value->expires_wall_ns);
        }
        saving->table = saving->table->following;
        saving->item  = saving->table == NULL ? NULL : saving->table->first[0];
    }
    saving->part = SAVING_TIMERS;
    saving->at   = 0;
    wire_put_u64(w, saving->stripe->deadlines.count);
}

static void save_timers(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    while (w->size < until && !w->bad) {
        const struct deadline *timer = next_of(saving, &saving->stripe->deadlines, saving->timers);
        if (timer == NULL) {
            saving->part = SAVING_SUM;
            return;
        }
        wire_put_u64(w, timer->node.order);
        wire_put_blob(w, deadline_key(timer));
        wire_put_u64(w, timer->owner);
        wire_put_u64(w, timer->delay_ns);
        wire_put_u64(w, timer->node.due_ns);
        wire_put_blob(w, deadline_action(timer));
        wire_put_u64(w, saving->place ? timer->action_position : 0);
        if (saving->told != NULL) {
            deadline_positions(timer, saving->told, saving->ctx);
        }
    }
}

static void save_head(struct stripe_saving *saving, struct wire_writer *w)
{
    const struct stripe *s = saving->stripe;
    wire_put_u32(w, IMAGE_MAGIC);
    wire_put_u16(w, s->limits.stream_bytes_max != 0 ? IMAGE_VERSION : IMAGE_VERSION_PACKED);
    wire_put_u16(w, s->id);
    wire_put_u64(w, s->applied);
    wire_put_u64(w, s->time_ns);
    wire_put_u64(w, s->counters.next_local);
    wire_put_u64(w, s->counters.version);
    wire_put_u64(w, s->counters.actions_failed);
    limits_write(&s->limits, w);
    if (s->limits.stream_bytes_max != 0) {
        wire_put_u64(w, s->limits.stream_bytes_max);
    }
    wire_put_u64(w, s->streams_by_id.count);
    saving->part = SAVING_STREAMS;
}

static void save_part(struct stripe_saving *saving, struct wire_writer *w, size_t until)
{
    switch ((enum saving_part)saving->part) {
    case SAVING_HEAD:
        save_head(saving, w);
        return;
    case SAVING_STREAMS:
        save_streams(saving, w, until);
        return;
    case SAVING_WRITERS:
        save_writers(saving, w, until);
        return;
    case SAVING_ITEMS:
        save_items(saving, w, until);
        return;
    case SAVING_TIMERS:
        save_timers(saving, w, until);
        return;
    case SAVING_SUM:
    case SAVING_DONE:
        return;
    }
}

struct stripe_saving *stripe_save_begin(const struct stripe *s)
{
    struct stripe_saving *saving = calloc(1, sizeof *saving);
    ASSERT_MEMORY(saving != NULL);
    *saving = (struct stripe_saving){.stripe = s, .place = true, .sum = XXH3_createState()};
    ASSERT_MEMORY(saving->sum != NULL);
    XXH3_64bits_reset(saving->sum);
    return saving;
}

void stripe_save_tells(struct stripe_saving *saving, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    saving->told = each;
    saving->ctx  = ctx;
}

bool stripe_save_more(struct stripe_saving *saving, struct wire_writer *w, size_t slice_bytes)
{
    size_t begun = w->size;
    size_t until = slice_bytes < SIZE_MAX - begun ? begun + slice_bytes : SIZE_MAX;
    ASSERT(saving->part != SAVING_DONE && slice_bytes > 0);
    saving->begun = begun;
    saving->work  = 0;
    while (saving->part != SAVING_SUM && !is_full(saving, w, until) && !w->bad) {
        save_part(saving, w, until);
    }
    if (w->bad) {
        return false;
    }
    XXH3_64bits_update(saving->sum, w->data + begun, w->size - begun);
    if (saving->part != SAVING_SUM) {
        return true;
    }
    wire_put_u64(w, XXH3_64bits_digest(saving->sum));
    saving->part = SAVING_DONE;
    return false;
}

void stripe_save_end(struct stripe_saving *saving)
{
    if (saving != NULL) {
        XXH3_freeState(saving->sum);
        free(saving->streams);
        free(saving->timers);
        free(saving);
    }
}

static struct stripe_saving *save_begin_sorted(const struct stripe *s)
{
    struct stripe_saving *saving = stripe_save_begin(s);
    saving->streams              = image_sorted(&s->streams_by_id, by_id);
    saving->timers               = image_sorted(&s->deadlines, image_by_order);
    return saving;
}

void stripe_save(const struct stripe *s, struct wire_writer *w)
{
    struct stripe_saving *saving = save_begin_sorted(s);
    (void)stripe_save_more(saving, w, SIZE_MAX);
    stripe_save_end(saving);
}

uint64_t stripe_hash(const struct stripe *s)
{
    enum { SLICE_BYTES = 256 * 1024 };
    struct wire_writer    w      = wire_writer_growing(SIZE_MAX / 4);
    struct stripe_saving *saving = save_begin_sorted(s);
    saving->place                = false;
    while (stripe_save_more(saving, &w, SLICE_BYTES)) {
        w.size = 0; /* the sum has seen it */
    }
    ASSERT(!w.bad);
    uint64_t hash = XXH3_64bits_digest(saving->sum);
    stripe_save_end(saving);
    wire_writer_fini(&w);
    return hash;
}
