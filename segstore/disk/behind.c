/* behind.c - where the log goes on: segments that were never written to, then a sync, and the storage is open. */
#include "segstore/disk/opening.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdio.h>
#include <string.h>

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
        opening_refuse(storage, result, "%s cannot be synced: %s", storage->directory, err_sentence(result));
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
        io_sync_directory(storage->io, &o->op, storage->run_directory);
        return;
    case 3:
        io_sync_directory(storage->io, &o->op, storage->directory);
        return;
    default:
        if (sync_above(storage, o->head_at - 5)) {
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
    storage->save.logged_before += o->replayed_bytes;
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
    bool                zero    = result == 0 && bytes_zero(bytes_of(load->memory, load->size_bytes)) &&
                io_file_size(s->file) == (int64_t)storage->segments.segment_bytes;
    if (zero) {
        (void)prepare_adopt(&storage->prepare, head->number, s->file);
    }
    opening_behind_next(storage);
}

void opening_behind_next(struct storage *storage)
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
    uint64_t bytes =
        storage->segments.segment_bytes < OPENING_WINDOW_BYTES ? storage->segments.segment_bytes : OPENING_WINDOW_BYTES;
    load_begin(&o->loads[0], segments_find(&storage->segments, o->heads[o->head_at].number)->file, (size_t)bytes,
               window_done, storage);
}

void opening_behind(struct storage *storage)
{
    struct opening *o = storage->opening;
    o->step           = OPENING_WINDOWS;
    o->head_at        = 0;
    if (!o->loads[0].busy && !o->loads[1].busy) {
        opening_behind_next(storage);
    } else {
        o->scan_waits = true; /* a prefetch is still arriving: opening_turn goes on when it has */
    }
}
