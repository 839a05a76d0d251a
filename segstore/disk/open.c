/* open.c - from a directory to a running log: lock, super block, checkpoint, replay, then the first segment to write to.
 *
 *   SUPER -> (FORMAT) -> CHECKPOINT -> HEADS -> SCAN -> WINDOWS -> SYNC -> open
 *
 * HEADS reads the first page of every segment that a replay may need: the log goes on in a later segment, without notice in the one
 * before, so the first headers are the table of contents. SCAN loads whole segments, the next one while one is replayed.
 * WINDOWS finds out which segments behind the end were never written to: they are ready for use. */
#include "segstore/disk/storage.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum opening_step {
    OPENING_SUPER,
    OPENING_CLUSTER,
    OPENING_FORMAT,
    OPENING_CHECKPOINT,
    OPENING_HEADS,
    OPENING_SCAN,
    OPENING_WINDOWS,
    OPENING_SYNC
};

enum { OPENING_HEADS_BATCH = 64 };
static const uint64_t WINDOW_BYTES     = 8 * 1024 * 1024; /* more than writes under way can cover */
static const uint64_t CLUSTER_RETRY_NS = 20000000;

/* What the first page of a segment says. */
struct head {
    uint64_t            number;
    bool                good; /* header is set */
    bool                zero;
    struct block_header header;
};

struct opening {
    uint8_t             step;
    struct io_op        op;
    struct io_file     *file;
    uint8_t            *page; /* SUPER_BYTES, aligned */
    struct load         loads[2];
    uint64_t           *checkpoints; /* numbers, ascending */
    size_t              checkpoint_count;
    size_t              checkpoint_at; /* the one being tried; counts down */
    uint64_t           *numbers;       /* segments, ascending */
    size_t              number_count;
    struct head        *heads;
    size_t              head_count;
    size_t              head_at;
    uint8_t            *head_pages;
    struct io_op        head_ops[OPENING_HEADS_BATCH];
    uint32_t            head_reading;
    int                 head_result;
    size_t              scan_at;     /* head being scanned */
    size_t              load_at[2];  /* the head that each load holds or reads; SIZE_MAX: none */
    size_t              scan_offset; /* where to begin in it */
    bool                scan_waits;  /* for its load */
    struct wal_end      last;
    bool                lost; /* in the middle of damage: looking for the next whole block */
    bool                lost_known;
    struct block_header lost_header;
    bool                unresolved; /* the log ends in damage */
    bool                damaged;
    uint64_t            used_number; /* the highest segment that was ever written to */
    uint64_t            max_number;
    uint64_t            retry_ns;
    uint64_t            begun_ns;
    uint64_t            entry_count;
    uint64_t            block_count;
    uint64_t            read_bytes;
    uint64_t            loaded_checkpoint;
    bool                refused;
    char                why[512];
};

static void PRINTF_LIKE(3, 4) refuse(struct storage *storage, int error, const char *format, ...)
{
    va_list args;
    if (storage->opening->refused) {
        return;
    }
    storage->opening->refused = true;
    va_start(args, format);
    vsnprintf(storage->opening->why, sizeof storage->opening->why, format, args);
    va_end(args);
    storage->hooks.opened(storage->hooks.ctx, error, storage->opening->why);
}

static void list_number(uint64_t **numbers, size_t *count, uint64_t number)
{
    if ((*count & (*count - 1)) == 0) {
        *numbers = realloc(*numbers, (*count == 0 ? 1 : *count * 2) * sizeof **numbers);
        if (*numbers == NULL) {
            fatal(71, "out of memory at start");
        }
    }
    (*numbers)[(*count)++] = number;
}

/* ---- super block ---- */

static void checkpoint_step(struct storage *storage);
static void super_done(struct io_op *op, int result);

static bool file_open(struct storage *storage, const char *name, unsigned flags)
{
    char path[PREPARE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", storage->directory, name);
    int result = io_file_open(storage->io, path, flags, &storage->opening->file);
    if (result < 0 && result != -ENOENT) {
        refuse(storage, result, "%s cannot be opened: %s", path, err_sentence(result));
    }
    return result == 0;
}

static void file_close(struct opening *o)
{
    if (o->file != NULL) {
        io_file_close(o->file);
        o->file = NULL;
    }
}

static void format(struct storage *storage)
{
    struct opening *o    = storage->opening;
    struct super   *s    = &storage->super;
    s->segment_bytes     = storage->config.segment_bytes;
    s->shard             = storage->config.shard;
    s->shard_count       = storage->config.shard_count;
    s->stripe_count      = storage->config.stripe_count;
    s->formatted_wall_ns = io_wall_ns(storage->io);
    for (size_t i = 0; i < sizeof s->id.bytes; i += 8) {
        uint64_t random = io_random(storage->io);
        memcpy(s->id.bytes + i, &random, sizeof random);
    }
    super_encode(s, o->page);
    o->step = OPENING_FORMAT;
    if (!file_open(storage, "super.tmp", IO_OPEN_CREATE)) {
        return;
    }
    o->op = (struct io_op){.done = super_done, .ctx = storage};
    io_write_durable(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

/* The first shard names the cluster; the others read the name from its super block, which may be in the making. */
static void cluster_read(struct storage *storage)
{
    struct opening *o = storage->opening;
    char            path[PREPARE_PATH_BYTES];
    o->step = OPENING_CLUSTER;
    snprintf(path, sizeof path, "%s/shard-00/super", storage->config.data_directory);
    int result = io_file_open(storage->io, path, IO_OPEN_READ_ONLY, &o->file);
    if (result < 0) {
        o->retry_ns = io_now_ns(storage->io) + CLUSTER_RETRY_NS;
        return;
    }
    o->retry_ns = UINT64_MAX;
    memset(o->page, 0, SUPER_BYTES);
    o->op = (struct io_op){.done = super_done, .ctx = storage};
    io_read(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

static void never_formatted(struct storage *storage)
{
    if (storage->opening->number_count > 0 || storage->opening->checkpoint_count > 0) {
        refuse(storage, ERR_CORRUPT,
               "%s/super is missing or empty, but log files are there: restore it from a copy of this directory",
               storage->directory);
        return;
    }
    if (storage->config.shard == 0) {
        storage->super.cluster = io_random(storage->io) | 1;
        format(storage);
    } else {
        cluster_read(storage);
    }
}

static void super_accept(struct storage *storage)
{
    const struct super          *s = &storage->super;
    const struct storage_config *c = &storage->config;
    if (s->shard_count != c->shard_count) {
        refuse(storage, ERR_CONFLICT,
               "%s was made for %u shards, this start asks for %u: start with shards=%u, the number cannot change",
               c->data_directory, s->shard_count, c->shard_count, s->shard_count);
        return;
    }
    if (s->stripe_count != c->stripe_count || s->shard != c->shard) {
        refuse(
            storage, ERR_CONFLICT,
            "%s was made for shard %u with %u stripes, this start asks for shard %u with %u: the numbers cannot change",
            storage->directory, s->shard, s->stripe_count, c->shard, c->stripe_count);
        return;
    }
    if (s->segment_bytes != c->segment_bytes) {
        log_warn("%s keeps its segment size of %llu bytes; the configured %llu is for new directories",
                 storage->directory, (unsigned long long)s->segment_bytes, (unsigned long long)c->segment_bytes);
    }
    storage->segments.segment_bytes = s->segment_bytes;
    storage->wal.id                 = s->id;
    checkpoint_step(storage);
}

static void super_read_done(struct storage *storage, int result)
{
    struct opening *o = storage->opening;
    struct super    super;
    file_close(o);
    if (result < 0) {
        refuse(storage, result, "%s/super cannot be read: %s", storage->directory, err_sentence(result));
        return;
    }
    enum super_state state = super_decode(bytes_of(o->page, SUPER_BYTES), &super);
    if (o->step == OPENING_CLUSTER) {
        if (state == SUPER_VALID) {
            storage->super.cluster = super.cluster;
            format(storage);
        } else {
            o->retry_ns = io_now_ns(storage->io) + CLUSTER_RETRY_NS;
        }
        return;
    }
    switch (state) {
    case SUPER_VALID:
        storage->super = super;
        super_accept(storage);
        return;
    case SUPER_EMPTY:
        never_formatted(storage);
        return;
    case SUPER_VERSION_OTHER:
        refuse(storage, ERR_VERSION,
               "%s was written by another version of keel-segstore: this one reads format %d only", storage->directory,
               SUPER_VERSION);
        return;
    case SUPER_UNREADABLE:
        break;
    }
    refuse(storage, ERR_CORRUPT,
           "%s/super is damaged (fewer than 2 of its 4 copies agree): restore it from a copy of this directory",
           storage->directory);
}

static void super_format_step(struct storage *storage, int result)
{
    struct opening *o = storage->opening;
    char            from[PREPARE_PATH_BYTES];
    char            to[PREPARE_PATH_BYTES];
    if (result < 0) {
        refuse(storage, result, "%s cannot be formatted: %s", storage->directory, err_sentence(result));
        return;
    }
    if (result > 0) { /* written */
        io_sync(o->file, &o->op);
        o->head_at = 1;
        return;
    }
    switch (o->head_at++) {
    case 1:
        file_close(o);
        snprintf(from, sizeof from, "%s/super.tmp", storage->directory);
        snprintf(to, sizeof to, "%s/super", storage->directory);
        io_rename(storage->io, &o->op, from, to);
        return;
    case 2:
        io_sync_directory(storage->io, &o->op, storage->directory);
        return;
    default:
        o->head_at = 0;
        super_accept(storage);
    }
}

static void super_done(struct io_op *op, int result)
{
    struct storage *storage = op->ctx;
    if (storage->opening->step == OPENING_FORMAT) {
        super_format_step(storage, result);
    } else {
        super_read_done(storage, result);
    }
}

/* ---- directory ---- */

static void unlink_ignored(struct io_op *op, int result)
{
    (void)result;
    free(op);
}

/* Left over from a preparation or checkpoint that a crash cut short. */
static void drop_file(struct storage *storage, const char *directory, const char *name)
{
    char          path[PREPARE_PATH_BYTES];
    struct io_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        return;
    }
    op->done = unlink_ignored;
    snprintf(path, sizeof path, "%s/%s", directory, name);
    io_unlink(storage->io, op, path);
}

static bool is_leftover(const char *name)
{
    size_t size = strlen(name);
    return size > 4 && strcmp(name + size - 4, ".tmp") == 0;
}

static void each_segment(void *ctx, const char *name)
{
    struct storage *storage = ctx;
    uint64_t        number;
    if (segment_parse(name, &number)) {
        list_number(&storage->opening->numbers, &storage->opening->number_count, number);
    } else if (is_leftover(name)) {
        drop_file(storage, storage->wal_directory, name);
    }
}

static void each_checkpoint(void *ctx, const char *name)
{
    struct storage *storage = ctx;
    uint64_t        number;
    if (segment_parse(name, &number)) {
        list_number(&storage->opening->checkpoints, &storage->opening->checkpoint_count, number);
    } else if (is_leftover(name)) {
        drop_file(storage, storage->checkpoint_directory, name);
    }
}

static bool directory_take(struct storage *storage)
{
    char path[PREPARE_PATH_BYTES];
    int  result = io_mkdir(storage->io, storage->wal_directory);
    result      = result < 0 ? result : io_mkdir(storage->io, storage->checkpoint_directory);
    if (result < 0) {
        refuse(storage, result, "%s cannot be made: %s", storage->directory, err_sentence(result));
        return false;
    }
    snprintf(path, sizeof path, "%s/lock", storage->directory);
    result = io_file_open(storage->io, path, IO_OPEN_CREATE, &storage->lock);
    result = result < 0 ? result : io_file_lock(storage->lock);
    if (result == -EBUSY) {
        refuse(storage, result, "%s is in use by another process", storage->directory);
        return false;
    }
    if (result < 0) {
        refuse(storage, result, "%s cannot be locked: %s", path, err_sentence(result));
        return false;
    }
    result = io_list(storage->io, storage->wal_directory, each_segment, storage);
    result = result < 0 ? result : io_list(storage->io, storage->checkpoint_directory, each_checkpoint, storage);
    if (result < 0) {
        refuse(storage, result, "%s cannot be listed: %s", storage->directory, err_sentence(result));
        return false;
    }
    return true;
}

void opening_begin(struct storage *storage)
{
    struct opening *o = calloc(1, sizeof *o);
    if (o == NULL || (o->page = aligned_alloc(IO_ALIGN_BYTES, SUPER_BYTES)) == NULL) {
        fatal(71, "out of memory at start");
    }
    storage->opening = o;
    o->begun_ns      = io_now_ns(storage->io);
    o->retry_ns      = UINT64_MAX;
    o->load_at[0]    = SIZE_MAX;
    o->load_at[1]    = SIZE_MAX;
    if (!directory_take(storage)) {
        return;
    }
    memset(o->page, 0, SUPER_BYTES);
    if (!file_open(storage, "super", IO_OPEN_READ_ONLY)) {
        if (!o->refused) {
            never_formatted(storage);
        }
        return;
    }
    o->op = (struct io_op){.done = super_done, .ctx = storage};
    io_read(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

/* ---- checkpoint ---- */

static void heads_step(struct storage *storage);

static void checkpoint_done(void *ctx, struct load *load, int result)
{
    struct storage   *storage = ctx;
    struct opening   *o       = storage->opening;
    uint64_t          number  = o->checkpoints[o->checkpoint_at];
    struct bytes      file    = bytes_of(load->memory, load->size_bytes);
    struct checkpoint c;
    file_close(o);
    result = result < 0 ? result : checkpoint_decode(file, &storage->super.id, &c);
    if (result == 0 && (c.number != number || c.stripe_count != storage->config.shard_stripe_count)) {
        result = ERR_CORRUPT;
    }
    if (result < 0) {
        log_error("%s/%012llu cannot be used (%s): trying the one before it, and more of the log",
                  storage->checkpoint_directory, (unsigned long long)number, err_sentence(result));
        checkpoint_step(storage);
        return;
    }
    struct checkpoint_section section;
    size_t                    at = 0;
    while (checkpoint_next(file, &c, &at, &section)) {
        result = storage->hooks.load(storage->hooks.ctx, &section);
        if (result < 0) { /* whole by its checksum, yet not understood: another program wrote it */
            refuse(storage, result, "%s/%012llu holds an image of stripe %u that this version does not understand",
                   storage->checkpoint_directory, (unsigned long long)number, section.stripe);
            return;
        }
    }
    o->last              = (struct wal_end){c.last_seq, c.last_checksum, c.last_stripes, c.replay_position};
    o->loaded_checkpoint = number;
    storage->save.newest = (struct saved){number, c.replay_position};
    o->read_bytes += file.size;
    heads_step(storage);
}

/* Tries the newest checkpoint that was not tried yet. */
static void checkpoint_step(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o->step != OPENING_CHECKPOINT) {
        o->step          = OPENING_CHECKPOINT;
        o->checkpoint_at = o->checkpoint_count;
    }
    while (o->checkpoint_at > 0) {
        char name[SEGMENT_NAME_BYTES + 8];
        o->checkpoint_at--;
        snprintf(name, sizeof name, "ckpt/%012llu", (unsigned long long)o->checkpoints[o->checkpoint_at]);
        if (!file_open(storage, name, IO_OPEN_READ_ONLY)) {
            return;
        }
        int64_t size = io_file_size(o->file);
        if (size > 0) {
            load_begin(&o->loads[0], o->file, (size_t)size, checkpoint_done, storage);
            return;
        }
        file_close(o);
        log_error("%s/%s is empty: trying the one before it, and more of the log", storage->directory, name);
    }
    o->last = (struct wal_end){.position = segments_position(&storage->segments, 1)};
    heads_step(storage);
}

/* ---- first pages ---- */

static void scan_begin(struct storage *storage);
static void heads_read(struct storage *storage);

static void head_done(struct io_op *op, int result)
{
    struct storage *storage = op->ctx;
    struct opening *o       = storage->opening;
    o->head_result          = result < 0 ? result : o->head_result;
    if (--o->head_reading > 0) {
        return;
    }
    if (o->head_result < 0) {
        refuse(storage, o->head_result, "the log in %s cannot be read: %s", storage->wal_directory,
               err_sentence(o->head_result));
        return;
    }
    for (size_t i = 0; i < OPENING_HEADS_BATCH && o->head_at < o->head_count; i++, o->head_at++) {
        struct head *head = &o->heads[o->head_at];
        struct bytes page = bytes_of(o->head_pages + i * BLOCK_PAGE_BYTES, BLOCK_PAGE_BYTES);
        head->zero        = page.data[0] == 0 && memcmp(page.data, page.data + 1, page.size - 1) == 0;
        /* A header may name a length past this page: give it the room that the segment has. */
        struct block_header h;
        head->good = block_header_at(bytes_of(page.data, storage->segments.segment_bytes), &storage->super.id,
                                     segments_position(&storage->segments, head->number), &h);
        if (head->good) {
            head->header = h;
        }
        if (!head->zero) {
            o->used_number = head->number;
        }
    }
    heads_read(storage);
}

static void heads_read(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o->head_at == o->head_count) {
        scan_begin(storage);
        return;
    }
    memset(o->head_pages, 0, (size_t)OPENING_HEADS_BATCH * BLOCK_PAGE_BYTES);
    size_t batch    = o->head_count - o->head_at;
    batch           = batch < OPENING_HEADS_BATCH ? batch : OPENING_HEADS_BATCH;
    o->head_reading = (uint32_t)batch;
    for (size_t i = 0; i < batch; i++) {
        struct log_segment *segment = segments_find(&storage->segments, o->heads[o->head_at + i].number);
        o->head_ops[i]              = (struct io_op){.done = head_done, .ctx = storage};
        io_read(segment->file, &o->head_ops[i], o->head_pages + i * BLOCK_PAGE_BYTES, BLOCK_PAGE_BYTES, 0);
    }
}

static void heads_step(struct storage *storage)
{
    struct opening *o    = storage->opening;
    o->step              = OPENING_HEADS;
    o->heads             = calloc(o->number_count + 1, sizeof *o->heads);
    o->head_pages        = aligned_alloc(IO_ALIGN_BYTES, (size_t)OPENING_HEADS_BATCH * BLOCK_PAGE_BYTES);
    uint64_t from_number = segments_number(&storage->segments, o->last.position);
    if (o->heads == NULL || o->head_pages == NULL) {
        fatal(71, "out of memory at start");
    }
    o->head_at = 0;
    for (size_t i = 0; i < o->number_count; i++) {
        segments_at(&storage->segments, o->numbers[i])->exists = true;
        o->max_number = o->numbers[i] > o->max_number ? o->numbers[i] : o->max_number;
    }
    for (size_t i = 0; i < o->number_count; i++) {
        if (o->numbers[i] < from_number) {
            continue;
        }
        o->heads[o->head_count++].number = o->numbers[i];
        int result = storage_segment_open(storage, segments_find(&storage->segments, o->numbers[i]));
        if (result < 0) {
            refuse(storage, result, "%s/%012llu cannot be opened: %s", storage->wal_directory,
                   (unsigned long long)o->numbers[i], err_sentence(result));
            return;
        }
    }
    heads_read(storage);
}

/* ---- replay ---- */

static void scan_segment(struct storage *storage, size_t at, size_t offset);
static void windows_begin(struct storage *storage);

static void scan_loaded(void *ctx, struct load *load, int result)
{
    struct storage *storage = ctx;
    struct opening *o       = storage->opening;
    if (result < 0) {
        refuse(storage, result, "the log in %s cannot be read: %s", storage->wal_directory, err_sentence(result));
        return;
    }
    o->read_bytes += load->size_bytes;
    if (o->scan_waits && o->load_at[load - o->loads] == o->scan_at && !o->refused) {
        scan_segment(storage, o->scan_at, o->scan_offset);
    }
}

static void scan_load(struct storage *storage, size_t at)
{
    struct opening     *o = storage->opening;
    struct log_segment *s = segments_find(&storage->segments, o->heads[at].number);
    /* One that begins with zeros can hold no more than writes that were under way. */
    uint64_t bytes = storage->segments.segment_bytes;
    if (o->heads[at].zero && bytes > WINDOW_BYTES) {
        bytes = WINDOW_BYTES;
    }
    o->load_at[at % 2] = at;
    load_begin(&o->loads[at % 2], s->file, (size_t)bytes, scan_loaded, storage);
}

/* Goes to a segment, which may be loaded, being loaded, or not even asked for. */
static void scan_goto(struct storage *storage, size_t at, size_t offset)
{
    struct opening *o    = storage->opening;
    struct load    *load = &o->loads[at % 2];
    o->scan_at           = at;
    o->scan_offset       = offset;
    o->scan_waits        = true;
    if (load->busy) { /* with this segment, or one that is not wanted any more: opening_turn asks for this one then */
        return;
    }
    if (o->load_at[at % 2] == at) {
        scan_segment(storage, at, offset);
    } else {
        scan_load(storage, at);
    }
}

static void scan_begin(struct storage *storage)
{
    struct opening *o    = storage->opening;
    o->step              = OPENING_SCAN;
    uint64_t from_number = segments_number(&storage->segments, o->last.position);
    if (o->head_count == 0) {
        windows_begin(storage);
        return;
    }
    bool here = o->heads[0].number == from_number;
    scan_goto(storage, 0, here ? (size_t)(o->last.position - segments_position(&storage->segments, from_number)) : 0);
}

static void scan_deliver(struct storage *storage, const uint8_t *image, const struct block_header *header)
{
    struct opening     *o = storage->opening;
    struct block_cursor cursor;
    struct log_entry    entry;
    block_entries(&cursor, image, header);
    while (block_next(&cursor, &entry)) {
        storage->hooks.replay(storage->hooks.ctx, &entry);
        o->entry_count++;
    }
    o->block_count++;
    o->last = (struct wal_end){header->block_seq, header->checksum, header->stripes, header->position + header->length};
}

/* A later segment that goes on right behind the last block, or SIZE_MAX. */
static size_t continuation(const struct opening *o, size_t behind)
{
    for (size_t i = behind + 1; i < o->head_count; i++) {
        if (o->heads[i].good && recover_follows(&o->heads[i].header, o->last.seq, o->last.checksum)) {
            return i;
        }
    }
    return SIZE_MAX;
}

static void damage_report(const struct storage *storage, uint64_t number, size_t offset, enum recover_verdict verdict,
                          uint64_t stripes)
{
    log_error("the log is damaged (%s) in %s/%012llu at offset %zu: acknowledged entries of %s may be lost there. "
              "Restore the file "
              "from a copy and start again, or start with accept_damage=yes to go on without them",
              recover_verdict_name(verdict), storage->wal_directory, (unsigned long long)number, offset,
              stripes == UINT64_MAX ? "any stripe" : "some stripes");
}

static void damage_end(struct storage *storage, const struct block_header *resume)
{
    struct opening *o       = storage->opening;
    uint64_t        stripes = recover_lost_stripes(o->last.seq, o->lost_known ? &o->lost_header : NULL, resume);
    o->lost                 = false;
    o->damaged              = true;
    storage->hooks.damaged(storage->hooks.ctx, stripes);
}

static void scan_end(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o->lost) { /* nothing whole came behind the damage */
        damage_end(storage, NULL);
        o->unresolved = true;
    }
    windows_begin(storage);
}

/* What is at offset of segment `at` does not follow. Returns true when the scan goes on in this segment, at *offset. */
static bool scan_damage(struct storage *storage, const struct recover_segment *segment, size_t at, size_t *offset)
{
    struct opening *o    = storage->opening;
    size_t          next = continuation(o, at);
    if (next != SIZE_MAX) { /* torn once, and the log went on: settled by an earlier start */
        scan_goto(storage, next, 0);
        return false;
    }
    struct recover_look look = {.damage = RECOVER_NOTHING};
    if (*offset + BLOCK_PAGE_BYTES <= segment->image.size) {
        recover_look(segment, *offset, o->last.seq, &look);
    }
    uint64_t stable_seq = look.stable_seq;
    for (size_t i = at + 1; i < o->head_count; i++) {
        const struct head *head = &o->heads[i];
        if (head->good && head->header.block_seq > o->last.seq && head->header.stable_seq > stable_seq) {
            stable_seq = head->header.stable_seq;
        }
    }
    if (look.damage == RECOVER_NOTHING && at + 1 < o->head_count) { /* the next block would be there */
        scan_goto(storage, at + 1, 0);
        return false;
    }
    enum recover_verdict verdict = recover_classify(look.damage, o->last.seq, stable_seq);
    if (verdict == RECOVER_END || verdict == RECOVER_TORN) {
        if (verdict == RECOVER_TORN) {
            log_info("%s/%012llu ends with a write that a crash cut short at offset %zu: it was acknowledged to nobody",
                     storage->wal_directory, (unsigned long long)o->heads[at].number, *offset);
        }
        scan_end(storage);
        return false;
    }
    o->lost        = true;
    o->lost_known  = look.header_known;
    o->lost_header = look.header;
    damage_report(
        storage, o->heads[at].number, *offset, verdict,
        recover_lost_stripes(o->last.seq, look.header_known ? &look.header : NULL, look.resumes ? &look.resume : NULL));
    if (look.resumes) {
        *offset = look.resume_offset;
        return true;
    }
    if (at + 1 < o->head_count) {
        scan_goto(storage, at + 1, 0);
    } else {
        scan_end(storage);
    }
    return false;
}

static void scan_segment(struct storage *storage, size_t at, size_t offset)
{
    struct opening        *o       = storage->opening;
    const struct load     *load    = &o->loads[at % 2];
    struct recover_segment segment = {
        .image        = bytes_of(load->memory, load->size_bytes),
        .position     = segments_position(&storage->segments, o->heads[at].number),
        .id           = &storage->super.id,
        .sector_bytes = storage->config.sector_bytes,
    };
    o->scan_waits = false;
    if (at + 1 < o->head_count && !o->loads[(at + 1) % 2].busy && o->load_at[(at + 1) % 2] != at + 1) {
        scan_load(storage, at + 1);
    }
    for (;;) {
        struct block_header header;
        struct bytes        rest = bytes_of(segment.image.data + offset, segment.image.size - offset);
        if (o->lost) {
            if (!recover_resume(&segment, offset, o->last.seq, &header, &offset)) {
                if (at + 1 < o->head_count) {
                    scan_goto(storage, at + 1, 0);
                } else {
                    scan_end(storage);
                }
                return;
            }
            damage_end(storage, &header);
        } else if (block_check(rest, segment.id, segment.position + offset, segment.sector_bytes, &header) !=
                       BLOCK_VALID ||
                   !recover_follows(&header, o->last.seq, o->last.checksum)) {
            if (!scan_damage(storage, &segment, at, &offset)) {
                return;
            }
            continue;
        }
        scan_deliver(storage, segment.image.data + offset, &header);
        offset += header.length;
    }
}

/* ---- the first segment to write to ---- */

static void windows_next(struct storage *storage);

/* The directory that holds path, written over it: false when path has none left. */
static bool parent_of(char *path)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/') {
        path[--size] = '\0';
    }
    char *slash = strrchr(path, '/');
    if (strcmp(path, "/") == 0 || strcmp(path, ".") == 0) {
        return false;
    }
    if (slash == NULL) {
        strcpy(path, ".");
    } else {
        slash[slash == path ? 1 : 0] = '\0';
    }
    return true;
}

/* Syncs the directory that is nth above the shard's own; false when there is none. They may be new as well, made by a start that was cut short
 * before it came here: a name is safe when the directory it stands in is. */
static bool sync_above(struct storage *storage, uint64_t nth)
{
    char path[PREPARE_PATH_BYTES];
    snprintf(path, sizeof path, "%s", storage->config.data_directory);
    for (uint64_t up = 0; up < nth; up++) {
        if (!parent_of(path)) {
            return false;
        }
    }
    io_sync_directory(storage->io, &storage->opening->op, path);
    return true;
}

static void sync_done(struct io_op *op, int result)
{
    struct storage *storage = op->ctx;
    struct opening *o       = storage->opening;
    if (result < 0) {
        refuse(storage, result, "%s cannot be synced: %s", storage->directory, err_sentence(result));
        return;
    }
    switch (o->head_at++) {
    case 0:
        io_sync_directory(storage->io, &o->op, storage->wal_directory);
        return;
    case 1:
        io_sync_directory(storage->io, &o->op, storage->checkpoint_directory);
        return;
    case 2:
        io_sync_directory(storage->io, &o->op, storage->directory);
        return;
    default:
        if (sync_above(storage, o->head_at - 4)) {
            return;
        }
    }
    bool           blind = o->unresolved && !storage->config.accept_damage;
    struct wal_end end   = o->last;
    if (o->unresolved) { /* the number of the damaged block stays unused, so that the next start sees the damage again */
        end.seq++;
        end.checksum = 0;
    }
    if (o->unresolved && !blind) {
        uint64_t behind = segments_number(&storage->segments, o->last.position - 1);
        behind          = behind > o->used_number ? behind : o->used_number;
        end.position    = segments_position(&storage->segments, behind + 1);
    }
    wal_start(&storage->wal, &end, end.seq);
    storage->save.suspended = o->damaged && !storage->config.accept_damage;
    storage->save.wanted    = o->damaged && storage->config.accept_damage;
    for (size_t i = 0; i < o->checkpoint_count && storage->save.old_count < SAVE_OLD_MAX; i++) {
        if (o->checkpoints[i] != o->loaded_checkpoint) { /* nobody remembers where their replay begins */
            storage->save.old[storage->save.old_count++] = o->checkpoints[i];
        }
    }
    if (o->checkpoint_count > 0 && storage->save.newest.number < o->checkpoints[o->checkpoint_count - 1]) {
        storage->save.newest.number =
            o->checkpoints[o->checkpoint_count - 1]; /* a damaged one: its number is not used again */
    }
    storage->open = true;
    log_info("shard %u: %s opened in %llu ms: checkpoint %llu, %llu blocks with %llu entries replayed, %llu MiB read",
             storage->config.shard, storage->directory,
             (unsigned long long)((io_now_ns(storage->io) - o->begun_ns) / 1000000),
             (unsigned long long)o->loaded_checkpoint, (unsigned long long)o->block_count,
             (unsigned long long)o->entry_count, (unsigned long long)(o->read_bytes >> 20));
    storage->hooks.opened(storage->hooks.ctx, 0, "");
    opening_free(storage);
}

/* What was replayed may have been in the device's cache only: from here on it counts as durable. */
static void sync_begin(struct storage *storage)
{
    struct opening     *o = storage->opening;
    struct log_segment *last =
        segments_find(&storage->segments, segments_number(&storage->segments, o->last.position - 1));
    storage->prepare.next_number = o->max_number + 1;
    if (storage->prepare.next_number <= segments_number(&storage->segments, o->last.position)) {
        storage->prepare.next_number = segments_number(&storage->segments, o->last.position) + 1;
    }
    o->step    = OPENING_SYNC;
    o->head_at = 0;
    o->op      = (struct io_op){.done = sync_done, .ctx = storage};
    if (last != NULL && last->file != NULL) {
        io_sync(last->file, &o->op);
    } else {
        o->head_at = 1;
        io_sync_directory(storage->io, &o->op, storage->wal_directory);
    }
}

static void window_done(void *ctx, struct load *load, int result)
{
    struct storage     *storage = ctx;
    struct opening     *o       = storage->opening;
    const struct head  *head    = &o->heads[o->head_at++];
    struct log_segment *s       = segments_find(&storage->segments, head->number);
    bool                zero    = result == 0 && load->memory[0] == 0 &&
                memcmp(load->memory, load->memory + 1, load->size_bytes - 1) == 0 &&
                io_file_size(s->file) == (int64_t)storage->segments.segment_bytes;
    if (zero) {
        (void)prepare_adopt(&storage->prepare, head->number, s->file);
    }
    windows_next(storage);
}

static void windows_next(struct storage *storage)
{
    struct opening *o = storage->opening;
    /* Written ones were scanned, or are what a crash left of a write; numbers below the last written one are not used any more. */
    while (o->head_at < o->head_count &&
           (!o->heads[o->head_at].zero || o->heads[o->head_at].number <= o->used_number ||
            o->heads[o->head_at].number <= segments_number(&storage->segments, o->last.position - 1))) {
        o->head_at++;
    }
    if (o->head_at == o->head_count) {
        sync_begin(storage);
        return;
    }
    uint64_t bytes = storage->segments.segment_bytes < WINDOW_BYTES ? storage->segments.segment_bytes : WINDOW_BYTES;
    load_begin(&o->loads[0], segments_find(&storage->segments, o->heads[o->head_at].number)->file, (size_t)bytes,
               window_done, storage);
}

static void windows_begin(struct storage *storage)
{
    struct opening *o = storage->opening;
    o->step           = OPENING_WINDOWS;
    o->head_at        = 0;
    if (!o->loads[0].busy && !o->loads[1].busy) {
        windows_next(storage);
    } else {
        o->scan_waits = true; /* a prefetch is still arriving: opening_turn goes on when it has */
    }
}

void opening_turn(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o == NULL) {
        return;
    }
    if (o->step == OPENING_CLUSTER && io_now_ns(storage->io) >= o->retry_ns) {
        cluster_read(storage);
    } else if (o->step == OPENING_SCAN && o->scan_waits && !o->loads[o->scan_at % 2].busy && !o->refused) {
        scan_load(storage, o->scan_at);
    } else if (o->step == OPENING_WINDOWS && o->scan_waits && !o->loads[0].busy && !o->loads[1].busy) {
        o->scan_waits = false;
        windows_next(storage);
    }
}

uint64_t opening_next_ns(const struct storage *storage)
{
    return storage->opening != NULL && storage->opening->step == OPENING_CLUSTER ? storage->opening->retry_ns
                                                                                 : UINT64_MAX;
}

void opening_free(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o == NULL) {
        return;
    }
    file_close(o);
    load_fini(&o->loads[0]);
    load_fini(&o->loads[1]);
    free(o->page);
    free(o->checkpoints);
    free(o->numbers);
    free(o->heads);
    free(o->head_pages);
    free(o);
    storage->opening = NULL;
}
