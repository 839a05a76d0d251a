/* save.c - images out, old files away; each step waits for the one before. */
#include "segstore/disk/save.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"
#include "shared/base/hash.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const uint64_t FORGET_EVERY_NS = 1000000000;
static const uint64_t RETRY_NS        = 1000000000;
static const uint64_t PATIENCE        = 10;         /* times every_ns, for few changes of a large state */
static const uint64_t FULL_EVERY_NS   = 2000000000; /* while the disk is full */

enum { STEP_BYTES = 1024 * 1024 };

/* Bytes that wait to be written: a slice of an image, or what stands between images. */
struct save_part {
    struct list        link; /* save->parts */
    struct wire_writer bytes;
};

static struct save_part *part_add(struct save *s)
{
    struct save_part *part = calloc(1, sizeof *part);
    if (part == NULL) {
        fatal(71, "out of memory for the image of a stripe");
    }
    part->bytes = wire_writer_growing(SIZE_MAX / 2);
    list_push_back(&s->parts, &part->link);
    return part;
}

static void part_free(struct save_part *part)
{
    list_remove(&part->link);
    wire_writer_fini(&part->bytes);
    free(part);
}

static struct save_part *part_first(const struct save *s)
{
    return CONTAINER_OF(s->parts.next, struct save_part, link);
}

static void parts_drop(struct save *s)
{
    while (!list_empty(&s->parts)) {
        part_free(part_first(s));
    }
    s->part_at = 0;
    s->section = NULL;
}

void save_init(struct save *s, struct io *io, const struct save_hooks *hooks)
{
    s->io       = io;
    s->hooks    = *hooks;
    s->begun_ns = io_now_ns(io);
    s->sum      = XXH3_createState();
    if (s->sum == NULL) {
        fatal(71, "out of memory at start");
    }
    list_init(&s->parts);
}

void save_fini(struct save *s)
{
    if (s->file != NULL) {
        io_file_close(s->file);
    }
    parts_drop(s);
    XXH3_freeState(s->sum);
    free(s->taken);
    *s = (struct save){0};
}

static void path_of(const char *directory, uint64_t number, const char *suffix, char path[PREPARE_PATH_BYTES])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    snprintf(path, PREPARE_PATH_BYTES, "%s/%s%s", directory, name, suffix);
}

static void step_done(struct io_op *op, int result);

/* ---- one checkpoint ---- */

static void give_up(struct save *s)
{
    char path[PREPARE_PATH_BYTES];
    s->stepping = false;
    spare_end(s->spare, io_now_ns(s->io));
    log_warn("no space for a checkpoint in %s: tried again later", s->directory);
    if (s->file != NULL) {
        io_file_close(s->file);
        s->file = NULL;
    }
    parts_drop(s);
    s->state         = SAVE_DROPPING;
    s->wanted        = true;
    s->not_before_ns = io_now_ns(s->io) + RETRY_NS;
    path_of(s->directory, s->current.number, ".tmp", path);
    io_unlink(s->io, &s->op, path);
}

static void write_part(struct save *s)
{
    const struct wire_writer *bytes = &part_first(s)->bytes;
    size_t                    left  = bytes->size - s->part_at;
    io_write(s->file, &s->op, bytes->data + s->part_at, left < STEP_BYTES ? left : STEP_BYTES, s->file_size);
}

/* The section of the image stands before it, and is known when all of it has been taken. */
static void section_end(struct save *s, const struct checkpoint_section *section)
{
    XXH128_canonical_t sum;
    XXH128_canonicalFromHash(&sum, XXH3_128bits_digest(s->sum));
    checkpoint_put_section(&s->section->bytes, section, s->image_bytes, sum.digest);
    s->section         = NULL;
    s->taken[s->nth++] = (struct checkpoint_file){CHECKPOINT_TAKEN + section->stripe, wal_taken_seq(s->wal), 0};
}

/* One slice of the image whose turn it is; with its last one the writing begins. */
static void take_slice(struct save *s)
{
    struct checkpoint_section section = {0};
    if (s->section == NULL) {
        s->section     = part_add(s);
        s->image_bytes = 0;
        XXH3_128bits_reset(s->sum);
    }
    struct save_part *part = part_add(s);
    bool              more = s->hooks.image(s->hooks.ctx, s->nth, &part->bytes, &section);
    if (part->bytes.bad) {
        fatal(71, "out of memory for the image of a stripe");
    }
    XXH3_128bits_update(s->sum, part->bytes.data, part->bytes.size);
    s->image_bytes += part->bytes.size;
    if (!more) {
        section_end(s, &section);
        s->taking = false;
        write_part(s);
    }
}

uint64_t save_logged(const struct save *s)
{
    return s->logged_before + s->wal->counts.bytes;
}

/* What was copied, less what whoever loads it finds behind the bytes of runs, and counts again. */
static struct checkpoint_file ledger(struct save *s)
{
    struct checkpoint_file both = {CHECKPOINT_LEDGER, s->begun_logged, s->copied_bytes};
    for (struct log_segment *each = segments_next(s->segments, SEGMENT_RUN_FIRST); each != NULL;
         each                     = segments_next(s->segments, each->number + 1)) {
        if (each->tail_bytes != 0 && each->live == 0) { /* it goes when this one counts */
            each->tail_bytes = 0;
            each->moved      = s->current.number;
        }
        both.bytes -= each->tail_bytes;
    }
    return both;
}

/* Which files there are, and what is known of them: as of now, when all images are taken. */
static void write_files(struct save *s)
{
    uint32_t                count = 0;
    struct checkpoint_file *files = malloc((s->segments->log.count + s->segments->runs.count + 1 + s->stripe_count) *
                                           sizeof(struct checkpoint_file));
    if (files == NULL) {
        fatal(71, "out of memory for a checkpoint");
    }
    files[count++] = ledger(s);
    for (const struct log_segment *each = segments_next(s->segments, 0); each != NULL;
         each                           = segments_next(s->segments, each->number + 1)) {
        files[count++] = (struct checkpoint_file){each->number, each->total, each->bytes};
    }
    for (uint32_t i = 0; i < s->stripe_count; i++) {
        files[count++] = s->taken[i];
    }
    checkpoint_put_files(&part_add(s)->bytes, files, count);
    free(files);
    s->nth++;
    s->taking = false;
    write_part(s);
}

static void write_trailer(struct save *s)
{
    checkpoint_put_trailer(&part_add(s)->bytes, s->current.number, s->file_size);
    s->nth++;
    s->taking = false;
    write_part(s);
}

static void begin(struct save *s)
{
    char path[PREPARE_PATH_BYTES];
    s->current = (struct checkpoint){
        .id              = s->wal->id,
        .number          = s->newest.number + 1,
        .replay_position = s->wal->delivered.position,
        .last_seq        = s->wal->delivered.seq,
        .last_checksum   = s->wal->delivered.checksum,
        .last_stripes    = s->wal->delivered.stripes,
        .stripe_count    = s->stripe_count,
    };
    s->begun_bytes    = s->wal->counts.bytes;
    s->begun_entries  = s->wal->counts.entries;
    s->begun_logged   = save_logged(s) - wal_flying_bytes(s->wal);
    s->begun_ns       = io_now_ns(s->io);
    s->nth            = 0;
    s->file_size      = 0;
    s->unsynced_bytes = 0;
    s->needs          = UINT64_MAX;
    path_of(s->directory, s->current.number, ".tmp", path);
    int result = io_file_open(s->io, path, IO_OPEN_CREATE, &s->file);
    if (result == -ENOSPC || result == -EDQUOT) {
        s->not_before_ns = s->begun_ns + RETRY_NS;
        return;
    }
    if (result < 0) {
        s->hooks.failed(s->hooks.ctx, "making a checkpoint", result);
        return;
    }
    s->op          = (struct io_op){.done = step_done, .ctx = s};
    s->state       = SAVE_IMAGES;
    s->urgent      = s->wanted;
    s->wanted      = false; /* what is wanted from here on may not be in this one */
    s->moved_bytes = 0;
    s->taken       = realloc(s->taken, (s->stripe_count + 1) * sizeof *s->taken);
    if (s->taken == NULL) {
        fatal(71, "out of memory for a checkpoint");
    }
    spare_begin(s->spare, s->begun_ns);
    parts_drop(s);
    checkpoint_put_header(&part_add(s)->bytes, &s->current);
    s->taking = true;
}

static void finished(struct save *s)
{
    if (s->previous.number != 0 && s->old_count < SAVE_OLD_MAX) {
        s->old[s->old_count++] = s->previous.number;
    }
    s->previous     = s->newest;
    s->newest       = (struct saved){s->current.number, s->current.replay_position, s->needs};
    s->newest_bytes = s->file_size;
    s->state        = SAVE_IDLE;
    spare_end(s->spare, io_now_ns(s->io));
    s->forget_ns = 0;
    s->wanted    = s->wanted || s->previous.number < s->kept_number;
    log_debug("checkpoint %llu of %llu bytes", (unsigned long long)s->newest.number, (unsigned long long)s->file_size);
    s->hooks.saved(s->hooks.ctx);
}

/* What comes next: the rest of the parts, another image, or the end. */
static void step_on(struct save *s)
{
    if (!list_empty(&s->parts)) {
        write_part(s);
        return;
    }
    if (s->nth <= s->stripe_count + 1) {
        s->taking = true; /* goes on in save_turn */
        return;
    }
    s->state = SAVE_SYNCING;
    io_sync(s->file, &s->op);
}

/* For each byte of the log so much that this one ends before the next is due; at most as much as the log itself. */
static uint64_t share_of(const struct save *s)
{
    uint64_t share = s->newest_bytes / (s->every_bytes / (SPARE_ONE + SPARE_ONE / 4) + 1) + 1;
    return s->newest_bytes == 0 || share > SPARE_ONE ? SPARE_ONE : share;
}

static void pay(struct save *s, bool hurried)
{
    uint64_t now_ns = io_now_ns(s->io);
    uint64_t wait   = spare_pay(&s->account, s->spare, share_of(s), now_ns);
    s->paused       = wait > 0 && !hurried;
    s->pause_ns     = now_ns + wait;
    if (!s->paused) {
        step_on(s);
    }
}

static void image_step(struct save *s, int written)
{
    if (s->stepping) { /* what was written is on the disk */
        s->stepping       = false;
        s->unsynced_bytes = 0;
        pay(s, s->urgent || s->wanted);
        return;
    }
    s->part_at += (size_t)written;
    s->file_size += (uint64_t)written;
    s->unsynced_bytes += (uint64_t)written;
    spare_owe(&s->account, s->spare, (uint64_t)written, io_now_ns(s->io));
    if (s->part_at == part_first(s)->bytes.size) {
        part_free(part_first(s));
        s->part_at = 0;
    }
    if (s->unsynced_bytes >= STEP_BYTES || BUGGIFY("save: a step ends early", 50)) {
        s->stepping = true;
        io_sync(s->file, &s->op);
        return;
    }
    step_on(s);
}

static void step_done(struct io_op *op, int result)
{
    struct save *s = op->ctx;
    char         from[PREPARE_PATH_BYTES];
    char         to[PREPARE_PATH_BYTES];
    if (s->state == SAVE_DROPPING) {
        s->state = SAVE_IDLE;
        return;
    }
    if (result == -ENOSPC || result == -EDQUOT) {
        give_up(s);
        return;
    }
    if (result < 0) {
        s->hooks.failed(s->hooks.ctx, "writing a checkpoint", result);
        return;
    }
    switch ((enum save_state)s->state) {
    case SAVE_IMAGES:
        image_step(s, result);
        return;
    case SAVE_SYNCING:
        io_file_close(s->file);
        s->file  = NULL;
        s->state = SAVE_RENAMING;
        path_of(s->directory, s->current.number, ".tmp", from);
        path_of(s->directory, s->current.number, "", to);
        io_rename(s->io, &s->op, from, to);
        return;
    case SAVE_RENAMING:
        s->state = SAVE_SYNCING_DIRECTORY;
        io_sync_directory(s->io, &s->op, s->directory);
        return;
    case SAVE_SYNCING_DIRECTORY:
        finished(s);
        return;
    case SAVE_IDLE:
    case SAVE_DROPPING:
        break;
    }
    ASSERT(false);
}

/* ---- forgetting ---- */

static void unlink_done(struct io_op *op, int result)
{
    struct save *s = op->ctx;
    s->unlinking   = false;
    if (result < 0 && result != -ENOENT) {
        log_warn("an old file in %s could not be deleted (%s)", s->wal_directory, err_name(result));
    }
}

static void unlink_begin(struct save *s, const char *path)
{
    s->unlinking = true;
    s->unlink_op = (struct io_op){.done = unlink_done, .ctx = s};
    io_unlink(s->io, &s->unlink_op, path);
}

void save_needs(struct save *s, uint64_t position)
{
    s->needs = position < s->needs ? position : s->needs;
}

static uint64_t first_needed(const struct save *s, const struct saved *kept)
{
    uint64_t first = kept->replay_position < kept->needs ? kept->replay_position : kept->needs;
    return s->newest.needs < first ? s->newest.needs : first;
}

/* The oldest checkpoint that counts says where the oldest replay begins that is to stay possible. */
static void forget(struct save *s, bool disk_full)
{
    char path[PREPARE_PATH_BYTES];
    if (s->old_count > 0) {
        path_of(s->directory, s->old[--s->old_count], "", path);
        unlink_begin(s, path);
        return;
    }
    const struct saved *kept = disk_full ? &s->newest : &s->previous;
    for (struct log_segment *segment = kept->number == 0 ? NULL : segments_next(s->segments, 0); segment != NULL;
         segment                     = segments_next(s->segments, segment->number + 1)) {
        if (!segments_forgettable(s->segments, segment, first_needed(s, kept), kept->number) ||
            (segment->tail_bytes != 0 && !disk_full) || segment->number == s->wal->segment_number ||
            chunks_reading(s->chunks, segment->number)) {
            continue;
        }
        chunks_forget(s->chunks, segment->number);
        if (segment->file != NULL) {
            io_file_close(segment->file);
        }
        s->unbooked_bytes += segment->tail_bytes;
        segment->file   = NULL;
        segment->exists = false;
        path_of(segment_is_run(segment->number) ? s->run_directory : s->wal_directory, segment->number, "", path);
        unlink_begin(s, path);
        return;
    }
    segments_compact(s->segments);
    s->forget_ns = io_now_ns(s->io) + FORGET_EVERY_NS;
}

/* Is there anything that the newest checkpoint does not hold? What was replayed at start counts while the disk is full: only a checkpoint behind it gives its files
 * back, and there may be no place for anything new. */
static bool is_stale(const struct save *s, bool disk_full)
{
    return s->wal->counts.entries != s->begun_entries || s->moved_bytes != 0 ||
           (disk_full && s->wal->delivered.position > s->newest.replay_position);
}

static bool is_due(const struct save *s, bool disk_full)
{
    if (io_now_ns(s->io) < s->not_before_ns) {
        return false;
    }
    if (s->wanted) {
        return true;
    }
    if (!is_stale(s, disk_full)) {
        return false;
    }
    if (BUGGIFY("save: a checkpoint early", 50)) {
        return true;
    }
    uint64_t age_ns = io_now_ns(s->io) - s->begun_ns;
    uint64_t bytes  = s->wal->counts.bytes - s->begun_bytes + s->moved_bytes;
    if (bytes >= s->every_bytes || (disk_full && age_ns >= FULL_EVERY_NS)) {
        return true;
    }
    /* By the clock, but a large image is not written anew for a handful of changes. */
    return age_ns >= s->every_ns && (bytes >= s->newest_bytes / 16 || age_ns >= PATIENCE * s->every_ns);
}

void save_turn(struct save *s, bool disk_full)
{
    if (s->suspended) {
        return;
    }
    if (s->state == SAVE_IDLE && !s->stopping && is_due(s, disk_full)) {
        begin(s);
    } else if (s->state == SAVE_IMAGES && s->paused) {
        bool hurried = s->urgent || s->wanted || s->stopping || disk_full;
        if (hurried || io_now_ns(s->io) >= s->pause_ns) {
            pay(s, hurried);
        }
    } else if (s->state == SAVE_IMAGES && s->taking) {
        if (s->nth < s->stripe_count) {
            take_slice(s);
        } else if (s->nth == s->stripe_count) {
            write_files(s);
        } else {
            write_trailer(s);
        }
    }
    if (!s->unlinking && !s->stopping && io_now_ns(s->io) >= s->forget_ns) {
        forget(s, disk_full);
    }
}

uint64_t save_next_ns(const struct save *s)
{
    if (s->state == SAVE_IMAGES && (s->taking || s->paused)) {
        return s->taking ? 0 : s->pause_ns;
    }
    if (s->suspended || s->stopping) {
        return UINT64_MAX;
    }
    uint64_t next = UINT64_MAX;
    if (s->state == SAVE_IDLE && s->wanted) {
        next = s->not_before_ns;
    } else if (s->state == SAVE_IDLE && (s->moved_bytes != 0 || s->wal->counts.entries != s->begun_entries)) {
        uint64_t due = s->begun_ns + s->every_ns;
        next         = due > io_now_ns(s->io) ? due : due + (PATIENCE - 1) * s->every_ns;
    }
    return s->unlinking || next < s->forget_ns ? next : s->forget_ns;
}

bool save_busy(const struct save *s)
{
    return s->state != SAVE_IDLE || s->unlinking;
}

uint64_t save_holding(const struct save *s)
{
    return (s->state == SAVE_IDLE ? s->newest.number : s->current.number) + 1;
}

void save_keep(struct save *s)
{
    s->wanted      = true;
    s->kept_number = save_holding(s);
    for (struct log_segment *segment = segments_next(s->segments, 0); segment != NULL;
         segment                     = segments_next(s->segments, segment->number + 1)) {
        segment->moved = segment->live > 0 ? s->kept_number : segment->moved;
    }
}
