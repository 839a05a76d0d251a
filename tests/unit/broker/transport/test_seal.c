/* Records against RFC 8448 and against AES-GCM as OpenSSL has it. Skipped where there are none. */
#include "broker/transport/seal.h"
#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#ifdef CIPHER_BUILT

enum { DATA_BYTES = 64 * 1024, HANDSHAKE = 22, APPLICATION = 23 };

static void need_cipher(void)
{
    if (!cipher_available()) {
        cr_skip_test("no VAES");
    }
}

struct rig {
    struct list       dirty;
    struct outq_pool *pool;
    struct outq       plain, wire;
    struct seal      *seal;
    uint8_t           key[32], iv[CIPHER_IV_BYTES];
    size_t            key_bytes;
    uint64_t          number; /* of the next record that is opened */
    uint8_t          *data, *opened;
};

static void setup(struct rig *rig, size_t key_bytes, size_t pool_bytes)
{
    *rig = (struct rig){.pool      = outq_pool_new(pool_bytes),
                        .key_bytes = key_bytes,
                        .data      = malloc(DATA_BYTES),
                        .opened    = malloc(DATA_BYTES)};
    list_init(&rig->dirty);
    outq_init(&rig->plain, rig->pool, &rig->dirty);
    outq_init(&rig->wire, rig->pool, &rig->dirty);
    for (size_t i = 0; i < DATA_BYTES; i++) {
        rig->data[i] = (uint8_t)(i * 13 + i / 255);
    }
    for (size_t i = 0; i < sizeof rig->key; i++) {
        rig->key[i] = (uint8_t)(i + 1);
    }
    memset(rig->iv, 0x5a, sizeof rig->iv);
    rig->seal = seal_new(key_bytes);
    cr_assert_not_null(rig->seal);
    cr_assert(seal_key(rig->seal, rig->key, rig->iv, 0));
}

static void teardown(struct rig *rig)
{
    seal_free(rig->seal);
    outq_fini(&rig->plain);
    outq_fini(&rig->wire);
    outq_pool_free(rig->pool);
    free(rig->data);
    free(rig->opened);
}

static void take(struct outq *q, uint8_t *out, size_t size)
{
    for (size_t at = 0; at < size;) {
        struct iovec piece;
        cr_assert_eq(outq_gather(q, &piece, 1), 1);
        size_t part = piece.iov_len < size - at ? piece.iov_len : size - at;
        memcpy(out + at, piece.iov_base, part);
        outq_consume(q, part);
        at += part;
    }
}

/* Takes a record from the wire; how long its payload is, at rig->opened. */
static size_t open_record(struct rig *rig, uint8_t type)
{
    static uint8_t record[16 * 1024 + 256];
    uint8_t        nonce[CIPHER_IV_BYTES], last[16];
    int            part = 0;
    take(&rig->wire, record, SEAL_HEADER_BYTES);
    size_t length = (size_t)record[3] << 8 | record[4];
    cr_assert(record[0] == APPLICATION && record[1] == 3 && record[2] == 3);
    cr_assert(length > CIPHER_TAG_BYTES && length <= 16384 + 1 + CIPHER_TAG_BYTES);
    take(&rig->wire, record + SEAL_HEADER_BYTES, length);
    memcpy(nonce, rig->iv, sizeof nonce);
    for (int i = 0; i < 8; i++) {
        nonce[11 - i] ^= (uint8_t)(rig->number >> (8 * i));
    }
    EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
    size_t          size    = length - CIPHER_TAG_BYTES;
    uint8_t        *body    = record + SEAL_HEADER_BYTES;
    cr_assert(EVP_DecryptInit_ex(context, rig->key_bytes == 16 ? EVP_aes_128_gcm() : EVP_aes_256_gcm(), NULL, rig->key,
                                 nonce) == 1);
    cr_assert(EVP_DecryptUpdate(context, NULL, &part, record, SEAL_HEADER_BYTES) == 1);
    cr_assert(EVP_DecryptUpdate(context, rig->opened, &part, body, (int)size) == 1 && (size_t)part == size);
    cr_assert(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, CIPHER_TAG_BYTES, body + size) == 1);
    cr_assert(EVP_DecryptFinal_ex(context, last, &part) == 1, "record %lu", (unsigned long)rig->number);
    EVP_CIPHER_CTX_free(context);
    cr_assert_eq(rig->opened[size - 1], type);
    rig->number++;
    return size - 1;
}

static struct bytes unhex(const char *text, uint8_t *room)
{
    size_t size = 0;
    for (; text[2 * size] != '\0'; size++) {
        unsigned byte = 0;
        cr_assert_eq(sscanf(text + 2 * size, "%2x", &byte), 1);
        room[size] = (uint8_t)byte;
    }
    return bytes_of(room, size);
}

/* The handshake of RFC 8448, 3: what follows from a traffic secret, and a record of its own 50 bytes. */
static void expect_record(const char *secret, int before, const char *expected)
{
    struct rig rig;
    uint8_t    room[100], want[100], got[100];
    setup(&rig, 16, 1 << 20);
    cr_assert(seal_secret(rig.seal, unhex(secret, room), NULL));
    for (int i = 0; i < before; i++) {
        cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 100), &rig.wire), 100);
    }
    outq_consume(&rig.wire, rig.wire.size_bytes);
    for (uint8_t i = 0; i < 50; i++) {
        rig.data[i] = i;
    }
    cr_assert_eq(outq_put(&rig.plain, bytes_of(rig.data, 50)), 0);
    cr_assert_eq(seal_move(rig.seal, &rig.plain, &rig.wire), 0);
    struct bytes record = unhex(expected, want);
    cr_assert_eq(rig.wire.size_bytes, record.size);
    take(&rig.wire, got, record.size);
    cr_expect_arr_eq(got, record.data, record.size);
    teardown(&rig);
}

Test(transport_seal, the_records_of_rfc_8448, .init = need_cipher)
{
    expect_record(
        "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", 0,
        "1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e1f"
        "5a6292a2977014bd1e3deae63aeebb21694915e4");
    expect_record(
        "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", 1,
        "17030300432e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c4b"
        "f2e5f0a21c0047c2abf332540dd032e167c2955d");
}

/* A queue of pieces of all sizes, copied and referenced, cut into records as they fall. */
static void through(struct rig *rig, unsigned seed, size_t size)
{
    struct buf *body = buf_new(DATA_BYTES);
    size_t      got  = 0;
    memcpy(body->data, rig->data, DATA_BYTES);
    body->size = DATA_BYTES;
    for (size_t at = 0, part; at < size; at += part) {
        part = (size_t)rand_r(&seed) % (rand_r(&seed) % 3 == 0 ? 9000 : 70) + 1;
        part = part < size - at ? part : size - at;
        cr_assert_eq(rand_r(&seed) % 2 == 0 ? outq_ref(&rig->plain, body, (uint32_t)at, (uint32_t)part)
                                            : outq_put(&rig->plain, bytes_of(rig->data + at, part)),
                     0);
    }
    while (rig->plain.size_bytes > 0) {
        cr_assert_eq(seal_move(rig->seal, &rig->plain, &rig->wire), 0);
        if (rand_r(&seed) % 4 == 0) {
            cr_assert_eq(seal_put(rig->seal, HANDSHAKE, bytes_of(rig->data, size), &rig->wire),
                         size < SEAL_PAYLOAD_BYTES ? (int)size : SEAL_PAYLOAD_BYTES);
            size_t before = got;
            while (rig->wire.size_bytes > 0 && rig->number + 1 < rig->seal->number) {
                size_t part = open_record(rig, APPLICATION);
                cr_assert_arr_eq(rig->opened, rig->data + got, part);
                got += part;
            }
            cr_assert(got > before || size == 0);
            size_t part = open_record(rig, HANDSHAKE);
            cr_assert_arr_eq(rig->opened, rig->data, part);
        }
    }
    while (rig->wire.size_bytes > 0) {
        size_t part = open_record(rig, APPLICATION);
        cr_assert_arr_eq(rig->opened, rig->data + got, part);
        got += part;
    }
    cr_assert_eq(got, size);
    buf_unref(body);
}

Test(transport_seal, pieces_of_all_sizes_come_out_as_they_went_in, .init = need_cipher)
{
    for (size_t key_bytes = 16; key_bytes <= 32; key_bytes += 16) {
        struct rig rig;
        setup(&rig, key_bytes, 8 << 20);
        for (size_t size = 1; size < 200; size++) {
            through(&rig, (unsigned)size, size);
        }
        for (unsigned seed = 1; seed < 300; seed++) {
            unsigned draw = seed * 7919;
            through(&rig, seed, (size_t)rand_r(&draw) % DATA_BYTES + 1);
        }
        for (size_t size = SEAL_PAYLOAD_BYTES - 2; size < SEAL_PAYLOAD_BYTES + 3; size++) {
            through(&rig, 1, size);
        }
        teardown(&rig);
    }
}

Test(transport_seal, a_full_record_has_a_chunk_for_itself, .init = need_cipher)
{
    struct rig   rig;
    struct iovec pieces[4];
    setup(&rig, 16, 1 << 20);
    cr_assert_eq(outq_put(&rig.plain, bytes_of(rig.data, 3 * SEAL_PAYLOAD_BYTES)), 0);
    for (int i = 1; i <= 3; i++) {
        cr_assert_eq(seal_move(rig.seal, &rig.plain, &rig.wire), 0);
        cr_expect_eq(outq_gather(&rig.wire, pieces, 4), i);
        cr_expect_eq(pieces[i - 1].iov_len, OUTQ_RESERVE_MAX_BYTES);
    }
    cr_expect_eq(rig.plain.size_bytes, 0);
    teardown(&rig);
}

Test(transport_seal, without_room_nothing_is_sealed_and_nothing_lost, .init = need_cipher)
{
    struct rig rig;
    setup(&rig, 16, 100 * 1024);
    size_t left = 60 * 1024;
    cr_assert_eq(outq_put(&rig.plain, bytes_of(rig.data, left)), 0);
    size_t got = 0;
    for (int round = 0; rig.plain.size_bytes > 0; round++) {
        int result = 0;
        cr_assert(round < 20);
        while (rig.plain.size_bytes > 0 && (result = seal_move(rig.seal, &rig.plain, &rig.wire)) == 0) {
        }
        if (result != 0) {
            uint64_t number = rig.seal->number;
            size_t   plain  = rig.plain.size_bytes;
            cr_assert_eq(result, ERR_FULL);
            cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 16000), &rig.wire), ERR_FULL);
            cr_assert(rig.seal->number == number && rig.plain.size_bytes == plain);
        }
        cr_assert(rig.wire.size_bytes > 0);
        while (rig.wire.size_bytes > 0) {
            size_t part = open_record(&rig, APPLICATION);
            cr_assert_arr_eq(rig.opened, rig.data + got, part);
            got += part;
        }
    }
    cr_assert_eq(got, left);
    cr_assert_eq(rig.seal->number, rig.number);
    teardown(&rig);
}

Test(transport_seal, a_key_wears_out, .init = need_cipher)
{
    struct rig rig;
    setup(&rig, 16, 1 << 20);
    rig.seal->records = SEAL_RECORDS_MAX - 1;
    cr_expect(!seal_worn(rig.seal));
    cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 5), &rig.wire), 5);
    cr_expect(seal_worn(rig.seal));
    cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 5), &rig.wire), 5);
    rig.seal->records = 2 * (uint64_t)SEAL_RECORDS_MAX;
    cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 5), &rig.wire), ERR_FULL);
    cr_assert(seal_secret(rig.seal, bytes_of(rig.data, 32), NULL));
    cr_expect(!seal_worn(rig.seal) && rig.seal->number == 0);
    cr_assert_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 5), &rig.wire), 5);
    teardown(&rig);
}

Test(transport_seal, without_a_key_nothing_leaves, .init = need_cipher)
{
    struct rig rig;
    setup(&rig, 32, 1 << 20);
    cr_assert_eq(outq_put(&rig.plain, bytes_of(rig.data, 5)), 0);
    cr_assert(!seal_secret(rig.seal, bytes_of(rig.data, 32), NULL), "a secret of another cipher");
    cr_expect_eq(seal_put(rig.seal, HANDSHAKE, bytes_of(rig.data, 5), &rig.wire), ERR_FULL);
    cr_expect_eq(seal_move(rig.seal, &rig.plain, &rig.wire), ERR_FULL);
    cr_expect(rig.wire.size_bytes == 0 && rig.plain.size_bytes == 5);
    cr_assert(seal_secret(rig.seal, bytes_of(rig.data, 48), NULL));
    cr_expect_eq(seal_move(rig.seal, &rig.plain, &rig.wire), 0);
    teardown(&rig);
}

#endif
