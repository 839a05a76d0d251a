/* changes.c - changes of members that are in a stripe's log and not applied yet. The newest one counts from the moment it is in the log, committed or
 * not, and for as long as it is there (Raft, 4.3): two leaders whose members are two changes apart could both find a majority. What the members are as of the
 * applied entry stands beside the stripe in checkpoints and images. */
#include "segstore/node/replica/members.h"
#include "segstore/node/state.h"

#include <stdlib.h>

static void use_newest(struct node_stripe *st)
{
    raft_set_members(st->raft,
                     st->change_count > 0 ? &st->changes[st->change_count - 1].members : &st->applied_members);
}

static void push(struct node_stripe *st, uint64_t index, const struct raft_members *members)
{
    if (st->change_count == st->change_capacity) {
        st->change_capacity = st->change_capacity == 0 ? 4 : st->change_capacity * 2;
        st->changes         = realloc(st->changes, st->change_capacity * sizeof *st->changes);
        ASSERT_MEMORY(st->changes != NULL);
    }
    st->changes[st->change_count++] = (struct change){.index = index, .members = *members};
}

static void drop_first(struct node_stripe *st)
{
    st->change_count--;
    memmove(st->changes, st->changes + 1, st->change_count * sizeof *st->changes);
}

void changes_appended(struct node_stripe *st, const struct log_entry *entry)
{
    struct raft_members members;
    bool                known = members_get(entry->ops, &members);
    ASSERT(known); /* looked at before it was written */
    push(st, entry->index, &members);
    use_newest(st);
}

void changes_cut(struct node_stripe *st, uint64_t index)
{
    bool cut = false;
    while (st->change_count > 0 && st->changes[st->change_count - 1].index >= index) {
        st->change_count--;
        cut = true;
    }
    if (cut) {
        use_newest(st);
    }
}

void changes_applied(struct node_stripe *st, uint64_t index)
{
    ASSERT(st->change_count > 0 && st->changes[0].index == index);
    st->applied_members = st->changes[0].members;
    drop_first(st);
}

void changes_skip(struct node_stripe *st, uint64_t index, const struct raft_members *members)
{
    while (st->change_count > 0 && st->changes[0].index <= index) {
        drop_first(st);
    }
    st->applied_members = *members;
    use_newest(st);
}

void changes_put(const struct node_stripe *st, uint64_t last, struct wire_writer *w)
{
    uint16_t first = 0; /* one that is applied already: an image has passed over it, and raft does not know yet */
    while (first < st->change_count && st->changes[first].index <= stripe_applied(st->stripe)) {
        first++;
    }
    uint16_t end = first;
    while (end < st->change_count && st->changes[end].index <= last) {
        end++;
    }
    wire_put_u16(w, (uint16_t)(end - first));
    for (uint16_t i = first; i < end; i++) {
        wire_put_u64(w, st->changes[i].index);
        members_put(w, &st->changes[i].members);
    }
}

void changes_get(struct node_stripe *st, struct wire_reader *r)
{
    for (uint16_t count = wire_get_u16(r); count > 0 && !r->bad; count--) {
        struct raft_members members;
        uint64_t            index = wire_get_u64(r);
        if (!members_read(r, &members)) {
            r->bad = true;
            return;
        }
        push(st, index, &members);
    }
    use_newest(st);
}
