/* missed.c - the list of records that may be damaged here, who finds them, and who waits for them. */
#include "segstore/node/repair/repair.h"

#include "segstore/log/positions.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

enum { SURVEY_STEPS = 1000 };
static const uint64_t TELL_NS          = 1000000000;
static const uint64_t READ_PATIENCE_NS = 10000000000;

/* ---- life ---- */

void repairs_make(struct node *node)
{
    struct repairs *r = calloc(1, sizeof *r);
    ASSERT_MEMORY(r != NULL);
    r->node    = node;
    r->next_ns = UINT64_MAX;
    list_init(&r->missed);
    list_init(&r->surveys);
    list_init(&r->waiters);
    node->repairs = r;
}

static void survey_drop(struct repairs *r, struct survey *s)
{
    s->st->surveyed--;
    r->survey_count--;
    list_remove(&s->link);
    free(s);
}

void repairs_clear(struct node_stripe *st)
{
    struct repairs *r = st->node->repairs;
    LIST_EACH (&r->missed, link) {
        struct missed *m = CONTAINER_OF(link, struct missed, link);
        if (m->st == st) {
            missed_drop(r, m);
        }
    }
    LIST_EACH (&r->surveys, link) {
        struct survey *s = CONTAINER_OF(link, struct survey, link);
        if (s->st == st) {
            survey_drop(r, s);
        }
    }
    for (size_t i = 0; i < REPAIR_FORMER_MAX; i++) {
        if (r->former[i].st == st) {
            r->former[i].st = NULL;
        }
    }
    waiters_wake(r);
}

void repairs_free(struct node *node)
{
    struct repairs *r = node->repairs;
    look_fini(&r->look);
    free(r);
}

/* ---- the list ---- */

static struct missed **bucket_of(struct repairs *r, uint64_t stream_id, uint64_t offset)
{
    return &r->buckets[hash_u64(stream_id ^ hash_u64(offset)) % REPAIR_BUCKETS];
}

struct missed *missed_find(struct repairs *r, const struct node_stripe *st, uint64_t stream_id, uint64_t offset)
{
    struct missed *m = *bucket_of(r, stream_id, offset);
    while (m != NULL && (m->st != st || m->held.stream_id != stream_id || m->held.offset != offset)) {
        m = m->next;
    }
    return m;
}

struct missed *missed_add(struct repairs *r, struct node_stripe *st, const struct stripe_held *held)
{
    struct missed *m = missed_find(r, st, held->stream_id, held->offset);
    if (m != NULL) {
        return m;
    }
    struct missed **bucket = bucket_of(r, held->stream_id, held->offset);
    m                      = calloc(1, sizeof *m);
    ASSERT_MEMORY(m != NULL);
    *m = (struct missed){
        .next = *bucket, .st = st, .held = *held, .since_ns = io_now_ns(r->node->io), .state = REPAIR_LOOK};
    *bucket = m;
    list_push_back(&r->missed, &m->link);
    r->missed_count++;
    st->missed++;
    r->next_ns = 0;
    return m;
}

/* A file that kept what could not be read is one like others when nothing of that is held in it any more. */
static void file_mended(const struct repairs *r, uint64_t position)
{
    struct segments    *segments = &r->node->storage->segments;
    uint64_t            number   = segments_number(segments, position);
    struct log_segment *file     = segments_find(segments, number);
    if (file == NULL || !file->damaged) {
        return;
    }
    LIST_EACH (&r->missed, link) {
        const struct missed *m = CONTAINER_OF(link, struct missed, link);
        if (segments_number(segments, m->held.position) == number) {
            return;
        }
    }
    file->damaged = false;
}

void missed_drop(struct repairs *r, struct missed *m)
{
    struct missed **at       = bucket_of(r, m->held.stream_id, m->held.offset);
    uint64_t        position = m->held.position;
    while (*at != m) {
        at = &(*at)->next;
    }
    *at = m->next;
    r->missed_count--;
    r->asked_count -= m->state == REPAIR_ASKED;
    r->lost_count -= m->lost;
    m->st->missed--;
    m->st->lost -= m->lost;
    list_remove(&m->link);
    free(m);
    file_mended(r, position);
}

void waiters_wake(struct repairs *r)
{
    for (struct list *link; (link = list_pop_front(&r->waiters)) != NULL;) {
        list_push_back(&r->node->ready, link);
    }
}

void repair_lost(const struct node_stripe *st, struct positions *out)
{
    if (st->lost > 0) {
        LIST_EACH (&st->node->repairs->missed, link) {
            const struct missed *m = CONTAINER_OF(link, struct missed, link);
            if (m->st == st && m->lost) {
                positions_add(out, m->held.position);
            }
        }
    }
    while (positions_sort(out, SIZE_MAX / 2)) {
    }
}

/* ---- readers ---- */

int repair_wanted(struct node_stripe *st, uint64_t stream_id, uint64_t offset, uint64_t position)
{
    struct repairs          *r    = st->node->repairs;
    const struct stripe_held held = {.position = position, .stream_id = stream_id, .offset = offset};
    struct missed           *m    = missed_find(r, st, stream_id, offset);
    uint64_t                 now  = io_now_ns(st->node->io);
    uint64_t                 suppressed;
    if (m == NULL) {
        m = missed_add(r, st, &held);
        if (log_allowed(&r->told_found, now, TELL_NS, &suppressed)) {
            log_error("stripe %u: the record at offset %llu of stream %llx cannot be read here: it is asked for at "
                      "the other nodes (%llu more like it)",
                      st->id, (unsigned long long)offset, (unsigned long long)stream_id,
                      (unsigned long long)suppressed);
        }
    }
    if (m->lost) {
        return ERR_CORRUPT;
    }
    return now > m->since_ns + READ_PATIENCE_NS ? ERR_UNAVAILABLE : 1;
}

void repair_wait(struct node *node, struct task *task)
{
    list_remove(&task->link);
    list_push_back(&node->repairs->waiters, &task->link);
}

struct list *repair_waiters(struct node *node)
{
    return &node->repairs->waiters;
}

/* ---- surveys ---- */

void repair_survey(struct node_stripe *st, uint64_t from, uint64_t to)
{
    struct repairs *r = st->node->repairs;
    LIST_EACH (&r->surveys, link) {
        struct survey *s = CONTAINER_OF(link, struct survey, link);
        if (s->st == st && (r->survey_count >= REPAIR_SURVEYS_MAX || (s->from <= to && s->to >= from))) {
            s->from = from < s->from ? from : s->from;
            s->to   = to > s->to ? to : s->to;
            s->walk = (struct stripe_walk){0};
            return;
        }
    }
    struct survey *s = calloc(1, sizeof *s);
    ASSERT_MEMORY(s != NULL);
    *s = (struct survey){.st = st, .from = from, .to = to};
    list_push_back(&r->surveys, &s->link);
    r->survey_count++;
    st->surveyed++;
    r->next_ns = 0;
}

static void on_held(void *ctx, const struct stripe_held *held)
{
    struct survey *s = ctx;
    if (held->position < s->to && held->position + held->size >= s->from) {
        (void)missed_add(s->st->node->repairs, s->st, held);
    }
}

bool survey_turn(struct repairs *r)
{
    if (list_empty(&r->surveys)) {
        return false;
    }
    struct survey *s = CONTAINER_OF(r->surveys.next, struct survey, link);
    if (s->st->installing || r->missed_count - r->lost_count + SURVEY_STEPS > REPAIR_RECORDS_MAX) {
        return false; /* those first */
    }
    if (stripe_walk(s->st->stripe, &s->walk, SURVEY_STEPS, on_held, s)) {
        survey_drop(r, s);
    }
    return !list_empty(&r->surveys);
}
