/* AES-GCM of TLS beside OpenSSL's own: the same bytes, the same refusals. Skipped where OpenSSL serves it anyway. */
#include "broker/transport/gcm/gcm.h"

#include <criterion/criterion.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { SIZE_MAX_BYTES = 20 * 1024, AAD_MAX_BYTES = 64, EXPLICIT_BYTES = 8, TAG_BYTES = 16, HEADER_BYTES = 13 };

static const char *const names[] = {"AES-128-GCM", "AES-256-GCM"};

struct pair {
    EVP_CIPHER *ours, *theirs;
};

static struct pair fetch(const char *name)
{
    struct pair pair = {.ours   = EVP_CIPHER_fetch(gcm_library(), name, gcm_properties()),
                        .theirs = EVP_CIPHER_fetch(NULL, name, NULL)};
    cr_assert(pair.ours != NULL && pair.theirs != NULL);
    return pair;
}

static void release(struct pair *pair)
{
    EVP_CIPHER_free(pair->ours);
    EVP_CIPHER_free(pair->theirs);
}

static const char *maker(const EVP_CIPHER *cipher)
{
    return OSSL_PROVIDER_get0_name(EVP_CIPHER_get0_provider(cipher));
}

static void need_ours(void)
{
    if (gcm_library() == NULL) {
        cr_skip_test("no libipsec-mb, or no VAES");
    }
}

static uint32_t below(uint32_t *seed, uint32_t limit)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)*seed * limit >> 32);
}

struct message {
    uint8_t key[32], iv[12], aad[AAD_MAX_BYTES], tag[TAG_BYTES];
    uint8_t plain[SIZE_MAX_BYTES], sealed[SIZE_MAX_BYTES], again[SIZE_MAX_BYTES];
    size_t  aad_size, size;
};

static void fill(struct message *m, uint32_t *seed)
{
    cr_assert(RAND_bytes(m->key, sizeof m->key) == 1 && RAND_bytes(m->iv, sizeof m->iv) == 1 &&
              RAND_bytes(m->aad, sizeof m->aad) == 1 && RAND_bytes(m->plain, sizeof m->plain) == 1);
    static const uint32_t limits[] = {1, 18, 40, 300, 1200, SIZE_MAX_BYTES + 1};
    m->size                        = below(seed, limits[below(seed, 6)]);
    m->aad_size                    = below(seed, 2) == 0 ? 5 : below(seed, AAD_MAX_BYTES + 1);
}

/* In pieces of any size when split is not NULL; in place when out is in. */
static bool run(EVP_CIPHER_CTX *ctx, uint8_t *out, const uint8_t *in, const struct message *m, uint32_t *split)
{
    int size = 0;
    for (size_t at = 0, part; at < m->aad_size; at += part) {
        part = split == NULL ? m->aad_size : 1 + below(split, (uint32_t)(m->aad_size - at));
        if (EVP_CipherUpdate(ctx, NULL, &size, m->aad + at, (int)part) != 1) {
            return false;
        }
    }
    for (size_t at = 0, part; at < m->size; at += part) {
        uint32_t left = (uint32_t)(m->size - at);
        part          = split == NULL ? left : 1 + below(split, below(split, 2) == 0 && left > 20 ? 20 : left);
        if (EVP_CipherUpdate(ctx, out + at, &size, in + at, (int)part) != 1 || (size_t)size != part) {
            return false;
        }
    }
    return EVP_CipherFinal_ex(ctx, out + m->size, &size) == 1 && size == 0;
}

static bool seal(const EVP_CIPHER *cipher, struct message *m, uint8_t *out, uint8_t tag[TAG_BYTES], uint32_t *split,
                 bool in_place)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (in_place) {
        memcpy(out, m->plain, m->size);
    }
    bool done = EVP_EncryptInit_ex(ctx, cipher, NULL, m->key, m->iv) == 1 &&
                run(ctx, out, in_place ? out : m->plain, m, split) &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) == 1;
    EVP_CIPHER_CTX_free(ctx);
    return done;
}

static bool open_message(const EVP_CIPHER *cipher, struct message *m, uint8_t *out, size_t tag_size, uint32_t *split,
                         bool in_place)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    if (in_place) {
        memcpy(out, m->sealed, m->size);
    }
    bool done = EVP_DecryptInit_ex(ctx, cipher, NULL, m->key, m->iv) == 1 &&
                EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)tag_size, m->tag) == 1 &&
                run(ctx, out, in_place ? out : m->sealed, m, split);
    EVP_CIPHER_CTX_free(ctx);
    ERR_clear_error();
    return done;
}

/* Some rounds of both key lengths; false at the first difference. Criterion's assertions stay in its own thread. */
static bool agrees(uint32_t seed, int rounds)
{
    struct message *m    = malloc(sizeof *m);
    bool            same = m != NULL;
    for (int round = 0; same && round < rounds; round++) {
        struct pair pair = fetch(names[round % 2]);
        uint8_t     tag[TAG_BYTES];
        fill(m, &seed);
        same = seal(pair.theirs, m, m->sealed, m->tag, NULL, false) &&
               seal(pair.ours, m, m->again, tag, round % 3 == 0 ? NULL : &seed, below(&seed, 2) == 0) &&
               memcmp(m->again, m->sealed, m->size) == 0 && memcmp(tag, m->tag, TAG_BYTES) == 0 &&
               open_message(pair.ours, m, m->again, TAG_BYTES, round % 3 == 0 ? NULL : &seed, below(&seed, 2) == 0) &&
               memcmp(m->again, m->plain, m->size) == 0;
        release(&pair);
    }
    free(m);
    return same;
}

Test(gcm, puts_out_what_openssl_puts_out)
{
    need_ours();
    cr_assert(agrees(1, 3000));
}

Test(gcm, of_every_small_size_is_openssls)
{
    need_ours();
    struct message *m    = malloc(sizeof *m);
    uint32_t        seed = 7;
    cr_assert_not_null(m);
    fill(m, &seed);
    for (int i = 0; i < 2; i++) {
        struct pair pair = fetch(names[i]);
        for (m->size = 0; m->size <= 1100; m->size++) {
            uint8_t tag[TAG_BYTES];
            m->aad_size = m->size % (AAD_MAX_BYTES + 1);
            cr_assert(seal(pair.theirs, m, m->sealed, m->tag, NULL, false));
            cr_assert(seal(pair.ours, m, m->again, tag, NULL, true));
            cr_assert_arr_eq(m->again, m->sealed, m->size, "%zu bytes", m->size);
            cr_assert_arr_eq(tag, m->tag, TAG_BYTES, "%zu bytes", m->size);
            cr_assert(open_message(pair.ours, m, m->again, TAG_BYTES, NULL, true));
            cr_assert_arr_eq(m->again, m->plain, m->size);
        }
        release(&pair);
    }
    free(m);
}

static void *on_a_thread(void *seed)
{
    return agrees((uint32_t)(uintptr_t)seed, 500) ? NULL : seed;
}

Test(gcm, threads_do_not_disturb_each_other)
{
    need_ours();
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++) {
        cr_assert(pthread_create(&threads[i], NULL, on_a_thread, (void *)(i + 100)) == 0);
    }
    for (int i = 0; i < 4; i++) {
        void *wrong = NULL;
        pthread_join(threads[i], &wrong);
        cr_assert_null(wrong);
    }
}

Test(gcm, what_was_touched_is_refused)
{
    need_ours();
    struct message *m    = malloc(sizeof *m);
    uint32_t        seed = 3;
    cr_assert_not_null(m);
    for (int round = 0; round < 600; round++) {
        struct pair pair = fetch(names[round % 2]);
        fill(m, &seed);
        m->size += m->size == 0;
        m->aad_size += m->aad_size == 0;
        cr_assert(seal(pair.ours, m, m->sealed, m->tag, &seed, false));
        uint8_t *const touched[] = {m->tag + below(&seed, TAG_BYTES), m->sealed + below(&seed, (uint32_t)m->size),
                                    m->aad + below(&seed, (uint32_t)m->aad_size), m->iv + below(&seed, 12),
                                    m->key + below(&seed, 16)};
        uint8_t       *at        = touched[round % 5];
        uint8_t        bit       = (uint8_t)(1u << below(&seed, 8));
        *at ^= bit;
        cr_assert_not(open_message(pair.ours, m, m->again, TAG_BYTES, &seed, false), "round %d", round);
        *at ^= bit;
        cr_assert(open_message(pair.ours, m, m->again, TAG_BYTES, &seed, false), "round %d", round);
        release(&pair);
    }
    free(m);
}

/* What may be asked, in an order that is wrong; each of a new context that has key and IV when begun says so. */
struct rig {
    struct pair     pair;
    EVP_CIPHER_CTX *ctx;
    uint8_t         key[32], iv[12], data[64], tag[TAG_BYTES];
    int             size;
};

static void setup(struct rig *rig, bool encrypt, bool with_iv)
{
    *rig     = (struct rig){.pair = fetch(names[0])};
    rig->ctx = EVP_CIPHER_CTX_new();
    cr_assert(EVP_CipherInit_ex(rig->ctx, rig->pair.ours, NULL, rig->key, with_iv ? rig->iv : NULL, encrypt) == 1);
}

static void teardown(struct rig *rig)
{
    EVP_CIPHER_CTX_free(rig->ctx);
    release(&rig->pair);
    ERR_clear_error();
}

static bool update(struct rig *rig, int size)
{
    return EVP_CipherUpdate(rig->ctx, rig->data, &rig->size, rig->data, size) == 1;
}

static bool update_aad(struct rig *rig, int size)
{
    static const uint8_t aad[AAD_MAX_BYTES + 1];
    return EVP_CipherUpdate(rig->ctx, NULL, &rig->size, aad, size) == 1;
}

static bool finish(struct rig *rig)
{
    return EVP_CipherFinal_ex(rig->ctx, rig->data, &rig->size) == 1;
}

static bool control(struct rig *rig, int what, int size, void *data)
{
    return EVP_CIPHER_CTX_ctrl(rig->ctx, what, size, data) > 0;
}

Test(gcm, without_an_iv_nothing_is_done)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, false);
    cr_assert_not(update_aad(&rig, 5));
    cr_assert_not(update(&rig, 16));
    cr_assert_not(finish(&rig));
    teardown(&rig);
}

Test(gcm, without_a_key_nothing_is_done)
{
    need_ours();
    struct rig rig = {.pair = fetch(names[0]), .ctx = EVP_CIPHER_CTX_new()};
    cr_assert(EVP_EncryptInit_ex(rig.ctx, rig.pair.ours, NULL, NULL, rig.iv) == 1);
    cr_assert_not(update_aad(&rig, 5));
    cr_assert_not(update(&rig, 16));
    cr_assert_not(finish(&rig));
    teardown(&rig);
}

Test(gcm, an_iv_serves_for_one_message)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, true);
    cr_assert(update(&rig, 16) && finish(&rig));
    cr_assert_not(update(&rig, 16));
    cr_assert_not(finish(&rig));
    cr_assert(EVP_EncryptInit_ex(rig.ctx, NULL, NULL, rig.key, NULL) == 1);
    cr_assert_not(update(&rig, 16));
    cr_assert(EVP_EncryptInit_ex(rig.ctx, NULL, NULL, NULL, rig.iv) == 1);
    cr_assert(update(&rig, 16) && finish(&rig));
    teardown(&rig);
}

Test(gcm, a_message_does_not_go_on_under_another_key_or_in_the_other_direction)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, true);
    cr_assert(update(&rig, 16));
    cr_assert(EVP_EncryptInit_ex(rig.ctx, NULL, NULL, rig.key, NULL) == 1);
    cr_assert_not(update(&rig, 16));
    teardown(&rig);
    setup(&rig, true, true);
    cr_assert(update(&rig, 16));
    cr_assert(EVP_DecryptInit_ex(rig.ctx, NULL, NULL, NULL, NULL) == 1);
    cr_assert_not(update(&rig, 16));
    teardown(&rig);
}

Test(gcm, aad_comes_before_data)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, true);
    cr_assert(update_aad(&rig, 5) && update(&rig, 16));
    cr_assert_not(update_aad(&rig, 5));
    teardown(&rig);
}

Test(gcm, lengths_that_tls_does_not_use_are_refused)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, true);
    cr_assert(control(&rig, EVP_CTRL_AEAD_SET_IVLEN, 12, NULL));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_SET_IVLEN, 13, NULL));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_SET_IVLEN, 11, NULL));
    cr_assert_not(EVP_CIPHER_CTX_set_key_length(rig.ctx, 32) == 1);
    cr_assert(update_aad(&rig, AAD_MAX_BYTES));
    cr_assert_not(update_aad(&rig, 1));
    teardown(&rig);
    setup(&rig, true, true);
    cr_assert_not(update_aad(&rig, AAD_MAX_BYTES + 1));
    teardown(&rig);
}

Test(gcm, a_tag_is_given_out_after_the_message_and_asked_for_before_it)
{
    need_ours();
    struct rig rig;
    uint8_t    tag[TAG_BYTES + 1] = {0};
    setup(&rig, true, true);
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag));
    cr_assert(update(&rig, 16));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag));
    cr_assert(finish(&rig));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES + 1, tag));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_GET_TAG, 0, tag));
    cr_assert(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag));
    teardown(&rig);
    setup(&rig, false, true);
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES + 1, tag));
    cr_assert_not(control(&rig, EVP_CTRL_AEAD_SET_TAG, 0, tag));
    cr_assert(update(&rig, 16));
    cr_assert_not(finish(&rig), "there is no tag to compare with");
    teardown(&rig);
}

Test(gcm, a_tag_that_was_made_here_is_not_one_to_be_expected)
{
    need_ours();
    struct rig rig;
    setup(&rig, true, true);
    cr_assert(update(&rig, 16) && finish(&rig));
    cr_assert(EVP_DecryptInit_ex(rig.ctx, NULL, NULL, NULL, rig.iv) == 1);
    cr_assert(update(&rig, 16));
    cr_assert_not(finish(&rig));
    teardown(&rig);
}

Test(gcm, a_copy_goes_on_by_itself)
{
    need_ours();
    struct rig      rig;
    uint8_t         a[32] = {1}, b[32] = {1}, tags[2][TAG_BYTES];
    EVP_CIPHER_CTX *copy = EVP_CIPHER_CTX_new();
    int             size = 0;
    setup(&rig, true, true);
    cr_assert(update_aad(&rig, 5) && update(&rig, 7));
    cr_assert(EVP_CIPHER_CTX_copy(copy, rig.ctx) == 1);
    cr_assert(EVP_CipherUpdate(rig.ctx, a, &size, a, 32) == 1 && finish(&rig));
    cr_assert(control(&rig, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tags[0]));
    teardown(&rig);
    cr_assert(EVP_CipherUpdate(copy, b, &size, b, 32) == 1 && EVP_CipherFinal_ex(copy, b, &size) == 1);
    cr_assert(EVP_CIPHER_CTX_ctrl(copy, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tags[1]) > 0);
    cr_assert_arr_eq(a, b, 32);
    cr_assert_arr_eq(tags[0], tags[1], TAG_BYTES);
    EVP_CIPHER_CTX_free(copy);
}

/* ---- records of TLS 1.2 -------------------------------------------------------------------------------------------------- */

static EVP_CIPHER_CTX *side_of(const EVP_CIPHER *cipher, const uint8_t *key, bool encrypt, uint8_t *iv)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    cr_assert(EVP_CipherInit_ex(ctx, cipher, NULL, key, NULL, encrypt) == 1);
    cr_assert(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, encrypt ? -1 : 4, iv) > 0);
    return ctx;
}

/* wire: what the header says the record is. The bytes that came out, or -1. */
static int pass(EVP_CIPHER_CTX *ctx, uint8_t *record, size_t size, size_t wire, uint8_t number)
{
    uint8_t header[HEADER_BYTES] = {0, 0, 0, 0, 0, 0, 0, number, 23, 3, 3, (uint8_t)(wire >> 8), (uint8_t)wire};
    int     out                  = -1;
    if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_TLS1_AAD, HEADER_BYTES, header) != TAG_BYTES ||
        EVP_CipherUpdate(ctx, record, &out, record, (int)size) != 1) {
        return -1;
    }
    return out;
}

Test(gcm, records_of_tls_1_2_are_openssls_and_count_their_ivs)
{
    need_ours();
    static uint8_t ours[SIZE_MAX_BYTES], theirs[SIZE_MAX_BYTES], plain[SIZE_MAX_BYTES];
    uint32_t       seed = 11;
    for (int i = 0; i < 2; i++) {
        struct pair pair = fetch(names[i]);
        uint8_t     key[32], iv[12] = {9, 9, 9, 9, 1, 255, 255, 255, 255, 255, 255, 250}; /* carries soon */
        cr_assert(RAND_bytes(key, sizeof key) == 1 && RAND_bytes(plain, sizeof plain) == 1);
        EVP_CIPHER_CTX *a = side_of(pair.ours, key, true, iv), *b = side_of(pair.theirs, key, true, iv);
        EVP_CIPHER_CTX *c = side_of(pair.ours, key, false, iv), *d = side_of(pair.theirs, key, false, iv);
        for (int round = 0; round < 300; round++) {
            size_t size = below(&seed, round % 2 == 0 ? 100 : 16 * 1024 + 1);
            size_t all  = EXPLICIT_BYTES + size + TAG_BYTES;
            memcpy(ours + EXPLICIT_BYTES, plain, size);
            memcpy(theirs + EXPLICIT_BYTES, plain, size);
            cr_assert_eq(pass(a, ours, all, all - TAG_BYTES, (uint8_t)round), (int)all);
            cr_assert_eq(pass(b, theirs, all, all - TAG_BYTES, (uint8_t)round), (int)all);
            cr_assert_arr_eq(ours, theirs, all, "round %d", round);
            cr_assert_eq(pass(c, theirs, all, all, (uint8_t)round), (int)size);
            cr_assert_eq(pass(d, ours, all, all, (uint8_t)round), (int)size);
            cr_assert_arr_eq(theirs + EXPLICIT_BYTES, plain, size);
            cr_assert_arr_eq(ours + EXPLICIT_BYTES, plain, size);
        }
        EVP_CIPHER_CTX_free(a);
        EVP_CIPHER_CTX_free(b);
        EVP_CIPHER_CTX_free(c);
        EVP_CIPHER_CTX_free(d);
        release(&pair);
    }
}

Test(gcm, a_forged_record_is_wiped)
{
    need_ours();
    struct pair     pair    = fetch(names[0]);
    uint8_t         key[32] = {1}, iv[12] = {2}, record[100], sealed[100], zero[100] = {0};
    EVP_CIPHER_CTX *a = side_of(pair.ours, key, true, iv), *b = side_of(pair.ours, key, false, iv);
    memset(sealed, 'x', sizeof sealed);
    cr_assert_eq(pass(a, sealed, 100, 84, 1), 100);
    for (size_t at = 0; at < 100; at++) {
        memcpy(record, sealed, 100);
        record[at] ^= 4;
        cr_assert_eq(pass(b, record, 100, 100, 1), -1, "byte %zu", at);
        cr_assert_arr_eq(record + EXPLICIT_BYTES, zero, 76);
    }
    memcpy(record, sealed, 100);
    cr_assert_eq(pass(b, record, 100, 100, 2), -1, "another number");
    memcpy(record, sealed, 100);
    cr_assert_eq(pass(b, record, 100, 100, 1), 76);
    EVP_CIPHER_CTX_free(a);
    EVP_CIPHER_CTX_free(b);
    release(&pair);
    ERR_clear_error();
}

Test(gcm, records_of_the_wrong_size_are_refused)
{
    need_ours();
    struct pair     pair    = fetch(names[1]);
    uint8_t         key[32] = {1}, iv[12] = {2}, record[100] = {0}, apart[100] = {0}, header[HEADER_BYTES] = {0};
    EVP_CIPHER_CTX *a = side_of(pair.ours, key, true, iv), *b = side_of(pair.ours, key, false, iv);
    int             out = 0;
    cr_assert_eq(pass(a, record, 23, 8, 1), -1, "no room for IV and tag");
    cr_assert_eq(pass(a, record, 100, 7, 1), -1, "the header says less than an IV");
    cr_assert_eq(pass(b, record, 100, 23, 1), -1, "the header says less than IV and tag");
    cr_assert_eq(pass(a, record, 100, 85, 1), -1, "the header says more than there is");
    cr_assert_leq(EVP_CIPHER_CTX_ctrl(a, EVP_CTRL_AEAD_TLS1_AAD, 12, header), 0);
    header[12] = 84;
    cr_assert_eq(EVP_CIPHER_CTX_ctrl(a, EVP_CTRL_AEAD_TLS1_AAD, HEADER_BYTES, header), TAG_BYTES);
    cr_assert_neq(EVP_CipherUpdate(a, apart, &out, record, 100), 1, "records are encrypted where they lie");
    EVP_CIPHER_CTX_free(a);
    EVP_CIPHER_CTX_free(b);
    release(&pair);
    ERR_clear_error();
}

Test(gcm, the_explicit_part_of_an_iv_is_random_at_first_and_counted_then)
{
    need_ours();
    struct pair pair    = fetch(names[0]);
    uint8_t     key[32] = {1}, fixed[12] = {7, 7, 7, 7}, seen[3][12];
    for (int i = 0; i < 3; i++) {
        EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
        cr_assert(EVP_EncryptInit_ex(ctx, pair.ours, NULL, key, NULL) == 1);
        cr_assert_leq(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, 3, fixed), 0);
        cr_assert_leq(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, 5, fixed), 0);
        cr_assert(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_IV_FIXED, 4, fixed) > 0);
        cr_assert(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_IV_GEN, 12, seen[i]) > 0);
        uint8_t next[12];
        cr_assert(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_IV_GEN, 12, next) > 0);
        cr_assert_arr_eq(seen[i], fixed, 4);
        cr_assert_eq((uint8_t)(seen[i][11] + 1), next[11]);
        EVP_CIPHER_CTX_free(ctx);
    }
    cr_assert(memcmp(seen[0], seen[1], 12) != 0 && memcmp(seen[1], seen[2], 12) != 0);
    release(&pair);
    ERR_clear_error();
}

/* ---- who gets it ----------------------------------------------------------------------------------------------------------- */

Test(gcm, is_had_by_those_who_ask_for_it_alone)
{
    need_ours();
    for (int i = 0; i < 2; i++) {
        struct pair pair = fetch(names[i]);
        cr_assert_str_eq(maker(pair.ours), "keel");
        cr_assert_str_eq(maker(pair.theirs), "default");
        cr_assert_eq(EVP_CIPHER_get_nid(pair.ours), EVP_CIPHER_get_nid(pair.theirs));
        cr_assert_eq(EVP_CIPHER_get_flags(pair.ours), EVP_CIPHER_get_flags(pair.theirs));
        cr_assert_eq(EVP_CIPHER_get_iv_length(pair.ours), 12);
        cr_assert_eq(EVP_CIPHER_get_block_size(pair.ours), 1);
        cr_assert_eq(EVP_CIPHER_get_key_length(pair.ours), EVP_CIPHER_get_key_length(pair.theirs));
        release(&pair);
    }
    EVP_CIPHER *other = EVP_CIPHER_fetch(gcm_library(), "ChaCha20-Poly1305", gcm_properties());
    cr_assert_str_eq(maker(other), "default");
    EVP_CIPHER_free(other);
}
