/* test_message.c - what replicas say to each other comes out as it went in, or not at all. */
#include "segstore/node/replica/message.h"

#include <criterion/criterion.h>

static const struct raft_message the_message = {.kind     = RAFT_APPEND,
                                                .refused  = true,
                                                .damaged  = true,
                                                .count    = 2,
                                                .term     = 7,
                                                .index    = 40,
                                                .log_term = 6,
                                                .commit   = 39,
                                                .hint     = 11,
                                                .clock    = 123456789};

static struct log_entry entry_of(uint64_t index, const char *ops, uint64_t before)
{
    struct log_entry e = {
        .stripe = 3, .kind = LOG_OPS, .index = index, .term = 7, .wall_ns = index * 1000, .ops = bytes_str(ops)};
    e.chain = log_chain(before, &e);
    return e;
}

static struct wire_writer written(void)
{
    struct wire_writer w   = wire_writer_growing(1 << 20);
    struct log_entry   one = entry_of(41, "the first one", 500);
    struct log_entry   two = entry_of(42, "", one.chain);
    message_put(&w, 3, &the_message, 500);
    cr_assert_eq(w.size, MESSAGE_BYTES);
    message_put_entry(&w, &one);
    message_put_entry(&w, &two);
    return w;
}

static bool read_all(struct bytes body, struct log_entry *entries, uint64_t *terms)
{
    struct wire_reader  r = wire_reader_of(body);
    struct raft_message m;
    uint16_t            stripe;
    uint64_t            chain;
    return message_get(&r, &stripe, &m, &chain) && message_get_entries(&r, stripe, &m, chain, entries, terms);
}

Test(replica_message, comes_back_with_its_entries)
{
    struct wire_writer  w = written();
    struct wire_reader  r = wire_reader_of(wire_written(&w));
    struct raft_message m;
    struct log_entry    entries[2];
    uint64_t            terms[2];
    uint16_t            stripe;
    uint64_t            chain;
    cr_assert(message_get(&r, &stripe, &m, &chain));
    cr_assert_eq(stripe, 3);
    cr_assert_eq(chain, 500);
    cr_assert(m.kind == RAFT_APPEND && m.refused && m.damaged && !m.pre && !m.transfer);
    cr_assert(m.term == 7 && m.index == 40 && m.log_term == 6 && m.commit == 39 && m.hint == 11 &&
              m.clock == 123456789);
    cr_assert(message_get_entries(&r, stripe, &m, chain, entries, terms));
    cr_assert_eq(entries[0].index, 41);
    cr_assert(bytes_equal(entries[0].ops, bytes_str("the first one")));
    cr_assert_eq(entries[1].ops.size, 0);
    cr_assert_eq(terms[1], 7);
    wire_writer_fini(&w);
}

Test(replica_message, with_any_byte_of_its_entries_changed_is_refused)
{
    struct wire_writer w = written();
    struct log_entry   entries[2];
    uint64_t           terms[2];
    for (size_t at = MESSAGE_BYTES; at < w.size; at++) {
        bool padding = (at - MESSAGE_BYTES) % (MESSAGE_ENTRY_BYTES + 13) == 6 ||
                       (at - MESSAGE_BYTES) % (MESSAGE_ENTRY_BYTES + 13) == 7; /* zero u16: not looked at */
        w.data[at] ^= 1;
        cr_assert(padding || !read_all(wire_written(&w), entries, terms), "byte %zu", at);
        w.data[at] ^= 1;
    }
    wire_writer_fini(&w);
}

Test(replica_message, cut_short_is_refused_and_more_than_is_known_is_skipped)
{
    struct wire_writer w = written();
    struct log_entry   entries[2];
    uint64_t           terms[2];
    for (size_t size = 0; size < w.size; size++) {
        cr_assert(!read_all(bytes_of(w.data, size), entries, terms), "%zu bytes", size);
    }
    wire_put_u8(&w, 0);
    cr_assert(read_all(wire_written(&w), entries, terms));
    wire_writer_fini(&w);
}

Test(replica_message, the_count_of_entries_can_be_told_when_they_are_written)
{
    struct raft_message m = the_message;
    struct wire_writer  w = wire_writer_growing(1 << 20);
    struct wire_writer  e = written();
    m.count               = 0;
    message_put(&w, 3, &m, 500);
    message_set_count(w.data, the_message.count);
    wire_put_bytes(&w, bytes_of(e.data + MESSAGE_BYTES, e.size - MESSAGE_BYTES));
    cr_assert(bytes_equal(wire_written(&w), wire_written(&e)));
    wire_writer_fini(&w);
    wire_writer_fini(&e);
}
