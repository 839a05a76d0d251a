/* settings.c - the table behind settings.h. */
#include "shared/config/settings.h"

static const struct config_key keys[] = {
/* clang-format off */
#define SETTING_KEY(field_name, key_name, flag_name, type_name, first, least, most, unit_name, text)                               \
    {.key      = key_name,                                                                                                         \
     .flag     = flag_name,                                                                                                        \
     .type     = CONFIG_##type_name,                                                                                               \
     .initial  = first,                                                                                                            \
     .min      = least,                                                                                                            \
     .max      = most,                                                                                                             \
     .unit     = unit_name,                                                                                                        \
     .sentence = text,                                                                                                             \
     .field    = offsetof(struct settings, field_name)},
    /* clang-format on */
    SETTINGS_TABLE(SETTING_KEY)
#undef SETTING_KEY
};

const struct config_table settings_table = {keys, sizeof keys / sizeof *keys};
