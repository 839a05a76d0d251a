/* credential, base64, prep, users: what is kept of passwords. */
#include "broker/auth/credential.h"

#include "broker/auth/base64.h"
#include "broker/auth/prep.h"
#include "broker/auth/users.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(auth_credential, the_vectors_of_rfc_4648_and_nothing_else)
{
    static const struct {
        const char *plain, *text;
    } table[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"}};
    char    text[32];
    uint8_t data[32];
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        base64_encode(BASE64_PADDED, bytes_str(table[i].plain), text);
        cr_expect_str_eq(text, table[i].text);
        cr_expect_eq(base64_decode(BASE64_PADDED, bytes_str(text), data, sizeof data), (int64_t)strlen(table[i].plain));
        base64_encode(BASE64_URL, bytes_str(table[i].plain), text);
        cr_expect_null(strchr(text, '='));
        cr_expect_eq(base64_decode(BASE64_URL, bytes_str(text), data, sizeof data), (int64_t)strlen(table[i].plain));
    }
    static const char *const wrong[] = {"Z", "Zg", "Zg=", "Zh==", "Zg==Zg==", "Zm9 ", "Zm9v\n", "====", "Z===", "Zm-_"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_lt(base64_decode(BASE64_PADDED, bytes_str(wrong[i]), data, sizeof data), 0, "%s", wrong[i]);
    }
    cr_expect_lt(base64_decode(BASE64_PADDED, bytes_str("Zm9v"), data, 2), 0);
}

Test(auth_credential, what_saslprep_prohibits_or_changes_is_refused)
{
    static const char *const good[]  = {"a",   "pencil",          "Zo\xc3\xab", "\xe6\xbc\xa2\xe5\xad\x97",
                                        "a b", "\xf0\x9f\x90\x8b"};
    static const char *const wrong[] = {"",
                                        "\x01",
                                        "a\x7f",
                                        "a\xc2\xa0"
                                        "b",
                                        "\xc2\xad",
                                        "\xe2\x80\x8b",
                                        "\xef\xbb\xbf",
                                        "\xee\x80\x80",
                                        "\xff",
                                        "\xc0\x80",
                                        "\xed\xa0\x80",
                                        "\xe2\x80\xae",
                                        "\xef\xbf\xbe",
                                        "\xe2",
                                        "\xf4\x90\x80\x80"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        cr_expect_null(prep_check(bytes_str(good[i])), "%s", good[i]);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        cr_expect_not_null(prep_check(bytes_str(wrong[i])), "%zu", i);
    }
}

/* Of the reference implementation of argon2: argon2id, m=2^16 KiB, t=2, p=1, password "password", salt "somesalt". */
static const char known[] = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
/* Made by mosquitto_passwd: PBKDF2-SHA512 of "password". */
static const char pbkdf2[] = "$7$101$c2FsdHNhbHRzYWx0";

Test(auth_credential, a_known_hash_belongs_to_its_password_only)
{
    cr_expect(credential_verify(known, bytes_str("password")));
    cr_expect_not(credential_verify(known, bytes_str("Password")));
    cr_expect_not(credential_verify(known, bytes_str("")));
    cr_expect_not(credential_verify("", bytes_str("password")));
    cr_expect_not(credential_verify("$argon2id$", bytes_str("password")));
    cr_expect_not(credential_verify("$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$x", bytes_str("password")));
    cr_expect_not(credential_verify(pbkdf2, bytes_str("password")), "its hash is cut off");
    cr_expect_not(credential_verify("$7$0$c2FsdA==$", bytes_str("password")));
    cr_expect_not(credential_verify("$6$c2FsdA==", bytes_str("password")));
}

static const struct password_cost cheap = {.memory_kib = 64, .passes = 1, .lanes = 1, .scram_iterations = 4096};

Test(auth_credential, what_is_made_is_written_read_and_verified)
{
    uint8_t           salts[2 * CREDENTIAL_SALT_BYTES] = {1, 2, 3};
    struct credential made                             = {.groups = "a,bc"}, read;
    char              text[CREDENTIAL_LINE_MAX_BYTES];
    cr_assert_eq(credential_make(bytes_str("secret"), &cheap, salts, &made), 0);
    cr_expect(credential_verify(made.hash, bytes_str("secret")));
    credential_write(&made, text);
    cr_assert_null(credential_read(bytes_str(text), &read));
    cr_expect_eq(memcmp(&read.scram, &made.scram, sizeof read.scram), 0);
    cr_expect_str_eq(read.hash, made.hash);
    cr_expect_str_eq(read.groups, "a,bc");
    cr_expect(credential_in_group(read.groups, bytes_str("bc")) && !credential_in_group(read.groups, bytes_str("b")));
    cr_expect_lt(credential_make(bytes_str("bell\a"), &cheap, salts, &made), 0, "SCRAM does not take it");
}

Test(auth_credential, what_is_no_line_is_refused)
{
    static const char *const wrong[] = {
        "",
        "plain",
        "$1$x",
        "$argon2id$v=19$m=4294967295,t=2,p=1$a$b",
        "$argon2id$v=19$m=65536,t=99999,p=1$a$b",
        "$7$x:SCRAM-SHA-1$4096$YQ==$YQ==$YQ==",
        "$7$x:SCRAM-SHA-256$4095$YQ==$YQ==$YQ==",
        "$7$x::two words",
        "$7$x:SCRAM-SHA-256$4096$YQ==$YQ==$YQ==",
        "$7$x::a:b",
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct credential out;
        cr_expect_not_null(credential_read(bytes_str(wrong[i]), &out), "%s", wrong[i]);
    }
}

Test(auth_credential, a_file_takes_the_place_of_all_or_of_nothing)
{
    struct users users    = {0};
    char         why[256] = "";
    char         text[512];
    snprintf(text, sizeof text, "# comment\n\nann:%s\r\nben:%s::ops\n", known, known);
    cr_assert(users_read(&users, bytes_str(text), why, sizeof why), "%s", why);
    cr_expect_eq(users.map.count, 2);
    cr_expect_str_eq(users_find(&users, bytes_str("ben"))->credential.groups, "ops");
    cr_expect_str_eq(users_find(&users, bytes_str("ann"))->credential.hash, known);
    cr_expect_not(users_read(&users, bytes_str("cid:nonsense\n"), why, sizeof why));
    cr_expect_eq(strncmp(why, "1: ", 3), 0, "%s", why);
    snprintf(text, sizeof text, "a:%s\na:%s\n", known, known);
    cr_expect_not(users_read(&users, bytes_str(text), why, sizeof why));
    cr_expect_eq(strncmp(why, "2: ", 3), 0, "%s", why);
    cr_expect_eq(users.map.count, 2, "nothing changed");
    cr_assert(users_read(&users, (struct bytes){0}, why, sizeof why));
    cr_expect_eq(users.map.count, 0);
    users_fini(&users);
}
