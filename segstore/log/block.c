/* block.c - a block into memory and back, with every checksum on the way. */
#include "segstore/log/block.h"

#include "shared/base/hash.h"
#include "shared/base/wire.h"

#define BLOCK_MAGIC 0x4c41574bu /* "KWAL" */

static size_t round_up(size_t size, size_t multiple)
{
    return (size + multiple - 1) / multiple * multiple;
}

static size_t body_offset_for(size_t capacity_bytes)
{
    return BLOCK_HEADER_BYTES + 4 * (capacity_bytes / BLOCK_PAGE_BYTES);
}

static size_t entry_size(size_t ops_bytes)
{
    return round_up(BLOCK_ENTRY_BYTES + ops_bytes, 8);
}

size_t block_size_for(size_t ops_bytes)
{
    size_t body = entry_size(ops_bytes);
    size_t size = round_up(body, BLOCK_PAGE_BYTES);
    while (body_offset_for(size) + body > size) {
        size += BLOCK_PAGE_BYTES;
    }
    return size;
}

void block_begin(struct block_writer *w, uint8_t *image, size_t capacity_bytes)
{
    ASSERT(capacity_bytes % BLOCK_PAGE_BYTES == 0 && capacity_bytes <= BLOCK_MAX_BYTES);
    *w = (struct block_writer){
        .image          = image,
        .capacity_bytes = capacity_bytes,
        .used_bytes     = round_up(body_offset_for(capacity_bytes), 8),
    };
    w->body_offset = (uint16_t)w->used_bytes;
    memset(image, 0, w->used_bytes);
}

bool block_fits(const struct block_writer *w, size_t ops_bytes)
{
    return w->capacity_bytes - w->used_bytes >= entry_size(ops_bytes);
}

const uint8_t *block_append(struct block_writer *w, const struct log_entry *entry)
{
    ASSERT(block_fits(w, entry->ops.size));
    size_t             size = entry_size(entry->ops.size);
    uint8_t           *at   = w->image + w->used_bytes;
    struct wire_writer out  = wire_writer_fixed(at, size);
    wire_put_u32(&out, (uint32_t)entry->ops.size);
    wire_put_u16(&out, entry->stripe);
    wire_put_u16(&out, entry->kind);
    wire_put_u64(&out, entry->index);
    wire_put_u64(&out, entry->term);
    wire_put_u64(&out, entry->wall_ns);
    wire_put_u64(&out, entry->chain);
    wire_put_bytes(&out, entry->ops);
    memset(at + out.size, 0, size - out.size);
    w->used_bytes += size;
    w->entry_count++;
    w->stripes |= BLOCK_STRIPE_BIT(entry->stripe);
    return at + BLOCK_ENTRY_BYTES;
}

/* The part of the body that lies in a page. */
static struct bytes page_body(const uint8_t *image, size_t body_offset, size_t page)
{
    size_t from = page * BLOCK_PAGE_BYTES;
    size_t end  = from + BLOCK_PAGE_BYTES;
    from        = from < body_offset ? body_offset : from;
    return from < end ? bytes_of(image + from, end - from) : bytes_of(image, 0);
}

static uint32_t page_checksum(const uint8_t *image, size_t body_offset, size_t page)
{
    return (uint32_t)hash_bytes(page_body(image, body_offset, page));
}

size_t block_seal(struct block_writer *w, const struct wal_id *id, struct block_header *link)
{
    size_t length = round_up(w->used_bytes, BLOCK_PAGE_BYTES);
    ASSERT(length <= w->capacity_bytes);
    memset(w->image + w->used_bytes, 0, length - w->used_bytes);
    link->length      = (uint32_t)length;
    link->page_count  = (uint32_t)(length / BLOCK_PAGE_BYTES);
    link->entry_count = w->entry_count;
    link->body_offset = w->body_offset;
    link->body_bytes  = (uint32_t)(w->used_bytes - w->body_offset);
    link->stripes     = w->stripes;
    link->version     = BLOCK_VERSION;

    for (size_t i = 0; i < link->page_count; i++) {
        uint32_t sum = page_checksum(w->image, w->body_offset, i);
        memcpy(w->image + BLOCK_HEADER_BYTES + 4 * i, &sum, sizeof sum);
    }
    XXH128_canonical_t body;
    XXH128_canonicalFromHash(&body, XXH3_128bits(w->image + w->body_offset, length - w->body_offset));

    struct wire_writer out = wire_writer_fixed(w->image, BLOCK_HEADER_BYTES);
    wire_put_u32(&out, BLOCK_MAGIC);
    wire_put_u16(&out, BLOCK_VERSION);
    wire_put_u16(&out, w->body_offset);
    wire_put(&out, id->bytes, sizeof id->bytes);
    wire_put_u64(&out, link->position);
    wire_put_u64(&out, link->block_seq);
    wire_put_u64(&out, link->stable_seq);
    wire_put_u64(&out, link->previous);
    wire_put_u32(&out, link->length);
    wire_put_u32(&out, link->page_count);
    wire_put_u32(&out, link->entry_count);
    wire_put_u32(&out, link->body_bytes);
    wire_put_u64(&out, link->run_id);
    wire_put_u64(&out, link->stripes);
    wire_put_u64(&out, link->previous_stripes);
    wire_put(&out, body.digest, sizeof body.digest);
    wire_put_u64(&out,
                 hash_bytes(bytes_of(w->image + BLOCK_HEADER_BYTES, (size_t)w->body_offset - BLOCK_HEADER_BYTES)));
    ASSERT(out.size == BLOCK_HEADER_BYTES - 8);
    link->checksum = hash_bytes(bytes_of(w->image, out.size));
    wire_put_u64(&out, link->checksum);
    return length;
}

bool block_header_at(struct bytes data, const struct wal_id *id, uint64_t position, struct block_header *out)
{
    if (data.size < BLOCK_PAGE_BYTES) {
        return false;
    }
    struct wire_reader  r    = wire_reader_of(bytes_of(data.data, BLOCK_HEADER_BYTES));
    struct block_header h    = {0};
    bool                ours = wire_get_u32(&r) == BLOCK_MAGIC;
    h.version                = wire_get_u16(&r);
    if (!ours || h.version < BLOCK_VERSION_FIRST || h.version > BLOCK_VERSION) {
        return false;
    }
    h.body_offset      = wire_get_u16(&r);
    bool same_log      = memcmp(wire_get(&r, sizeof id->bytes).data, id->bytes, sizeof id->bytes) == 0;
    h.position         = wire_get_u64(&r);
    h.block_seq        = wire_get_u64(&r);
    h.stable_seq       = wire_get_u64(&r);
    h.previous         = wire_get_u64(&r);
    h.length           = wire_get_u32(&r);
    h.page_count       = wire_get_u32(&r);
    h.entry_count      = wire_get_u32(&r);
    h.body_bytes       = wire_get_u32(&r);
    h.run_id           = wire_get_u64(&r);
    h.stripes          = wire_get_u64(&r);
    h.previous_stripes = wire_get_u64(&r);
    (void)wire_get(&r, 24); /* checksums of body and table: block_check */
    h.checksum = wire_get_u64(&r);
    if (h.checksum != hash_bytes(bytes_of(data.data, BLOCK_HEADER_BYTES - 8)) || !same_log || h.position != position) {
        return false;
    }
    /* The checksum was right; these hold unless another program wrote it. */
    if (h.length == 0 || h.length > BLOCK_MAX_BYTES || h.length != (uint64_t)h.page_count * BLOCK_PAGE_BYTES ||
        h.body_offset > BLOCK_PAGE_BYTES || h.body_offset < BLOCK_HEADER_BYTES + 4 * h.page_count ||
        h.body_bytes > h.length - h.body_offset || h.length > data.size) {
        return false;
    }
    *out = h;
    return true;
}

/* Was some sector of this page never written? */
static bool page_unwritten(const uint8_t *page, uint32_t sector_bytes)
{
    for (size_t at = 0; at < BLOCK_PAGE_BYTES; at += sector_bytes) {
        if (bytes_zero(bytes_of(page + at, sector_bytes))) {
            return true;
        }
    }
    return false;
}

static bool body_matches(const uint8_t *image, const struct block_header *h)
{
    XXH128_canonical_t body;
    XXH128_canonicalFromHash(&body, XXH3_128bits(image + h->body_offset, h->length - h->body_offset));
    return memcmp(body.digest, image + 96, sizeof body.digest) == 0;
}

static bool table_matches(const uint8_t *image, const struct block_header *h)
{
    uint64_t checksum;
    memcpy(&checksum, image + 112, sizeof checksum);
    return hash_bytes(bytes_of(image + BLOCK_HEADER_BYTES, (size_t)h->body_offset - BLOCK_HEADER_BYTES)) == checksum;
}

bool block_table_good(const uint8_t *page, const struct block_header *h)
{
    return table_matches(page, h);
}

bool block_page_good(const uint8_t *page, const struct block_header *h, const uint8_t *table, size_t number)
{
    uint32_t sum;
    memcpy(&sum, table + 4 * number, sizeof sum);
    size_t skip = number == 0 ? h->body_offset : 0;
    return sum == (uint32_t)hash_bytes(bytes_of(page + skip, BLOCK_PAGE_BYTES - skip));
}

bool block_pages_good(const uint8_t *image, const struct block_header *h, size_t from, size_t size)
{
    if (size == 0 || from < h->body_offset || from + size > h->length || !table_matches(image, h)) {
        return false;
    }
    for (size_t page = from / BLOCK_PAGE_BYTES; page <= (from + size - 1) / BLOCK_PAGE_BYTES; page++) {
        if (!block_page_good(image + page * BLOCK_PAGE_BYTES, h, image + BLOCK_HEADER_BYTES, page)) {
            return false;
        }
    }
    return true;
}

enum block_state block_check(struct bytes data, const struct wal_id *id, uint64_t position, uint32_t sector_bytes,
                             struct block_header *out)
{
    ASSERT(sector_bytes > 0 && BLOCK_PAGE_BYTES % sector_bytes == 0);
    struct block_header h;
    if (data.size < BLOCK_PAGE_BYTES || bytes_zero(bytes_of(data.data, sector_bytes))) {
        return BLOCK_HEADER_ZERO;
    }
    if (!block_header_at(data, id, position, &h)) {
        return BLOCK_HEADER_BAD;
    }
    *out                 = h;
    const uint8_t *image = data.data;
    struct bytes   table = bytes_of(image + BLOCK_HEADER_BYTES, (size_t)h.body_offset - BLOCK_HEADER_BYTES);
    if (!table_matches(image, &h)) { /* then no page can be judged but by its zeros */
        return page_unwritten(image, sector_bytes) ? BLOCK_PAGES_ZERO : BLOCK_PAGES_BAD;
    }
    size_t bad_count = 0;
    for (size_t i = 0; i < h.page_count; i++) {
        uint32_t sum;
        memcpy(&sum, table.data + 4 * i, sizeof sum);
        if (sum == page_checksum(image, h.body_offset, i)) {
            continue;
        }
        bad_count++;
        if (!page_unwritten(image + i * BLOCK_PAGE_BYTES, sector_bytes)) {
            return BLOCK_PAGES_BAD;
        }
    }
    if (bad_count > 0) {
        return BLOCK_PAGES_ZERO;
    }
    if (!body_matches(image, &h)) {
        return BLOCK_PAGES_BAD;
    }
    struct block_cursor cursor;
    struct log_entry    entry;
    uint32_t            entry_count = 0;
    block_entries(&cursor, image, &h);
    while (block_next(&cursor, &entry)) {
        entry_count++;
    }
    return entry_count == h.entry_count && cursor.at == cursor.end ? BLOCK_VALID : BLOCK_PAGES_BAD;
}

void block_entries(struct block_cursor *c, const uint8_t *image, const struct block_header *header)
{
    *c = (struct block_cursor){
        .image    = image,
        .position = header->position,
        .at       = header->body_offset,
        .end      = (size_t)header->body_offset + header->body_bytes,
        .version  = header->version,
    };
}

bool block_next(struct block_cursor *c, struct log_entry *out)
{
    size_t head = c->version == 1 ? BLOCK_ENTRY_BYTES_1 : BLOCK_ENTRY_BYTES;
    if (c->end - c->at < head) {
        return false;
    }
    struct wire_reader r     = wire_reader_of(bytes_of(c->image + c->at, c->end - c->at));
    uint32_t           size  = wire_get_u32(&r);
    size_t             whole = round_up(head + size, 8);
    if (whole > c->end - c->at) {
        return false;
    }
    out->stripe   = wire_get_u16(&r);
    out->kind     = wire_get_u16(&r);
    out->index    = wire_get_u64(&r);
    out->term     = wire_get_u64(&r);
    out->wall_ns  = wire_get_u64(&r);
    out->chain    = c->version == 1 ? 0 : wire_get_u64(&r);
    out->ops      = wire_get(&r, size);
    out->position = c->position + c->at + head;
    c->at += whole;
    return true;
}

uint64_t log_chain(uint64_t before, const struct log_entry *entry)
{
    uint64_t head[5] = {before, (uint64_t)entry->stripe << 16 | entry->kind, entry->index, entry->term, entry->wall_ns};
    return XXH3_64bits_withSeed(entry->ops.data, entry->ops.size, XXH3_64bits(head, sizeof head));
}
