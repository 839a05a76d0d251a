/* evidence.c - a header backwards, then checksums. */
#include "segstore/log/evidence.h"

#include "shared/base/err.h"

static const uint8_t *at(const struct evidence *e, uint64_t position)
{
    return e->image.data + (position - e->position);
}

int evidence_block(const struct evidence *e, uint64_t position, struct block_header *out)
{
    uint64_t image_end = e->position + e->image.size;
    uint64_t page      = position - (position - e->begin) % BLOCK_PAGE_BYTES;
    ASSERT(position >= e->position && position < image_end && e->position >= e->begin);
    for (;; page -= BLOCK_PAGE_BYTES) {
        if (page + BLOCK_MAX_BYTES <= position) {
            return ERR_NOT_FOUND;
        }
        if (page < e->position) {
            return 1;
        }
        if (page + BLOCK_PAGE_BYTES <= image_end &&
            block_header_at(bytes_of(at(e, page), e->end - page), e->id, page, out)) {
            if (page + out->length <= position) {
                return ERR_NOT_FOUND; /* the one before it: its own header has changed */
            }
            return page + out->length <= image_end ? 0 : 1;
        }
        if (page == e->begin) {
            return ERR_NOT_FOUND;
        }
    }
}

enum evidence_kind evidence_of(const struct evidence *e, const struct block_header *header, uint64_t position,
                               size_t size, struct log_entry *out_entry)
{
    const uint8_t      *image = at(e, header->position);
    struct block_header again;
    if (position + size > header->position + header->length) {
        return EVIDENCE_NONE;
    }
    if (block_check(bytes_of(image, header->length), e->id, header->position, e->sector_bytes, &again) == BLOCK_VALID) {
        struct block_cursor cursor;
        block_entries(&cursor, image, header);
        while (block_next(&cursor, out_entry)) {
            if (position >= out_entry->position && position + size <= out_entry->position + out_entry->ops.size) {
                return EVIDENCE_ENTRY;
            }
        }
        return EVIDENCE_NONE;
    }
    return block_pages_good(image, header, position - header->position, size) ? EVIDENCE_PAGES : EVIDENCE_NONE;
}
