/* format.c - is this the directory it should be? Reads the super block, checks it, or makes it. */
#include "segstore/disk/opening.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <errno.h>
#include <stdio.h>

static const uint64_t CLUSTER_RETRY_NS = 20000000;

static void format(struct storage *storage)
{
    struct opening *o    = storage->opening;
    struct super   *s    = &storage->super;
    s->segment_bytes     = storage->config.segment_bytes;
    s->shard             = storage->config.shard;
    s->shard_count       = storage->config.shard_count;
    s->stripe_count      = storage->config.stripe_count;
    s->formatted_wall_ns = io_wall_ns(storage->io);
    s->node              = storage->config.node;
    s->member_count      = storage->config.member_count;
    memcpy(s->members, storage->config.members, sizeof s->members);
    for (size_t i = 0; i < sizeof s->id.bytes; i += 8) {
        uint64_t random = io_random(storage->io);
        memcpy(s->id.bytes + i, &random, sizeof random);
    }
    super_encode(s, o->page);
    o->step = OPENING_FORMAT;
    if (!opening_file_open(storage, "super.tmp", IO_OPEN_CREATE)) {
        return;
    }
    o->op = (struct io_op){.done = opening_super_done, .ctx = storage};
    io_write_durable(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

void opening_cluster_read(struct storage *storage)
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
    o->op = (struct io_op){.done = opening_super_done, .ctx = storage};
    io_read(o->file, &o->op, o->page, SUPER_BYTES, 0);
}

void opening_format(struct storage *storage)
{
    if (storage->opening->number_count > 0 || storage->opening->checkpoint_count > 0) {
        opening_refuse(
            storage, ERR_CORRUPT,
            "%s/super is missing or empty, but log files are there: restore it from a copy of this directory",
            storage->directory);
        return;
    }
    if (storage->config.shard == 0) {
        storage->super.cluster = storage->config.cluster != 0 ? storage->config.cluster : io_random(storage->io) | 1;
        format(storage);
    } else {
        opening_cluster_read(storage);
    }
}

static void super_accept(struct storage *storage)
{
    const struct super          *s = &storage->super;
    const struct storage_config *c = &storage->config;
    if (s->shard_count != c->shard_count) {
        opening_refuse(
            storage, ERR_CONFLICT,
            "%s was made for %u shards, this start asks for %u: start with shards=%u, the number cannot change",
            c->data_directory, s->shard_count, c->shard_count, s->shard_count);
        return;
    }
    if (s->stripe_count != c->stripe_count || s->shard != c->shard) {
        opening_refuse(
            storage, ERR_CONFLICT,
            "%s was made for shard %u with %u stripes, this start asks for shard %u with %u: the numbers cannot change",
            storage->directory, s->shard, s->stripe_count, c->shard, c->stripe_count);
        return;
    }
    if (s->node != c->node) {
        opening_refuse(
            storage, ERR_CONFLICT,
            "%s belongs to node %u, this start says node %u: start with segstore.node=%u, or with the directory of "
            "node %u",
            c->data_directory, s->node, c->node, s->node, c->node);
        return;
    }
    if (c->cluster != 0 && s->cluster != c->cluster) {
        opening_refuse(
            storage, ERR_CONFLICT,
            "%s belongs to another cluster than the one that segstore.cluster names: start with that name, or with "
            "an empty directory",
            c->data_directory);
        return;
    }
    if (s->segment_bytes != c->segment_bytes) {
        log_warn("%s keeps its segment size of %llu bytes; the configured %llu is for new directories",
                 storage->directory, (unsigned long long)s->segment_bytes, (unsigned long long)c->segment_bytes);
    }
    storage->segments.segment_bytes = s->segment_bytes;
    storage->wal.id                 = s->id;
    opening_checkpoint(storage);
}

static void super_read_done(struct storage *storage, int result)
{
    struct opening *o = storage->opening;
    struct super    super;
    opening_file_close(o);
    if (result < 0) {
        opening_refuse(storage, result, "%s/super cannot be read: %s", storage->directory, err_sentence(result));
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
        opening_format(storage);
        return;
    case SUPER_VERSION_OTHER:
        opening_refuse(storage, ERR_VERSION,
                       "%s was written by another version of keel-segstore: this one reads format %d only",
                       storage->directory, SUPER_VERSION);
        return;
    case SUPER_UNREADABLE:
        break;
    }
    opening_refuse(storage, ERR_CORRUPT,
                   "%s/super is damaged (fewer than 2 of its 4 copies agree): restore it from a copy of this directory",
                   storage->directory);
}

static void super_format_step(struct storage *storage, int result)
{
    struct opening *o = storage->opening;
    char            from[PREPARE_PATH_BYTES];
    char            to[PREPARE_PATH_BYTES];
    if (result < 0) {
        opening_refuse(storage, result, "%s cannot be formatted: %s", storage->directory, err_sentence(result));
        return;
    }
    if (result > 0) { /* written */
        io_sync(o->file, &o->op);
        o->head_at = 1;
        return;
    }
    switch (o->head_at++) {
    case 1:
        opening_file_close(o);
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

void opening_super_done(struct io_op *op, int result)
{
    struct storage *storage = op->ctx;
    if (storage->opening->step == OPENING_FORMAT) {
        super_format_step(storage, result);
    } else {
        super_read_done(storage, result);
    }
}
