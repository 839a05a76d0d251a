/* fuzz_config - any text as a configuration file: settings or one sentence, never a crash. */
#include "shared/config/settings.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct settings settings;
    char                   error[CONFIG_ERROR_MAX] = "";
    config_defaults(&settings_table, &settings);
    int result = config_read_yaml("fuzz.yaml", (const char *)data, size, &settings_table, &settings, error);
    ASSERT(IMPLIES(result < 0, error[0] != '\0' && memchr(error, '\n', sizeof error) == NULL));
    return 0;
}
