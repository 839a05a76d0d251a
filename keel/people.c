/* people.c - words of the command line into requests of the admin HTTP. */
#include "keel/people.h"

#include "broker/auth/acl.h"
#include "broker/auth/credential.h"
#include "keel/line.h"
#include "shared/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

enum { STATUS_USAGE = 2, PASSWORD_MAX_BYTES = 65535 };

/* ---- passwords ---------------------------------------------------------------------------------------------------------------------- */

/* From the terminal, without showing it. */
static bool prompt(const char *text, char *out, size_t size)
{
    struct termios before, quiet;
    bool           terminal = tcgetattr(STDIN_FILENO, &before) == 0;
    if (terminal) {
        fputs(text, stderr);
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
    }
    bool got = fgets(out, (int)size, stdin) != NULL;
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &before);
        fputc('\n', stderr);
    }
    if (got) {
        out[strcspn(out, "\r\n")] = '\0';
    }
    return got;
}

/* The first line of the file, or of standard input for "stdin" and "-". False after a message. */
static bool read_password(const char *path, char *out, size_t size)
{
    bool stdin_ = path == NULL || strcmp(path, "stdin") == 0 || strcmp(path, "-") == 0;
    if (!stdin_) {
        FILE *file = fopen(path, "re");
        bool  got  = file != NULL && fgets(out, (int)size, file) != NULL;
        if (file != NULL) {
            fclose(file);
        }
        if (!got) {
            fprintf(stderr, "keel ctl: %s: no password can be read from it: %s\n", path, strerror(errno));
            return false;
        }
        out[strcspn(out, "\r\n")] = '\0';
    } else if (!prompt("Password: ", out, size)) {
        fputs("keel ctl: no password was given\n", stderr);
        return false;
    } else if (isatty(STDIN_FILENO) != 0) {
        static char again[PASSWORD_MAX_BYTES + 2];
        if (!prompt("Again: ", again, sizeof again) || strcmp(again, out) != 0) {
            fputs("keel ctl: these are two different passwords; nothing was changed\n", stderr);
            return false;
        }
    }
    if (*out == '\0') {
        fputs("keel ctl: an empty password is none; nothing was changed\n", stderr);
        return false;
    }
    return true;
}

static bool make_credential(const struct settings *settings, const char *password_file, const char *groups,
                            struct credential *out)
{
    static char                password[PASSWORD_MAX_BYTES + 2];
    uint8_t                    salts[2 * CREDENTIAL_SALT_BYTES];
    const struct password_cost cost = {.memory_kib       = (uint32_t)settings->argon2_memory_kib,
                                       .passes           = (uint32_t)settings->argon2_passes,
                                       .lanes            = 1,
                                       .scram_iterations = (uint32_t)settings->scram_iterations};
    if (!read_password(password_file, password, sizeof password)) {
        return false;
    }
    if (getrandom(salts, sizeof salts, 0) != (ssize_t)sizeof salts) {
        perror("keel ctl: getrandom");
        return false;
    }
    *out = (struct credential){0};
    if (strlen(groups) >= sizeof out->groups) {
        fputs("keel ctl: too many groups\n", stderr);
        return false;
    }
    snprintf(out->groups, sizeof out->groups, "%s", groups);
    struct bytes text   = bytes_str(password);
    int          result = credential_make(text, &cost, salts, out);
    if (result == ERR_MALFORMED) { /* SCRAM has no use for it; others have */
        struct password_cost plain = cost;
        plain.scram_iterations     = 0;
        fputs("keel ctl: this password has characters that SCRAM does not take; it works without SCRAM only\n", stderr);
        result = credential_make(text, &plain, salts, out);
    }
    memset(password, 0, sizeof password);
    if (result != 0) {
        fprintf(stderr, "keel ctl: the password cannot be hashed: %s (auth.argon2_memory is %llu KiB)\n",
                err_sentence(result), (unsigned long long)settings->argon2_memory_kib);
        return false;
    }
    return true;
}

/* A password file with the user's line in place of the former one, or without it. Written beside it and renamed. */
static int change_file(const char *path, const char *name, const char *credential)
{
    char   beside[4096], *text = NULL;
    size_t room = 0, size = strlen(name);
    bool   found = false, put = false;
    snprintf(beside, sizeof beside, "%s.new", path);
    FILE *from = fopen(path, "re");
    FILE *to   = NULL;
    int   fd   = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || (to = fdopen(fd, "w")) == NULL) {
        fprintf(stderr, "keel ctl: %s: cannot be written: %s\n", beside, strerror(errno));
        if (from != NULL) {
            fclose(from);
        }
        return 1;
    }
    struct stat now;
    if (from != NULL && fstat(fileno(from), &now) == 0) { /* whoever may read it, may go on */
        (void)!fchown(fd, now.st_uid, now.st_gid);
        (void)fchmod(fd, now.st_mode & 0777);
    }
    while (from != NULL && getline(&text, &room, from) > 0) {
        if (strncmp(text, name, size) != 0 || text[size] != ':') {
            fputs(text, to);
            continue;
        }
        found = true;
        if (credential != NULL && !put) {
            fprintf(to, "%s:%s\n", name, credential);
            put = true;
        }
    }
    if (credential != NULL && !put) {
        fprintf(to, "%s:%s\n", name, credential);
    }
    free(text);
    if (from != NULL) {
        fclose(from);
    }
    bool good = fflush(to) == 0 && fsync(fd) == 0;
    good      = fclose(to) == 0 && good && rename(beside, path) == 0;
    if (!good) {
        fprintf(stderr, "keel ctl: %s: cannot be written: %s\n", path, strerror(errno));
        return 1;
    }
    if (credential == NULL && !found) {
        fprintf(stderr, "keel ctl: %s: there is no user \"%s\" in it\n", path, name);
        return 1;
    }
    return 0;
}

int people_passwd(int argc, char **argv)
{
    static struct line line;
    const char        *password_file = NULL, *to = NULL, *groups = "";
    bool delete                    = false;
    const struct line_flag flags[] = {{"--password-file", .value = &password_file},
                                      {"--to", .value = &to},
                                      {"--groups", .value = &groups},
                                      {"--delete", .said = &delete},
                                      {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    if (line.help || line.count != 1) {
        fputs(
            "keel ctl passwd NAME [--groups A,B]     sets the password of a user; asks for it, twice\n"
            "    --password-file FILE|stdin          takes it from there, one line\n"
            "    --to FILE                           into a password file (auth.password_file) and not into the store\n"
            "keel ctl passwd NAME --delete           removes the user; its connections end\n",
            line.help ? stdout : stderr);
        return line.help ? 0 : STATUS_USAGE;
    }
    const char *name = line.words[0];
    char        path[3 * CREDENTIAL_NAME_MAX_BYTES + 32];
    if (!credential_name_valid(bytes_str(name))) {
        fputs("keel ctl: a user name has 1 to 1024 bytes and neither ':' nor control characters\n", stderr);
        return STATUS_USAGE;
    }
    line_path("/auth/users/", name, path, sizeof path);
    if (delete) {
        return to != NULL ? change_file(to, name, NULL) : line_ask(&line.settings, "DELETE", path, NULL, false);
    }
    struct credential credential;
    char              text[CREDENTIAL_LINE_MAX_BYTES];
    if (!make_credential(&line.settings, password_file, groups, &credential)) {
        return 1;
    }
    credential_write(&credential, text);
    return to != NULL ? change_file(to, name, text) : line_ask(&line.settings, "PUT", path, text, false);
}

int people_users(int argc, char **argv)
{
    static struct line line;
    if (!line_read(argc, argv, NULL, &line)) {
        return STATUS_USAGE;
    }
    if (line.help || line.count != 0) {
        fputs("keel ctl users      name, groups, \"scram\" where it has keys for it, \"file\" where it is in the "
              "password file\n",
              line.help ? stdout : stderr);
        return line.help ? 0 : STATUS_USAGE;
    }
    return line_ask(&line.settings, "GET", "/auth/users", NULL, true);
}

/* ---- rules -------------------------------------------------------------------------------------------------------------------------- */

/* The words as a rule's line: what has blanks or quotes in it stands in quotes. */
static bool join(const char *const *words, int count, char *out, size_t size)
{
    size_t at = 0;
    for (int i = 0; i < count; i++) {
        const char *word   = words[i];
        bool        single = count == 1; /* a whole rule in one word of the shell */
        bool        quotes = !single && (strpbrk(word, " \t\"\\") != NULL || *word == '\0');
        if (at + 2 * strlen(word) + 4 > size) {
            return false;
        }
        if (i > 0) {
            out[at++] = ' ';
        }
        if (quotes) {
            out[at++] = '"';
        }
        for (; *word != '\0'; word++) {
            if (quotes && (*word == '"' || *word == '\\')) {
                out[at++] = '\\';
            }
            out[at++] = *word;
        }
        if (quotes) {
            out[at++] = '"';
        }
    }
    out[at] = '\0';
    return true;
}

static int acl_add(const struct line *line, const char *at)
{
    static char rule[2 * ACL_RULE_MAX_BYTES];
    char        path[64] = "/auth/rules", why[256];
    if (!join(line->words + 1, line->count - 1, rule, sizeof rule)) {
        fputs("keel ctl: the rule is too long\n", stderr);
        return STATUS_USAGE;
    }
    struct acl_rule *read = acl_rule_read(bytes_str(rule), why, sizeof why);
    if (read == NULL) {
        fprintf(stderr, "keel ctl: %s\n", why);
        return STATUS_USAGE;
    }
    acl_rule_free(read);
    if (at != NULL) {
        snprintf(path, sizeof path, "/auth/rules/%.40s", at);
    }
    return line_ask(&line->settings, "POST", path, rule, true);
}

int people_acl(int argc, char **argv)
{
    static struct line     line;
    char                   path[64];
    const char            *at      = NULL;
    const struct line_flag flags[] = {{"--at", .value = &at}, {NULL}};
    if (!line_read(argc, argv, flags, &line)) {
        return STATUS_USAGE;
    }
    const char *verb = line.count > 0 ? line.words[0] : "";
    if (!line.help && strcmp(verb, "list") == 0 && line.count == 1) {
        return line_ask(&line.settings, "GET", "/auth/rules", NULL, true);
    }
    if (!line.help && strcmp(verb, "add") == 0 && line.count > 1) {
        return acl_add(&line, at);
    }
    if (!line.help && strcmp(verb, "remove") == 0 && line.count == 2) {
        snprintf(path, sizeof path, "/auth/rules/%.40s", line.words[1]);
        return line_ask(&line.settings, "DELETE", path, NULL, false);
    }
    line_complain(&line, "list|add|remove");
    fputs("keel ctl acl list                    the access rules in the order in which they count\n"
          "keel ctl acl add [--at N] RULE ..    adds one behind the others, or at a number between them; prints its "
          "number\n"
          "keel ctl acl remove N\n\n"
          "    RULE: allow|deny  user NAME | client ID | group NAME | address CIDR | all  publish|subscribe|both\n"
          "          [qos 0,1] [retain yes|no]  FILTER [FILTER ..]\n"
          "    %c and %u in a filter are the client id and the user name, `eq FILTER` means these very characters.\n"
          "    keel ctl acl add allow user alice both 'home/#'\n",
          line.help ? stdout : stderr);
    return line.help ? 0 : STATUS_USAGE;
}
