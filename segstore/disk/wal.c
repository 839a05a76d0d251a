/* wal.c - a ring of blocks, and the writes under way. */
#include "segstore/disk/wal.h"

#include "shared/base/buggify.h"
#include "shared/base/err.h"

#include <stdlib.h>

static const uint64_t STAMP_AFTER_NS = 10000000;
/* A second group may be under way beside another: a small one beside a small one costs little, and a large one lets the disk work while the next gathers.
 * One in between gains more by growing on than by being written at once. */
enum { SECOND_WRITE_BYTES = 16 * 1024, LARGE_WRITE_BYTES = 256 * 1024 };

static struct wal_block *block_at(const struct wal *wal, uint64_t i)
{
    return &wal->blocks[i % wal->capacity];
}

static void wal_check(const struct wal *wal)
{
    ASSERT(wal->first <= wal->deliver && wal->deliver <= wal->submit && wal->submit <= wal->end);
    ASSERT(wal->end - wal->first <= wal->capacity);
    ASSERT(wal->flying <= wal->depth);
    ASSERT(wal->stable_seq <= wal->last.seq);
}

void wal_init(struct wal *wal, struct io *io, struct prepare *prepare, const struct wal_hooks *hooks,
              const struct wal_id *id, uint64_t run_id, size_t tail_bytes, uint32_t depth)
{
    size_t ring_bytes =
        tail_bytes < WAL_TAIL_MIN_BYTES ? WAL_TAIL_MIN_BYTES : tail_bytes / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES;
    *wal = (struct wal){
        .io         = io,
        .prepare    = prepare,
        .hooks      = *hooks,
        .id         = *id,
        .run_id     = run_id,
        .ring       = aligned_alloc(IO_ALIGN_BYTES, ring_bytes),
        .ring_bytes = ring_bytes,
        .capacity   = ring_bytes / BLOCK_PAGE_BYTES + 2,
        .depth      = depth == 0              ? 1
                      : depth < WAL_DEPTH_MAX ? depth
                                              : WAL_DEPTH_MAX,
    };
    wal->blocks = calloc(wal->capacity, sizeof *wal->blocks);
    if (wal->ring == NULL || wal->blocks == NULL) {
        fatal(71, "out of memory for the log's tail of %zu bytes", ring_bytes);
    }
}

void wal_start(struct wal *wal, const struct wal_end *end, uint64_t stable_seq)
{
    wal->last               = *end;
    wal->delivered          = *end;
    wal->stable_seq         = stable_seq;
    wal->claimed_stable_seq = stable_seq;
    wal->data_seq           = stable_seq;
}

void wal_fini(struct wal *wal)
{
    free(wal->ring);
    free(wal->blocks);
    *wal = (struct wal){0};
}

/* ---- memory ---- */

/* Forgets delivered blocks that lie in ring[from, from + size); false when one of them is still needed. */
static bool evict(struct wal *wal, size_t from, size_t size)
{
    while (wal->first < wal->end) {
        const struct wal_block *b = block_at(wal, wal->first);
        if (b->at >= from + size || b->at + b->room <= from) {
            return true;
        }
        if (b->state != WAL_DELIVERED) {
            return false;
        }
        wal->first++;
    }
    return true;
}

/* A piece of the ring for a new block, or false. */
static bool claim(struct wal *wal, size_t size, size_t *out_at)
{
    if (wal->end - wal->first == wal->capacity) {
        if (block_at(wal, wal->first)->state != WAL_DELIVERED) {
            return false;
        }
        wal->first++;
    }
    if (wal->ring_bytes - wal->head < size) { /* does not fit before the end: begin anew, past what is oldest */
        if (!evict(wal, wal->head, wal->ring_bytes - wal->head)) {
            return false;
        }
        wal->head = 0;
    }
    if (!evict(wal, wal->head, size)) {
        return false;
    }
    *out_at = wal->head;
    return true;
}

static bool has_open(const struct wal *wal)
{
    return wal->end > wal->submit && block_at(wal, wal->end - 1)->state == WAL_OPEN;
}

/* The open block takes nothing more; what it did not use of the ring goes back. */
static void close_open(struct wal *wal)
{
    struct wal_block *b = block_at(wal, wal->end - 1);
    b->room   = (uint32_t)((wal->writer.used_bytes + BLOCK_PAGE_BYTES - 1) / BLOCK_PAGE_BYTES * BLOCK_PAGE_BYTES);
    b->state  = WAL_CLOSED;
    b->header = (struct block_header){.stripes     = wal->writer.stripes,
                                      .entry_count = wal->writer.entry_count,
                                      .body_offset = wal->writer.body_offset,
                                      .body_bytes  = (uint32_t)(wal->writer.used_bytes - wal->writer.body_offset)};
    wal->head = b->at + b->room;
}

static bool open_block(struct wal *wal, size_t size)
{
    size_t at;
    if (!claim(wal, size, &at)) {
        return false;
    }
    *block_at(wal, wal->end) = (struct wal_block){.at = (uint32_t)at, .room = (uint32_t)size, .state = WAL_OPEN};
    wal->end++;
    wal->head = at + size;
    block_begin(&wal->writer, wal->ring + at, size);
    return true;
}

bool wal_roomy(const struct wal *wal, size_t bytes)
{
    size_t held = 0;
    if (wal->deliver <
        wal->end) { /* from the first block that is not delivered to the head, the way that blocks are laid */
        size_t from = block_at(wal, wal->deliver)->at;
        held        = wal->head > from ? wal->head - from : wal->head + wal->ring_bytes - from;
    }
    /* What blocks waste: their headers, the end of the ring, a group that is open. */
    return wal->end - wal->deliver < wal->capacity / 2 &&
           held + bytes + 3 * (size_t)BLOCK_MAX_BYTES / 2 <= wal->ring_bytes;
}

int wal_append(struct wal *wal, const struct log_entry *entry, const uint8_t **out_ops)
{
    size_t size = block_size_for(entry->ops.size);
    if (size > BLOCK_MAX_BYTES || size > wal->prepare->segments->segment_bytes) {
        return ERR_TOO_BIG;
    }
    if (has_open(wal) && (!block_fits(&wal->writer, entry->ops.size) || BUGGIFY("wal: a group is closed early", 4))) {
        close_open(wal);
    }
    size_t group = BLOCK_GROUP_BYTES < wal->prepare->segments->segment_bytes
                       ? BLOCK_GROUP_BYTES
                       : (size_t)wal->prepare->segments->segment_bytes;
    if (!has_open(wal) && !open_block(wal, size < group ? group : size)) {
        return ERR_FULL;
    }
    const uint8_t *ops = block_append(&wal->writer, entry);
    if (out_ops != NULL) {
        *out_ops = ops;
    }
    return 0;
}

/* ---- writing ---- */

static void written(struct io_op *op, int result)
{
    struct wal_flight *flight = op->ctx;
    struct wal        *wal    = flight->wal;
    struct wal_block  *b      = block_at(wal, flight->block);
    flight->busy              = false;
    wal->flying--;
    if (result < 0 || (uint32_t)result != b->header.length) {
        wal->broken = true;
        wal->hooks.failed(wal->hooks.ctx, "writing the log", result < 0 ? result : ERR_DISK_FULL);
        return;
    }
    wal->rest_ns = io_now_ns(wal->io);
    spare_logged(wal->prepare->spare, b->header.length, flight->begun_ns, wal->rest_ns);
    b->state = WAL_DURABLE;
    for (uint64_t i = wal->deliver; i < wal->submit; i++) {
        const struct wal_block *next = block_at(wal, i);
        if (next->state != WAL_DURABLE && next->state != WAL_DELIVERED) {
            break;
        }
        wal->stable_seq = next->header.block_seq > wal->stable_seq ? next->header.block_seq : wal->stable_seq;
    }
}

static size_t block_bytes(const struct wal_block *b)
{
    return b->room;
}

/* A segment with room for length bytes is being written, or false: none is ready. */
static bool have_segment(struct wal *wal, size_t length)
{
    uint64_t segment_bytes = wal->prepare->segments->segment_bytes;
    if (wal->segment_number != 0 && segment_bytes - wal->segment_used >= length) {
        return true;
    }
    const struct log_segment *next = prepare_take(wal->prepare);
    if (next == NULL) {
        return false;
    }
    wal->segment_number = next->number;
    wal->segment_file   = next->file;
    wal->segment_used   = 0;
    return true;
}

/* Submits block number wal->submit, which is closed. */
static bool submit(struct wal *wal)
{
    struct wal_block *b = block_at(wal, wal->submit);
    ASSERT(b->state == WAL_CLOSED);
    if (!have_segment(wal, block_bytes(b))) {
        return false;
    }
    struct wal_flight *flight = wal->flights;
    while (flight->busy) {
        flight++;
    }
    struct block_header link = {
        .position         = segments_position(wal->prepare->segments, wal->segment_number) + wal->segment_used,
        .block_seq        = wal->last.seq + 1,
        .stable_seq       = wal->stable_seq,
        .previous         = wal->last.checksum,
        .previous_stripes = wal->last.stripes,
        .run_id           = wal->run_id,
    };
    struct block_writer writer = {
        .image          = wal->ring + b->at,
        .capacity_bytes = b->room,
        .used_bytes     = (size_t)b->header.body_offset + b->header.body_bytes,
        .stripes        = b->header.stripes,
        .entry_count    = b->header.entry_count,
        .body_offset    = b->header.body_offset,
    };
    size_t length = block_seal(&writer, &wal->id, &link);
    ASSERT(length == b->room);
    b->header               = link;
    b->state                = WAL_FLYING;
    wal->last               = (struct wal_end){link.block_seq, link.checksum, link.stripes, link.position + length};
    wal->claimed_stable_seq = link.stable_seq;
    wal->data_seq           = link.entry_count > 0 ? link.block_seq : wal->data_seq;
    *flight                 = (struct wal_flight){.op       = {.done = written, .ctx = flight},
                                                  .wal      = wal,
                                                  .block    = wal->submit,
                                                  .begun_ns = io_now_ns(wal->io),
                                                  .busy     = true};
    wal->flying++;
    wal->submit++;
    wal->counts.writes++;
    wal->counts.bytes += length;
    wal->counts.entries += link.entry_count;
    io_write_durable(wal->segment_file, &flight->op, wal->ring + b->at, length, wal->segment_used);
    wal->segment_used += length;
    return true;
}

uint64_t wal_flying_bytes(const struct wal *wal)
{
    uint64_t bytes = 0;
    for (uint64_t i = wal->deliver; i < wal->submit; i++) {
        bytes += block_bytes(block_at(wal, i));
    }
    return bytes;
}

static bool worth_a_write(const struct wal *wal)
{
    if (wal->submit == wal->end) {
        return false;
    }
    if (wal->flying == 0) {
        return true;
    }
    if (block_at(wal, wal->submit)->state != WAL_OPEN || wal->writer.used_bytes >= LARGE_WRITE_BYTES) {
        return true;
    }
    return block_at(wal, wal->submit - 1)->room <= SECOND_WRITE_BYTES && wal->writer.used_bytes <= SECOND_WRITE_BYTES;
}

static void deliver(struct wal *wal)
{
    while (wal->deliver < wal->submit && block_at(wal, wal->deliver)->state == WAL_DURABLE) {
        struct wal_block   *b = block_at(wal, wal->deliver);
        struct block_cursor cursor;
        struct log_entry    entry;
        block_entries(&cursor, wal->ring + b->at, &b->header);
        while (block_next(&cursor, &entry)) {
            wal->hooks.durable(wal->hooks.ctx, &entry);
        }
        b->state       = WAL_DELIVERED;
        wal->delivered = (struct wal_end){b->header.block_seq, b->header.checksum, b->header.stripes,
                                          b->header.position + b->header.length};
        wal->deliver++;
    }
}

/* The last block's durability is known here only: say so in a block of its own. */
static bool stamp_is_due(const struct wal *wal)
{
    return wal->submit == wal->end && wal->flying == 0 && wal->claimed_stable_seq < wal->data_seq;
}

void wal_turn(struct wal *wal, uint64_t now_ns)
{
    if (wal->broken) {
        return;
    }
    wal_check(wal);
    deliver(wal);
    if (stamp_is_due(wal) && now_ns >= wal->rest_ns + STAMP_AFTER_NS) {
        (void)open_block(wal, BLOCK_PAGE_BYTES);
    }
    while (wal->flying < wal->depth && worth_a_write(wal)) {
        if (block_at(wal, wal->submit)->state == WAL_OPEN) {
            close_open(wal);
        }
        wal->starving = !submit(wal);
        if (wal->starving) {
            break;
        }
    }
    wal_check(wal);
}

uint64_t wal_next_ns(const struct wal *wal)
{
    if (!wal->broken && !wal->starving && wal->flying == 0 && wal->submit < wal->end) {
        return 0; /* taken behind this turn's submission */
    }
    return !wal->broken && stamp_is_due(wal) ? wal->rest_ns + STAMP_AFTER_NS : UINT64_MAX;
}

bool wal_idle(const struct wal *wal)
{
    return wal->deliver == wal->end && wal->flying == 0;
}

uint64_t wal_segment_left(const struct wal *wal)
{
    if (wal->segment_number == 0) {
        return 0;
    }
    uint64_t left = wal->prepare->segments->segment_bytes - wal->segment_used;
    for (uint64_t i = wal->submit; i < wal->end; i++) {
        uint64_t room = block_at(wal, i)->room;
        left          = left > room ? left - room : 0;
    }
    return left;
}

/* ---- reading ---- */

bool wal_view(const struct wal *wal, uint64_t position, struct bytes *out)
{
    uint64_t low  = wal->first;
    uint64_t high = wal->submit;
    while (low < high) { /* the first block that ends behind position */
        uint64_t                middle = low + (high - low) / 2;
        const struct wal_block *b      = block_at(wal, middle);
        if (b->header.position + b->header.length <= position) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == wal->submit) {
        return false;
    }
    const struct wal_block *b = block_at(wal, low);
    if (position < b->header.position) {
        return false;
    }
    uint64_t skip = position - b->header.position;
    *out          = bytes_of(wal->ring + b->at + skip, b->header.length - skip);
    return true;
}

uint64_t wal_taken_seq(const struct wal *wal)
{
    return wal->last.seq + (wal->end - wal->submit);
}

uint64_t wal_durable_position(const struct wal *wal)
{
    return wal->delivered.position;
}
