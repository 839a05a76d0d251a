/* writer.c - idempotent writers: the last epoch and sequence of each, the one unused for longest forgotten first. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

static uint64_t hash_writer(const void *entry)
{
    return hash_u64(((const struct writer *)entry)->id);
}

void writers_init(struct stripe *s)
{
    map_init(&s->writers, hash_writer);
    list_init(&s->writers_by_use);
}

void writers_fini(struct stripe *s)
{
    map_fini(&s->writers);
}

static bool is_writer(const void *entry, const void *id)
{
    return ((const struct writer *)entry)->id == *(const uint64_t *)id;
}

static struct writer *find(const struct stripe *s, uint64_t id)
{
    return map_find(&s->writers, hash_u64(id), is_writer, &id);
}

bool writer_is_known(const struct stripe *s, uint64_t id)
{
    return find(s, id) != NULL;
}

struct writer *writer_make(uint64_t id)
{
    struct writer *writer = malloc(sizeof *writer);
    ASSERT(writer != NULL);
    *writer = (struct writer){.id = id, .offset = OP_OFFSET_NONE};
    return writer;
}

void writer_insert_last(struct stripe *s, struct writer *writer)
{
    map_insert(&s->writers, writer);
    list_push_back(&s->writers_by_use, &writer->link);
}

static void undo_forget(struct stripe *s, const struct change *change)
{
    struct writer *writer = change->subject;
    map_insert(&s->writers, writer);
    list_push_front(&s->writers_by_use, &writer->link);
}

static void commit_forget(struct stripe *s, const struct change *change)
{
    (void)s;
    free(change->subject);
}

static void undo_insert(struct stripe *s, const struct change *change)
{
    struct writer *writer = change->subject;
    map_remove(&s->writers, writer);
    list_remove(&writer->link);
    free(writer);
}

void writers_forget(struct stripe *s, size_t most)
{
    while (s->writers.count > most) {
        struct writer *oldest = CONTAINER_OF(list_pop_front(&s->writers_by_use), struct writer, link);
        map_remove(&s->writers, oldest);
        *journal_add(&s->journal) = (struct change){.undo = undo_forget, .commit = commit_forget, .subject = oldest};
    }
}

static struct writer *insert_new(struct stripe *s, uint64_t id)
{
    writers_forget(s, s->limits.writers_max - 1);
    struct writer *writer = writer_make(id);
    writer_insert_last(s, writer);
    *journal_add(&s->journal) = (struct change){.undo = undo_insert, .subject = writer};
    return writer;
}

/* Undone in reverse, each step finds the neighbour where it was. */
static void undo_use(struct stripe *s, const struct change *change)
{
    struct writer *writer = change->subject;
    struct list   *before = change->other;
    list_remove(&writer->link);
    memcpy(writer, s->journal.saved + change->x, sizeof *writer);
    list_push_front(before, &writer->link);
}

static void use(struct stripe *s, struct writer *writer)
{
    *journal_add(&s->journal) = (struct change){.undo    = undo_use,
                                                .subject = writer,
                                                .other   = writer->link.prev,
                                                .x       = journal_save(&s->journal, writer, sizeof *writer)};
    list_remove(&writer->link);
    list_push_back(&s->writers_by_use, &writer->link);
}

int writer_admit(struct stripe *s, const struct op *op, struct writer **out, uint64_t *out_offset)
{
    struct writer *writer = find(s, op->writer_id);
    if (writer != NULL) {
        if (op->epoch < writer->epoch) {
            return ERR_FENCED;
        }
        use(s, writer);
        if (op->epoch == writer->epoch && op->sequence <= writer->sequence) {
            *out_offset = op->sequence == writer->sequence ? writer->offset : OP_OFFSET_NONE;
            return 0;
        }
    } else {
        writer = insert_new(s, op->writer_id);
    }
    writer->epoch    = op->epoch;
    writer->sequence = op->sequence;
    writer->offset   = OP_OFFSET_NONE;
    *out             = writer;
    return 1;
}

int64_t writer_admit_run(struct stripe *s, const struct op *op, struct writer **out)
{
    struct writer *writer     = find(s, op->writer_id);
    uint64_t       duplicates = 0;
    *out                      = NULL;
    if (writer == NULL) {
        writer = insert_new(s, op->writer_id);
    } else {
        if (op->epoch < writer->epoch) {
            return ERR_FENCED;
        }
        use(s, writer);
        if (op->epoch == writer->epoch && op->sequence <= writer->sequence) {
            duplicates = writer->sequence - op->sequence + 1;
            if (duplicates >= op->count) {
                return op->count;
            }
        }
    }
    writer->epoch    = op->epoch;
    writer->sequence = op->sequence + op->count - 1;
    writer->offset   = OP_OFFSET_NONE;
    *out             = writer;
    return (int64_t)duplicates;
}
