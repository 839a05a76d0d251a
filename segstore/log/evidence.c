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

/* ---- its place ---- */

struct around {
    uint16_t         stripe;
    uint64_t         position;
    struct log_entry last;   /* of the stripe, whatever became of it */
    struct log_entry before; /* proved, index 0: none was found */
    struct log_entry after;
    struct log_entry here;
    bool             proved;    /* here is */
    bool             confirmed; /* here.index is */
    bool bodies; /* behind `before` lie parts of an image, or of what was repaired: they are of any entries */
};

static bool in_order(const struct log_entry *entry)
{
    return entry->index > 0 && (entry->kind == LOG_OPS || entry->kind == LOG_EMPTY || entry->kind == LOG_MEMBERS);
}

/* The last one, which may have changed, has this index: the chain in its head leads to what comes behind it. */
static void confirm(struct around *a, uint64_t index)
{
    a->last.index = index;
    if (a->last.position + a->last.ops.size <= a->position) {
        a->before = a->last;
    } else if (a->last.position <= a->position) {
        a->here.index = index;
        a->confirmed  = true;
    } else if (a->after.index == 0) {
        a->after = a->last;
    }
}

/* The next entry; whole: its block is. */
static void around_entry(struct around *a, const struct log_entry *entry, bool whole)
{
    if (entry->stripe != a->stripe || !in_order(entry)) {
        a->bodies = a->bodies || (entry->stripe == a->stripe && entry->kind == LOG_BODY);
        return;
    }
    bool linked = a->last.chain != 0 && log_chain(a->last.chain, entry) == entry->chain;
    bool proved = whole || linked;
    if (linked) {
        confirm(a, entry->index - 1);
    }
    a->last = *entry;
    if (entry->position + entry->ops.size <= a->position) {
        a->before = proved ? *entry : a->before;
        a->bodies = a->bodies && !proved;
    } else if (entry->position <= a->position) {
        a->here   = *entry;
        a->proved = proved;
    } else if (proved && a->after.index == 0) {
        a->after = *entry;
    }
}

static void look_around(const struct evidence *e, struct around *a)
{
    uint64_t image_end = e->position + e->image.size;
    uint64_t page = e->position + (BLOCK_PAGE_BYTES - (e->position - e->begin) % BLOCK_PAGE_BYTES) % BLOCK_PAGE_BYTES;
    while (page + BLOCK_PAGE_BYTES <= image_end && a->after.index == 0) {
        struct block_header header, again;
        struct block_cursor cursor;
        struct log_entry    entry;
        if (!block_header_at(bytes_of(at(e, page), e->end - page), e->id, page, &header) ||
            page + header.length > image_end) {
            page += BLOCK_PAGE_BYTES;
            continue;
        }
        struct bytes block = bytes_of(at(e, page), header.length);
        bool         whole = block_check(block, e->id, page, e->sector_bytes, &again) == BLOCK_VALID;
        block_entries(&cursor, block.data, &header);
        while (block_next(&cursor, &entry)) {
            around_entry(a, &entry, whole);
        }
        page += header.length;
    }
}

bool evidence_place(const struct evidence *e, uint16_t stripe, uint64_t position, struct evidence_place *out)
{
    struct around a = {.stripe = stripe, .position = position};
    look_around(e, &a);
    *out = (struct evidence_place){.high = a.after.index};
    if (a.here.index != 0) {
        out->chain = a.here.chain;
        out->at    = (uint32_t)(position - a.here.position);
    }
    if (a.here.index != 0 &&
        (a.confirmed || (a.before.index != 0 && a.here.index == a.before.index + 1))) { /* its head can be read, too */
        out->low  = a.here.index - 1;
        out->high = a.here.index + 1;
    } else if (a.before.index != 0 && !a.bodies && a.before.term == a.after.term &&
               a.before.index + 1 < a.after.index) {
        out->low = a.before.index; /* in one term nothing is replaced by what comes behind it */
    }
    return a.proved;
}
