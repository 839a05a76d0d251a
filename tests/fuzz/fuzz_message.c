/* fuzz_message.c - what another node says, and who the members are. */
#include "segstore/node/replica/members.h"
#include "segstore/node/replica/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
        struct wire_writer w = wire_writer_growing(1 << 24);
        message_put(&w, stripe, &m, chain);
        for (uint32_t i = 0; i < m.count; i++) {
            message_put_entry(&w, &entries[i]);
        }
        ASSERT(w.size == size);
        wire_writer_fini(&w);
    }
    if (members_get(bytes_of(data, size), &members)) {
        ASSERT(members.voter_count > 0);
    }
    return 0;
}
