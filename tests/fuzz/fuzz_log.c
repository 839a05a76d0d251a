/* fuzz_log - any bytes as what lies on the disk: superblock, checkpoint and blocks of the log. A damaged one is refused. */
#include "segstore/log/block.h"
#include "segstore/log/checkpoint.h"
#include "segstore/log/super.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes        in = bytes_of(data, size);
    struct super        super;
    struct checkpoint   checkpoint;
    struct block_header header;
    struct wal_id       id = {0};
    if (size >= sizeof id) {
        memcpy(&id, data + size - sizeof id, sizeof id);
    }
    (void)super_decode(in, &super);
    if (checkpoint_decode(in, &id, &checkpoint) == 0) {
        size_t                    at = 0;
        struct checkpoint_section section;
        while (checkpoint_next(in, &checkpoint, &at, &section)) {
        }
    }
    (void)block_header_at(in, &id, 0, &header);
    return 0;
}
