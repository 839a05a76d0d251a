/* scrub.c - one chunk after the other into a window; what the window holds is judged. */
#include "segstore/disk/scrub.h"

#include "segstore/log/recover.h"
#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { CHUNK_READ_BYTES = 256 * 1024, WINDOW_BYTES = BLOCK_MAX_BYTES + CHUNK_READ_BYTES };

static const uint64_t CHUNK_LEAST_NS = 8000000;    /* between two reads: 32 MiB/s */
static const uint64_t STEP_NS        = 1000000;    /* between two heads that are looked at */
static const uint64_t PATIENCE_NS    = 1000000000; /* while writes are under way */
static const uint64_t EMPTY_NS       = 1000000000; /* nothing is there to be read */

void scrub_init(struct scrub *s, struct io *io, const struct segments *segments, const struct wal *wal,
                const char *directory, const char *run_directory, uint32_t sector_bytes, uint64_t period_ns,
                const struct scrub_hooks *hooks)
{
    *s = (struct scrub){.io            = io,
                        .segments      = segments,
                        .wal           = wal,
                        .directory     = directory,
                        .run_directory = run_directory,
                        .hooks         = *hooks,
                        .period_ns     = period_ns,
                        .sector_bytes  = sector_bytes};
    if (period_ns == 0) {
        return;
    }
    s->window = aligned_alloc(IO_ALIGN_BYTES, WINDOW_BYTES + BLOCK_PAGE_BYTES);
    if (s->window == NULL) {
        fatal(71, "out of memory at start");
    }
}

static void file_close(struct io_file **file)
{
    if (*file != NULL) {
        io_file_close(*file);
        *file = NULL;
    }
}

void scrub_fini(struct scrub *s)
{
    file_close(&s->file);
    file_close(&s->look_file);
    free(s->window);
    *s = (struct scrub){0};
}

/* ---- segments ---- */

static uint64_t base_of(const struct scrub *s, uint64_t number)
{
    return segments_position(s->segments, number);
}

/* The first segment at or above a number in which something durable lies, or NULL. Runs of which nobody holds anything are not looked at: they go. */
static const struct log_segment *next_from(const struct scrub *s, uint64_t number)
{
    const struct log_segment *segment = segments_next(s->segments, number);
    if (segment != NULL && !segment_is_run(segment->number) &&
        base_of(s, segment->number) >= wal_durable_position(s->wal)) {
        segment = segments_next(s->segments, SEGMENT_RUN_FIRST);
    }
    while (segment != NULL && segment_is_run(segment->number) && (segment->bytes == 0 || segment->live == 0)) {
        segment = segments_next(s->segments, segment->number + 1);
    }
    return segment;
}

/* How far the segment may be read: what lies behind is not durable yet. */
static size_t readable(const struct scrub *s)
{
    uint64_t base = base_of(s, s->number);
    uint64_t end  = segments_durable(s->segments, base, wal_durable_position(s->wal));
    uint64_t left = end > base ? end - base : 0;
    return (size_t)(left < s->segments->segment_bytes ? left : s->segments->segment_bytes);
}

static bool is_there(const struct scrub *s)
{
    const struct log_segment *segment = segments_find(s->segments, s->number);
    return segment != NULL && segment->exists;
}

static const char *directory_of(const struct scrub *s, uint64_t number)
{
    return segment_is_run(number) ? s->run_directory : s->directory;
}

static int file_open(const struct scrub *s, uint64_t number, struct io_file **out)
{
    char name[SEGMENT_NAME_BYTES];
    char path[PREPARE_PATH_BYTES];
    segment_name(number, name);
    snprintf(path, sizeof path, "%s/%s", directory_of(s, number), name);
    int result = io_file_open(s->io, path, IO_OPEN_DIRECT | IO_OPEN_READ_ONLY, out);
    if (result < 0) {
        log_warn("%s cannot be opened to be read again: %s", path, err_sentence(result));
    }
    return result;
}

static void sleep_for(struct scrub *s, uint64_t ns)
{
    s->next_ns = io_now_ns(s->io) + ns;
}

/* So that all that is there now is read once in a period. */
static uint64_t interval(const struct scrub *s)
{
    uint64_t count = 0;
    for (const struct log_segment *each = next_from(s, 0); each != NULL; each = next_from(s, each->number + 1)) {
        count++;
    }
    uint64_t chunks = (s->segments->segment_bytes + CHUNK_READ_BYTES - 1) / CHUNK_READ_BYTES * (count == 0 ? 1 : count);
    uint64_t ns     = s->period_ns / chunks;
    return ns < CHUNK_LEAST_NS ? CHUNK_LEAST_NS : ns;
}

static void segment_leave(struct scrub *s)
{
    s->next_number = s->number + 1;
    s->number      = 0;
}

/* Up to end, an offset in the same segment, it is not known what was written. */
static void report(struct scrub *s, size_t end, uint64_t stripes, const char *what)
{
    const struct scrub_bad *bad = &s->bad;
    s->counts.damages++;
    log_error("%s/%012llu was read again: what was written at offset %zu %s. Records of %s may be lost there: other "
              "nodes give them back; without any, restore the file from a copy while the store is stopped",
              directory_of(s, bad->number), (unsigned long long)bad->number, bad->offset, what,
              stripes == UINT64_MAX ? "any stripe" : "some stripes");
    s->hooks.damaged(s->hooks.ctx, base_of(s, bad->number) + bad->offset, end - bad->offset, stripes);
}

/* A round ends where it began, and there the next one begins. */
static void round_count(struct scrub *s, uint64_t number)
{
    if (s->wrapped && number >= s->round_from) {
        s->counts.rounds++;
        s->wrapped = false;
        log_info("%s was read again: %llu blocks and %llu MiB since the start, %llu places damaged", s->directory,
                 (unsigned long long)s->counts.blocks, (unsigned long long)(s->counts.bytes >> 20),
                 (unsigned long long)s->counts.damages);
        s->round_from = number;
    }
}

/* The next segment, or behind the last one the first. False: there is none now. */
static bool segment_next(struct scrub *s)
{
    const struct log_segment *next = next_from(s, s->next_number);
    if (s->state == SCRUB_RESUMING &&
        (next == NULL || segment_is_run(next->number))) { /* nothing whole came behind the damage */
        s->state = SCRUB_WALKING;
        report(s, s->segments->segment_bytes, recover_lost_stripes(s->last.seq, NULL, NULL), "is not there any more");
    }
    if (next == NULL) {
        bool over = s->wrapped; /* it came here again, and where it began has gone */
        round_count(s, UINT64_MAX);
        s->round_from  = over ? 0 : s->round_from;
        s->wrapped     = s->begun && !over;
        s->next_number = 0;
        next           = next_from(s, 0);
        s->last        = (struct scrub_last){0};
    }
    if (next == NULL) {
        return false;
    }
    if (s->state == SCRUB_WALKING && (next->number != s->next_number || segment_is_run(next->number))) {
        s->last = (struct scrub_last){0};
    }
    if (!s->begun) {
        s->begun      = true;
        s->round_from = next->number;
    }
    round_count(s, next->number);
    s->number       = next->number;
    s->offset       = 0;
    s->at           = 0;
    s->window_bytes = 0;
    s->interval_ns  = interval(s);
    return true;
}

/* ---- damage ---- */

static void walk(struct scrub *s);

static void pass(struct scrub *s, size_t bytes)
{
    s->at += bytes;
    s->offset += bytes;
}

static void damage(struct scrub *s)
{
    const struct block_header *h = &s->bad.header;
    s->state                     = SCRUB_RESUMING;
    if (s->bad.header_known) {
        report(s, s->bad.offset + h->length, h->stripes, s->bad.changed ? "has changed" : "is not there any more");
        s->state = SCRUB_WALKING;
        s->last  = (struct scrub_last){
             .seq = h->block_seq, .checksum = h->checksum, .known = true, .sure = s->last.known && s->last.sure};
        pass(s, h->length);
    }
    walk(s);
}

/* The first whole block behind the damage. */
static void resumed(struct scrub *s, const struct block_header *h)
{
    report(s, s->number == s->bad.number ? s->offset : s->segments->segment_bytes,
           s->last.known ? recover_lost_stripes(s->last.seq, NULL, h) : UINT64_MAX,
           s->bad.changed ? "has changed" : "is not there any more");
    s->state = SCRUB_WALKING;
    s->last  = (struct scrub_last){0};
}

/* What is at this place is not the block that follows the last one. */
static void look_begin(struct scrub *s, enum block_state state, const struct block_header *h)
{
    bool known = state == BLOCK_PAGES_ZERO || state == BLOCK_PAGES_BAD;
    s->bad     = (struct scrub_bad){.number       = s->number,
                                    .offset       = s->offset,
                                    .header       = *h,
                                    .header_known = known && (!s->last.known || h->block_seq == s->last.seq + 1),
                                    .changed      = state == BLOCK_HEADER_BAD || state == BLOCK_PAGES_BAD};
    if (segment_is_run(s->number)) { /* all that is read of one was durable, in one chain from its start to its end */
        damage(s);
        return;
    }
    if (!s->last.known) { /* nobody knows what should be here, but it should be whole */
        if (s->bad.changed) {
            damage(s);
        } else {
            segment_leave(s);
        }
        return;
    }
    s->state       = SCRUB_LOOKING;
    s->look_number = s->number + 1;
    s->look_gap    = false;
    sleep_for(s, STEP_NS);
}

/* No segment goes on from the last whole block. */
static void look_end(struct scrub *s)
{
    bool went_on = s->wal->delivered.seq > s->last.seq;
    s->state     = SCRUB_WALKING;
    if (went_on && (s->bad.changed || (s->last.sure && !s->look_gap))) {
        damage(s);
        return;
    }
    segment_leave(s); /* the end of the log, or of a part of it whose next segment was forgotten */
    s->last = (struct scrub_last){0};
}

static void head_done(struct io_op *op, int result)
{
    struct scrub       *s = op->ctx;
    struct block_header h;
    struct bytes        page = bytes_of(s->window + WINDOW_BYTES, s->segments->segment_bytes); /* as in replay.c */
    s->reading               = false;
    file_close(&s->look_file);
    sleep_for(s, STEP_NS);
    if (result < 0) {
        s->look_gap = true;
    } else if (block_header_at(page, &s->wal->id, base_of(s, s->look_number), &h) &&
               recover_follows(&h, s->last.seq, s->last.checksum)) {
        segment_leave(s);
        s->next_number = s->look_number;
        s->state       = SCRUB_WALKING;
        s->last.sure   = true;
        return;
    }
    s->look_number++;
}

static void look_step(struct scrub *s)
{
    const struct log_segment *next = next_from(s, s->look_number);
    if (next == NULL) {
        look_end(s);
        return;
    }
    if (segment_is_run(next->number)) {
        look_end(s);
        return;
    }
    s->look_gap    = s->look_gap || next->number != s->look_number;
    s->look_number = next->number;
    if (file_open(s, next->number, &s->look_file) < 0) {
        s->look_gap = true;
        s->look_number++;
        sleep_for(s, STEP_NS);
        return;
    }
    memset(s->window + WINDOW_BYTES, 0, BLOCK_PAGE_BYTES);
    s->op      = (struct io_op){.done = head_done, .ctx = s};
    s->reading = true;
    io_read(s->look_file, &s->op, s->window + WINDOW_BYTES, BLOCK_PAGE_BYTES, 0);
}

/* ---- walking ---- */

/* Judges what the window holds, until more must be read, the segment ends or something is wrong. */
static void walk(struct scrub *s)
{
    sleep_for(s, s->interval_ns);
    s->walk_ns = s->next_ns;
    while (s->number != 0 && s->state != SCRUB_LOOKING) {
        size_t              end   = readable(s);
        size_t              have  = s->window_bytes - s->at;
        const uint8_t      *image = s->window + s->at;
        struct block_header h     = {0};
        if (s->offset + BLOCK_PAGE_BYTES > end) {
            segment_leave(s);
            if (end < s->segments->segment_bytes && s->state == SCRUB_WALKING) {
                s->last = (struct scrub_last){
                    0}; /* the end of the log just now: more may be written here before the next segment is looked at */
            }
            return;
        }
        if (have < BLOCK_PAGE_BYTES) {
            return;
        }
        uint64_t position = base_of(s, s->number) + s->offset;
        bool     good     = block_header_at(bytes_of(image, end - s->offset), &s->wal->id, position, &h);
        if (good && h.length > have) {
            return;
        }
        enum block_state state = block_check(bytes_of(image, good ? h.length : BLOCK_PAGE_BYTES), &s->wal->id, position,
                                             s->sector_bytes, &h);
        if (s->state == SCRUB_RESUMING) {
            if (state == BLOCK_VALID && (!s->last.known || h.block_seq > s->last.seq)) {
                resumed(s, &h);
            } else {
                pass(s, BLOCK_PAGE_BYTES);
            }
        } else if (state == BLOCK_VALID && (!s->last.known || recover_follows(&h, s->last.seq, s->last.checksum))) {
            bool sure = h.block_seq == 1 || (s->last.known && (s->last.sure || s->offset == 0));
            s->last   = (struct scrub_last){h.block_seq, h.checksum, true, sure};
            s->counts.blocks++;
            pass(s, h.length);
        } else {
            look_begin(s, state, &h);
        }
    }
}

static void read_failed(struct scrub *s, int result)
{
    s->bad = (struct scrub_bad){.number = s->number, .offset = s->offset};
    report(s, s->segments->segment_bytes, UINT64_MAX,
           result < 0 ? err_sentence(result) : "is behind the end of the file");
    segment_leave(s);
    s->state = SCRUB_WALKING;
    s->last  = (struct scrub_last){0};
    sleep_for(s, s->interval_ns);
}

static void chunk_done(struct io_op *op, int result)
{
    struct scrub *s = op->ctx;
    s->reading      = false;
    file_close(&s->file);
    if (result < 0 || result % BLOCK_PAGE_BYTES != 0 || result == 0) {
        read_failed(s, result);
        return;
    }
    s->window_bytes += (size_t)result;
    s->counts.bytes += (uint64_t)result;
    walk(s);
}

/* The file is open for as long as the read takes: it may be a long time to the next one, and a file that is deleted while it is open makes no room. */
static void read_more(struct scrub *s)
{
    if (!is_there(s) || file_open(s, s->number, &s->file) < 0) {
        segment_leave(s);
        s->last = s->state == SCRUB_RESUMING ? s->last : (struct scrub_last){0};
        sleep_for(s, STEP_NS);
        return;
    }
    memmove(s->window, s->window + s->at, s->window_bytes - s->at);
    s->window_bytes -= s->at;
    s->at       = 0;
    size_t left = readable(s) - (s->offset + s->window_bytes);
    size_t room = WINDOW_BYTES - s->window_bytes;
    size_t size = left < CHUNK_READ_BYTES ? left : CHUNK_READ_BYTES;
    size        = size < room ? size : room;
    ASSERT(size > 0 && size % BLOCK_PAGE_BYTES == 0);
    s->op      = (struct io_op){.done = chunk_done, .ctx = s};
    s->reading = true;
    io_read(s->file, &s->op, s->window + s->window_bytes, size, s->offset + s->window_bytes);
}

/* ---- the turn ---- */

/* A look at other segments takes short steps; the way goes on in its own time. */
static uint64_t due_ns(const struct scrub *s)
{
    return s->state != SCRUB_LOOKING && s->next_ns < s->walk_ns ? s->walk_ns : s->next_ns;
}

static bool disk_rests(const struct scrub *s)
{
    return s->wal->flying == 0 && s->wal->submit == s->wal->end;
}

void scrub_turn(struct scrub *s)
{
    uint64_t now_ns = io_now_ns(s->io);
    if (s->period_ns == 0 || s->stopping || s->reading || now_ns < due_ns(s) ||
        (!disk_rests(s) && now_ns < due_ns(s) + PATIENCE_NS)) {
        return;
    }
    if (!s->begun) {
        const struct segment_table *log = &s->segments->log;
        s->next_number                  = log->first + (log->count == 0 ? 0 : io_random(s->io) % log->count);
    }
    if (s->state == SCRUB_LOOKING) {
        look_step(s);
    } else if (s->number != 0 || segment_next(s)) {
        read_more(s);
    } else {
        sleep_for(s, EMPTY_NS);
    }
}

uint64_t scrub_next_ns(const struct scrub *s)
{
    if (s->period_ns == 0 || s->stopping || s->reading) {
        return UINT64_MAX;
    }
    return disk_rests(s) ? due_ns(s) : due_ns(s) + PATIENCE_NS;
}
