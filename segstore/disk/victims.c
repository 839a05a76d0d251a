/* victims.c - light files, by what is known of them; and those of which it is to be known. */
#include "segstore/disk/victims.h"

#include "shared/base/buggify.h"

uint64_t victims_file_bytes(const struct segments *segments, const struct log_segment *segment)
{
    return segment_is_run(segment->number) ? segment->bytes : segments->segment_bytes;
}

/* Will no more come to it, and does nothing but what is held keep it? */
static bool is_closed(const struct victims_view *v, const struct log_segment *s)
{
    return segment_is_run(s->number) ? s->number != v->run_number : s->number < v->closed_below;
}

static bool is_weighed(const struct log_segment *s)
{
    return s->weighed_live != 0;
}

/* Is so much of it less than these tenths? */
static bool is_below(const struct victims_view *v, const struct log_segment *s, uint64_t held, uint64_t tenths)
{
    return held * 10 < victims_file_bytes(v->segments, s) * tenths;
}

static uint64_t tenths_wanted(const struct victims_view *v)
{
    return v->full ? 9 : 5;
}

/* What may be held in it now, as if all records were as long as the others. */
static uint64_t guess(const struct victims_view *v, const struct log_segment *s)
{
    uint64_t bytes   = is_weighed(s) ? s->held_bytes : victims_file_bytes(v->segments, s);
    uint64_t records = is_weighed(s) ? s->weighed_live : s->total;
    return s->live >= records ? bytes : (uint64_t)((double)bytes * (double)s->live / (double)records);
}

/* It is known to be light. */
static bool is_light(const struct victims_view *v, const struct log_segment *s)
{
    if (!is_weighed(s)) {
        return false;
    }
    return is_below(v, s, s->held_bytes, tenths_wanted(v)) ||
           (segment_is_run(s->number) ? BUGGIFY("reclaim: a run, whatever is held", 200)
                                      : BUGGIFY("reclaim: whatever is held", 3));
}

static uint64_t all_bytes(const struct segments *segments)
{
    uint64_t bytes = 0;
    for (const struct log_segment *s = segments_next(segments, 0); s != NULL;
         s                           = segments_next(segments, s->number + 1)) {
        bytes += victims_file_bytes(segments, s);
    }
    return bytes;
}

/* It may be light: weighing it is worth while. */
static bool is_promising(const struct victims_view *v, const struct log_segment *s, uint64_t all)
{
    bool enough = is_below(v, s, s->held_bytes, tenths_wanted(v)) && s->held_bytes <= v->credit_bytes;
    if (is_weighed(s) && (s->live >= s->weighed_live || enough)) {
        return false;
    }
    return is_below(v, s, guess(v, s), tenths_wanted(v)) || v->logged_bytes - s->weighed_logged >= all;
}

/* One that was looked at is not looked at again at once: the walk may have missed something, or it is kept for something else. */
static bool is_candidate(const struct victims_view *v, struct log_segment *s)
{
    if (!is_closed(v, s)) {
        return false;
    }
    if (s->seen_ns == 0) {
        s->seen_ns        = v->now_ns;
        s->weighed_logged = v->logged_bytes;
    }
    return s->live > 0 && !s->damaged && v->now_ns >= s->next_ns &&
           (v->full || v->pressed || segment_is_run(s->number) || v->now_ns - s->seen_ns >= v->age_ns);
}

/* While the disk is full: the one of which the least is held, so that the least has to be written before anything is free. */
static void choose_lightest(const struct victims_view *v, struct victims *out)
{
    const struct log_segment *best = NULL;
    double                    part = 0;
    for (struct log_segment *s = segments_next(v->segments, 0); s != NULL;
         s                     = segments_next(v->segments, s->number + 1)) {
        if (!is_candidate(v, s) || (!is_light(v, s) && !is_promising(v, s, 0))) {
            continue;
        }
        double its = (double)guess(v, s) / (double)victims_file_bytes(v->segments, s);
        if (best == NULL || its < part) {
            best = s;
            part = its;
        }
    }
    if (best != NULL) {
        out->numbers[out->count++] = best->number;
        out->weigh                 = !is_below(v, best, best->held_bytes, 9) || !is_weighed(best);
    }
}

/* Files that are known to be light and can be paid for; or, weigh: those of which it is to be known. */
static void choose(const struct victims_view *v, bool weigh, struct victims *out)
{
    uint64_t records = 0;
    uint64_t credit  = v->credit_bytes;
    uint64_t all     = weigh ? all_bytes(v->segments) : 0;
    out->weigh       = weigh;
    for (struct log_segment *s = segments_next(v->segments, 0); s != NULL && out->count < VICTIMS_MAX;
         s                     = segments_next(v->segments, s->number + 1)) {
        if (!is_candidate(v, s) || (weigh ? !is_promising(v, s, all) : s->held_bytes > credit || !is_light(v, s))) {
            continue;
        }
        if (out->count > 0 && records + s->live > VICTIMS_RECORDS_MAX) {
            return;
        }
        records += s->live;
        credit -= weigh ? 0 : s->held_bytes;
        out->numbers[out->count++] = s->number;
    }
}

void victims_choose(const struct victims_view *v, struct victims *out)
{
    *out = (struct victims){0};
    if (v->full) {
        choose_lightest(v, out);
        return;
    }
    choose(v, false, out);
    if (out->count == 0) {
        choose(v, true, out);
    }
}

void victims_weighed(const struct victims_view *v, struct log_segment *s, uint64_t held_bytes)
{
    s->held_bytes     = held_bytes;
    s->weighed_live   = s->live;
    s->weighed_logged = v->logged_bytes;
    bool soon         = is_below(v, s, held_bytes, tenths_wanted(v)) && (v->full || held_bytes <= v->credit_bytes);
    s->next_ns        = soon ? 0 : v->now_ns + VICTIMS_AGAIN_NS;
}
