/* marks - a table of writers, the one that was heard of longest ago first in its list. */
#include "broker/kernel/marks.h"

#include "broker/kernel/publish.h"
#include "shared/base/hash.h"
#include "shared/base/wire.h"

#include <stdlib.h>

struct mark {
    struct hashmap_node by_writer; /* in kernel.marks */
    struct list         link;      /* in kernel.marked */
    struct number       last;
};

struct number marks_number(const struct pending *pending)
{
    if (!marks_numbered(pending)) {
        return (struct number){0};
    }
    return (struct number){
        .writer = publish_writer(pending), .epoch = pending->writer_epoch, .sequence = pending->sequence | 0xff};
}

void marks_write(struct wire_writer *w, struct number number)
{
    wire_put_u64(w, number.writer);
    wire_put_u64(w, number.epoch);
    wire_put_u64(w, number.sequence);
}

struct number marks_read(struct wire_reader *r)
{
    struct number number = {.writer = wire_get_u64(r)};
    number.epoch         = wire_get_u64(r);
    number.sequence      = wire_get_u64(r);
    return number;
}

static struct mark *find(struct kernel *k, uint64_t writer)
{
    for (struct hashmap_node *n = hashmap_first(&k->marks, hash_u64(writer)); n != NULL; n = hashmap_next(n)) {
        struct mark *m = CONTAINER_OF(n, struct mark, by_writer);
        if (m->last.writer == writer) {
            return m;
        }
    }
    return NULL;
}

static void forget(struct kernel *k, struct mark *m)
{
    hashmap_remove(&k->marks, &m->by_writer);
    list_remove(&m->link);
    free(m);
}

static void note(struct kernel *k, struct number number)
{
    struct mark *m = calloc(1, sizeof *m);
    if (m == NULL || hashmap_insert(&k->marks, &m->by_writer, hash_u64(number.writer)) != 0) {
        free(m); /* without memory it may come twice */
        return;
    }
    m->last = number;
    list_push_back(&k->marked, &m->link);
    if (k->marks.count > MARKS_MAX) {
        forget(k, CONTAINER_OF(k->marked.next, struct mark, link));
    }
}

static bool passed(const struct mark *m, struct number number)
{
    return number.epoch < m->last.epoch || (number.epoch == m->last.epoch && number.sequence <= m->last.sequence);
}

bool marks_new(struct kernel *k, struct number number)
{
    struct mark *m = number.writer == 0 ? NULL : find(k, number.writer);
    if (number.writer != 0 && m == NULL) {
        note(k, number);
    }
    if (m == NULL) {
        return true;
    }
    if (passed(m, number)) {
        return false;
    }
    m->last = number;
    list_remove(&m->link);
    list_push_back(&k->marked, &m->link);
    return true;
}

void marks_fini(struct kernel *k)
{
    while (!list_empty(&k->marked)) {
        forget(k, CONTAINER_OF(k->marked.next, struct mark, link));
    }
    hashmap_fini(&k->marks);
}
