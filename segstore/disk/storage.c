/* storage.c - puts the parts together and hands them the turn. */
#include "segstore/disk/storage.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdio.h>
#include <stdlib.h>

static void on_failed(void *ctx, const char *what, int error)
{
    struct storage *storage = ctx;
    storage->hooks.failed(storage->hooks.ctx, what, error);
}

static void on_durable(void *ctx, const struct log_entry *entry)
{
    struct storage *storage = ctx;
    storage->hooks.durable(storage->hooks.ctx, entry);
}

static bool on_image(void *ctx, uint32_t nth, struct wire_writer *w, struct checkpoint_section *out)
{
    struct storage *storage = ctx;
    return storage->hooks.image(storage->hooks.ctx, nth, w, out);
}

static void on_saved(void *ctx)
{
    struct storage *storage = ctx;
    storage->hooks.saved(storage->hooks.ctx);
}

static void on_chunk(void *ctx, int result)
{
    struct storage *storage = ctx;
    if (result < 0) { /* those who wait ask again, and are told by their own read */
        log_error("a read of %s failed: %s", storage->wal_directory, err_sentence(result));
    }
    storage->hooks.loaded(storage->hooks.ctx);
}

static int on_segment_open(void *ctx, struct log_segment *segment)
{
    return storage_segment_open(ctx, segment);
}

/* Whoever starts again should not have to replay what is damaged: a checkpoint is made. */
static void on_damaged(void *ctx, uint64_t position, uint64_t bytes, uint64_t stripes)
{
    struct storage *storage = ctx;
    if (position >= storage->save.newest.replay_position &&
        !segment_is_run(segments_number(&storage->segments, position))) {
        storage->save.wanted = true;
    }
    storage->hooks.damage_found(storage->hooks.ctx, position, bytes, stripes);
}

static bool on_walk(void *ctx, bool begin, uint32_t steps, void (*each)(void *ctx, const struct survivor *survivor),
                    void *each_ctx)
{
    struct storage *storage = ctx;
    return storage->hooks.walk(storage->hooks.ctx, begin, steps, each, each_ctx);
}

static bool on_holds(void *ctx, const struct survivor *survivor)
{
    struct storage *storage = ctx;
    return storage->hooks.holds(storage->hooks.ctx, survivor);
}

static bool on_move(void *ctx, const struct survivor *survivor, uint64_t to)
{
    struct storage *storage = ctx;
    return storage->hooks.move(storage->hooks.ctx, survivor, to);
}

struct storage *storage_new(struct io *io, const struct storage_config *config, const struct storage_hooks *hooks)
{
    struct storage *storage = calloc(1, sizeof *storage);
    if (storage == NULL) {
        fatal(71, "out of memory at start");
    }
    storage->io     = io;
    storage->config = *config;
    storage->hooks  = *hooks;
    snprintf(storage->directory, sizeof storage->directory, "%s/shard-%02u", config->data_directory, config->shard);
    snprintf(storage->wal_directory, sizeof storage->wal_directory, "%s/wal", storage->directory);
    snprintf(storage->run_directory, sizeof storage->run_directory, "%s/runs", storage->directory);
    snprintf(storage->checkpoint_directory, sizeof storage->checkpoint_directory, "%s/ckpt", storage->directory);

    segments_init(&storage->segments, config->segment_bytes);
    prepare_init(&storage->prepare, io, &storage->segments, &storage->spare, storage->wal_directory,
                 config->segments_ready, config->reserve_bytes);
    storage->prepare.failed = on_failed;
    storage->prepare.ctx    = storage;

    struct wal_hooks wal_hooks = {.ctx = storage, .durable = on_durable, .failed = on_failed};
    wal_init(&storage->wal, io, &storage->prepare, &wal_hooks, &storage->super.id, io_random(io), config->tail_bytes,
             config->wal_depth);

    chunks_init(&storage->chunks, io, &storage->segments, config->cold_chunks, config->cold_depth, config->cold_rate);
    storage->chunks.loaded = on_chunk;
    storage->chunks.open   = on_segment_open;
    storage->chunks.ctx    = storage;
    fetch_init(&storage->fetch, &storage->wal, &storage->chunks);
    storage->fetch.strict = config->member_count > 1;

    struct save_hooks save_hooks = {.ctx = storage, .image = on_image, .saved = on_saved, .failed = on_failed};
    save_init(&storage->save, io, &save_hooks);
    storage->save.wal           = &storage->wal;
    storage->save.spare         = &storage->spare;
    storage->save.segments      = &storage->segments;
    storage->save.chunks        = &storage->chunks;
    storage->save.wal_directory = storage->wal_directory;
    storage->save.run_directory = storage->run_directory;
    storage->save.directory     = storage->checkpoint_directory;
    storage->save.stripe_count  = config->shard_stripe_count;
    storage->save.every_bytes   = config->checkpoint_bytes;
    storage->save.every_ns      = config->checkpoint_ns;

    struct scrub_hooks scrub_hooks = {.ctx = storage, .damaged = on_damaged};
    scrub_init(&storage->scrub, io, &storage->segments, &storage->wal, storage->wal_directory, storage->run_directory,
               config->sector_bytes, config->scrub_ns, &scrub_hooks);

    const struct reclaim_hooks reclaim_hooks = {.ctx     = storage,
                                                .walk    = on_walk,
                                                .holds   = on_holds,
                                                .move    = on_move,
                                                .open    = on_segment_open,
                                                .damaged = on_damaged,
                                                .failed  = on_failed};
    reclaim_init(&storage->reclaim, io, &reclaim_hooks);
    storage->reclaim.segments      = &storage->segments;
    storage->reclaim.wal           = &storage->wal;
    storage->reclaim.prepare       = &storage->prepare;
    storage->reclaim.save          = &storage->save;
    storage->reclaim.run_directory = storage->run_directory;
    storage->reclaim.log_bytes     = config->log_bytes;
    storage->reclaim.age_ns        = config->reclaim_ns;
    storage->reclaim.rate          = config->reclaim_rate;
    return storage;
}

void storage_open(struct storage *storage)
{
    opening_begin(storage);
}

void storage_free(struct storage *storage)
{
    if (storage == NULL) {
        return;
    }
    opening_free(storage);
    scrub_fini(&storage->scrub);
    reclaim_fini(&storage->reclaim);
    save_fini(&storage->save);
    fetch_fini(&storage->fetch);
    chunks_fini(&storage->chunks);
    wal_fini(&storage->wal);
    prepare_fini(&storage->prepare);
    for (struct log_segment *each = segments_next(&storage->segments, 0); each != NULL;
         each                     = segments_next(&storage->segments, each->number + 1)) {
        if (each->file != NULL) {
            io_file_close(each->file);
        }
    }
    segments_fini(&storage->segments);
    if (storage->lock != NULL) {
        io_file_close(storage->lock);
    }
    free(storage);
}

int storage_segment_open(struct storage *storage, struct log_segment *segment)
{
    if (segment->file != NULL) {
        return 0;
    }
    char            name[SEGMENT_NAME_BYTES];
    char            path[PREPARE_PATH_BYTES];
    struct io_file *file;
    segment_name(segment->number, name);
    snprintf(path, sizeof path, "%s/%s",
             segment_is_run(segment->number) ? storage->run_directory : storage->wal_directory, name);
    int result = io_file_open(storage->io, path, IO_OPEN_DIRECT, &file);
    if (result < 0) {
        log_error("%s cannot be opened: %s", path, err_sentence(result));
        return result;
    }
    segment->file = file;
    return 0;
}

int storage_append(struct storage *storage, const struct log_entry *entry, const uint8_t **out_ops)
{
    ASSERT(storage->open);
    return wal_append(&storage->wal, entry, out_ops);
}

bool storage_admits(const struct storage *storage, enum storage_need need)
{
    const struct prepare *p = &storage->prepare;
    if (!p->full) {
        return true;
    }
    if (need == STORAGE_DATA) { /* the last prepared segment is kept for the others */
        return p->ready_count >= 2;
    }
    /* What is left of the segment in use is shared: the last quarter is for entries that make room, down to what blocks under way may
     * need of it. In a segment of a few groups only that is less, or no trim would ever be taken again. */
    uint64_t segment_bytes = storage->segments.segment_bytes;
    uint64_t group_bytes   = 2 * (uint64_t)BLOCK_GROUP_BYTES;
    uint64_t last_bytes    = group_bytes < segment_bytes / 8 ? group_bytes : segment_bytes / 8;
    uint64_t kept_bytes    = need == STORAGE_SMALL ? segment_bytes / 4 : last_bytes;
    return p->ready_count >= 1 || wal_segment_left(&storage->wal) >= kept_bytes;
}

bool storage_places(const struct storage *storage, size_t bytes)
{
    uint64_t left  = wal_segment_left(&storage->wal);
    bool     spent = left == 0 && storage->wal.submit < storage->wal.end; /* what waits takes a whole one more */
    return left >= block_size_for(bytes) + 2 * (uint64_t)BLOCK_PAGE_BYTES ||
           storage->prepare.ready_count >= (spent ? 2u : 1u);
}

void storage_turn(struct storage *storage)
{
    if (!storage->open) {
        opening_turn(storage);
        return;
    }
    wal_turn(&storage->wal, io_now_ns(storage->io));
    chunks_turn(&storage->chunks);
    storage->prepare.starving = storage->prepare.full && !storage_admits(storage, STORAGE_ROOM);
    storage->prepare.begun    = storage->wal.segment_number != 0;
    storage->prepare.hungry   = storage->wal.starving;
    prepare_turn(&storage->prepare);
    save_turn(&storage->save, storage->prepare.full);
    scrub_turn(&storage->scrub);
    reclaim_turn(&storage->reclaim);
}

uint64_t storage_next_ns(const struct storage *storage)
{
    if (!storage->open) {
        return opening_next_ns(storage);
    }
    uint64_t next    = wal_next_ns(&storage->wal);
    uint64_t prepare = prepare_next_ns(&storage->prepare);
    uint64_t save    = save_next_ns(&storage->save);
    uint64_t scrub   = scrub_next_ns(&storage->scrub);
    uint64_t reclaim = reclaim_next_ns(&storage->reclaim);
    next             = prepare < next ? prepare : next;
    next             = scrub < next ? scrub : next;
    next             = reclaim < next ? reclaim : next;
    uint64_t chunks  = chunks_next_ns(&storage->chunks);
    next             = chunks < next ? chunks : next;
    return save < next ? save : next;
}

void storage_stop(struct storage *storage)
{
    storage->prepare.stopping = true;
    storage->save.stopping    = true;
    storage->scrub.stopping   = true;
    storage->reclaim.stopping = true;
}

bool storage_idle(const struct storage *storage)
{
    return !storage->open ||
           (wal_idle(&storage->wal) && !prepare_busy(&storage->prepare) && !save_busy(&storage->save) &&
            storage->chunks.reading == 0 && !storage->scrub.reading && !reclaim_busy(&storage->reclaim));
}
