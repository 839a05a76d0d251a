/* open.c - from a directory to a running log, on top: the directory, the checkpoint, the turn. */
#include "segstore/disk/opening.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void PRINTF_LIKE(3, 4) opening_refuse(struct storage *storage, int error, const char *format, ...)
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

bool opening_file_open(struct storage *storage, const char *name, unsigned flags)
{
    char path[PREPARE_PATH_BYTES];
    snprintf(path, sizeof path, "%s/%s", storage->directory, name);
    int result = io_file_open(storage->io, path, flags, &storage->opening->file);
    if (result < 0 && result != -ENOENT) {
        opening_refuse(storage, result, "%s cannot be opened: %s", path, err_sentence(result));
    }
    return result == 0;
}

void opening_file_close(struct opening *o)
{
    if (o->file != NULL) {
        io_file_close(o->file);
        o->file = NULL;
    }
}

/* ---- directory ---- */

static void super_read(struct storage *storage)
{
    struct opening *o = storage->opening;
    memset(o->page, 0, SUPER_BYTES);
    if (!opening_file_open(storage, "super", IO_OPEN_READ_ONLY)) {
        if (!o->refused) {
            opening_format(storage);
        }
        return;
    }
    o->op = (struct io_op){.done = opening_super_done, .ctx = storage};
    io_read(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

/* One that cannot be removed is written over when its name is needed. */
static void leftover_gone(struct io_op *op, int result)
{
    struct storage *storage = op->ctx;
    (void)result;
    free(op);
    storage->opening->leftovers--;
    if (storage->opening->leftovers == 0 && storage->opening->taken) {
        super_read(storage);
    }
}

/* From a preparation or checkpoint that a crash cut short. It must be gone before anything else is made: the next file may have its name. */
static void drop_file(struct storage *storage, const char *directory, const char *name)
{
    char          path[PREPARE_PATH_BYTES];
    struct io_op *op = calloc(1, sizeof *op);
    if (op == NULL) {
        return;
    }
    *op = (struct io_op){.done = leftover_gone, .ctx = storage};
    storage->opening->leftovers++;
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

static void each_run(void *ctx, const char *name)
{
    struct storage *storage = ctx;
    uint64_t        number;
    if (segment_parse(name, &number) && segment_is_run(number)) {
        segments_at(&storage->segments, number)->exists = true;
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
    result      = result < 0 ? result : io_mkdir(storage->io, storage->run_directory);
    result      = result < 0 ? result : io_mkdir(storage->io, storage->checkpoint_directory);
    if (result < 0) {
        opening_refuse(storage, result, "%s cannot be made: %s", storage->directory, err_sentence(result));
        return false;
    }
    snprintf(path, sizeof path, "%s/lock", storage->directory);
    result = io_file_open(storage->io, path, IO_OPEN_CREATE, &storage->lock);
    result = result < 0 ? result : io_file_lock(storage->lock, path);
    if (result == -EBUSY) {
        opening_refuse(storage, result, "%s is in use by another process", storage->directory);
        return false;
    }
    if (result < 0) {
        opening_refuse(storage, result, "%s cannot be locked: %s", path, err_sentence(result));
        return false;
    }
    result = io_list(storage->io, storage->wal_directory, each_segment, storage);
    result = result < 0 ? result : io_list(storage->io, storage->run_directory, each_run, storage);
    result = result < 0 ? result : io_list(storage->io, storage->checkpoint_directory, each_checkpoint, storage);
    if (result < 0) {
        opening_refuse(storage, result, "%s cannot be listed: %s", storage->directory, err_sentence(result));
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
    o->taken         = directory_take(storage);
    if (o->taken && o->leftovers == 0) {
        super_read(storage);
    }
}

/* ---- checkpoint ---- */

/* What was ever logged and copied, when the checkpoint does not know: what is there. */
static void ledger_guess(struct storage *storage)
{
    const struct segment_table *log  = &storage->segments.log;
    struct save                *save = &storage->save;
    for (uint64_t i = 0; i < log->count; i++) {
        save->logged_before += log->slots[i].live > 0 ? storage->segments.segment_bytes : 0;
    }
    for (const struct log_segment *run = segments_next(&storage->segments, SEGMENT_RUN_FIRST); run != NULL;
         run                           = segments_next(&storage->segments, run->number + 1)) {
        save->copied_bytes += run->bytes;
    }
}

/* Runs are longer than the checkpoint knows when something was copied behind it: that was copied, too, and nobody will hold it. */
static void tails_count(struct storage *storage)
{
    for (struct log_segment *run = segments_next(&storage->segments, SEGMENT_RUN_FIRST); run != NULL;
         run                     = segments_next(&storage->segments, run->number + 1)) {
        char            name[SEGMENT_NAME_BYTES];
        char            path[PREPARE_PATH_BYTES];
        struct io_file *file;
        segment_name(run->number, name);
        snprintf(path, sizeof path, "%s/%s", storage->run_directory, name);
        if (io_file_open(storage->io, path, IO_OPEN_READ_ONLY, &file) < 0) {
            continue; /* whoever reads it is told why */
        }
        int64_t size    = io_file_size(file);
        run->tail_bytes = size > (int64_t)run->bytes ? (uint64_t)size - run->bytes : 0;
        storage->save.copied_bytes += run->tail_bytes;
        io_file_close(file);
    }
}

/* What the checkpoint knows of the files; behind the images, whose records were counted as if they were all there ever was. */
static void files_load(struct storage *storage, struct bytes image)
{
    struct checkpoint_file file;
    size_t                 at    = 0;
    bool                   known = false;
    while (checkpoint_next_file(image, &at, &file)) {
        if (file.number == CHECKPOINT_LEDGER) {
            storage->save.logged_before = file.total;
            storage->save.copied_bytes  = file.bytes;
            known                       = true;
            continue;
        }
        struct log_segment *segment = segments_find(&storage->segments, file.number);
        if (segment != NULL) {
            segment->total = file.total > segment->live ? file.total : segment->live;
            segment->bytes = file.bytes;
        }
    }
    if (!known) {
        ledger_guess(storage);
    }
}

/* The checkpoint is of an older format, and does not know: a file of the log held many small records. */
static void files_guess(struct storage *storage)
{
    enum { RECORD_BYTES = 16 * 1024 };
    uint64_t most = storage->segments.segment_bytes / RECORD_BYTES;
    for (uint64_t i = 0; i < storage->segments.log.count; i++) {
        struct log_segment *segment = &storage->segments.log.slots[i];
        segment->total              = segment->total > most ? segment->total : most;
    }
}

static void checkpoint_done(void *ctx, struct load *load, int result)
{
    struct storage   *storage = ctx;
    struct opening   *o       = storage->opening;
    uint64_t          number  = o->checkpoints[o->checkpoint_at];
    struct bytes      file    = bytes_of(load->memory, load->size_bytes);
    struct checkpoint c;
    opening_file_close(o);
    result = result < 0 ? result : checkpoint_decode(file, &storage->super.id, &c);
    if (result == 0 && (c.number != number || c.stripe_count != storage->config.shard_stripe_count)) {
        result = ERR_CORRUPT;
    }
    if (result < 0) {
        log_error("%s/%012llu cannot be used (%s): trying the one before it, and more of the log",
                  storage->checkpoint_directory, (unsigned long long)number, err_sentence(result));
        opening_checkpoint(storage);
        return;
    }
    struct checkpoint_section section;
    size_t                    at = 0;
    storage->save.needs          = UINT64_MAX;
    while (checkpoint_next(file, &c, &at, &section)) {
        if (section.stripe == CHECKPOINT_FILES) {
            files_load(storage, section.image);
            continue;
        }
        result = storage->hooks.load(storage->hooks.ctx, &section);
        if (result < 0) { /* whole by its checksum, yet not understood: another program wrote it */
            opening_refuse(storage, result,
                           "%s/%012llu holds an image of stripe %u that this version does not understand",
                           storage->checkpoint_directory, (unsigned long long)number, section.stripe);
            return;
        }
    }
    if (c.version < CHECKPOINT_VERSION_FILES) {
        files_guess(storage);
        ledger_guess(storage);
    }
    tails_count(storage);
    o->last              = (struct wal_end){c.last_seq, c.last_checksum, c.last_stripes, c.replay_position};
    o->loaded_checkpoint = number;
    storage->save.newest = (struct saved){number, c.replay_position, storage->save.needs};
    o->read_bytes += file.size;
    opening_replay(storage);
}

/* Tries the newest checkpoint that was not tried yet. */
void opening_checkpoint(struct storage *storage)
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
        if (!opening_file_open(storage, name, IO_OPEN_READ_ONLY)) {
            return;
        }
        int64_t size = io_file_size(o->file);
        if (size > 0) {
            load_begin(&o->loads[0], o->file, (size_t)size, checkpoint_done, storage);
            return;
        }
        opening_file_close(o);
        log_error("%s/%s is empty: trying the one before it, and more of the log", storage->directory, name);
    }
    o->last = (struct wal_end){.position = segments_position(&storage->segments, 1)};
    tails_count(storage);
    opening_replay(storage);
}

/* ---- the turn ---- */

void opening_turn(struct storage *storage)
{
    struct opening *o = storage->opening;
    if (o == NULL) {
        return;
    }
    if (o->step == OPENING_CLUSTER && io_now_ns(storage->io) >= o->retry_ns) {
        opening_cluster_read(storage);
    } else if (o->step == OPENING_SCAN && o->scan_waits && !o->loads[o->scan_at % 2].busy && !o->refused) {
        opening_replay_load(storage, o->scan_at);
    } else if (o->step == OPENING_WINDOWS && o->scan_waits && !o->loads[0].busy && !o->loads[1].busy) {
        o->scan_waits = false;
        opening_behind_next(storage);
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
    opening_file_close(o);
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
