/* err.c - names and sentences of the error table. */
#include "shared/base/err.h"

#include <limits.h>
#include <stddef.h>
#include <string.h>

const char *err_name(int error)
{
    switch (error) {
#define ERR_NAME(name, number, sentence) \
    case name:                           \
        return #name;
        ERR_TABLE(ERR_NAME)
#undef ERR_NAME
    default: {
        const char *name = error < 0 ? strerrorname_np(-error) : NULL;
        return name != NULL ? name : "OK";
    }
    }
}

const char *err_sentence(int error)
{
    switch (error) {
#define ERR_SENTENCE(name, number, sentence) \
    case name:                               \
        return sentence;
        ERR_TABLE(ERR_SENTENCE)
#undef ERR_SENTENCE
    default:
        return error >= 0 ? "success"
                          : strerrordesc_np(error == INT_MIN ? 0 : -error); /* what a peer sent may be any number */
    }
}
