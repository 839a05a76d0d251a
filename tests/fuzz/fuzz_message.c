/* fuzz_message.c - what another node says, and who the members are. */
#include "segstore/node/replica/members.h"
#include "segstore/node/replica/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put(struct wire_writer *w, uint16_t stripe, const struct raft_message *m, uint64_t chain,
                const struct log_entry *entries)
{
    message_put(w, stripe, m, chain);
    for (uint32_t i = 0; i < m->count; i++) {
        message_put_entry(w, &entries[i]);
    }
}

/* What is read is written as it was, but for what a newer version may say: flags that nobody knows, and what follows the entries. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct log_entry entries[MESSAGE_ENTRIES_MAX];
    static uint64_t         terms[MESSAGE_ENTRIES_MAX];
    struct wire_reader      r = wire_reader_of(bytes_of(data, size));
    struct raft_message     m;
    struct raft_members     members;
    uint16_t                stripe;
    uint64_t                chain;
    if (message_get(&r, &stripe, &m, &chain) && message_get_entries(&r, stripe, &m, chain, entries, terms)) {
        struct wire_writer w    = wire_writer_growing(1 << 24);
        struct wire_writer same = wire_writer_growing(1 << 24);
        put(&w, stripe, &m, chain, entries);
        ASSERT(w.size + wire_left(&r) == size);
        r = wire_reader_of(wire_written(&w));
        ASSERT(message_get(&r, &stripe, &m, &chain) && message_get_entries(&r, stripe, &m, chain, entries, terms) &&
               wire_left(&r) == 0);
        put(&same, stripe, &m, chain, entries);
        ASSERT(bytes_equal(wire_written(&w), wire_written(&same)));
        wire_writer_fini(&w);
        wire_writer_fini(&same);
    }
    if (members_get(bytes_of(data, size), &members)) {
        ASSERT(members.voter_count > 0);
    }
    return 0;
}
