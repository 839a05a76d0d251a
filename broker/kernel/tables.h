/* tables - how MQTT lies in the segment store: numbers of tables, keys, values, tags, names of streams and timers.
 *
 *   table              key                        value
 *   1 sessions         client id                  version u8 = 1 | open u8 | inflight_max u16 | expiry_s u32
 *   2 subscriptions    client id 0x00 filter      version u8 = 1 | options u8 | subscription id u32 | stream_id u64
 *   3 retained         topic                      a record (record.h)
 *   4 inbound ids      client id 0x00 id u16 BE   version u8 = 1, 2, 3 | done u8 | writer_epoch u64 | sequence u64 | 3: content u64 | members of groups that have it (assign.h)
 *
 *   5 delayed          "delayed/" writer u64 epoch u64 sequence u64   version u8 = 1
 *   6 orphans          client id                  version u8 = 1 | stream_id u64
 *   7 assigned         stream_id u64 number u64   version u8 = 1 | members of groups that have it (assign.h)
 *
 * options: bits 0-1 granted QoS, 2 no local, 3 retain as published.    open: 1 from opening to an orderly close.
 * inflight_max: the broker's limit. Where a broker died, the first so many that are not acknowledged may have been sent, by it or, if several died in
 * turn, by one before it; what the client itself allowed on its last connection is not enough to know.
 * content: a hash of topic and payload; rows of versions 1 and 2 (of a writer that is not the session) have none: of older brokers, or done.
 * A client id has no 0x00 in it. Rows 1, 2 and 4 of a session, its stream (queue, one cursor: 0) "mqtt/session/<client id>" and its timers
 * "will/<client id>" and "expiry/<client id>" are all in the stripe of the stream's name; a retained row is in the stripe of its topic.
 * Every stripe has a stream "mqtt/wills": what wills leave behind, until a broker has published it.
 *
 *   tag of a record in a session's stream:     qos u8 (as it is delivered; 0x80: a group follows) | retain u8 | hash of the group's filter u64 | count x subscription id u32
 *   tag of a record in mqtt/wills:          message expiry s u32 (UINT32_MAX: none); of a delayed message: nothing, the record has its expiry; of an orphan (orphan.h): stream_id u64
 *
 * Threads: any; pure. */
#ifndef KEEL_BROKER_KERNEL_TABLES_H
#define KEEL_BROKER_KERNEL_TABLES_H

#include "broker/kernel/kernel.h"
#include "shared/base/wire.h"

enum {
    TABLE_SESSIONS      = 1,
    TABLE_SUBSCRIPTIONS = 2,
    TABLE_RETAINED      = 3,
    TABLE_INBOUND       = 4,
    TABLE_DELAYED       = 5,
    TABLE_ORPHANS       = 6,
    TABLE_ASSIGNED      = 7
};
enum { TABLE_CAPTURES = 20, TABLE_CURSORS = 21 }; /* capture.h, reader.h */

enum sub_flags { SUB_QOS = 3, SUB_NO_LOCAL = 4, SUB_RETAIN_AS_PUBLISHED = 8 };

enum { NAME_MAX_BYTES = 65535 + 32, SUB_KEY_MAX_BYTES = 2 * 65535 + 1 };

#define TABLES_WILLS "mqtt/wills"

/* Builds "<prefix><client id>" at out, which has room for NAME_MAX_BYTES. */
struct bytes tables_name(uint8_t *out, const char *prefix, struct bytes client_id);
#define tables_stream(out, client_id) tables_name(out, "mqtt/session/", client_id)
#define tables_will(out, client_id)   tables_name(out, "will/", client_id)
#define tables_expiry(out, client_id) tables_name(out, "expiry/", client_id)
/* Key of table 2, or with an empty filter the prefix of all of a client, in tables 2 and 4. Room: SUB_KEY_MAX_BYTES. */
struct bytes tables_sub_key(uint8_t *out, struct bytes client_id, struct bytes filter);
/* False when it is no such key. */
MUST_CHECK bool tables_sub_key_split(struct bytes key, struct bytes *out_client_id, struct bytes *out_filter);
struct bytes    tables_inbound_key(uint8_t *out, struct bytes client_id, uint16_t id);

struct session_row {
    bool     open;
    uint16_t inflight_max;
    uint32_t expiry_s;
};
enum {
    SESSION_ROW_BYTES      = 8,
    SUB_ROW_BYTES          = 14,
    INBOUND_ROW_BYTES      = 18, /* without content .. */
    INBOUND_ROW_MAX_BYTES  = 26, /* .. and with it */
    DELIVERY_TAG_MAX_BYTES = 2 + 8 + 4 * SUBSCRIPTION_IDS_MAX
};

struct sub_row {
    uint8_t  flags; /* enum sub_flags */
    uint32_t id;
    uint64_t stream_id;
};

/* In a writer_epoch, which names the writer then (publish.h). */
#define INBOUND_APART (1ull << 63) /* it is not the session */
#define INBOUND_ALONE (1ull << 62) /* .. but one of its lanes */
struct inbound_row {
    bool         done;
    uint64_t     writer_epoch;
    uint64_t     sequence;
    uint64_t     content;  /* 0: not known; older brokers pass a row that has it over */
    struct bytes assigned; /* read: what is behind it, a view */
};

struct delivery_tag {
    uint8_t  qos;
    bool     retain;
    uint8_t  count;
    uint64_t group; /* as a member of which; hash of its whole filter, 0: none */
    uint32_t ids[SUBSCRIPTION_IDS_MAX];
};

struct bytes    session_row_write(uint8_t out[SESSION_ROW_BYTES], const struct session_row *row);
MUST_CHECK bool session_row_read(struct bytes value, struct session_row *out);
struct bytes    sub_row_write(uint8_t out[SUB_ROW_BYTES], const struct sub_row *row);
MUST_CHECK bool sub_row_read(struct bytes value, struct sub_row *out);
struct bytes    inbound_row_write(uint8_t out[INBOUND_ROW_MAX_BYTES], const struct inbound_row *row);
MUST_CHECK bool inbound_row_read(struct bytes value, struct inbound_row *out);
struct bytes    delivery_tag_write(uint8_t out[DELIVERY_TAG_MAX_BYTES], const struct delivery_tag *tag);
MUST_CHECK bool delivery_tag_read(struct bytes tag, struct delivery_tag *out);

#endif
