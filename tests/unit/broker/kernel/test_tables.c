#include "broker/kernel/tables.h"

#include <criterion/criterion.h>

static uint8_t memory[SUB_KEY_MAX_BYTES];

Test(kernel_tables, rows_are_read_as_they_were_written_and_never_when_cut_short)
{
    uint8_t            s[SESSION_ROW_BYTES];
    uint8_t            u[SUB_ROW_BYTES];
    uint8_t            i[INBOUND_ROW_MAX_BYTES];
    struct session_row session = {.open = true, .inflight_max = 4096, .expiry_s = EXPIRY_NEVER};
    struct sub_row     sub     = {.flags = 2 | SUB_NO_LOCAL, .id = 268435455, .stream_id = UINT64_MAX - 1};
    struct inbound_row inbound = {.done = true, .writer_epoch = 7, .sequence = 1ull << 50};
    struct session_row session_back;
    struct sub_row     sub_back;
    struct inbound_row inbound_back;
    struct bytes       session_bytes = session_row_write(s, &session);
    struct bytes       sub_bytes     = sub_row_write(u, &sub);
    struct bytes       inbound_bytes = inbound_row_write(i, &inbound);
    cr_assert_eq(session_bytes.size, SESSION_ROW_BYTES);
    cr_assert_eq(sub_bytes.size, SUB_ROW_BYTES);
    cr_assert_eq(inbound_bytes.size, INBOUND_ROW_BYTES);
    cr_assert(session_row_read(session_bytes, &session_back) && sub_row_read(sub_bytes, &sub_back) &&
              inbound_row_read(inbound_bytes, &inbound_back));
    cr_assert(session_back.open && session_back.inflight_max == 4096 && session_back.expiry_s == EXPIRY_NEVER);
    cr_assert(sub_back.flags == sub.flags && sub_back.id == sub.id && sub_back.stream_id == sub.stream_id);
    cr_assert(inbound_back.done && inbound_back.writer_epoch == 7 && inbound_back.sequence == inbound.sequence);
    for (size_t size = 0; size < INBOUND_ROW_BYTES; size++) {
        cr_assert(size >= session_bytes.size || !session_row_read(bytes_of(s, size), &session_back));
        cr_assert(size >= sub_bytes.size || !sub_row_read(bytes_of(u, size), &sub_back));
        cr_assert_not(inbound_row_read(bytes_of(i, size), &inbound_back));
    }
    u[1] = 3;
    cr_assert_not(sub_row_read(sub_bytes, &sub_back), "QoS 3");
}

Test(kernel_tables, the_row_of_a_packet_id_may_tell_what_its_message_was)
{
    uint8_t            bytes[INBOUND_ROW_MAX_BYTES + 1] = {0};
    struct inbound_row row                              = {.sequence = 5, .content = 1ull << 60};
    for (int apart = 0; apart < 2; apart++) {
        struct inbound_row back;
        row.writer_epoch     = 3 | (apart != 0 ? INBOUND_APART : 0);
        struct bytes written = inbound_row_write(bytes, &row);
        cr_assert_eq(written.size, INBOUND_ROW_MAX_BYTES);
        cr_assert(inbound_row_read(bytes_of(bytes, sizeof bytes), &back));
        cr_assert(!back.done && back.writer_epoch == row.writer_epoch && back.sequence == 5);
        cr_assert(back.content == row.content && back.assigned.size == 1);
        cr_assert_not(inbound_row_read(bytes_of(bytes, INBOUND_ROW_MAX_BYTES - 1), &back));
    }
}

Test(kernel_tables, a_key_holds_client_id_and_filter)
{
    struct bytes id;
    struct bytes filter;
    struct bytes key = tables_sub_key(memory, bytes_str("client"), bytes_str("a/+/#"));
    cr_assert(tables_sub_key_split(key, &id, &filter));
    cr_assert(bytes_equal(id, bytes_str("client")) && bytes_equal(filter, bytes_str("a/+/#")));
    cr_assert_not(tables_sub_key_split(bytes_str("client"), &id, &filter));
    cr_assert_not(tables_sub_key_split(bytes_str(""), &id, &filter));
    key = tables_inbound_key(memory, bytes_str("c"), 0x1234);
    cr_assert(bytes_equal(key, bytes_of("c\0\x12\x34", 4)));
    cr_assert(bytes_equal(tables_stream(memory, bytes_str("c")), bytes_str("mqtt/session/c")));
    static uint8_t longest[65535];
    memset(longest, 'x', sizeof longest);
    cr_assert_eq(tables_stream(memory, bytes_of(longest, sizeof longest)).size, 65535 + strlen("mqtt/session/"));
    cr_assert_eq(tables_sub_key(memory, bytes_of(longest, sizeof longest), bytes_of(longest, sizeof longest)).size,
                 SUB_KEY_MAX_BYTES);
}

Test(kernel_tables, a_tag_holds_up_to_16_subscription_ids)
{
    uint8_t             bytes[DELIVERY_TAG_MAX_BYTES];
    struct delivery_tag back;
    for (uint8_t count = 0; count <= SUBSCRIPTION_IDS_MAX; count++) {
        struct delivery_tag tag = {.qos = 1, .retain = count % 2 == 0, .count = count};
        for (uint8_t i = 0; i < count; i++) {
            tag.ids[i] = i * 1000u + 1;
        }
        struct bytes written = delivery_tag_write(bytes, &tag);
        cr_assert(delivery_tag_read(written, &back));
        cr_assert(back.qos == 1 && back.retain == tag.retain && back.count == count);
        cr_assert(memcmp(back.ids, tag.ids, count * sizeof *tag.ids) == 0);
        cr_assert(count == 0 || !delivery_tag_read(bytes_of(bytes, written.size - 1), &back));
    }
    bytes[0] = 0;
    cr_assert_not(delivery_tag_read(bytes_of(bytes, 2), &back), "QoS 0 is never stored");
}
