/* checkpoint.c - header, sections, trailer; nothing is believed before all of it checks. */
#include "segstore/log/checkpoint.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#define CHECKPOINT_MAGIC 0x504b434bu /* "KCKP" */
#define CHECKPOINT_END   0x454b434bu /* "KCKE" */

/* The checksum of what was written since `from`. */
static void put_checksum(struct wire_writer *w, size_t from)
{
    wire_put_u64(w, w->bad ? 0 : hash_bytes(bytes_of(w->data + from, w->size - from)));
}

void checkpoint_put_header(struct wire_writer *w, const struct checkpoint *checkpoint)
{
    size_t from = w->size;
    wire_put_u32(w, CHECKPOINT_MAGIC);
    wire_put_u16(w, CHECKPOINT_VERSION);
    wire_put_u16(w, 0);
    wire_put(w, checkpoint->id.bytes, sizeof checkpoint->id.bytes);
    wire_put_u64(w, checkpoint->number);
    wire_put_u64(w, checkpoint->replay_position);
    wire_put_u64(w, checkpoint->last_seq);
    wire_put_u64(w, checkpoint->last_checksum);
    wire_put_u64(w, checkpoint->last_stripes);
    wire_put_u32(w, checkpoint->stripe_count);
    wire_put_u32(w, 0);
    put_checksum(w, from);
}

void checkpoint_put_section(struct wire_writer *w, const struct checkpoint_section *section, uint64_t image_bytes,
                            const uint8_t sum[16])
{
    size_t from = w->size;
    wire_put_u16(w, section->stripe);
    wire_put_u16(w, 0);
    wire_put_u32(w, section->replica_bytes);
    wire_put_u64(w, image_bytes);
    wire_put_u64(w, section->index);
    wire_put(w, sum, 16);
    put_checksum(w, from);
    ASSERT(w->bad || w->size - from == CHECKPOINT_SECTION_BYTES);
}

void checkpoint_put_files(struct wire_writer *w, const struct checkpoint_file *files, uint32_t count)
{
    const struct checkpoint_section section = {.stripe = CHECKPOINT_FILES};
    struct wire_writer              image   = wire_writer_growing(SIZE_MAX / 2);
    XXH128_canonical_t              sum;
    wire_put_u32(&image, count);
    wire_put_u32(&image, 0);
    for (uint32_t i = 0; i < count; i++) {
        wire_put_u64(&image, files[i].number);
        wire_put_u64(&image, files[i].total);
        wire_put_u64(&image, files[i].bytes);
    }
    ASSERT_MEMORY(!image.bad);
    XXH128_canonicalFromHash(&sum, XXH3_128bits(image.data, image.size));
    checkpoint_put_section(w, &section, image.size, sum.digest);
    wire_put_bytes(w, wire_written(&image));
    wire_writer_fini(&image);
}

void checkpoint_put_trailer(struct wire_writer *w, uint64_t number, uint64_t size_before)
{
    size_t from = w->size;
    wire_put_u32(w, CHECKPOINT_END);
    wire_put_u32(w, 0);
    wire_put_u64(w, number);
    wire_put_u64(w, size_before);
    put_checksum(w, from);
}

/* Reads the checksum that covers everything from `from`. */
static bool checksum_matches(struct wire_reader *r, const uint8_t *from)
{
    uint64_t sum = r->bad ? 0 : hash_bytes(bytes_of(from, (size_t)(r->at - from)));
    return wire_get_u64(r) == sum && !r->bad;
}

static int header_decode(struct wire_reader *r, const struct wal_id *id, struct checkpoint *out)
{
    const uint8_t *from    = r->at;
    uint32_t       magic   = wire_get_u32(r);
    uint16_t       version = wire_get_u16(r);
    (void)wire_get_u16(r);
    struct bytes log = wire_get(r, sizeof out->id.bytes);
    if (r->bad || magic != CHECKPOINT_MAGIC) {
        return ERR_CORRUPT;
    }
    if (version < CHECKPOINT_VERSION_FIRST || version > CHECKPOINT_VERSION) {
        return ERR_VERSION;
    }
    struct checkpoint c = {.version = version};
    memcpy(c.id.bytes, log.data, log.size);
    c.number          = wire_get_u64(r);
    c.replay_position = wire_get_u64(r);
    c.last_seq        = wire_get_u64(r);
    c.last_checksum   = wire_get_u64(r);
    c.last_stripes    = wire_get_u64(r);
    c.stripe_count    = wire_get_u32(r);
    (void)wire_get_u32(r);
    if (!checksum_matches(r, from)) {
        return ERR_CORRUPT;
    }
    if (memcmp(c.id.bytes, id->bytes, sizeof id->bytes) != 0) {
        return ERR_CONFLICT;
    }
    *out = c;
    return 0;
}

static bool section_decode(struct wire_reader *r, struct checkpoint_section *out, struct bytes *out_sum)
{
    const uint8_t *from = r->at;
    out->stripe         = wire_get_u16(r);
    (void)wire_get_u16(r);
    out->replica_bytes = wire_get_u32(r);
    uint64_t size      = wire_get_u64(r);
    out->index         = wire_get_u64(r);
    *out_sum           = wire_get(r, 16);
    if (!checksum_matches(r, from) || size > wire_left(r) || out->replica_bytes > size) {
        return false;
    }
    out->image   = wire_get(r, size - out->replica_bytes);
    out->replica = wire_get(r, out->replica_bytes);
    return true;
}

static bool is_files(struct bytes image)
{
    struct wire_reader r     = wire_reader_of(image);
    uint64_t           count = wire_get_u32(&r);
    (void)wire_get_u32(&r);
    return !r.bad && wire_left(&r) == count * CHECKPOINT_FILE_BYTES;
}

int checkpoint_decode(struct bytes file, const struct wal_id *id, struct checkpoint *out)
{
    struct wire_reader r = wire_reader_of(file);
    struct checkpoint  c;
    int                result = header_decode(&r, id, &c);
    if (result != 0) {
        return result;
    }
    uint32_t sections = c.stripe_count + (c.version >= CHECKPOINT_VERSION_FILES);
    for (uint32_t i = 0; i < sections; i++) {
        struct checkpoint_section section;
        struct bytes              sum;
        if (!section_decode(&r, &section, &sum)) {
            return ERR_CORRUPT;
        }
        XXH128_canonical_t actual;
        XXH128_canonicalFromHash(&actual, XXH3_128bits(section.image.data, section.image.size + section.replica.size));
        if (memcmp(actual.digest, sum.data, sizeof actual.digest) != 0 ||
            (section.stripe == CHECKPOINT_FILES) != (i == c.stripe_count) ||
            (section.stripe == CHECKPOINT_FILES && !is_files(section.image))) {
            return ERR_CORRUPT;
        }
        c.files = section.stripe == CHECKPOINT_FILES ? section.image : c.files;
    }
    const uint8_t *trailer     = r.at;
    uint64_t       size_before = (uint64_t)(r.at - file.data);
    bool           ends        = wire_get_u32(&r) == CHECKPOINT_END;
    (void)wire_get_u32(&r);
    ends = wire_get_u64(&r) == c.number && ends;
    ends = wire_get_u64(&r) == size_before && ends;
    if (!checksum_matches(&r, trailer) || !ends || wire_left(&r) != 0) {
        return ERR_CORRUPT;
    }
    *out = c;
    return 0;
}

static uint64_t taken_seq(struct bytes files, uint16_t stripe)
{
    struct checkpoint_file file;
    size_t                 at = 0;
    while (checkpoint_next_file(files, &at, &file)) {
        if (file.number == CHECKPOINT_TAKEN + stripe) {
            return file.total;
        }
    }
    return 0;
}

bool checkpoint_next(struct bytes file, const struct checkpoint *checkpoint, size_t *at, struct checkpoint_section *out)
{
    size_t             from = *at == 0 ? CHECKPOINT_HEADER_BYTES : *at;
    struct wire_reader r    = wire_reader_of(bytes_of(file.data + from, file.size - from));
    struct bytes       sum;
    if (wire_left(&r) <= CHECKPOINT_TRAILER_BYTES ||
        (checkpoint->stripe_count == 0 && checkpoint->version < CHECKPOINT_VERSION_FILES) ||
        !section_decode(&r, out, &sum)) {
        return false;
    }
    *at            = file.size - wire_left(&r);
    out->taken_seq = taken_seq(checkpoint->files, out->stripe);
    return true;
}

bool checkpoint_next_file(struct bytes image, size_t *at, struct checkpoint_file *out)
{
    size_t from = *at == 0 ? 8 : *at;
    if (image.size < from + CHECKPOINT_FILE_BYTES) {
        return false;
    }
    struct wire_reader r = wire_reader_of(bytes_of(image.data + from, CHECKPOINT_FILE_BYTES));
    out->number          = wire_get_u64(&r);
    out->total           = wire_get_u64(&r);
    out->bytes           = wire_get_u64(&r);
    *at                  = from + CHECKPOINT_FILE_BYTES;
    return true;
}
