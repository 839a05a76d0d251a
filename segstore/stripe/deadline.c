/* deadline.c - timers: dormant with their owner, or waiting for a time; then their action is applied. */
#include "segstore/stripe/state.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct bytes deadline_key(const struct deadline *timer)
{
    return bytes_of(timer->data, timer->key_size);
}

struct bytes deadline_action(const struct deadline *timer)
{
    return bytes_of(timer->data + timer->key_size, timer->action_size);
}

static uint64_t hash_deadline(const void *entry)
{
    return hash_bytes(deadline_key(entry));
}

static uint64_t hash_owner(const void *entry)
{
    return hash_u64(((const struct owner *)entry)->id);
}

void deadlines_init(struct stripe *s)
{
    map_init(&s->deadlines, hash_deadline);
    map_init(&s->owners, hash_owner);
}

void deadlines_fini(struct stripe *s)
{
    map_fini(&s->deadlines);
    map_fini(&s->owners);
    heap_fini(&s->due);
}

static bool is_keyed(const void *entry, const void *key)
{
    return bytes_equal(deadline_key(entry), *(const struct bytes *)key);
}

struct deadline *deadline_find(const struct stripe *s, struct bytes key)
{
    return map_find(&s->deadlines, hash_bytes(key), is_keyed, &key);
}

struct deadline *deadline_make(struct bytes key, struct bytes action)
{
    struct deadline *timer = malloc(sizeof *timer + key.size + action.size);
    ASSERT(timer != NULL);
    *timer = (struct deadline){.key_size = (uint32_t)key.size, .action_size = (uint32_t)action.size};
    if (key.size != 0) {
        memcpy(timer->data, key.data, key.size);
    }
    if (action.size != 0) {
        memcpy(timer->data + key.size, action.data, action.size);
    }
    return timer;
}

struct action_at {
    uint64_t number;
    uint64_t position;
};

static bool is_at(const void *entry, const void *action)
{
    const struct deadline  *timer = entry;
    const struct action_at *a     = action;
    return timer->action_position == a->position && deadline_number(timer) == a->number;
}

struct deadline *deadline_at(const struct stripe *s, uint64_t number, uint64_t position)
{
    return map_find(&s->deadlines, number, is_at, &(struct action_at){number, position});
}

uint64_t deadline_number(const struct deadline *timer)
{
    return hash_deadline(timer);
}

static bool is_owner(const void *entry, const void *id)
{
    return ((const struct owner *)entry)->id == *(const uint64_t *)id;
}

static struct owner *owner_find(const struct stripe *s, uint64_t id)
{
    return map_find(&s->owners, hash_u64(id), is_owner, &id);
}

/* Where it waits: in its owner's list, or in the heap. */
static void wait_begin(struct stripe *s, struct deadline *timer)
{
    if (timer->owner == 0) {
        heap_insert(&s->due, &timer->node);
        return;
    }
    struct owner *owner = owner_find(s, timer->owner);
    if (owner == NULL) {
        owner = malloc(sizeof *owner);
        ASSERT(owner != NULL);
        owner->id = timer->owner;
        list_init(&owner->timers);
        map_insert(&s->owners, owner);
    }
    list_push_back(&owner->timers, &timer->link);
}

static void wait_end(struct stripe *s, struct deadline *timer)
{
    heap_remove(&s->due, &timer->node);
    list_remove(&timer->link);
    struct owner *owner = timer->owner != 0 ? owner_find(s, timer->owner) : NULL;
    if (owner != NULL && list_empty(&owner->timers)) {
        map_remove(&s->owners, owner);
        free(owner);
    }
}

/* Was it set with its time running? Those are bounded: the others are as many as there are sessions. */
static bool is_delay(const struct deadline *timer)
{
    return timer->owner == 0 && timer->delay_ns == 0;
}

void deadline_insert(struct stripe *s, struct deadline *timer)
{
    if (is_delay(timer)) {
        s->delays++;
        s->delay_bytes += timer->key_size + timer->action_size;
    }
    map_insert(&s->deadlines, timer);
    timer->present = true;
    wait_begin(s, timer);
}

static void unlink_timer(struct stripe *s, struct deadline *timer)
{
    if (is_delay(timer)) {
        s->delays--;
        s->delay_bytes -= timer->key_size + timer->action_size;
    }
    map_remove(&s->deadlines, timer);
    timer->present = false;
    wait_end(s, timer);
}

void deadline_positions(const struct deadline *timer, void (*each)(void *ctx, uint64_t position), void *ctx)
{
    struct bytes       action = deadline_action(timer);
    struct wire_reader r      = wire_reader_of(action);
    struct op          op;
    while (each != NULL && op_next(&r, &op) > 0) {
        if (op.kind == OP_APPEND) {
            each(ctx, timer->action_position + (uint64_t)(op.items.data - action.data));
        }
    }
}

static void undo_take_out(struct stripe *s, const struct change *change)
{
    deadline_insert(s, change->subject);
}

static void undo_nothing(struct stripe *s, const struct change *change)
{
    (void)s;
    (void)change;
}

static void commit_gone(struct stripe *s, const struct change *change)
{
    deadline_positions(change->subject, s->observer.released, s->observer.ctx);
    free(change->subject);
}

static void take_out(struct stripe *s, struct deadline *timer)
{
    unlink_timer(s, timer);
    *journal_add(&s->journal) = (struct change){.undo = undo_take_out, .subject = timer};
}

/* In the journal behind what the action did, which borrows from the timer. */
static void gone(struct stripe *s, struct deadline *timer)
{
    *journal_add(&s->journal) = (struct change){.undo = undo_nothing, .commit = commit_gone, .subject = timer};
}

static void run(struct stripe *s, struct deadline *timer, int depth)
{
    take_out(s, timer);
    stripe_run_action(s, timer, depth + 1);
    gone(s, timer);
}

static void cancel(struct stripe *s, struct deadline *timer)
{
    take_out(s, timer);
    gone(s, timer);
}

static uint64_t due_after(const struct stripe *s, uint64_t delay_ns)
{
    uint64_t due_ns = s->time_ns + delay_ns;
    return due_ns < delay_ns || due_ns == UINT64_MAX ? UINT64_MAX - 1 : due_ns;
}

static void undo_set(struct stripe *s, const struct change *change)
{
    unlink_timer(s, change->subject);
    free(change->subject);
}

static void commit_set(struct stripe *s, const struct change *change)
{
    deadline_positions(change->subject, s->observer.retained, s->observer.ctx);
}

int deadline_set(struct stripe *s, const struct ops_context *context, const struct op *op)
{
    struct deadline *old   = deadline_find(s, op->name);
    uint64_t         bytes = s->table_bytes + s->delay_bytes + op->name.size + op->value.size;
    if (op->owner == 0 && s->limits.delays_max != 0 && (old == NULL || !is_delay(old)) &&
        (s->delays >= s->limits.delays_max || bytes > s->limits.table_bytes_max)) {
        return ERR_QUOTA;
    }
    if (old != NULL) {
        cancel(s, old);
    }
    struct deadline *timer = deadline_make(op->name, op->value);
    timer->action_position = context_position(context, op->value.data);
    timer->owner           = op->owner;
    timer->delay_ns        = op->owner == 0 ? 0 : op->delay_ns;
    timer->node.order      = ++s->counters.version;
    timer->node.due_ns     = op->owner == 0 ? due_after(s, op->delay_ns) : 0;
    deadline_insert(s, timer);
    *journal_add(&s->journal) = (struct change){.undo = undo_set, .commit = commit_set, .subject = timer};
    return 0;
}

static void undo_start(struct stripe *s, const struct change *change)
{
    struct deadline *timer = change->subject;
    wait_end(s, timer);
    timer->owner       = change->x;
    timer->node.due_ns = 0;
    wait_begin(s, timer);
}

static void start(struct stripe *s, struct deadline *timer, int depth)
{
    if (timer->delay_ns == 0) {
        run(s, timer, depth);
        return;
    }
    *journal_add(&s->journal) = (struct change){.undo = undo_start, .subject = timer, .x = timer->owner};
    wait_end(s, timer);
    timer->owner       = 0;
    timer->node.due_ns = due_after(s, timer->delay_ns);
    wait_begin(s, timer);
}

void deadline_start(struct stripe *s, const struct op *op, int depth)
{
    struct deadline *timer = deadline_find(s, op->name);
    if (timer != NULL && timer->owner != 0 && timer->owner == op->owner) {
        start(s, timer, depth);
    }
}

bool deadline_cancel(struct stripe *s, struct bytes key)
{
    struct deadline *timer = deadline_find(s, key);
    if (timer != NULL) {
        cancel(s, timer);
    }
    return timer != NULL;
}

bool deadline_run(struct stripe *s, struct bytes key, int depth)
{
    struct deadline *timer = deadline_find(s, key);
    if (timer != NULL) {
        run(s, timer, depth);
    }
    return timer != NULL;
}

bool deadline_take_over(struct stripe *s, const struct op *op, int depth)
{
    struct deadline *timer = deadline_find(s, op->name);
    if (timer == NULL) {
        return false;
    }
    if (timer->owner != 0 && timer->owner == op->owner) {
        return true;
    }
    if ((op->flags & TIMER_ENDED) != 0 || (timer->owner != 0 && timer->delay_ns == 0)) {
        run(s, timer, depth);
    } else {
        cancel(s, timer);
    }
    return true;
}

void deadline_fire(struct stripe *s, const struct op *op, int depth)
{
    struct deadline *timer = deadline_find(s, op->name);
    if (timer != NULL && timer->owner == 0 && timer->node.due_ns == op->wall_ns) {
        run(s, timer, depth);
    }
}

static int by_order(const void *a, const void *b)
{
    const struct deadline *const *left  = a;
    const struct deadline *const *right = b;
    return (*left)->node.order < (*right)->node.order ? -1 : (*left)->node.order > (*right)->node.order;
}

/* In the order they were set, whatever the list went through. An action may remove timers that are still to come. */
void deadline_owner_lost(struct stripe *s, uint64_t owner_id, int depth)
{
    struct owner *owner = owner_id != 0 ? owner_find(s, owner_id) : NULL;
    if (owner == NULL) {
        return;
    }
    size_t count = 0;
    LIST_EACH (&owner->timers, link) {
        count++;
    }
    struct deadline **timers = malloc(count * sizeof(struct deadline *));
    ASSERT(timers != NULL);
    size_t filled = 0;
    LIST_EACH (&owner->timers, link) {
        timers[filled++] = CONTAINER_OF(link, struct deadline, link);
    }
    qsort(timers, count, sizeof(struct deadline *), by_order);
    for (size_t i = 0; i < count; i++) {
        if (timers[i]->present && timers[i]->owner == owner_id) {
            start(s, timers[i], depth);
        }
    }
    free(timers);
}

void stripe_owners(const struct stripe *s, void (*each)(void *ctx, uint64_t owner), void *ctx)
{
    MAP_EACH(&s->owners, struct owner, owner)
    {
        each(ctx, owner->id);
    }
}
