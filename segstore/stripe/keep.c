/* keep.c - marks of a log or a queue, limits, and when the oldest is too old. */
#include "segstore/stripe/keep.h"

#include "segstore/stripe/state.h"
#include "shared/base/err.h"

#include <stdlib.h>

struct keeping *keeping_new(struct stream *stream, bool latest)
{
    struct keeping *k = calloc(1, sizeof *k);
    ASSERT(k != NULL);
    k->stream     = stream;
    k->node.order = stream->local;
    k->latest     = latest ? latest_new() : NULL;
    return k;
}

void keeping_free(struct keeping *k)
{
    if (k == NULL) {
        return;
    }
    ASSERT(k->node.slot == 0);
    list_remove(&k->link);
    latest_free(k->latest);
    free(k->marks);
    free(k);
}

void keep_load_mark(struct keeping *k, struct mark mark)
{
    if (k->mark_count == k->mark_capacity) {
        k->mark_capacity = k->mark_capacity == 0 ? 4 : k->mark_capacity * 2;
        k->marks         = realloc(k->marks, k->mark_capacity * sizeof *k->marks);
        ASSERT(k->marks != NULL);
    }
    k->marks[k->mark_count++] = mark;
}

/* ---- parts ---- */

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t part_ns(const struct keeping *k)
{
    if (stream_counts(k->stream)) {
        return UINT64_MAX;
    }
    return k->limits.max_age_ns == 0 ? KEEP_PART_NS : smaller(KEEP_PART_NS, k->limits.max_age_ns / KEEP_PARTS);
}

static uint64_t part_bytes(const struct stripe *s, const struct keeping *k)
{
    uint64_t most = stream_counts(k->stream) ? s->limits.stream_bytes_max : k->limits.max_bytes;
    return most == 0 ? KEEP_PART_BYTES : smaller(KEEP_PART_BYTES, most / KEEP_PARTS);
}

static bool has_marks(const struct keeping *k)
{
    return k->mark_first != k->mark_count;
}

/* The mark whose part has the stream's first record in it. */
static uint32_t oldest(const struct stream *stream)
{
    const struct keeping *k    = stream->keeping;
    uint32_t              low  = k->mark_first;
    uint32_t              high = k->mark_count;
    ASSERT(low < high);
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;
        if (k->marks[middle].offset <= stream->start) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

static uint64_t part_end(const struct stream *stream, uint32_t at)
{
    const struct keeping *k = stream->keeping;
    return at + 1 < k->mark_count ? k->marks[at + 1].offset : stream->next;
}

static void undo_count(struct stripe *s, const struct change *change)
{
    (void)s;
    struct keeping *k = change->subject;
    k->bytes          = change->x;
    k->mark_count     = (uint32_t)change->y;
    if (has_marks(k)) {
        k->marks[k->mark_count - 1].last_ns = change->z;
    }
}

static void commit_schedule(struct stripe *s, const struct change *change)
{
    keep_schedule(s, ((struct keeping *)change->subject)->stream);
}

/* Before bytes, the number of marks or the last one is changed. Of a queue nothing ages, and a trim that is committed before this may have taken its keeping. */
static void remember(struct stripe *s, struct keeping *k)
{
    *journal_add(&s->journal) = (struct change){.undo    = undo_count,
                                                .commit  = stream_counts(k->stream) ? NULL : commit_schedule,
                                                .subject = k,
                                                .x       = k->bytes,
                                                .y       = k->mark_count,
                                                .z       = !has_marks(k) ? 0 : k->marks[k->mark_count - 1].last_ns};
}

static void count_record(struct stripe *s, const struct stream *stream, uint64_t record_bytes)
{
    struct keeping *k      = stream->keeping;
    uint64_t        offset = stream->next - 1;
    struct mark    *last   = !has_marks(k) ? NULL : &k->marks[k->mark_count - 1];
    remember(s, k);
    if (last == NULL || stream->start == offset || offset - last->offset >= KEEP_PART_RECORDS ||
        k->bytes - last->bytes >= part_bytes(s, k) || s->time_ns - last->first_ns >= part_ns(k)) {
        keep_load_mark(
            k, (struct mark){.offset = offset, .first_ns = s->time_ns, .last_ns = s->time_ns, .bytes = k->bytes});
    } else {
        last->last_ns = s->time_ns;
    }
    k->bytes += record_bytes;
}

/* ---- limits ---- */

/* held: topics that were there before; the stripe's own limit takes none of those without a new one, whatever it was lowered to. */
static void limit_latest(struct stripe *s, struct stream *stream, uint64_t held)
{
    const struct keeping *k    = stream->keeping;
    const struct latest  *l    = k->latest;
    uint64_t              most = k->limits.max_count;
    if (most == 0 && s->limits.stream_records_max != 0) {
        most = s->limits.stream_records_max > held ? s->limits.stream_records_max : held;
    }
    while (l->topics.count > 1 &&
           ((most != 0 && l->topics.count > most) || (k->limits.max_bytes != 0 && l->bytes > k->limits.max_bytes))) {
        stream_trim(s, stream, latest_from(l, 0)->offset + 1);
    }
}

static void limit_log(struct stripe *s, struct stream *stream)
{
    const struct keeping *k = stream->keeping;
    if (k->limits.max_count != 0 && stream->next - stream->start > k->limits.max_count) {
        stream_trim(s, stream, stream->next - k->limits.max_count);
    }
    if (!has_marks(k)) {
        return;
    }
    uint32_t at = oldest(stream);
    while (k->limits.max_bytes != 0 && at + 1 < k->mark_count && k->bytes - k->marks[at].bytes > k->limits.max_bytes) {
        stream_trim(s, stream, k->marks[++at].offset);
    }
}

static void limit(struct stripe *s, struct stream *stream, uint64_t held)
{
    if (stream->keeping->latest != NULL) {
        limit_latest(s, stream, held);
    } else {
        limit_log(s, stream);
    }
}

void keep_appended(struct stripe *s, struct stream *stream, uint64_t record_bytes, uint64_t held)
{
    if (stream_counts(stream)) {
        count_record(s, stream, record_bytes);
        return;
    }
    if (stream->keeping->latest == NULL) {
        count_record(s, stream, record_bytes);
    } else {
        remember(s, stream->keeping);
    }
    limit(s, stream, held);
}

static void undo_set(struct stripe *s, const struct change *change)
{
    memcpy(&((struct keeping *)change->subject)->limits, s->journal.saved + change->x, sizeof(struct keep_limits));
}

static void end(struct stream *stream)
{
    struct keeping *k = stream->keeping;
    stream_keep_not(stream);
    keeping_free(k);
}

static void undo_begin(struct stripe *s, const struct change *change)
{
    (void)s;
    end(change->subject);
}

void keep_load(struct stripe *s, struct stream *stream)
{
    stream_keep(stream, keeping_new(stream, false));
    if (stream_counts(stream)) {
        list_push_back(&s->counting, &stream->keeping->link);
    }
}

static void begin(struct stripe *s, struct stream *stream)
{
    keep_load(s, stream);
    *journal_add(&s->journal) = (struct change){.undo = undo_begin, .subject = stream};
    if (stream->next > stream->start) { /* what is there counts as new, and as nothing */
        keep_load_mark(stream->keeping, (struct mark){.offset = stream->start, s->time_ns, s->time_ns, 0});
    }
}

int keep_set(struct stripe *s, struct stream *stream, const struct op *op)
{
    if ((stream->flags & STREAM_QUEUE) != 0) {
        return ERR_DENIED;
    }
    if (!stream->keeps) {
        begin(s, stream);
    }
    struct keeping *k         = stream->keeping;
    size_t          saved     = journal_save(&s->journal, &k->limits, sizeof k->limits);
    *journal_add(&s->journal) = (struct change){.undo = undo_set, .commit = commit_schedule, .subject = k, .x = saved};
    k->limits =
        (struct keep_limits){.max_age_ns = op->max_age_ns, .max_bytes = op->max_bytes, .max_count = op->max_count};
    limit(s, stream, k->latest != NULL ? k->latest->topics.count : 0);
    return 0;
}

/* ---- queues ---- */

static uint64_t waiting_bytes(const struct stream *stream)
{
    const struct keeping *k = stream_keeping(stream);
    return k == NULL || stream->start == stream->next ? 0 : k->bytes - k->marks[oldest(stream)].bytes;
}

bool keep_has_room(struct stripe *s, struct stream *stream, uint64_t record_bytes)
{
    uint64_t most    = s->limits.stream_bytes_max;
    uint64_t waiting = waiting_bytes(stream);
    if (most == 0) {
        return true;
    }
    if (stream->start != stream->next && (waiting >= most || record_bytes > most - waiting)) {
        return false;
    }
    if (!stream->keeps) {
        begin(s, stream);
    }
    return true;
}

void keep_count_none(struct stripe *s)
{
    while (!list_empty(&s->counting)) {
        end(CONTAINER_OF(s->counting.next, struct keeping, link)->stream);
    }
}

/* ---- age ---- */

/* When the oldest part ended, and what comes behind it. False: nothing is kept. */
static bool oldest_part(const struct stream *stream, uint64_t *out_ns, uint64_t *out_end)
{
    const struct keeping *k = stream->keeping;
    if (k->latest != NULL) {
        const struct slot *slot = latest_from(k->latest, 0);
        if (slot == NULL) {
            return false;
        }
        *out_ns  = slot->topic->time_ns;
        *out_end = slot->offset + 1;
        return true;
    }
    if (stream->start == stream->next || !has_marks(k)) {
        return false;
    }
    uint32_t at = oldest(stream);
    *out_ns     = k->marks[at].last_ns;
    *out_end    = part_end(stream, at);
    return true;
}

static uint64_t too_old_ns(const struct keeping *k, uint64_t ns)
{
    uint64_t due = ns + k->limits.max_age_ns;
    return due < ns ? UINT64_MAX : due;
}

void keep_age(struct stripe *s, struct stream *stream)
{
    uint64_t ns;
    uint64_t end;
    while (stream->keeps && stream->keeping->limits.max_age_ns != 0 && oldest_part(stream, &ns, &end) &&
           too_old_ns(stream->keeping, ns) <= s->time_ns) {
        stream_trim(s, stream, end);
    }
}

void keep_schedule(struct stripe *s, struct stream *stream)
{
    struct keeping *k = stream->keeping;
    uint64_t        ns;
    uint64_t        end;
    bool            ages = k->limits.max_age_ns != 0 && oldest_part(stream, &ns, &end);
    uint64_t        due  = ages ? too_old_ns(k, ns) : UINT64_MAX;
    if (k->node.slot != 0 && k->node.due_ns == due) {
        return;
    }
    heap_remove(&s->aging, &k->node);
    if (due != UINT64_MAX) {
        k->node.due_ns = due;
        heap_insert(&s->aging, &k->node);
    }
}

void keep_trimmed(struct stripe *s, struct stream *stream)
{
    struct keeping *k = stream->keeping;
    if (stream_counts(stream) && stream->start == stream->next) {
        end(stream);
        return;
    }
    if (has_marks(k)) {
        k->mark_first = stream->start == stream->next ? k->mark_count : oldest(stream);
    }
    if (k->mark_first > 64 && k->mark_first > k->mark_count / 2) {
        k->mark_count -= k->mark_first;
        memmove(k->marks, k->marks + k->mark_first, k->mark_count * sizeof *k->marks);
        k->mark_first    = 0;
        k->mark_capacity = k->mark_count * 2 + 4;
        k->marks         = realloc(k->marks, k->mark_capacity * sizeof *k->marks);
        ASSERT(k->marks != NULL);
    }
    keep_schedule(s, stream);
}

/* ---- asked ---- */

struct stat {
    uint64_t count, bytes, first_ns, last_ns, found;
};

static void stat_latest(const struct stream *stream, uint64_t wall_ns, struct stat *out)
{
    const struct latest *l = stream->keeping->latest;
    out->count             = l->topics.count;
    out->bytes             = l->bytes;
    bool found             = false;
    for (const struct slot *slot = latest_from(l, 0); slot != NULL; slot = latest_after(l, slot)) {
        out->first_ns = out->first_ns == 0 ? slot->topic->time_ns : out->first_ns;
        out->last_ns  = slot->topic->time_ns;
        if (!found && slot->topic->time_ns >= wall_ns) {
            out->found = slot->offset;
            found      = true;
        }
    }
}

static void stat_log(const struct stream *stream, uint64_t wall_ns, struct stat *out)
{
    const struct keeping *k  = stream->keeping;
    uint32_t              at = oldest(stream);
    out->bytes               = k->bytes - k->marks[at].bytes;
    out->first_ns            = k->marks[at].first_ns;
    out->last_ns             = k->marks[k->mark_count - 1].last_ns;
    uint32_t low             = at; /* the first part that ended at or behind it */
    uint32_t high            = k->mark_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (k->marks[middle].last_ns < wall_ns) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low < k->mark_count) {
        out->found = k->marks[low].offset > stream->start ? k->marks[low].offset : stream->start;
    }
}

void keep_stat(const struct stream *stream, const struct op *op, struct wire_writer *results)
{
    const struct keeping *k   = stream_counts(stream) ? NULL : stream_keeping(stream);
    struct stat           out = {.count = stream->next - stream->start, .found = stream->next};
    if (k != NULL && k->latest != NULL) {
        stat_latest(stream, op->wall_ns, &out);
    } else if (k != NULL && out.count != 0) {
        stat_log(stream, op->wall_ns, &out);
    } else if (k == NULL) {
        out.found = stream->start;
    }
    wire_put_u64(results, stream->start);
    wire_put_u64(results, stream->next);
    wire_put_u64(results, out.count);
    wire_put_u64(results, out.bytes);
    wire_put_u64(results, out.first_ns);
    wire_put_u64(results, out.last_ns);
    wire_put_u64(results, out.found);
}
