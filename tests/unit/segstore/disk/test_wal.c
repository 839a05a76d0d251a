/* What the log says that it has room for it takes, wherever the head of its ring is. Nothing is written here: blocks are called applied. */
#include "segstore/disk/wal.h"

#include "shared/base/err.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct segments segments;
static struct prepare  prepare;
static struct wal      wal;
static uint8_t         body[BLOCK_ENTRY_MAX_OPS];

static void begin(void)
{
    static const struct wal_hooks none = {0};
    static const struct wal_id    id   = {0};
    segments_init(&segments, 64 << 20);
    prepare = (struct prepare){.segments = &segments};
    wal_init(&wal, NULL, &prepare, &none, &id, 1, 0, 2);
    wal_start(&wal, &(struct wal_end){0}, 0);
}

static void end(void)
{
    wal_fini(&wal);
    segments_fini(&segments);
}

static int append(size_t size)
{
    const struct log_entry entry = {.kind = LOG_OPS, .index = 1, .term = 1, .ops = bytes_of(body, size)};
    return wal_append(&wal, &entry, NULL);
}

/* As if so many blocks had been written. */
static void written(uint64_t blocks)
{
    for (; blocks > 0 && wal.deliver < wal.end; blocks--) {
        wal.blocks[wal.deliver % wal.capacity].state = WAL_APPLIED;
        wal.deliver++;
        wal.submit++;
    }
}

/* Entries of one message, as another node sends them. */
static size_t draw(struct rand *r, size_t *sizes, size_t max)
{
    size_t most  = rand_chance(r, 4) ? 700000 : rand_chance(r, 2) ? 20000 : 300;
    size_t bytes = 0;
    size_t count = 0;
    if (rand_chance(r, 20)) {
        sizes[0] = BLOCK_GROUP_BYTES / 2 + rand_below(r, BLOCK_ENTRY_MAX_OPS - BLOCK_GROUP_BYTES / 2 + 1);
        return 1;
    }
    for (uint64_t wanted = 1 + rand_below(r, 8); count < wanted && count < max && bytes < 512 * 1024; count++) {
        sizes[count] = 1 + rand_below(r, most);
        bytes += sizes[count];
    }
    return count;
}

Test(wal, takes_whatever_it_has_said_to_have_room_for)
{
    uint64_t refused = 0;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        struct rand r;
        rand_init(&r, seed, 1);
        begin();
        for (int message = 0; message < 400; message++) {
            size_t sizes[8];
            size_t bytes = 0;
            size_t count = draw(&r, sizes, 8);
            for (size_t i = 0; i < count; i++) {
                bytes += sizes[i] + BLOCK_ENTRY_BYTES;
            }
            if (!wal_roomy(&wal, bytes)) {
                refused++;
                written(1 + rand_below(&r, 8));
                continue;
            }
            for (size_t i = 0; i < count; i++) {
                cr_assert_eq(append(sizes[i]), 0, "seed %lu message %d: %zu of %zu bytes", seed, message, sizes[i],
                             bytes);
            }
        }
        end();
    }
    cr_assert(refused > 300, "%lu", refused);
}

Test(wal, has_room_for_the_largest_entry_when_nothing_waits)
{
    begin();
    for (size_t before = 0; before < 40; before++) { /* the head comes to lie anywhere */
        cr_assert_eq(append(before * 10000), 0);
        cr_assert_eq(append(BLOCK_GROUP_BYTES), 0);
        cr_assert_eq(append(BLOCK_GROUP_BYTES), 0);
        written(UINT64_MAX);
        cr_assert(wal_roomy(&wal, BLOCK_ENTRY_MAX_OPS + BLOCK_ENTRY_BYTES), "%zu", before);
        cr_assert_eq(append(BLOCK_ENTRY_MAX_OPS), 0);
        written(UINT64_MAX);
    }
    end();
}
