/* Whole sessions in memory between this broker's TLS and OpenSSL as everyone has it, both ways round. */
#include "broker/transport/gcm/gcm.h"
#include "broker/transport/seal.h"
#include "broker/transport/tls.h"
#include "broker/transport/tls_private.h"
#include "shared/base/err.h"

#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_BYTES = 200 * 1024 };

/* Ours on one side, a peer of the default provider on the other; each remembers what it was told. */
struct rig {
    char                  directory[64], certificate[96], key[96];
    struct tls_context   *context;
    struct tls           *ours;
    SSL_CTX              *peer_context;
    SSL                  *peer;
    BIO                  *to_peer, *from_peer;
    struct list           dirty;
    struct outq_pool     *pool;
    struct outq           plain, wire;
    struct transport_sink sink;
    uint8_t              *got, *peer_got, *data;
    size_t                got_bytes, peer_got_bytes;
    int                   result;    /* of the last tls_receive */
    size_t                forged_at; /* of what the peer sends from now on, this byte is another; SIZE_MAX: none */
};

static void on_data(void *ctx, struct bytes data)
{
    struct rig *rig = ctx;
    cr_assert(rig->got_bytes + data.size <= MOST_BYTES);
    memcpy(rig->got + rig->got_bytes, data.data, data.size);
    rig->got_bytes += data.size;
}

static void write_certificate(struct rig *rig)
{
    EVP_PKEY  *key  = EVP_EC_gen("P-256");
    X509      *x509 = X509_new();
    X509_NAME *name = X509_get_subject_name(x509);
    cr_assert(key != NULL && mkdtemp(strcpy(rig->directory, "/tmp/keel-tls-XXXXXX")) != NULL);
    snprintf(rig->certificate, sizeof rig->certificate, "%s/a.crt", rig->directory);
    snprintf(rig->key, sizeof rig->key, "%s/a.key", rig->directory);
    X509_set_version(x509, X509_VERSION_3);
    X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1, 0);
    X509_set_issuer_name(x509, name);
    X509_set_pubkey(x509, key);
    cr_assert(X509_sign(x509, key, EVP_sha256()) > 0);
    FILE *file = fopen(rig->certificate, "w");
    cr_assert(file != NULL && PEM_write_X509(file, x509) == 1 && fclose(file) == 0);
    file = fopen(rig->key, "w");
    cr_assert(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1 && fclose(file) == 0);
    X509_free(x509);
    EVP_PKEY_free(key);
}

static void setup(struct rig *rig)
{
    *rig = (struct rig){.pool      = outq_pool_new(8 << 20),
                        .got       = malloc(MOST_BYTES),
                        .peer_got  = malloc(MOST_BYTES),
                        .data      = malloc(MOST_BYTES),
                        .forged_at = SIZE_MAX};
    for (size_t i = 0; i < MOST_BYTES; i++) {
        rig->data[i] = (uint8_t)(i * 7 + i / 251);
    }
    rig->sink = (struct transport_sink){.data = on_data, .ctx = rig};
    list_init(&rig->dirty);
    outq_init(&rig->plain, rig->pool, &rig->dirty);
    outq_init(&rig->wire, rig->pool, &rig->dirty);
    write_certificate(rig);
}

static void hang_up(struct rig *rig)
{
    tls_free(rig->ours);
    SSL_free(rig->peer);
    rig->ours = NULL;
    rig->peer = NULL;
    outq_consume(&rig->plain, rig->plain.size_bytes);
    outq_consume(&rig->wire, rig->wire.size_bytes);
    rig->got_bytes = rig->peer_got_bytes = 0;
    rig->forged_at                       = SIZE_MAX;
}

static void teardown(struct rig *rig)
{
    hang_up(rig);
    tls_context_unref(rig->context);
    SSL_CTX_free(rig->peer_context);
    outq_fini(&rig->plain);
    outq_fini(&rig->wire);
    outq_pool_free(rig->pool);
    free(rig->got);
    free(rig->peer_got);
    free(rig->data);
    unlink(rig->certificate);
    unlink(rig->key);
    rmdir(rig->directory);
    ERR_clear_error();
}

static void connect_peer(struct rig *rig)
{
    rig->peer      = SSL_new(rig->peer_context);
    rig->to_peer   = BIO_new(BIO_s_mem());
    rig->from_peer = BIO_new(BIO_s_mem());
    SSL_set_bio(rig->peer, rig->to_peer, rig->from_peer);
}

/* Ours serves. version, cipher: what the peer asks for. */
static void serve(struct rig *rig, int version, const char *cipher)
{
    const struct tls_spec spec = {.certificate = rig->certificate,
                                  .key         = rig->key,
                                  .authority   = "",
                                  .revoked     = "",
                                  .directory   = "",
                                  .ciphers     = ""};
    char                  why[200];
    if (rig->context == NULL) {
        cr_assert(tls_context_new(&spec, &rig->context, why, sizeof why) == 0, "%s", why);
    }
    SSL_CTX_free(rig->peer_context);
    rig->peer_context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(rig->peer_context, version);
    SSL_CTX_set_max_proto_version(rig->peer_context, version);
    cr_assert(version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(rig->peer_context, cipher)
                                        : SSL_CTX_set_cipher_list(rig->peer_context, cipher));
    rig->ours = tls_new(rig->context);
    connect_peer(rig);
    SSL_set_connect_state(rig->peer);
}

/* Ours is the client. */
static void call(struct rig *rig, int version, const char *cipher)
{
    const struct tls_remote remote = {.host = "localhost", .authority = rig->certificate, .certificate = "", .key = ""};
    char                    why[200];
    SSL_CTX_free(rig->peer_context);
    rig->peer_context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_max_proto_version(rig->peer_context, version);
    cr_assert(version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(rig->peer_context, cipher)
                                        : SSL_CTX_set_cipher_list(rig->peer_context, cipher));
    cr_assert(SSL_CTX_use_certificate_file(rig->peer_context, rig->certificate, SSL_FILETYPE_PEM) == 1);
    cr_assert(SSL_CTX_use_PrivateKey_file(rig->peer_context, rig->key, SSL_FILETYPE_PEM) == 1);
    rig->ours = tls_client_new(&remote, why, sizeof why);
    cr_assert_not_null(rig->ours, "%s", why);
    connect_peer(rig);
    SSL_set_accept_state(rig->peer);
}

static void deliver_to_peer(struct rig *rig)
{
    struct iovec iov[8];
    for (int count; (count = outq_gather(&rig->wire, iov, 8)) > 0;) {
        size_t size = 0;
        for (int i = 0; i < count; i++) {
            BIO_write(rig->to_peer, iov[i].iov_base, (int)iov[i].iov_len);
            size += iov[i].iov_len;
        }
        outq_consume(&rig->wire, size);
    }
}

static void peer_reads(struct rig *rig)
{
    size_t size = 0;
    while (SSL_read_ex(rig->peer, rig->peer_got + rig->peer_got_bytes, MOST_BYTES - rig->peer_got_bytes, &size) == 1) {
        rig->peer_got_bytes += size;
    }
}

/* What the peer has put out, in pieces that are not records. */
static void deliver_to_us(struct rig *rig)
{
    uint8_t piece[5000];
    for (int size; rig->result == 0 && (size = BIO_read(rig->from_peer, piece, sizeof piece)) > 0;) {
        if (rig->forged_at < (size_t)size) {
            piece[rig->forged_at] ^= 1;
            rig->forged_at = SIZE_MAX;
        } else if (rig->forged_at != SIZE_MAX) {
            rig->forged_at -= (size_t)size;
        }
        rig->result = tls_receive(rig->ours, bytes_of(piece, (size_t)size), &rig->sink, &rig->wire);
    }
}

/* Until nobody has anything to say. */
static void pump(struct rig *rig)
{
    for (int turn = 0; turn < 12 && rig->result == 0; turn++) {
        cr_assert(tls_send(rig->ours, &rig->plain, &rig->wire) == 0);
        deliver_to_peer(rig);
        peer_reads(rig);
        deliver_to_us(rig);
    }
}

static void shake_hands(struct rig *rig)
{
    rig->result = 0;
    (void)SSL_do_handshake(rig->peer);
    rig->result = tls_receive(rig->ours, (struct bytes){0}, &rig->sink, &rig->wire);
    pump(rig);
    cr_assert(rig->result == 0 && tls_established(rig->ours) && SSL_is_init_finished(rig->peer), "%s",
              tls_why(rig->ours));
}

/* Both ways at once, and nothing is different at the other end. */
static void talk(struct rig *rig, size_t size)
{
    size_t written = 0;
    rig->got_bytes = rig->peer_got_bytes = 0;
    for (size_t at = 0, part; at < size; at += part) {
        part = size - at < 9000 ? size - at : 9000;
        cr_assert(outq_put(&rig->plain, bytes_of(rig->data + at, part)) == 0);
    }
    cr_assert(size == 0 || (SSL_write_ex(rig->peer, rig->data, size, &written) == 1 && written == size));
    pump(rig);
    cr_assert_eq(rig->result, 0, "%s", tls_why(rig->ours));
    cr_assert_eq(rig->got_bytes, size);
    cr_assert_eq(rig->peer_got_bytes, size);
    cr_assert_arr_eq(rig->got, rig->data, size);
    cr_assert_arr_eq(rig->peer_got, rig->data, size);
}

/* Records under the key of now; 0 when OpenSSL makes them. */
static uint64_t sealed_by(struct rig *rig)
{
    return rig->ours->wire.seal == NULL ? 0 : rig->ours->wire.seal->number;
}

static const struct {
    int         version;
    const char *cipher;
} kinds[] = {{TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256"},        {TLS1_3_VERSION, "TLS_AES_256_GCM_SHA384"},
             {TLS1_3_VERSION, "TLS_CHACHA20_POLY1305_SHA256"},  {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256"},
             {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384"}, {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305"}};
enum { KINDS = sizeof kinds / sizeof kinds[0] };

static const size_t sizes[] = {1, 0, 2, 15, 16, 17, 1024, 16383, 16384, 16385, 16400, 33000, 100000, MOST_BYTES};
enum { SIZES = sizeof sizes / sizeof sizes[0] };

Test(transport_tls, what_is_said_arrives_whoever_served)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < KINDS; i++) {
        for (int role = 0; role < 2; role++) {
            (role == 0 ? serve : call)(&rig, kinds[i].version, kinds[i].cipher);
            shake_hands(&rig);
            cr_assert_eq(SSL_version(rig.peer), kinds[i].version);
            for (int s = 0; s < SIZES; s++) {
                talk(&rig, sizes[s]);
            }
            hang_up(&rig);
        }
    }
    teardown(&rig);
}

Test(transport_tls, keys_are_updated_as_often_as_the_peer_wants)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 6; i++) {
        (i < 3 ? serve : call)(&rig, kinds[i % 3].version, kinds[i % 3].cipher);
        shake_hands(&rig);
        for (int round = 0; round < 40; round++) {
            bool asked = round % 3 != 0;
            cr_assert(SSL_key_update(rig.peer, asked ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) == 1);
            talk(&rig, round % 2 == 0 ? 1000 : 40000);
            if (asked) { /* what was on its way is under the old key, what follows under the next one */
                uint64_t before = sealed_by(&rig);
                talk(&rig, 10);
                cr_assert_eq(sealed_by(&rig), before == 0 ? 0 : 1);
                talk(&rig, 10);
                cr_assert_eq(sealed_by(&rig), before == 0 ? 0 : 2);
            }
        }
        hang_up(&rig);
    }
    teardown(&rig);
}

Test(transport_tls, records_of_tls_1_3_with_aes_gcm_are_made_here)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 2 * KINDS; i++) {
        bool here = gcm_library() != NULL && i % KINDS < 2;
        (i < KINDS ? serve : call)(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        cr_expect_null(rig.ours->wire.seal);
        shake_hands(&rig);
        cr_expect_eq(rig.ours->wire.seal != NULL, here, "%s", kinds[i % KINDS].cipher);
        uint64_t before = sealed_by(&rig);
        talk(&rig, 3 * 16000);
        cr_expect_eq(sealed_by(&rig), here ? before + 3 : 0);
        hang_up(&rig);
    }
    teardown(&rig);
}

static void need_seal(void)
{
    if (gcm_library() == NULL) {
        cr_skip_test("no libipsec-mb, or no VAES");
    }
}

Test(transport_tls, a_worn_key_is_replaced_before_more_is_sent, .init = need_seal)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 4; i++) {
        (i < 2 ? serve : call)(&rig, kinds[i % 2].version, kinds[i % 2].cipher);
        shake_hands(&rig);
        for (int round = 0; round < 5; round++) {
            talk(&rig, 100);
            rig.ours->wire.seal->records = SEAL_RECORDS_MAX - 1;
            talk(&rig, 16300);
            cr_assert_eq(rig.ours->wire.seal->records, SEAL_RECORDS_MAX);
            talk(&rig, 2 * 16300);
            cr_assert_eq(sealed_by(&rig), 2);
        }
        hang_up(&rig);
    }
    teardown(&rig);
}

/* What the client is told beside data: tickets, alerts, goodbyes. */
static unsigned long what_peer_is_told(struct rig *rig)
{
    size_t size = 0;
    ERR_clear_error();
    deliver_to_peer(rig);
    cr_assert_eq(SSL_read_ex(rig->peer, rig->peer_got, MOST_BYTES, &size), 0);
    unsigned long told = (unsigned long)ERR_GET_REASON(ERR_peek_last_error());
    ERR_clear_error();
    return told;
}

Test(transport_tls, a_forged_record_is_answered_with_an_alert)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 2 * KINDS; i++) {
        size_t written = 0;
        (i < KINDS ? serve : call)(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        shake_hands(&rig);
        talk(&rig, 500);
        rig.forged_at = 100;
        cr_assert(SSL_write_ex(rig.peer, rig.data, 1024, &written) == 1);
        deliver_to_us(&rig);
        cr_assert_eq(rig.result, ERR_MALFORMED);
        cr_expect_eq(what_peer_is_told(&rig), SSL_AD_REASON_OFFSET + SSL_AD_BAD_RECORD_MAC, "%s",
                     kinds[i % KINDS].cipher);
        hang_up(&rig);
    }
    teardown(&rig);
}

Test(transport_tls, a_goodbye_is_heard_and_nothing_follows_it)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 2 * KINDS; i++) {
        (i < KINDS ? serve : call)(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        shake_hands(&rig);
        talk(&rig, 500);
        tls_end(rig.ours, &rig.wire);
        size_t said = rig.wire.size_bytes;
        cr_assert(said > 0);
        cr_assert_eq(outq_put(&rig.plain, bytes_of("more", 4)), 0);
        cr_expect_eq(tls_send(rig.ours, &rig.plain, &rig.wire), ERR_MALFORMED);
        cr_expect_eq(rig.wire.size_bytes, said);
        (void)what_peer_is_told(&rig);
        cr_expect((SSL_get_shutdown(rig.peer) & SSL_RECEIVED_SHUTDOWN) != 0, "%s", kinds[i % KINDS].cipher);
        hang_up(&rig);
    }
    teardown(&rig);
}

/* The wire goes in pieces that are not records, while more is sealed behind what is half sent; keys change meanwhile. */
static void trickle(struct rig *rig, unsigned seed)
{
    size_t put     = 0;
    rig->got_bytes = rig->peer_got_bytes = 0;
    for (int turn = 0; turn < 60 || put < 100000 || rig->peer_got_bytes < put; turn++) {
        size_t       part = (size_t)rand_r(&seed) % 4000;
        struct iovec piece;
        cr_assert(turn < 2000);
        part = put < 100000 ? part : 0;
        cr_assert_eq(outq_put(&rig->plain, bytes_of(rig->data + put, part)), 0);
        put += part;
        if (rand_r(&seed) % 8 == 0 && SSL_is_init_finished(rig->peer) &&
            SSL_get_key_update_type(rig->peer) == SSL_KEY_UPDATE_NONE && SSL_version(rig->peer) == TLS1_3_VERSION) {
            cr_assert(SSL_key_update(rig->peer, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(rig->peer) == 1);
        }
        deliver_to_us(rig);
        cr_assert_eq(rig->result, 0);
        cr_assert_eq(tls_send(rig->ours, &rig->plain, &rig->wire), 0);
        if (outq_gather(&rig->wire, &piece, 1) == 1) {
            size_t some = (size_t)rand_r(&seed) % 5000 + 1;
            some        = some < piece.iov_len ? some : piece.iov_len;
            BIO_write(rig->to_peer, piece.iov_base, (int)some);
            outq_consume(&rig->wire, some);
        }
        peer_reads(rig);
    }
    cr_assert_eq(rig->peer_got_bytes, put);
    cr_assert_arr_eq(rig->peer_got, rig->data, put);
}

Test(transport_tls, half_a_record_on_the_wire_disturbs_nothing)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 2 * KINDS; i++) {
        (i < KINDS ? serve : call)(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        shake_hands(&rig);
        for (unsigned seed = 1; seed < 4; seed++) {
            trickle(&rig, seed);
        }
        hang_up(&rig);
    }
    teardown(&rig);
}

/* The wire has a pool of its own, which is full when it holds a few records. */
Test(transport_tls, a_full_wire_loses_nothing_and_says_nothing_twice)
{
    struct rig rig;
    setup(&rig);
    struct outq_pool *small = outq_pool_new(70 * 1024);
    outq_fini(&rig.wire);
    outq_init(&rig.wire, small, &rig.dirty);
    for (int i = 0; i < 2 * KINDS; i++) {
        (i < KINDS ? serve : call)(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        shake_hands(&rig);
        bool sealing       = rig.ours->wire.seal != NULL;
        rig.got_bytes      = 0;
        rig.peer_got_bytes = 0;
        cr_assert_eq(outq_put(&rig.plain, bytes_of(rig.data, MOST_BYTES)), 0);
        int full = 0;
        for (int turn = 0; rig.peer_got_bytes < MOST_BYTES; turn++) {
            cr_assert(turn < 100);
            int result = tls_send(rig.ours, &rig.plain, &rig.wire);
            cr_assert(result == 0 || result == ERR_FULL);
            full += result == ERR_FULL;
            if (sealing && full == 1 && result == ERR_FULL) { /* the answer finds no room, either */
                cr_assert(SSL_key_update(rig.peer, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(rig.peer) == 1);
                deliver_to_us(&rig);
                struct seal before = *rig.ours->wire.seal;
                cr_assert_eq(rig.result, 0);
                cr_assert_eq(tls_send(rig.ours, &rig.plain, &rig.wire), ERR_FULL);
                cr_assert(sealed_by(&rig) == before.number && tls_established(rig.ours));
                deliver_to_peer(&rig);
                (void)!tls_send(rig.ours, &rig.plain, &rig.wire);
                cr_assert_arr_neq(rig.ours->wire.seal->iv, before.iv, CIPHER_IV_BYTES, "data went before the update");
            }
            deliver_to_peer(&rig);
            peer_reads(&rig);
        }
        cr_assert(full > 1);
        cr_assert_arr_eq(rig.peer_got, rig.data, MOST_BYTES);
        talk(&rig, 20000);
        hang_up(&rig);
    }
    outq_fini(&rig.wire);
    outq_pool_free(small);
    outq_init(&rig.wire, rig.pool, &rig.dirty);
    teardown(&rig);
}

/* Others of the shard hold so much. */
static void fill(struct rig *rig, struct outq *others, size_t size)
{
    outq_init(others, rig->wire.pool, &rig->dirty);
    while (others->size_bytes < size) {
        cr_assert_eq(outq_put(others, bytes_of(rig->data, 16384)), 0);
    }
}

Test(transport_tls, a_client_that_does_not_read_holds_less_when_many_do_not)
{
    struct rig rig;
    setup(&rig);
    struct outq_pool *large = outq_pool_new(128 << 20);
    struct outq       others, plain;
    outq_fini(&rig.wire);
    outq_init(&rig.wire, large, &rig.dirty);
    for (int scarce = 0; scarce < 2; scarce++) {
        serve(&rig, TLS1_3_VERSION, "TLS_AES_128_GCM_SHA256");
        shake_hands(&rig);
        fill(&rig, &plain, 3 << 20);
        fill(&rig, &others, scarce ? 40 << 20 : 1 << 20);
        cr_assert_eq(tls_send(rig.ours, &plain, &rig.wire), 0);
        size_t most = scarce ? 256 << 10 : 1 << 20;
        cr_assert(rig.wire.size_bytes >= most && rig.wire.size_bytes < most + 20000, "%zu", rig.wire.size_bytes);
        outq_fini(&others);
        outq_fini(&plain);
        hang_up(&rig);
    }
    outq_fini(&rig.wire);
    outq_pool_free(large);
    outq_init(&rig.wire, rig.pool, &rig.dirty);
    teardown(&rig);
}

Test(transport_tls, many_handshakes_one_after_the_other)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < 120; i++) {
        serve(&rig, kinds[i % KINDS].version, kinds[i % KINDS].cipher);
        shake_hands(&rig);
        talk(&rig, 3000);
        hang_up(&rig);
    }
    teardown(&rig);
}

Test(transport_tls, a_session_is_taken_up_again)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < KINDS; i++) {
        serve(&rig, kinds[i].version, kinds[i].cipher);
        shake_hands(&rig);
        talk(&rig, 100);
        SSL_SESSION *session = SSL_get1_session(rig.peer);
        SSL_set_shutdown(rig.peer, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* else it may not be used again */
        hang_up(&rig);
        serve(&rig, kinds[i].version, kinds[i].cipher);
        cr_assert(SSL_set_session(rig.peer, session) == 1);
        shake_hands(&rig);
        cr_assert(SSL_session_reused(rig.peer) == 1, "%s", kinds[i].cipher);
        talk(&rig, 20000);
        SSL_SESSION_free(session);
        hang_up(&rig);
    }
    teardown(&rig);
}

Test(transport_tls, of_a_forged_record_nothing_is_given_out)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < KINDS; i++) {
        for (size_t at = 5; at < 1024 + 5 + 16; at += 37) {
            size_t written = 0;
            serve(&rig, kinds[i].version, kinds[i].cipher);
            shake_hands(&rig);
            talk(&rig, 500);
            rig.got_bytes = 0;
            rig.forged_at = at;
            cr_assert(SSL_write_ex(rig.peer, rig.data, 1024, &written) == 1);
            pump(&rig);
            cr_assert_eq(rig.result, ERR_MALFORMED, "byte %zu of %s", at, kinds[i].cipher);
            cr_assert_eq(rig.got_bytes, 0);
            cr_assert_eq(tls_receive(rig.ours, bytes_of("more", 4), &rig.sink, &rig.wire), ERR_MALFORMED);
            cr_assert_eq(tls_send(rig.ours, &rig.plain, &rig.wire), 0);
            hang_up(&rig);
        }
    }
    teardown(&rig);
}

Test(transport_tls, a_record_that_is_said_twice_is_refused)
{
    struct rig rig;
    setup(&rig);
    for (int i = 0; i < KINDS; i++) {
        uint8_t record[2000];
        size_t  written = 0;
        serve(&rig, kinds[i].version, kinds[i].cipher);
        shake_hands(&rig);
        rig.got_bytes = 0;
        cr_assert(SSL_write_ex(rig.peer, rig.data, 1024, &written) == 1);
        int size = BIO_read(rig.from_peer, record, sizeof record);
        cr_assert_eq(tls_receive(rig.ours, bytes_of(record, (size_t)size), &rig.sink, &rig.wire), 0);
        cr_assert_eq(rig.got_bytes, 1024);
        cr_assert_eq(tls_receive(rig.ours, bytes_of(record, (size_t)size), &rig.sink, &rig.wire), ERR_MALFORMED);
        cr_assert_eq(rig.got_bytes, 1024);
        hang_up(&rig);
    }
    teardown(&rig);
}

Test(transport_tls, a_file_that_is_not_there_is_said_to_be_so)
{
    struct tls_context   *context = NULL;
    char                  why[200];
    const struct tls_spec spec = {.certificate = "nowhere/server.crt",
                                  .key         = "nowhere/server.key",
                                  .directory   = "",
                                  .authority   = "",
                                  .revoked     = "",
                                  .ciphers     = ""};
    cr_assert_neq(tls_context_new(&spec, &context, why, sizeof why), 0);
    cr_expect_str_eq(why, "the certificate nowhere/server.crt cannot be used: No such file or directory");
}
