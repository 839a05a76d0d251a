/* among.c - another node misses a record that this one does not hold, because it has not applied the entry that it is in: which one is that, and can it be read here? */
#include "segstore/log/layout.h"
#include "segstore/node/refill/refill.h"
#include "segstore/node/repair/repair.h"

#include "shared/base/err.h"
#include "shared/record/record.h"

#include <stdlib.h>

enum { UNAPPLIED_MAX = 1024, LAYOUT_ENTRIES_MAX = 512, LAYOUT_BYTES_MAX = 2 << 20 };

static bool stands(struct bytes ops, size_t at, uint64_t stream_id)
{
    struct op_target target;
    struct record    record;
    return at < ops.size && record_at(bytes_of(ops.data + at, ops.size - at), stream_id, &target, &record) > 0;
}

/* Is it in this entry, which is the same as at the asker? */
static bool stands_in(const struct asked *ask, const struct log_entry *entry)
{
    const struct evidence_place *place = &ask->place;
    return place->chain != 0 && place->chain == entry->chain && stands(entry->ops, place->at, ask->stream_id);
}

/* ---- by their sizes ---- */

/* The entries between low and high, as this node knows them. */
struct between {
    const struct asked  *ask;
    size_t               count;
    struct layout_entry  entries[LAYOUT_ENTRIES_MAX];
    size_t               ops_at[LAYOUT_ENTRIES_MAX]; /* in ops, of those that are known */
    uint8_t             *ops;
    size_t               ops_size;
    bool                 reads;    /* some are being read */
    bool                 too_many; /* not all that can be read are in ops */
    struct layout_record records[REPAIR_NEAR_MAX];
    size_t               record_count;
    size_t               wanted; /* of the records */
};

static bool stands_there(void *ctx, size_t entry, size_t at, uint64_t stream_id)
{
    const struct between *b = ctx;
    return stands(bytes_of(b->ops + b->ops_at[entry], b->entries[entry].size), at, stream_id);
}

/* An entry of the same term is the same entry. */
static bool is_of_term(const struct node_stripe *st, uint64_t index, uint64_t term)
{
    const struct refill_entry *e = st->refill == NULL ? NULL : refill_find(st->refill, index);
    return (e != NULL ? e->term : raft_term_at(st->raft, index)) == term;
}

/* The asker's history is this one's, as far as it is here, and nothing that it tells of was applied: then it would not lie among entries that are not. */
static bool is_same(const struct asked *ask)
{
    const struct node_stripe *st   = ask->st;
    const struct log_slot    *high = refill_slot_of(st, ask->place.high);
    struct stripe_stream      stream;
    if (ask->near_count == 0 || ask->near[0].stream_id != ask->stream_id || ask->near[0].offset != ask->offset ||
        ask->place.sealed == 0 || (high != NULL && high->chain != ask->place.sealed)) {
        return false;
    }
    for (uint64_t index = ask->place.low + 1; high == NULL && index < ask->place.high; index++) {
        if (refill_slot_of(st, index) != NULL && !is_of_term(st, index, ask->place.term)) {
            return false;
        }
    }
    for (uint16_t i = 0; i < ask->near_count && ask->place.low >= stripe_applied(st->stripe); i++) {
        const struct stripe_held *held = &ask->near[i];
        if (stripe_stream(st->stripe, held->stream_id, &stream) == 0 && held->offset < stream.next_offset) {
            return false;
        }
    }
    return true;
}

static int by_position(const void *a, const void *b)
{
    const struct layout_record *x = a;
    const struct layout_record *y = b;
    return x->position < y->position ? -1 : x->position > y->position;
}

static void take_records(struct between *b)
{
    const struct asked *ask = b->ask;
    for (uint16_t i = 0; i < ask->near_count; i++) {
        if (ask->near[i].position >= ask->place.from && ask->near[i].position < ask->place.to) {
            b->records[b->record_count++] =
                (struct layout_record){.position = ask->near[i].position, .stream_id = ask->near[i].stream_id};
        }
    }
    qsort(b->records, b->record_count, sizeof *b->records, by_position);
    b->wanted = b->record_count;
    for (size_t i = 0; i < b->record_count; i++) {
        b->wanted = b->records[i].position == ask->near[0].position ? i : b->wanted;
    }
}

/* One that was applied here is not looked into: what is asked for is not in it. */
static void take_entry(struct between *b, uint64_t index)
{
    struct node_stripe    *st   = b->ask->st;
    const struct log_slot *slot = refill_slot_of(st, index);
    struct layout_entry   *e    = &b->entries[b->count++];
    struct log_entry       entry;
    *e = (struct layout_entry){.size  = slot == NULL ? LAYOUT_SIZE_UNKNOWN : slot->size,
                               .holds = slot == NULL || slot->kind == LOG_OPS};
    if (slot == NULL || index <= stripe_applied(st->stripe)) {
        return;
    }
    int result  = refill_entry_of(st, index, &entry);
    b->reads    = b->reads || result == 1;
    b->too_many = b->too_many || (result == 0 && entry.ops.size > LAYOUT_BYTES_MAX - b->ops_size);
    if (result != 0 || b->too_many) {
        return;
    }
    e->known                = true;
    b->ops_at[b->count - 1] = b->ops_size;
    memcpy(b->ops + b->ops_size, entry.ops.data, entry.ops.size);
    b->ops_size += entry.ops.size;
}

static enum repair_kind look_between(struct between *b, size_t *out_nth, size_t *out_at)
{
    static const enum repair_kind kinds[] = {
        [LAYOUT_ENTRY] = REPAIR_ENTRY, [LAYOUT_NONE] = REPAIR_NONE, [LAYOUT_UNCLEAR] = REPAIR_UNCLEAR};
    for (uint64_t index = b->ask->place.low + 1; index < b->ask->place.high; index++) {
        take_entry(b, index);
    }
    take_records(b);
    if (b->reads || b->too_many || b->wanted == b->record_count) {
        return b->reads ? REPAIR_LATER : REPAIR_UNCLEAR;
    }
    const struct layout layout = {.from         = b->ask->place.from,
                                  .to           = b->ask->place.to,
                                  .entries      = b->entries,
                                  .entry_count  = b->count,
                                  .records      = b->records,
                                  .record_count = b->record_count,
                                  .ctx          = b,
                                  .stands       = stands_there};
    return kinds[layout_find(&layout, b->wanted, out_nth, out_at)];
}

static struct found by_sizes(const struct asked *ask)
{
    const struct evidence_place *place = &ask->place;
    struct found                 found = {.kind = REPAIR_UNCLEAR};
    size_t                       nth = 0, at = 0;
    if (place->to <= place->from || place->high <= place->low + 1 || place->high - place->low > LAYOUT_ENTRIES_MAX ||
        !is_same(ask)) {
        return found;
    }
    struct between *b   = calloc(1, sizeof *b);
    uint8_t        *ops = malloc(LAYOUT_BYTES_MAX);
    ASSERT_MEMORY(b != NULL && ops != NULL);
    b->ask     = ask;
    b->ops     = ops;
    found.kind = look_between(b, &nth, &at);
    if (found.kind == REPAIR_ENTRY) {
        found.kind = refill_entry_of(ask->st, place->low + 1 + nth, &found.entry) == 0 ? REPAIR_ENTRY : REPAIR_LATER;
        found.at   = at;
    }
    free(ops);
    free(b);
    return found;
}

struct found found_among(const struct asked *ask)
{
    const struct evidence_place *place   = &ask->place;
    struct node_stripe          *st      = ask->st;
    uint64_t                     applied = stripe_applied(st->stripe);
    uint64_t                     first   = (place->low > applied ? place->low : applied) + 1;
    uint64_t                     end     = refill_end(st);
    struct found                 found   = {.kind = REPAIR_LATER};
    bool                         any     = false;
    end                                  = place->high < end ? place->high : end;
    if (place->high <= applied + 1) { /* it was applied here and has gone */
        return found;
    }
    for (uint64_t index = first; index < end && index < first + UNAPPLIED_MAX; index++) {
        int result = refill_entry_of(st, index, &found.entry);
        if (result < 0 || (result == 0 && found.entry.kind != LOG_OPS)) {
            continue;
        }
        if (result == 0 && stands_in(ask, &found.entry)) {
            found.kind = REPAIR_ENTRY;
            found.at   = place->at;
            return found;
        }
        any = true;
    }
    if (!any && end <= first + UNAPPLIED_MAX) {
        found.kind = REPAIR_NONE;
    } else if (ask->near_count > 0 && (st->repairing || raft_is_damaged(st->raft))) { /* else it will be applied */
        found = by_sizes(ask);
    }
    return found;
}
