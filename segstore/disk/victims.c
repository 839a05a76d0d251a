/* victims.c - which files reclaim empties next. */
#include "segstore/disk/reclaim.h"

#include "shared/base/buggify.h"

/* Of files that were written to. */
static uint64_t log_size(const struct reclaim *r)
{
    uint64_t count = 0;
    for (uint64_t i = 0; i < r->segments->log.count; i++) {
        count += r->segments->log.slots[i].exists;
    }
    return (count - r->prepare->ready_count) * r->segments->segment_bytes;
}

/* Will no more come to it, and does nothing but what is held keep it? */
static bool is_closed(const struct reclaim *r, const struct log_segment *s)
{
    if (segment_is_run(s->number)) {
        return s->number != r->run.number;
    }
    return r->save->newest.number != 0 && s->number < segments_number(r->segments, r->save->newest.replay_position);
}

static bool holds_less_than(const struct log_segment *s, uint64_t tenths)
{
    return s->live * 10 < s->total * tenths;
}

static bool is_worth_it(const struct reclaim *r, const struct log_segment *s, bool pressed)
{
    if (segment_is_run(s->number) ? BUGGIFY("reclaim: a run, whatever is held", 200)
                                  : BUGGIFY("reclaim: whatever is held", 3)) {
        return true;
    }
    if (r->prepare->full) {
        return holds_less_than(s, 9);
    }
    return holds_less_than(s, 5) &&
           (pressed || segment_is_run(s->number) || io_now_ns(r->io) - s->seen_ns >= r->age_ns);
}

/* One that was looked at is not looked at again at once: the walk may have missed something, or it is kept for something else. */
static bool is_candidate(const struct reclaim *r, struct log_segment *s, bool pressed)
{
    uint64_t now_ns = io_now_ns(r->io);
    if (!is_closed(r, s)) {
        return false;
    }
    if (s->seen_ns == 0) {
        s->seen_ns = now_ns;
    }
    return s->live > 0 && !s->damaged && now_ns >= s->next_ns && is_worth_it(r, s, pressed);
}

/* While the disk is full: the one of which the least is held, so that the least has to be written before anything is free. */
static struct log_segment *emptiest(const struct reclaim *r)
{
    struct log_segment *best = NULL;
    for (struct log_segment *s = segments_next(r->segments, 0); s != NULL;
         s                     = segments_next(r->segments, s->number + 1)) {
        if (is_candidate(r, s, true) && (best == NULL || s->live * best->total < best->live * s->total)) {
            best = s;
        }
    }
    return best;
}

void reclaim_choose(struct reclaim *r)
{
    uint64_t records = 0;
    bool     pressed = log_size(r) > r->log_bytes;
    r->file_count    = 0;
    r->file_at       = 0;
    if (r->prepare->full) {
        const struct log_segment *one = emptiest(r);
        if (one != NULL) {
            r->files[r->file_count++] = one->number;
        }
        return;
    }
    for (struct log_segment *s = segments_next(r->segments, 0); s != NULL && r->file_count < RECLAIM_FILES_MAX;
         s                     = segments_next(r->segments, s->number + 1)) {
        if (!is_candidate(r, s, pressed)) {
            continue;
        }
        if (r->file_count > 0 && records + s->live > RECLAIM_RECORDS_MAX) {
            return;
        }
        records += s->live;
        r->files[r->file_count++] = s->number;
    }
}
