/* recover.c - the table of recover.h, and what is needed to enter it. */
#include "segstore/log/recover.h"

enum recover_verdict recover_classify(enum recover_damage damage, uint64_t last_seq, uint64_t stable_seq)
{
    if (stable_seq > last_seq) {
        return RECOVER_FAULTY;
    }
    switch (damage) {
    case RECOVER_NOTHING:
        return RECOVER_END;
    case RECOVER_HEADER_ZERO:
    case RECOVER_PAGES_ZERO:
        return RECOVER_TORN;
    case RECOVER_PAGES_BAD:
    case RECOVER_HEADER_BAD:
        break;
    }
    return RECOVER_UNCERTAIN;
}

const char *recover_verdict_name(enum recover_verdict verdict)
{
    static const char *const names[] = {
        [RECOVER_END] = "end", [RECOVER_TORN] = "torn", [RECOVER_FAULTY] = "faulty", [RECOVER_UNCERTAIN] = "uncertain"};
    return names[verdict];
}

bool recover_follows(const struct block_header *header, uint64_t last_seq, uint64_t last_checksum)
{
    return header->block_seq == last_seq + 1 && header->previous == last_checksum;
}

static struct bytes rest_of(const struct recover_segment *segment, size_t offset)
{
    return bytes_of(segment->image.data + offset, segment->image.size - offset);
}

bool recover_resume(const struct recover_segment *segment, size_t offset, uint64_t last_seq, struct block_header *out,
                    size_t *out_offset)
{
    for (; offset + BLOCK_PAGE_BYTES <= segment->image.size; offset += BLOCK_PAGE_BYTES) {
        struct block_header h;
        if (block_check(rest_of(segment, offset), segment->id, segment->position + offset, segment->sector_bytes, &h) ==
                BLOCK_VALID &&
            h.block_seq > last_seq) {
            *out        = h;
            *out_offset = offset;
            return true;
        }
    }
    return false;
}

static enum recover_damage damage_of(enum block_state state, struct bytes rest)
{
    switch (state) {
    case BLOCK_HEADER_ZERO:
        return bytes_zero(rest) ? RECOVER_NOTHING : RECOVER_HEADER_ZERO;
    case BLOCK_PAGES_ZERO:
        return RECOVER_PAGES_ZERO;
    case BLOCK_PAGES_BAD:
        return RECOVER_PAGES_BAD;
    case BLOCK_HEADER_BAD:
    case BLOCK_VALID: /* whole, but not the one that follows: what should be here is not */
        break;
    }
    return RECOVER_HEADER_BAD;
}

void recover_look(const struct recover_segment *segment, size_t offset, uint64_t last_seq, struct recover_look *out)
{
    *out                  = (struct recover_look){0};
    struct bytes     rest = rest_of(segment, offset);
    enum block_state state =
        block_check(rest, segment->id, segment->position + offset, segment->sector_bytes, &out->header);
    out->damage = damage_of(state, rest);
    if (out->damage == RECOVER_NOTHING) { /* zeros to the end: it need not be read again for what lies behind */
        out->more = true;
        return;
    }
    out->header_known =
        (state == BLOCK_PAGES_ZERO || state == BLOCK_PAGES_BAD) && out->header.block_seq == last_seq + 1;
    out->more = !out->header_known || out->header.length > rest.size ||
                !bytes_zero(bytes_of(rest.data + out->header.length, rest.size - out->header.length));
    /* A whole block here is not p+1, yet may prove that p+1 was durable: it is looked at like those behind it. */
    size_t behind = state == BLOCK_VALID ? offset : offset + BLOCK_PAGE_BYTES;
    for (size_t at = behind; at + BLOCK_PAGE_BYTES <= segment->image.size; at += BLOCK_PAGE_BYTES) {
        struct block_header h;
        if (block_header_at(rest_of(segment, at), segment->id, segment->position + at, &h) && h.block_seq > last_seq &&
            h.stable_seq > out->stable_seq) {
            out->stable_seq = h.stable_seq;
        }
    }
    out->resumes = recover_resume(segment, behind, last_seq, &out->resume, &out->resume_offset);
}

uint64_t recover_lost_stripes(uint64_t last_seq, const struct block_header *damaged, const struct block_header *resume)
{
    uint64_t known = damaged != NULL ? damaged->stripes : 0;
    if (resume == NULL) { /* the damaged block was the last one */
        return damaged != NULL ? known : UINT64_MAX;
    }
    uint64_t lost_count = resume->block_seq - last_seq - 1;
    uint64_t told_count = damaged != NULL ? 1 : 0;
    if (lost_count > told_count) { /* the next whole block remembers the one before it */
        known |= resume->previous_stripes;
        told_count++;
    }
    return lost_count <= told_count ? known : UINT64_MAX;
}
