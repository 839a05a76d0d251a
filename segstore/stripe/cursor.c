/* cursor.c - what a consumer has acknowledged: a position, ranges ahead of it, and leases that are not kept. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"

#include <stdlib.h>

static struct cursor *cursor_find(const struct stream *stream, uint32_t id)
{
    struct cursor *cursor = stream_cursor(stream);
    while (cursor != NULL && cursor->id < id) {
        cursor = cursor->next;
    }
    return cursor != NULL && cursor->id == id ? cursor : NULL;
}

struct cursor *cursor_make(uint32_t id, uint64_t position)
{
    struct cursor *cursor = malloc(sizeof *cursor);
    ASSERT(cursor != NULL);
    *cursor = (struct cursor){.id = id, .position = position, .sent = position};
    return cursor;
}

void cursor_insert(struct stream *stream, struct cursor *cursor)
{
    struct cursor **link = stream_cursors(stream);
    while (*link != NULL && (*link)->id < cursor->id) {
        link = &(*link)->next;
    }
    cursor->next = *link;
    *link        = cursor;
}

void cursor_free(struct cursor *cursor)
{
    free(cursor->ranges);
    free(cursor->leases);
    free(cursor);
}

/* The first range that ends at or behind offset. */
static uint32_t range_at(const struct cursor *cursor, uint64_t offset)
{
    uint32_t low  = 0;
    uint32_t high = cursor->range_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cursor->ranges[middle].last < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static bool cursor_is_done(const struct cursor *cursor, uint64_t offset)
{
    if (offset < cursor->position) {
        return true;
    }
    uint32_t at = range_at(cursor, offset);
    return at < cursor->range_count && cursor->ranges[at].first <= offset && cursor->ranges[at].mark == CURSOR_DONE;
}

static void undo_make(struct stripe *s, const struct change *change)
{
    (void)s;
    struct stream  *stream = change->other;
    struct cursor **link   = stream_cursors(stream);
    while (*link != change->subject) {
        link = &(*link)->next;
    }
    *link = (*link)->next;
    cursor_free(change->subject);
}

static void undo_move(struct stripe *s, const struct change *change)
{
    struct cursor *cursor = change->subject;
    uint32_t       count  = 0;
    memcpy(&count, s->journal.saved + change->z, sizeof count);
    ASSERT(count <= cursor->range_capacity); /* it only grew since */
    cursor->position    = change->x;
    cursor->sent        = change->y;
    cursor->range_count = count;
    if (count != 0) {
        memcpy(cursor->ranges, s->journal.saved + change->z + sizeof count, count * sizeof *cursor->ranges);
    }
}

static void commit_move(struct stripe *s, const struct change *change)
{
    (void)s;
    struct cursor       *cursor = change->subject;
    const struct stream *stream = change->other;
    if (cursor->range_count == 0 && cursor->ranges != NULL) {
        free(cursor->ranges);
        cursor->ranges         = NULL;
        cursor->range_capacity = 0;
    }
    if (cursor->position == stream->next && cursor->leases != NULL) {
        free(cursor->leases);
        cursor->leases         = NULL;
        cursor->lease_count    = 0;
        cursor->lease_capacity = 0;
    }
}

/* Before the first change to it. */
static void remember(struct stripe *s, struct stream *stream, struct cursor *cursor)
{
    size_t saved = journal_save(&s->journal, &cursor->range_count, sizeof cursor->range_count);
    journal_save(&s->journal, cursor->ranges, cursor->range_count * sizeof *cursor->ranges);
    *journal_add(&s->journal) = (struct change){.undo    = undo_move,
                                                .commit  = commit_move,
                                                .subject = cursor,
                                                .other   = stream,
                                                .x       = cursor->position,
                                                .y       = cursor->sent,
                                                .z       = saved};
}

/* Ranges that position has passed go; one that is done moves it on. */
static void settle(struct cursor *cursor)
{
    uint32_t passed = 0;
    for (; passed < cursor->range_count; passed++) {
        struct op_range *range = &cursor->ranges[passed];
        if (range->last < cursor->position) {
            continue;
        }
        if (range->mark != CURSOR_DONE || range->first > cursor->position) {
            range->first = range->first > cursor->position ? range->first : cursor->position;
            break;
        }
        cursor->position = range->last + 1;
    }
    if (passed != 0) {
        cursor->range_count -= passed;
        memmove(cursor->ranges, cursor->ranges + passed, cursor->range_count * sizeof *cursor->ranges);
    }
    cursor->sent = cursor->sent > cursor->position ? cursor->sent : cursor->position;
}

void cursor_raise(struct stripe *s, struct stream *stream, struct cursor *cursor, uint64_t start)
{
    remember(s, stream, cursor);
    cursor->position = start;
    settle(cursor);
}

/* Adds a range behind the last merged one, or to it. */
static void emit(struct stripe *s, size_t *count, uint64_t first, uint64_t last, uint8_t mark)
{
    if (*count != 0 && s->merged[*count - 1].mark == mark && s->merged[*count - 1].last + 1 == first) {
        s->merged[*count - 1].last = last;
        return;
    }
    if (*count == s->merged_capacity) {
        s->merged_capacity = s->merged_capacity == 0 ? 16 : s->merged_capacity * 2;
        s->merged          = realloc(s->merged, s->merged_capacity * sizeof *s->merged);
        ASSERT(s->merged != NULL);
    }
    s->merged[(*count)++] = (struct op_range){.first = first, .last = last, .mark = mark};
}

/* Replaces ranges [low, high) by the merged ones. */
static void splice(struct stripe *s, struct cursor *cursor, uint32_t low, uint32_t high, size_t count)
{
    size_t total = cursor->range_count - (high - low) + count;
    ASSERT(total <= UINT32_MAX / 2);
    if (total > cursor->range_capacity) {
        cursor->range_capacity = (uint32_t)(total < 4 ? 4 : total + total / 2);
        cursor->ranges         = realloc(cursor->ranges, cursor->range_capacity * sizeof *cursor->ranges);
        ASSERT(cursor->ranges != NULL);
    }
    ASSERT(count != 0 && cursor->ranges != NULL);
    memmove(cursor->ranges + low + count, cursor->ranges + high, (cursor->range_count - high) * sizeof *cursor->ranges);
    memcpy(cursor->ranges + low, s->merged, count * sizeof *s->merged);
    cursor->range_count = (uint32_t)total;
}

/* What of [first, last] a new mark adds: a weaker mark gives way, a stronger or equal one stays. Merged ranges take the place of all that touch it. */
static void mark_range(struct stripe *s, struct cursor *cursor, uint64_t first, uint64_t last, uint8_t mark)
{
    ASSERT(first <= last);
    uint32_t low   = range_at(cursor, first == 0 ? 0 : first - 1);
    uint32_t high  = low;
    size_t   count = 0;
    uint64_t at    = first; /* merged up to here */
    for (; high < cursor->range_count && cursor->ranges[high].first <= last + 1; high++) {
        struct op_range old = cursor->ranges[high];
        if (old.mark >= mark) {
            if (at < old.first && at <= last) {
                emit(s, &count, at, old.first - 1, mark);
            }
            emit(s, &count, old.first, old.last, old.mark);
            at = old.last + 1 > at ? old.last + 1 : at;
            continue;
        }
        if (old.first < first) {
            emit(s, &count, old.first, old.last < first ? old.last : first - 1, old.mark);
        }
        if (old.last > last) {
            if (at <= last) {
                emit(s, &count, at, last, mark);
            }
            emit(s, &count, old.first > last ? old.first : last + 1, old.last, old.mark);
            at = old.last + 1;
        }
    }
    if (at <= last) {
        emit(s, &count, at, last, mark);
    }
    splice(s, cursor, low, high, count);
}

/* [first, last] was not done in this cursor and now is: forget the positions that no other cursor needs. */
static void release_done(struct stripe *s, struct stream *stream, const struct cursor *cursor, uint64_t first,
                         uint64_t last)
{
    if (stream_cursor(stream)->next == NULL) {
        if (first > cursor->position) { /* else the queue is trimmed up to there anyway */
            stream_release(s, stream, first, last);
        }
        return;
    }
    uint64_t run = 0; /* how many before offset are done everywhere */
    for (uint64_t offset = first; offset <= last; offset++) {
        bool done = true;
        for (const struct cursor *other = stream_cursor(stream); other != NULL && done; other = other->next) {
            done = other == cursor || cursor_is_done(other, offset);
        }
        if (!done && run != 0) {
            stream_release(s, stream, offset - run, offset - 1);
        }
        run = done ? run + 1 : 0;
    }
    if (run != 0) {
        stream_release(s, stream, last + 1 - run, last);
    }
}

/* Calls release_done for each part of [first, last] that is not done yet. */
static void release_new(struct stripe *s, struct stream *stream, const struct cursor *cursor, uint64_t first,
                        uint64_t last)
{
    uint64_t at = first;
    for (uint32_t i = range_at(cursor, first); i < cursor->range_count && cursor->ranges[i].first <= last; i++) {
        const struct op_range *range = &cursor->ranges[i];
        if (range->mark != CURSOR_DONE) {
            continue;
        }
        if (at < range->first) {
            release_done(s, stream, cursor, at, range->first - 1);
        }
        at = range->last + 1;
    }
    if (at <= last) {
        release_done(s, stream, cursor, at, last);
    }
}

static void apply_range(struct stripe *s, struct stream *stream, struct cursor *cursor, struct op_range range)
{
    uint64_t first = range.first > cursor->position ? range.first : cursor->position;
    uint64_t end   = range.last < stream->next ? range.last + 1 : stream->next;
    if (first >= end) {
        return;
    }
    uint64_t last = end - 1;
    if (range.mark == CURSOR_DONE && (stream->flags & STREAM_QUEUE) != 0) {
        release_new(s, stream, cursor, first, last);
    }
    if (range.mark == CURSOR_DONE && first == cursor->position) {
        cursor->position = last + 1;
        settle(cursor);
    } else {
        mark_range(s, cursor, first, last, range.mark);
    }
}

static struct cursor *find_or_make(struct stripe *s, struct stream *stream, uint32_t id)
{
    struct cursor *cursor = cursor_find(stream, id);
    if (cursor == NULL) {
        cursor = cursor_make(id, stream->start);
        cursor_insert(stream, cursor);
        *journal_add(&s->journal) = (struct change){.undo = undo_make, .subject = cursor, .other = stream};
    }
    return cursor;
}

int cursor_move(struct stripe *s, struct stream *stream, const struct op *op, struct wire_writer *results)
{
    if (op->epoch < stream->epoch) {
        return ERR_FENCED;
    }
    struct cursor *cursor = find_or_make(s, stream, op->cursor);
    remember(s, stream, cursor);
    struct wire_reader items = wire_reader_of(op->items);
    struct op_range    range;
    while (op_range_next(&items, &range)) {
        apply_range(s, stream, cursor, range);
    }
    uint64_t sent = op->sent < stream->next ? op->sent : stream->next;
    cursor->sent  = sent > cursor->sent ? sent : cursor->sent;
    cursor->sent  = cursor->position > cursor->sent ? cursor->position : cursor->sent;
    if ((stream->flags & STREAM_QUEUE) != 0) {
        uint64_t lowest = UINT64_MAX;
        for (const struct cursor *c = stream_cursor(stream); c != NULL; c = c->next) {
            lowest = c->position < lowest ? c->position : lowest;
        }
        stream_trim(s, stream, lowest);
    }
    wire_put_u64(results, cursor->position);
    return 0;
}

void cursor_get(const struct stream *stream, uint32_t id, struct wire_writer *results)
{
    const struct cursor *cursor = cursor_find(stream, id);
    uint32_t             count  = cursor != NULL ? cursor->range_count : 0;
    wire_put_u64(results, cursor != NULL ? cursor->position : stream->start);
    wire_put_u64(results, cursor != NULL ? cursor->sent : stream->start);
    wire_put_u64(results, stream->next);
    wire_put_u32(results, count);
    for (uint32_t i = 0; i < count; i++) {
        op_range_append(results, cursor->ranges[i]);
    }
}

/* Forgets leases of what is done. */
static void prune(struct cursor *cursor)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < cursor->lease_count; i++) {
        if (!cursor_is_done(cursor, cursor->leases[i].offset)) {
            cursor->leases[kept++] = cursor->leases[i];
        }
    }
    cursor->lease_count = kept;
}

static struct lease *lease_insert(struct cursor *cursor, uint32_t at)
{
    if (cursor->lease_count == cursor->lease_capacity) {
        cursor->lease_capacity = cursor->lease_capacity == 0 ? 16 : cursor->lease_capacity * 2;
        cursor->leases         = realloc(cursor->leases, cursor->lease_capacity * sizeof *cursor->leases);
        ASSERT(cursor->leases != NULL);
    }
    memmove(cursor->leases + at + 1, cursor->leases + at, (cursor->lease_count - at) * sizeof *cursor->leases);
    cursor->lease_count++;
    cursor->leases[at] = (struct lease){0};
    return &cursor->leases[at];
}

int stripe_take(struct stripe *s, uint64_t stream_id, uint32_t cursor_id, uint64_t consumer, uint64_t now_ns,
                uint64_t lease_ns, uint64_t *offsets, uint32_t *deliveries, int max)
{
    struct stream *stream = stream_find(s, stream_id);
    struct cursor *cursor = stream != NULL ? cursor_find(stream, cursor_id) : NULL;
    if (cursor == NULL) {
        return ERR_NOT_FOUND;
    }
    prune(cursor);
    int      count = 0;
    uint32_t at    = 0; /* leases and ranges are walked beside the offsets */
    uint32_t range = 0;
    for (uint64_t offset = cursor->position; offset < stream->next && count < max; offset++) {
        while (range < cursor->range_count && cursor->ranges[range].last < offset) {
            range++;
        }
        const struct op_range *ahead = range < cursor->range_count ? &cursor->ranges[range] : NULL;
        if (ahead != NULL && ahead->mark == CURSOR_DONE && ahead->first <= offset) {
            offset = ahead->last;
            continue;
        }
        while (at < cursor->lease_count && cursor->leases[at].offset < offset) {
            at++;
        }
        struct lease *lease =
            at < cursor->lease_count && cursor->leases[at].offset == offset ? &cursor->leases[at] : NULL;
        if (lease != NULL && lease->expires_ns > now_ns) {
            continue;
        }
        if (lease == NULL) {
            lease = lease_insert(cursor, at);
        }
        uint64_t expires_ns = now_ns + lease_ns;
        *lease              = (struct lease){.offset     = offset,
                                             .consumer   = consumer,
                                             .expires_ns = expires_ns < now_ns ? UINT64_MAX : expires_ns,
                                             .deliveries = lease->deliveries + 1};
        offsets[count]      = offset;
        deliveries[count++] = lease->deliveries;
    }
    return count;
}

static void give_back(struct lease *lease, uint64_t consumer)
{
    if (consumer == 0 || lease->consumer == consumer) {
        lease->expires_ns = 0;
        lease->consumer   = 0;
    }
}

static struct lease *lease_of(const struct cursor *cursor, uint64_t offset)
{
    uint32_t low  = 0;
    uint32_t high = cursor->lease_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cursor->leases[middle].offset < offset) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < cursor->lease_count && cursor->leases[low].offset == offset ? &cursor->leases[low] : NULL;
}

void stripe_release(struct stripe *s, uint64_t stream_id, uint32_t cursor_id, uint64_t consumer,
                    const uint64_t *offsets, int count)
{
    const struct stream *stream = stream_find(s, stream_id);
    const struct cursor *cursor = stream != NULL ? cursor_find(stream, cursor_id) : NULL;
    if (cursor == NULL) {
        return;
    }
    for (uint32_t i = 0; count == 0 && i < cursor->lease_count; i++) {
        give_back(&cursor->leases[i], consumer);
    }
    for (int i = 0; i < count; i++) {
        struct lease *lease = lease_of(cursor, offsets[i]);
        if (lease != NULL) {
            give_back(lease, consumer);
        }
    }
}
