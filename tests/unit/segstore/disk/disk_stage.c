#include "tests/unit/segstore/disk/disk_stage.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void disk_stage_init(struct disk_stage *stage)
{
    char             why[1024];
    struct io_config config = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    *stage                  = (struct disk_stage){.root = "/tmp/keel-unit-XXXXXX"};
    cr_assert_eq(io_open(&config, &stage->io, why, sizeof why), 0, "%s", why);
    cr_assert_not_null(mkdtemp(stage->root));
    snprintf(stage->wal, sizeof stage->wal, "%s/wal", stage->root);
    snprintf(stage->runs, sizeof stage->runs, "%s/runs", stage->root);
    snprintf(stage->checkpoints, sizeof stage->checkpoints, "%s/ckpt", stage->root);
    cr_assert(mkdir(stage->wal, 0700) == 0 && mkdir(stage->runs, 0700) == 0 && mkdir(stage->checkpoints, 0700) == 0);
    segments_init(&stage->segments, DISK_STAGE_SEGMENT_BYTES);
    io_turn(stage->io, 0); /* reads the clock */
}

void disk_stage_fini(struct disk_stage *stage)
{
    char command[128];
    segments_fini(&stage->segments);
    io_close(stage->io);
    snprintf(command, sizeof command, "rm -rf '%s'", stage->root);
    cr_assert_eq(system(command), 0);
}

static void path_of(const char *directory, uint64_t number, char path[160])
{
    char name[SEGMENT_NAME_BYTES];
    segment_name(number, name);
    snprintf(path, 160, "%s/%s", directory, name);
}

void disk_stage_segments(struct disk_stage *stage, uint64_t first, uint64_t last)
{
    char path[160];
    for (uint64_t number = first; number <= last; number++) {
        path_of(stage->wal, number, path);
        int fd = open(path, O_CREAT | O_WRONLY, 0600);
        cr_assert(fd >= 0 && ftruncate(fd, DISK_STAGE_SEGMENT_BYTES) == 0);
        close(fd);
        segments_at(&stage->segments, number)->exists = true;
    }
}

int disk_stage_open(struct disk_stage *stage, struct log_segment *segment)
{
    char            path[160];
    struct io_file *file;
    if (segment->file != NULL) {
        return 0;
    }
    path_of(stage->wal, segment->number, path);
    int result    = io_file_open(stage->io, path, 0, &file);
    segment->file = result == 0 ? file : NULL;
    return result;
}

bool disk_stage_has(const struct disk_stage *stage, const char *directory, uint64_t number)
{
    char path[160];
    (void)stage;
    path_of(directory, number, path);
    return access(path, F_OK) == 0;
}
