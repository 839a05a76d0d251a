/* config - settings from a YAML file and the command line, checked against one table.
 *
 *   table (key, type, default, min, max, unit, sentence)
 *      defaults ──▶ --config FILE (YAML) ──▶ flags and --set key=value, left to right ──▶ a flat struct of typed fields
 *
 * A list is a YAML sequence of texts; each --set of its key adds one item behind those of the file, and an empty one forgets all before it.
 *
 * In the file, nested maps are keys with dots: `mqtt: {receive_max: 10}` is mqtt.receive_max. A key that is not in the table, twice in one
 * file, or whose value does not fit, is an error that names the place and the nearest key.
 * libyaml's events are used directly: each carries its line, where libcyaml gives lines only to its log and cannot
 * tell which key was meant.
 * Lifetime: the result owns its texts, nothing is allocated.   Threads: the caller's, before others start.
 * Reads the file by itself (stdio): only programs' main.c call it, before a loop exists. */
#ifndef KEEL_SHARED_CONFIG_CONFIG_H
#define KEEL_SHARED_CONFIG_CONFIG_H

#include "shared/base/assert.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    CONFIG_TEXT_MAX  = 256,   /* bytes of a text, its end included */
    CONFIG_ERROR_MAX = 512,   /* enough for every sentence */
    CONFIG_LIST_MAX  = 16384, /* bytes of all items of a list, their ends included */
};

/* Texts, one behind the other, each with its end; zeroed is empty. */
struct config_list {
    uint32_t size; /* of items in use */
    uint32_t count;
    char     items[CONFIG_LIST_MAX];
};

struct config_address {
    char     host[64]; /* numeric, IPv4 or IPv6 without brackets */
    uint16_t port;     /* 0: the kernel picks a free one */
};

enum { CONFIG_ADDRESSES_MAX = 8 };

struct config_addresses {
    uint32_t              count; /* at least 1 */
    struct config_address at[CONFIG_ADDRESSES_MAX];
};

enum config_type {
    CONFIG_NUMBER,  /* uint64_t; a unit of "bytes" allows the suffixes KiB, MiB and GiB */
    CONFIG_BOOL,    /* bool: true or false */
    CONFIG_TEXT,    /* char[CONFIG_TEXT_MAX] */
    CONFIG_CHOICE,  /* uint64_t: which of the words in unit, "error|warn|info" */
    CONFIG_ADDRESS, /* struct config_address: "127.0.0.1:1883", "[::1]:1883" */
    CONFIG_ADDRESSES, /* struct config_addresses: the same, one or several with commas in between; off: one with an empty host */
    CONFIG_FILE, /* char[CONFIG_TEXT_MAX]: a flag only; names the YAML file */
    CONFIG_LIST, /* struct config_list; unit says how an item is written */
};

struct config_key {
    const char      *key;  /* "mqtt.receive_max", or NULL: only a flag */
    const char      *flag; /* "mqtt" for --mqtt, or NULL: only a key */
    enum config_type type;
    const char      *initial; /* the default, as it would be written; NULL: empty text */
    uint64_t         min, max;
    const char      *unit;     /* of a number, for people; the words of a choice; the placeholder of a text */
    const char      *sentence; /* what it does, one sentence */
    size_t           field;    /* offset of its field in the result */
};

struct config_table {
    const struct config_key *keys;
    size_t                   count;
};

enum { CONFIG_HELP = 1 };

/* Fills the struct at out from arguments argv[1..argc). 0; CONFIG_HELP: --help was asked for; or ERR_MALFORMED with a sentence
 * without its newline in error (of CONFIG_ERROR_MAX bytes). */
MUST_CHECK int config_load(int argc, char *const *argv, const struct config_table *table, void *out, char *error);
/* Only the defaults. */
void config_defaults(const struct config_table *table, void *out);
/* The text of a YAML file instead of the file; name stands in errors. 0 or ERR_MALFORMED. */
MUST_CHECK int config_read_yaml(const char *name, const char *text, size_t size, const struct config_table *table,
                                void *out, char *error);
/* One value: where stands before the sentence in errors ("--set", "keel.yaml:3"). 0 or ERR_MALFORMED. */
MUST_CHECK int config_set(const struct config_table *table, const char *key, const char *value, void *out,
                          const char *where, char *error);

/* The flags, one line each, but for those left out (ends with NULL; NULL: none is): a program takes the whole table and shows what it has a use for. */
void config_print_flags(const struct config_table *table, const char *const *left_out, FILE *to);
/* All keys as a YAML file of the defaults with their sentences: deploy/keel.yaml. */
void config_print_yaml(const struct config_table *table, FILE *to);
/* "host:port", with brackets around IPv6. Returns text. */
const char *config_address_text(const struct config_address *address, char *text, size_t size);

/* The item behind `item` (NULL: the first), or NULL when there is none. */
const char *config_list_next(const struct config_list *list, const char *item);

/* How many characters must be put in, taken out or replaced, or neighbours swapped, to make a into b. */
unsigned config_distance(const char *a, const char *b);
/* So few, for a word of that length, that one may have been meant where the other was written. */
bool config_is_near(const char *written, unsigned distance);

#endif
