/* disk.c - puts the parts together and hands them the turn. */
#include "segstore/disk/disk.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdio.h>
#include <stdlib.h>

static void on_failed(void *ctx, const char *what, int error)
{
    struct disk *disk = ctx;
    disk->hooks.failed(disk->hooks.ctx, what, error);
}

static void on_committed(void *ctx, const struct log_entry *entry)
{
    struct disk *disk = ctx;
    disk->hooks.committed(disk->hooks.ctx, entry);
}

static void on_image(void *ctx, uint32_t nth, struct wire_writer *w, uint16_t *out_stripe, uint64_t *out_index)
{
    struct disk *disk = ctx;
    disk->hooks.image(disk->hooks.ctx, nth, w, out_stripe, out_index);
}

static void on_saved(void *ctx)
{
    struct disk *disk = ctx;
    disk->hooks.saved(disk->hooks.ctx);
}

static void on_chunk(void *ctx, int result)
{
    struct disk *disk = ctx;
    if (result < 0) { /* those who wait ask again, and are told by their own read */
        log_error("a read of %s failed: %s", disk->wal_directory, err_sentence(result));
    }
    disk->hooks.loaded(disk->hooks.ctx);
}

static int on_segment_open(void *ctx, struct segment *segment)
{
    return disk_segment_open(ctx, segment);
}

struct disk *disk_new(struct io *io, const struct disk_config *config, const struct disk_hooks *hooks)
{
    struct disk *disk = calloc(1, sizeof *disk);
    if (disk == NULL) {
        fatal(71, "out of memory at start");
    }
    disk->io     = io;
    disk->config = *config;
    disk->hooks  = *hooks;
    snprintf(disk->directory, sizeof disk->directory, "%s/shard-%02u", config->data_directory, config->shard);
    snprintf(disk->wal_directory, sizeof disk->wal_directory, "%s/wal", disk->directory);
    snprintf(disk->checkpoint_directory, sizeof disk->checkpoint_directory, "%s/ckpt", disk->directory);

    segments_init(&disk->segments, config->segment_bytes);
    prepare_init(&disk->prepare, io, &disk->segments, disk->wal_directory, config->segments_ready, config->reserve_bytes);
    disk->prepare.failed = on_failed;
    disk->prepare.ctx    = disk;

    struct wal_hooks wal_hooks = {.ctx = disk, .committed = on_committed, .failed = on_failed};
    wal_init(&disk->wal, io, &disk->prepare, &wal_hooks, &disk->super.id, io_random(io), config->tail_bytes, config->wal_depth);

    chunks_init(&disk->chunks, io, &disk->segments, config->cold_chunks, config->cold_depth);
    disk->chunks.loaded = on_chunk;
    disk->chunks.open   = on_segment_open;
    disk->chunks.ctx    = disk;
    fetch_init(&disk->fetch, &disk->wal, &disk->chunks, config->record_max_bytes);

    struct save_hooks save_hooks = {.ctx = disk, .image = on_image, .saved = on_saved, .failed = on_failed};
    save_init(&disk->save, io, &save_hooks);
    disk->save.wal           = &disk->wal;
    disk->save.segments      = &disk->segments;
    disk->save.chunks        = &disk->chunks;
    disk->save.wal_directory = disk->wal_directory;
    disk->save.directory     = disk->checkpoint_directory;
    disk->save.stripe_count  = config->shard_stripe_count;
    disk->save.every_bytes   = config->checkpoint_bytes;
    disk->save.every_ns      = config->checkpoint_ns;
    return disk;
}

void disk_open(struct disk *disk)
{
    opening_begin(disk);
}

void disk_free(struct disk *disk)
{
    if (disk == NULL) {
        return;
    }
    opening_free(disk);
    save_fini(&disk->save);
    fetch_fini(&disk->fetch);
    chunks_fini(&disk->chunks);
    wal_fini(&disk->wal);
    prepare_fini(&disk->prepare);
    for (uint64_t i = 0; i < disk->segments.count; i++) {
        if (disk->segments.slots[i].file != NULL) {
            io_file_close(disk->segments.slots[i].file);
        }
    }
    segments_fini(&disk->segments);
    if (disk->lock != NULL) {
        io_file_close(disk->lock);
    }
    free(disk);
}

int disk_segment_open(struct disk *disk, struct segment *segment)
{
    if (segment->file != NULL) {
        return 0;
    }
    char            name[SEGMENT_NAME_BYTES];
    char            path[PREPARE_PATH_BYTES];
    struct io_file *file;
    segment_name(segment->number, name);
    snprintf(path, sizeof path, "%s/%s", disk->wal_directory, name);
    int result = io_file_open(disk->io, path, IO_OPEN_DIRECT, &file);
    if (result < 0) {
        log_error("%s cannot be opened: %s", path, err_sentence(result));
        return result;
    }
    segment->file = file;
    return 0;
}

int disk_append(struct disk *disk, const struct log_entry *entry)
{
    ASSERT(disk->open);
    return wal_append(&disk->wal, entry);
}

bool disk_admits(const struct disk *disk, bool adds)
{
    const struct prepare *p = &disk->prepare;
    if (!p->full) {
        return true;
    }
    if (adds) { /* the last ready segment is kept for entries that make room */
        return p->ready_count >= 2;
    }
    return p->ready_count >= 1 || wal_segment_left(&disk->wal) >= 2 * (uint64_t)BLOCK_GROUP_BYTES;
}

void disk_turn(struct disk *disk)
{
    if (!disk->open) {
        opening_turn(disk);
        return;
    }
    wal_turn(&disk->wal, io_now_ns(disk->io));
    prepare_turn(&disk->prepare);
    save_turn(&disk->save, disk->prepare.full);
}

uint64_t disk_next_ns(const struct disk *disk)
{
    if (!disk->open) {
        return opening_next_ns(disk);
    }
    uint64_t next    = wal_next_ns(&disk->wal);
    uint64_t prepare = prepare_next_ns(&disk->prepare);
    uint64_t save    = save_next_ns(&disk->save);
    next             = prepare < next ? prepare : next;
    return save < next ? save : next;
}

bool disk_idle(const struct disk *disk)
{
    return !disk->open || (wal_idle(&disk->wal) && !prepare_busy(&disk->prepare) && !save_busy(&disk->save) &&
                           disk->chunks.reading == 0);
}
