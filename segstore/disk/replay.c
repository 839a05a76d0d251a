/* replay.c - the first page of each segment, then the log from the checkpoint to its end, past what is torn and damaged. */
#include "segstore/disk/opening.h"

#include "shared/base/err.h"
#include "shared/base/log.h"

#include <stdlib.h>

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
        opening_refuse(storage, o->head_result, "the log in %s cannot be read: %s", storage->wal_directory,
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

void opening_replay(struct storage *storage)
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
            opening_refuse(storage, result, "%s/%012llu cannot be opened: %s", storage->wal_directory,
                           (unsigned long long)o->numbers[i], err_sentence(result));
            return;
        }
    }
    heads_read(storage);
}

/* ---- replay ---- */

static void scan_segment(struct storage *storage, size_t at, size_t offset);

static void scan_loaded(void *ctx, struct load *load, int result)
{
    struct storage *storage = ctx;
    struct opening *o       = storage->opening;
    if (result < 0) {
        opening_refuse(storage, result, "the log in %s cannot be read: %s", storage->wal_directory,
                       err_sentence(result));
        return;
    }
    o->read_bytes += load->size_bytes;
    if (o->scan_waits && o->load_at[load - o->loads] == o->scan_at && !o->refused) {
        scan_segment(storage, o->scan_at, o->scan_offset);
    }
}

void opening_replay_load(struct storage *storage, size_t at)
{
    struct opening     *o = storage->opening;
    struct log_segment *s = segments_find(&storage->segments, o->heads[at].number);
    /* One that begins with zeros can hold no more than writes that were under way. */
    uint64_t bytes = storage->segments.segment_bytes;
    if (o->heads[at].zero && bytes > OPENING_WINDOW_BYTES) {
        bytes = OPENING_WINDOW_BYTES;
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
        opening_replay_load(storage, at);
    }
}

static void scan_begin(struct storage *storage)
{
    struct opening *o    = storage->opening;
    o->step              = OPENING_SCAN;
    uint64_t from_number = segments_number(&storage->segments, o->last.position);
    if (o->head_count == 0) {
        opening_behind(storage);
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
        storage->hooks.replay(storage->hooks.ctx, &entry, header->block_seq);
        o->entry_count++;
    }
    o->block_count++;
    o->replayed_bytes += header->length;
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
    bool            known   = o->lost_known && (resume != NULL || !o->lost_more);
    uint64_t        stripes = recover_lost_stripes(o->last.seq, known ? &o->lost_header : NULL, resume);
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
    opening_behind(storage);
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
    if (look.damage == RECOVER_NOTHING && at + 1 < o->head_count) {
        const struct head *next_head = &o->heads[at + 1];
        if (!next_head->good || next_head->header.block_seq <= o->last.seq + 1) { /* the next block would be there */
            scan_goto(storage, at + 1, 0);
            return false;
        }
        look.damage = RECOVER_HEADER_ZERO; /* of two writes under way the later one arrived, in a segment of its own */
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
    o->lost_more   = look.more;
    for (size_t i = at + 1; i < o->head_count; i++) {
        o->lost_more = o->lost_more || !o->heads[i].zero;
    }
    bool known = look.header_known && (look.resumes || !o->lost_more);
    damage_report(storage, o->heads[at].number, *offset, verdict,
                  recover_lost_stripes(o->last.seq, known ? &look.header : NULL, look.resumes ? &look.resume : NULL));
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
        opening_replay_load(storage, at + 1);
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
