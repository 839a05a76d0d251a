/* evidence.c - a header backwards, then checksums. */
#include "segstore/log/evidence.h"

#include "shared/base/err.h"

#include <string.h>

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
    uint64_t         from;      /* what lies between before and after begins here .. */
    uint64_t         to;        /* .. and ends here, as far as was looked */
    bool             torn;      /* behind before something has changed */
    bool             proved;    /* here is */
    bool             confirmed; /* here.index is */
    bool bodies; /* behind `before` lie parts of an image, or of what was repaired: they are of any entries */
};

static bool in_order(const struct log_entry *entry)
{
    return entry->index > 0 && (entry->kind == LOG_OPS || entry->kind == LOG_EMPTY || entry->kind == LOG_MEMBERS);
}

static uint64_t head_of(const struct log_entry *entry)
{
    return entry->position - BLOCK_ENTRY_BYTES;
}

static uint64_t end_of(const struct log_entry *entry)
{
    return entry->position + (entry->ops.size + 7) / 8 * 8;
}

static void set_before(struct around *a, const struct log_entry *entry, bool whole)
{
    a->before = *entry;
    a->from   = end_of(entry);
    a->torn   = !whole;
}

static void set_after(struct around *a, const struct log_entry *entry, bool whole)
{
    a->after = *entry;
    a->to    = whole ? a->to : head_of(entry); /* in a whole block all before it can be read */
}

/* Bytes that have changed, or may have. */
static void tear(struct around *a, uint64_t from, uint64_t to)
{
    a->from = a->torn ? a->from : from;
    a->to   = to;
    a->torn = true;
}

/* The last one, which may have changed, has this index: the chain in its head leads to what comes behind it. */
static void confirm(struct around *a, uint64_t index)
{
    a->last.index = index;
    if (a->last.position + a->last.ops.size <= a->position) {
        set_before(a, &a->last, false);
    } else if (a->last.position <= a->position) {
        a->here.index = index;
        a->confirmed  = true;
    } else if (a->after.index == 0) {
        set_after(a, &a->last, false);
    }
}

static bool is_linked(const struct log_entry *last, const struct log_entry *entry)
{
    return last->chain != 0 && log_chain(last->chain, entry) == entry->chain;
}

/* The next entry; whole: its block is. */
static void around_entry(struct around *a, const struct log_entry *entry, bool whole)
{
    if (entry->stripe != a->stripe || !in_order(entry)) {
        a->bodies = a->bodies || (entry->stripe == a->stripe && entry->kind == LOG_BODY);
        return;
    }
    bool linked = is_linked(&a->last, entry);
    bool proved = whole || linked;
    if (linked) {
        confirm(a, entry->index - 1);
    }
    a->last = *entry;
    if (entry->position + entry->ops.size <= a->position) {
        if (proved) {
            set_before(a, entry, whole);
        }
        a->bodies = a->bodies && !proved;
    } else if (entry->position <= a->position) {
        a->here   = *entry;
        a->proved = proved;
    } else if (proved && a->after.index == 0) {
        set_after(a, entry, whole);
    }
}

/* The next one of the stripe that has a place in its order. */
static bool next_in_order(const struct around *a, struct block_cursor *c, struct log_entry *out)
{
    while (block_next(c, out)) {
        if (out->stripe == a->stripe && in_order(out)) {
            return true;
        }
    }
    return false;
}

/* Is the next one made right behind the last, or does its own chain lead to the one behind it? */
static bool goes_on(const struct around *a, struct block_cursor c)
{
    struct log_entry entry, behind;
    return next_in_order(a, &c, &entry) &&
           (is_linked(&a->last, &entry) || (next_in_order(a, &c, &behind) && is_linked(&entry, &behind)));
}

/* A head has changed, and with it perhaps where the next one begins. Goes to where one of the stripe stands that leads to the next. False: there is none. */
static bool find_again(const struct around *a, struct block_cursor *c)
{
    for (struct block_cursor at = *c; at.at + BLOCK_ENTRY_BYTES <= at.end; at.at += 8) {
        struct block_cursor next = at;
        struct log_entry    entry;
        if (block_next(&next, &entry) && entry.stripe == a->stripe && in_order(&entry) && goes_on(a, at)) {
            *c = at;
            return true;
        }
    }
    return false;
}

/* Do all entries from here on end where the block does? */
static bool ends_well(struct block_cursor c)
{
    struct log_entry entry;
    while (block_next(&c, &entry)) {
    }
    return c.at == c.end;
}

/* A block that has changed. */
static void look_in(struct around *a, struct block_cursor *c)
{
    struct log_entry entry;
    tear(a, c->position + c->at, c->position + c->end);
    while (a->after.index == 0) {
        if (!goes_on(a, *c) && !find_again(a, c) && !ends_well(*c)) {
            return;
        }
        do {
            if (!block_next(c, &entry)) {
                return;
            }
            around_entry(a, &entry, false);
        } while (entry.stripe != a->stripe || !in_order(&entry));
    }
}

static bool is_zero(const uint8_t *page)
{
    return page[0] == 0 && memcmp(page, page + 1, BLOCK_PAGE_BYTES - 1) == 0;
}

/* Pages in front of which no header stands: it has changed. Where they end. */
static uint64_t look_without_header(const struct evidence *e, struct around *a, uint64_t page)
{
    struct block_header header;
    struct block_cursor cursor = {
        .image = at(e, page), .position = page, .at = BLOCK_HEADER_BYTES, .version = BLOCK_VERSION};
    do {
        cursor.end += BLOCK_PAGE_BYTES;
        page += BLOCK_PAGE_BYTES;
    } while (page + BLOCK_PAGE_BYTES <= e->position + e->image.size && !is_zero(at(e, page)) &&
             !block_header_at(bytes_of(at(e, page), e->end - page), e->id, page, &header));
    look_in(a, &cursor);
    return page;
}

static void look_around(const struct evidence *e, struct around *a)
{
    uint64_t image_end = e->position + e->image.size;
    uint64_t page = e->position + (BLOCK_PAGE_BYTES - (e->position - e->begin) % BLOCK_PAGE_BYTES) % BLOCK_PAGE_BYTES;
    while (page + BLOCK_PAGE_BYTES <= image_end && a->after.index == 0) {
        struct block_header header, again;
        struct block_cursor cursor;
        struct log_entry    entry;
        if (!block_header_at(bytes_of(at(e, page), e->end - page), e->id, page, &header)) {
            page = look_without_header(e, a, page);
            continue;
        }
        if (page + header.length > image_end) {
            return; /* it is not here */
        }
        struct bytes block = bytes_of(at(e, page), header.length);
        bool         whole = block_check(block, e->id, page, e->sector_bytes, &again) == BLOCK_VALID;
        block_entries(&cursor, block.data, &header);
        if (!whole) {
            look_in(a, &cursor);
        }
        while (whole && block_next(&cursor, &entry)) {
            around_entry(a, &entry, true);
        }
        page += header.length;
    }
}

bool evidence_place(const struct evidence *e, uint16_t stripe, uint64_t position, struct evidence_place *out)
{
    struct around a = {.stripe = stripe, .position = position};
    look_around(e, &a);
    *out = (struct evidence_place){.high = a.after.index};
    /* In one term nothing is replaced by what comes behind it. */
    bool between =
        a.before.index != 0 && !a.bodies && a.before.term == a.after.term && a.before.index + 1 < a.after.index;
    if (a.here.index != 0) {
        out->chain = a.here.chain;
        out->at    = (uint32_t)(position - a.here.position);
    }
    if (a.here.index != 0 &&
        (a.confirmed || (a.before.index != 0 && a.here.index == a.before.index + 1))) { /* its head can be read, too */
        out->low  = a.here.index - 1;
        out->high = a.here.index + 1;
    } else if (between) {
        out->low = a.before.index;
    }
    if (between && out->low == a.before.index && out->high == a.after.index && a.from <= position && position < a.to) {
        out->from   = a.from;
        out->to     = a.to;
        out->sealed = a.after.chain;
        out->term   = a.after.term;
    }
    return a.proved;
}
