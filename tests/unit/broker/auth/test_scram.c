/* scram: the exchange of RFC 7677, and what is wrong with others. */
#include "broker/auth/scram.h"

#include "broker/auth/base64.h"

#include <criterion/criterion.h>

/* RFC 7677, 3: user "user", password "pencil". The server's part of the nonce there is longer than ours, so the exchange is put together by hand. */
static const char client_first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char server_first[] =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char client_final[] =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
static const char server_final[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

static struct scram_keys keys_of(const char *password)
{
    uint8_t           salt[16];
    struct scram_keys keys;
    cr_assert_eq(base64_decode(BASE64_PADDED, bytes_str("W22ZaJ0SNY7soEsUEjb6gQ=="), salt, sizeof salt), 16);
    cr_assert(scram_keys_make(bytes_str(password), bytes_of(salt, 16), 4096, &keys));
    return keys;
}

static void begin(struct scram *scram, const struct scram_keys *keys)
{
    static const uint8_t secret[32], nonce[SCRAM_OWN_NONCE_BYTES];
    memset(scram, 0, sizeof *scram);
    cr_assert_null(scram_first(scram, bytes_str(client_first)));
    cr_assert_gt(scram_challenge(scram, keys, secret, 4096, nonce).size, 0);
    memcpy(scram->challenge, server_first, strlen(server_first));
    scram->challenge_size = (uint32_t)strlen(server_first);
    scram->nonce_size     = (uint32_t)(strchr(server_first, ',') - server_first - 2);
    memcpy(scram->nonce, server_first + 2, scram->nonce_size);
}

Test(auth_scram, the_exchange_of_rfc_7677)
{
    struct scram      scram;
    struct scram_keys keys = keys_of("pencil");
    char              out[64];
    size_t            size = 0;
    begin(&scram, &keys);
    cr_expect(bytes_equal(bytes_of(scram.user, scram.user_size), bytes_str("user")));
    const char *why = scram_final(&scram, bytes_str(client_final), out, &size);
    cr_assert_null(why, "%s", why);
    cr_expect(bytes_equal(bytes_of(out, size), bytes_str(server_final)), "%.*s", (int)size, out);
}

Test(auth_scram, another_password_another_bit_or_nobody_is_not_let_in)
{
    struct scram      scram;
    struct scram_keys keys = keys_of("pen");
    char              out[64], text[sizeof client_final];
    size_t            size;
    begin(&scram, &keys);
    cr_expect_not_null(scram_final(&scram, bytes_str(client_final), out, &size));
    keys = keys_of("pencil");
    for (size_t i = 0; i < strlen(client_final); i++) {
        memcpy(text, client_final, sizeof text);
        text[i] = (char)(text[i] ^ 1);
        begin(&scram, &keys);
        cr_expect_not_null(scram_final(&scram, bytes_str(text), out, &size), "byte %zu", i);
    }
    for (size_t cut = 0; cut < strlen(client_final); cut++) {
        begin(&scram, &keys);
        cr_expect_not_null(scram_final(&scram, bytes_of(client_final, cut), out, &size), "cut at %zu", cut);
    }
    begin(&scram, NULL);
    cr_expect_not_null(scram_final(&scram, bytes_str(client_final), out, &size));
}

Test(auth_scram, a_challenge_has_the_clients_nonce_and_more)
{
    static const uint8_t secret[32] = {7}, nonce[SCRAM_OWN_NONCE_BYTES] = {1, 2, 3};
    struct scram_keys    keys  = keys_of("pencil");
    struct scram         scram = {0};
    cr_assert_null(scram_first(&scram, bytes_str(client_first)));
    struct bytes said = scram_challenge(&scram, &keys, secret, 4096, nonce);
    cr_expect(bytes_starts_with(said, bytes_str("r=rOprNGfwEbeRWgbNEkqOAQID")), "%.*s", (int)said.size,
              (const char *)said.data);
    cr_expect(
        bytes_starts_with(bytes_of(said.data + said.size - 34, 34), bytes_str(",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")));
}

Test(auth_scram, names_are_unescaped)
{
    struct scram scram = {0};
    cr_assert_null(scram_first(&scram, bytes_str("y,a=a=2Cb=3Dc,n=a=2Cb=3Dc,r=x")));
    cr_expect(bytes_equal(bytes_of(scram.user, scram.user_size), bytes_str("a,b=c")));
}
