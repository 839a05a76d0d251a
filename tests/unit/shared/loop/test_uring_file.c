/* test_uring_file - real files in a directory of their own. */
#include "shared/loop/io.h"

#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

struct place {
    struct io *io;
    char       directory[64];
    int        done;
    int        result;
    char       names[256];
};

static void place_init(struct place *place, const char *root)
{
    char             why[1024], pattern[64];
    struct io_config config = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    *place                  = (struct place){0};
    cr_assert_eq(io_open(&config, &place->io, why, sizeof why), 0, "%s", why);
    snprintf(pattern, sizeof pattern, "%s/keel-unit-XXXXXX", root);
    cr_assert_not_null(mkdtemp(pattern));
    strcpy(place->directory, pattern);
}

static void place_fini(struct place *place)
{
    char command[128];
    io_close(place->io);
    snprintf(command, sizeof command, "rm -rf '%s'", place->directory);
    cr_assert_eq(system(command), 0);
}

static const char *path_of(const struct place *place, const char *name)
{
    static char paths[4][128];
    static int  next;
    char       *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", place->directory, name);
    return path;
}

static void done(struct io_op *op, int result)
{
    struct place *place = op->ctx;
    place->done++;
    place->result = result;
}

static int wait_for(struct place *place)
{
    int before = place->done;
    for (int i = 0; i < 1000 && place->done == before; i++) {
        io_turn(place->io, io_now_ns(place->io) + 10000000);
    }
    cr_assert_eq(place->done, before + 1);
    return place->result;
}

static void write_and_read(const char *root, unsigned flags)
{
    enum { SIZE = 1 << 20 };
    struct place    place;
    struct io_file *file;
    struct rand     r;
    uint8_t        *out = aligned_alloc(IO_ALIGN_BYTES, SIZE);
    uint8_t        *in  = aligned_alloc(IO_ALIGN_BYTES, SIZE + IO_ALIGN_BYTES);
    place_init(&place, root);
    rand_init(&r, 1, 1);
    for (int i = 0; i < SIZE; i++) {
        out[i] = (uint8_t)rand_u64(&r);
    }
    struct io_op op = {.done = done, .ctx = &place};
    cr_assert_eq(io_file_open(place.io, path_of(&place, "log"), IO_OPEN_CREATE | flags, &file), 0);
    io_write_durable(file, &op, out, SIZE, 0);
    cr_assert_eq(place.done, 0, "told in a later turn");
    cr_assert_eq(wait_for(&place), SIZE);
    cr_assert_eq(io_file_size(file), SIZE);
    io_read(file, &op, in, SIZE + IO_ALIGN_BYTES, 0);
    cr_assert_eq(wait_for(&place), SIZE, "short only at the end of the file");
    cr_assert_eq(memcmp(in, out, SIZE), 0);
    io_read(file, &op, in, IO_ALIGN_BYTES, SIZE);
    cr_assert_eq(wait_for(&place), 0, "behind the end there is nothing");
    io_write(file, &op, out + 4096, 4096, 8192);
    cr_assert_eq(wait_for(&place), 4096);
    io_sync(file, &op);
    cr_assert_eq(wait_for(&place), 0);
    io_read(file, &op, in, 4096, 8192);
    cr_assert_eq(wait_for(&place), 4096);
    cr_assert_eq(memcmp(in, out + 4096, 4096), 0);
    io_file_close(file);
    free(out);
    free(in);
    place_fini(&place);
}

Test(loop_uring_file, what_is_written_past_the_page_cache_is_read_back)
{
    write_and_read("/tmp", IO_OPEN_DIRECT);
}

Test(loop_uring_file, what_is_written_through_the_page_cache_is_read_back)
{
    write_and_read("/tmp", 0);
}

Test(loop_uring_file, a_file_system_in_memory_works_too)
{
    if (access("/dev/shm", W_OK) == 0) {
        write_and_read("/dev/shm", IO_OPEN_DIRECT);
    }
}

Test(loop_uring_file, open_flags_decide_what_must_exist)
{
    struct place    place;
    struct io_file *file = NULL;
    place_init(&place, "/tmp");
    cr_assert_eq(io_file_open(place.io, path_of(&place, "a"), 0, &file), -ENOENT);
    cr_assert_eq(io_file_open(place.io, path_of(&place, "a"), IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file), 0);
    io_file_close(file);
    cr_assert_eq(io_file_open(place.io, path_of(&place, "a"), IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE, &file), -EEXIST);
    cr_assert_eq(io_file_open(place.io, path_of(&place, "a"), IO_OPEN_READ_ONLY, &file), 0);
    struct io_op op = {.done = done, .ctx = &place};
    io_write(file, &op, "x", 1, 0);
    cr_assert_eq(wait_for(&place), -EBADF);
    io_file_close(file);
    io_file_close(NULL);
    place_fini(&place);
}

static void add_name(void *ctx, const char *name)
{
    struct place *place = ctx;
    strcat(place->names, name);
    strcat(place->names, " ");
}

static const char *list(struct place *place)
{
    place->names[0] = '\0';
    cr_assert_eq(io_list(place->io, place->directory, add_name, place), 0);
    return place->names;
}

Test(loop_uring_file, room_is_made_that_reads_as_zeros_and_keeps_what_is_there)
{
    enum { SIZE = 1 << 20 };
    struct place    place;
    struct io_file *file;
    uint8_t        *memory = aligned_alloc(IO_ALIGN_BYTES, SIZE);
    place_init(&place, "/tmp");
    struct io_op op = {.done = done, .ctx = &place};
    memset(memory, 'x', SIZE);
    cr_assert_eq(io_file_open(place.io, path_of(&place, "log"), IO_OPEN_CREATE | IO_OPEN_DIRECT, &file), 0);
    io_write_durable(file, &op, memory, 4096, 0);
    cr_assert_eq(wait_for(&place), 4096);
    io_allocate(file, &op, SIZE);
    cr_assert_eq(wait_for(&place), 0);
    io_sync(file, &op);
    cr_assert_eq(wait_for(&place), 0);
    cr_assert_eq(io_file_size(file), SIZE);
    io_read(file, &op, memory, SIZE, 0);
    cr_assert_eq(wait_for(&place), SIZE);
    for (int i = 0; i < SIZE; i++) {
        cr_assert_eq(memory[i], i < 4096 ? 'x' : 0);
    }
    io_file_close(file);
    free(memory);
    place_fini(&place);
}

Test(loop_uring_file, names_are_made_listed_renamed_and_removed)
{
    struct place    place;
    struct io_file *file = NULL;
    place_init(&place, "/tmp");
    struct io_op op = {.done = done, .ctx = &place};
    cr_assert_str_eq(list(&place), "");
    for (const char *name = "cab"; *name != '\0'; name++) {
        cr_assert_eq(io_file_open(place.io, path_of(&place, (char[]){*name, 0}), IO_OPEN_CREATE, &file), 0);
        io_file_close(file);
    }
    cr_assert_str_eq(list(&place), "a b c ");
    char from[128], to[128];
    strcpy(from, path_of(&place, "a"));
    strcpy(to, path_of(&place, "z"));
    io_rename(place.io, &op, from, to);
    memset(from, 'x', sizeof from); /* paths are copied */
    memset(to, 'x', sizeof to);
    cr_assert_eq(wait_for(&place), 0);
    cr_assert_str_eq(list(&place), "b c z ");
    io_unlink(place.io, &op, path_of(&place, "b"));
    cr_assert_eq(wait_for(&place), 0);
    cr_assert_str_eq(list(&place), "c z ");
    io_sync_directory(place.io, &op, place.directory);
    cr_assert_eq(wait_for(&place), 0);

    io_unlink(place.io, &op, path_of(&place, "b"));
    cr_assert_eq(wait_for(&place), -ENOENT);
    io_rename(place.io, &op, path_of(&place, "b"), path_of(&place, "d"));
    cr_assert_eq(wait_for(&place), -ENOENT);
    io_sync_directory(place.io, &op, path_of(&place, "nowhere"));
    cr_assert_eq(place.done, 5, "told in a later turn, as all results");
    cr_assert_eq(wait_for(&place), -ENOENT);
    cr_assert_eq(io_list(place.io, path_of(&place, "nowhere"), add_name, &place), -ENOENT);
    place_fini(&place);
}

Test(loop_uring_file, directories_are_made_with_their_parents)
{
    struct place place;
    place_init(&place, "/tmp");
    cr_assert_eq(io_mkdir(place.io, path_of(&place, "a/b/c")), 0);
    cr_assert_eq(io_mkdir(place.io, path_of(&place, "a/b/c")), 0);
    cr_assert_eq(io_mkdir(place.io, path_of(&place, "a/d/")), 0);
    cr_assert_str_eq(list(&place), "a ");
    struct io_file *file;
    cr_assert_eq(io_file_open(place.io, path_of(&place, "file"), IO_OPEN_CREATE, &file), 0);
    cr_assert_eq(io_mkdir(place.io, path_of(&place, "file")), -ENOTDIR);
    cr_assert_eq(io_mkdir(place.io, path_of(&place, "file/x")), -ENOTDIR);
    cr_assert_eq(io_mkdir(place.io, ""), -ENOENT);
    io_file_close(file);
    cr_assert_gt(io_free_bytes(place.io, place.directory), 0);
    cr_assert_eq(io_free_bytes(place.io, path_of(&place, "nowhere")), -ENOENT);
    place_fini(&place);
}

Test(loop_uring_file, a_lock_keeps_a_second_process_out)
{
    struct place    place;
    struct io_file *file;
    place_init(&place, "/tmp");
    cr_assert_eq(io_file_open(place.io, path_of(&place, "lock"), IO_OPEN_CREATE, &file), 0);
    cr_assert_eq(io_file_lock(file, "lock"), 0);
    struct io_file *second; /* a file opened again is another holder, as another process would be */
    cr_assert_eq(io_file_open(place.io, path_of(&place, "lock"), 0, &second), 0);
    cr_assert_eq(io_file_lock(second, "lock"), -EBUSY);
    io_file_close(file);
    cr_assert_eq(io_file_lock(second, "lock"), 0);
    io_file_close(second);
    place_fini(&place);
}

Test(loop_uring_file, many_operations_are_under_way_at_once_and_closing_waits_for_them)
{
    enum { OPS = 3000 };
    struct place    place;
    struct io_file *file;
    uint8_t        *memory = aligned_alloc(IO_ALIGN_BYTES, 4096);
    struct io_op   *ops    = calloc(OPS, sizeof *ops);
    memset(memory, 7, 4096);
    place_init(&place, "/tmp");
    cr_assert_eq(io_file_open(place.io, path_of(&place, "many"), IO_OPEN_CREATE | IO_OPEN_DIRECT, &file), 0);
    for (size_t i = 0; i < OPS; i++) {
        ops[i] = (struct io_op){.done = done, .ctx = &place};
        io_write(file, &ops[i], memory, 4096, i * 4096);
    }
    io_file_close(file); /* the operations still come to their end */
    uint64_t give_up_ns = io_now_ns(place.io) + 10000000000u;
    while (place.done < OPS && io_now_ns(place.io) < give_up_ns) {
        io_turn(place.io, give_up_ns);
    }
    cr_assert_eq(place.done, OPS);
    cr_assert_eq(io_file_open(place.io, path_of(&place, "many"), 0, &file), 0);
    cr_assert_eq(io_file_size(file), OPS * 4096);
    /* io_close with operations under way: memory is ours again when it returns, and nobody is called */
    for (size_t i = 0; i < 100; i++) {
        io_write_durable(file, &ops[i], memory, 4096, i * 4096);
    }
    io_file_close(file);
    place_fini(&place);
    cr_assert_eq(place.done, OPS);
    free(memory);
    free(ops);
}
