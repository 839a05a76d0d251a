/* entry.c - one entry from its proposal to the answer. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/rpc/op.h"

#include <stdlib.h>

enum { TERM = 1 };

/* Larger than what keeps a session: a will, a retained message. */
enum { SMALL_ENTRY_BYTES = 4096 };

static enum storage_need need_of(struct bytes ops)
{
    struct wire_reader r    = wire_reader_of(ops);
    enum storage_need  need = ops.size > SMALL_ENTRY_BYTES ? STORAGE_DATA : STORAGE_ROOM;
    struct op          op;
    while (op_next(&r, &op) > 0) {
        switch (op.kind) {
        case OP_APPEND:
            return STORAGE_DATA;
        case OP_TABLE_PUT:
        case OP_STREAM_CREATE:
        case OP_TIMER_SET:
            need = need == STORAGE_ROOM ? STORAGE_SMALL : need;
            break;
        default:
            break;
        }
    }
    return need;
}

static void proposals_grow(struct node *node)
{
    uint64_t         capacity = node->proposal_capacity == 0 ? 1024 : node->proposal_capacity * 2;
    struct proposal *ring     = malloc(capacity * sizeof *ring);
    ASSERT(ring != NULL); /* out of memory */
    for (uint64_t i = node->proposal_first; i < node->proposal_end; i++) {
        ring[i & (capacity - 1)] = node->proposals[i & (node->proposal_capacity - 1)];
    }
    free(node->proposals);
    node->proposals         = ring;
    node->proposal_capacity = capacity;
}

int propose(struct node *node, struct node_stripe *stripe, struct bytes ops, const struct proposal *origin)
{
    if (stripe->stopped) {
        return ERR_UNAVAILABLE;
    }
    if (node->storage->prepare.full && !storage_admits(node->storage, need_of(ops))) {
        return ERR_DISK_FULL;
    }
    if (node->proposal_end - node->proposal_first == node->proposal_capacity) {
        proposals_grow(node);
    }
    struct log_entry entry  = {.stripe  = stripe->id,
                               .index   = stripe->proposed_index + 1,
                               .term    = TERM,
                               .wall_ns = io_wall_ns(node->io),
                               .ops     = ops};
    int              result = storage_append(node->storage, &entry);
    if (result < 0) {
        return result;
    }
    stripe->proposed_index++;
    node->proposals[node->proposal_end++ & (node->proposal_capacity - 1)] = *origin;
    return 0;
}

static void answer(struct node *node, const struct proposal *origin, int status)
{
    if (origin->session_serial == 0) {
        return;
    }
    struct session *s = node->slots[origin->session_slot];
    if (s == NULL || s->serial != origin->session_serial) {
        return; /* it went away; what it asked for has happened */
    }
    size_t begun = session_begin(s, RPC_TXN_DONE, origin->request_id);
    wire_put_u32(&s->out, (uint32_t)status);
    if (status == 0) {
        wire_put_bytes(&s->out, wire_written(&node->results));
    } else {
        wire_put_u8(&s->out, 0);
    }
    session_end(s, begun);
    session_answered(s, origin->request_bytes);
}

static void apply(struct node *node, struct node_stripe *st, const struct stripe_entry *entry, struct proposal origin)
{
    node->results.size = 0;
    node->results.bad  = false;
    int status         = stripe_apply(st->stripe, entry, true, &node->results);
    ASSERT(status <= 0);
    if (status == 0 && node->results.bad) { /* it took effect, but what it says does not fit a frame */
        status = ERR_TOO_BIG;
    }
    if (origin.due) {
        st->due_proposed = false;
    }
    st->next_due_ns = stripe_next_due_ns(st->stripe);
    node->due_dirty = true;
    node->counts.transactions++;
    answer(node, &origin, status);
}

/* An entry that is durable and not applied yet. */
struct waiting_entry {
    struct list         link;
    struct stripe_entry entry; /* its ops are the bytes behind */
    struct proposal     origin;
    uint8_t             ops[];
};

static void let_wait(struct node *node, struct node_stripe *st, const struct stripe_entry *entry,
                     struct proposal origin)
{
    struct waiting_entry *w = malloc(sizeof *w + entry->ops.size);
    ASSERT(w != NULL); /* out of memory */
    *w = (struct waiting_entry){.entry = *entry, .origin = origin};
    memcpy(w->ops, entry->ops.data, entry->ops.size);
    w->entry.ops.data = w->ops;
    list_push_back(&st->waiting, &w->link);
    st->waiting_count++;
    st->waiting_bytes += entry->ops.size;
    if (!list_linked(&st->behind_link)) {
        list_push_back(&node->behind, &st->behind_link);
        node->storage->save.held = true; /* a checkpoint that begins now would replay from behind this entry */
    }
}

void entry_committed(void *ctx, const struct log_entry *entry)
{
    struct node        *node = ctx;
    struct node_stripe *st   = stripe_slot(node, entry->stripe);
    ASSERT(st != NULL && entry->index == stripe_applied(st->stripe) + st->waiting_count + 1);
    ASSERT(node->proposal_first < node->proposal_end);
    struct proposal     origin = node->proposals[node->proposal_first++ & (node->proposal_capacity - 1)];
    struct stripe_entry e      = {
             .index = entry->index, .wall_ns = entry->wall_ns, .ops = entry->ops, .position = entry->position};
    if (UNLIKELY(st->saving != NULL || st->waiting_count != 0)) {
        let_wait(node, st, &e, origin);
        return;
    }
    apply(node, st, &e, origin);
}

static void waiting_free(struct node_stripe *st, struct waiting_entry *w)
{
    list_remove(&w->link);
    st->waiting_count--;
    st->waiting_bytes -= w->entry.ops.size;
    free(w);
}

bool entries_turn(struct node *node)
{
    enum { APPLIED_PER_TURN = 512 };
    int applied = 0;
    LIST_EACH (&node->behind, link) {
        struct node_stripe *st = CONTAINER_OF(link, struct node_stripe, behind_link);
        while (st->saving == NULL && !list_empty(&st->waiting)) {
            if (applied++ == APPLIED_PER_TURN) {
                return true;
            }
            struct waiting_entry *w = CONTAINER_OF(st->waiting.next, struct waiting_entry, link);
            apply(node, st, &w->entry, w->origin);
            waiting_free(st, w);
        }
        if (list_empty(&st->waiting)) {
            list_remove(&st->behind_link);
        }
    }
    node->storage->save.held = !list_empty(&node->behind);
    return false;
}

void entries_drop(struct node_stripe *st)
{
    list_remove(&st->behind_link);
    while (!list_empty(&st->waiting)) {
        waiting_free(st, CONTAINER_OF(st->waiting.next, struct waiting_entry, link));
    }
}
