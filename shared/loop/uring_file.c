/* uring_file.c - files. What moves bytes or waits for a disk goes through the ring; look-ups of paths at start-up do not. */
#include "shared/loop/uring.h"

#include "shared/base/err.h"
#include "shared/base/leftover.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* Under the kernel's limit for one read or write (2 GiB less a page), and a multiple of IO_ALIGN_BYTES. */
enum { STEP_MAX_BYTES = 1 << 30 };

struct io_file {
    struct io *io;
    int        fd;
    uint32_t   ops_pending;
    bool       direct;
    bool       closing; /* io_file_close came while operations were under way */
};

enum op_kind { OP_READ, OP_WRITE, OP_WRITE_DURABLE, OP_ALLOCATE, OP_SYNC, OP_SYNC_DIRECTORY, OP_RENAME, OP_UNLINK };

/* What io_op.private holds. */
struct file_op {
    struct list     link; /* in io->ops_failed */
    struct io      *io;
    struct io_file *file; /* NULL: of a path */
    uint8_t        *memory;
    size_t          left_bytes;
    size_t          moved_bytes;
    uint64_t        offset;
    char           *paths; /* until the kernel has read them */
    int32_t         result;
    int32_t         directory_fd;
    enum op_kind    kind;
};
_Static_assert(sizeof(struct file_op) <= sizeof((struct io_op *)0)->private,
               "an operation fits where the caller keeps it");

static struct file_op *file_op(struct io_op *op)
{
    return (struct file_op *)(void *)op->private;
}

/* ---- open, close, ask ----------------------------------------------------------------------------------------- */

int io_mkdir(struct io *io, const char *path)
{
    (void)io;
    char   partial[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof partial) {
        return size == 0 ? -ENOENT : -ENAMETOOLONG;
    }
    memcpy(partial, path, size + 1);
    for (char *slash = partial + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        if (mkdir(partial, 0750) != 0 && errno != EEXIST) {
            return -errno;
        }
        *slash = '/';
    }
    if (mkdir(partial, 0750) == 0) {
        return 0;
    }
    struct stat status;
    if (errno != EEXIST) {
        return -errno;
    }
    if (stat(partial, &status) != 0) {
        return -errno;
    }
    return S_ISDIR(status.st_mode) ? 0 : -ENOTDIR;
}

int io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
    struct io_file *file = calloc(1, sizeof *file);
    if (file == NULL) {
        return -ENOMEM;
    }
    int how = O_CLOEXEC;
    how |= (flags & IO_OPEN_READ_ONLY) != 0 ? O_RDONLY : O_RDWR;
    how |= (flags & (IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE)) != 0 ? O_CREAT : 0;
    how |= (flags & IO_OPEN_EXCLUSIVE) != 0 ? O_EXCL : 0;
    file->io     = io;
    file->direct = (flags & IO_OPEN_DIRECT) != 0;
    file->fd     = open(path, how | (file->direct ? O_DIRECT : 0), 0640);
    if (file->fd < 0 && errno == EINVAL && file->direct) { /* the file is made already, so no O_EXCL */
        static atomic_flag told = ATOMIC_FLAG_INIT;
        if (!atomic_flag_test_and_set(&told)) {
            log_warn("%s lies on a file system without O_DIRECT: its files go through the page cache", path);
        }
        file->fd = open(path, how & ~O_EXCL, 0640);
    }
    if (file->fd < 0) {
        int error = -errno;
        free(file);
        return error;
    }
    *out = file;
    return 0;
}

static void file_free(struct io_file *file)
{
    close(file->fd);
    free(file);
}

void io_file_close(struct io_file *file)
{
    if (file == NULL) {
        return;
    }
    ASSERT(!file->closing);
    file->closing = true;
    if (file->ops_pending == 0) {
        file_free(file);
    }
}

int64_t io_file_size(struct io_file *file)
{
    struct stat status;
    return fstat(file->fd, &status) == 0 ? (int64_t)status.st_size : -errno;
}

int io_file_lock(struct io_file *file, const char *name)
{
    unsigned looks = 0;
    do {
        if (flock(file->fd, LOCK_EX | LOCK_NB) == 0) {
            return 0;
        }
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return -errno;
        }
    } while (leftover_wait(&looks, name));
    return -EBUSY;
}

static int no_dots(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

int io_list(struct io *io, const char *directory, void (*each)(void *ctx, const char *name), void *ctx)
{
    (void)io;
    struct dirent **entries = NULL;
    int             count   = scandir(directory, &entries, no_dots, by_name);
    if (count < 0) {
        return -errno;
    }
    for (int i = 0; i < count; i++) {
        each(ctx, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return 0;
}

int64_t io_free_bytes(struct io *io, const char *path)
{
    (void)io;
    struct statvfs status;
    return statvfs(path, &status) == 0 ? (int64_t)(status.f_bavail * status.f_frsize) : -errno;
}

/* ---- operations on bytes -------------------------------------------------------------------------------------- */

static void op_submit(struct io_op *op)
{
    struct file_op *private   = file_op(op);
    struct io_uring_sqe *sqe  = uring_sqe(private->io);
    unsigned             step = (unsigned)(private->left_bytes < STEP_MAX_BYTES ? private->left_bytes : STEP_MAX_BYTES);
    switch (private->kind) {
    case OP_READ:
        io_uring_prep_read(sqe, private->file->fd, private->memory, step, private->offset);
        break;
    case OP_WRITE:
    case OP_WRITE_DURABLE:
        io_uring_prep_write(sqe, private->file->fd, private->memory, step, private->offset);
        sqe->rw_flags = private->kind == OP_WRITE_DURABLE ? RWF_DSYNC : 0;
        break;
    case OP_ALLOCATE:
        io_uring_prep_fallocate(sqe, private->file->fd, 0, 0, (off_t) private->offset);
        break;
    case OP_SYNC:
        io_uring_prep_fsync(sqe, private->file->fd, 0);
        break;
    case OP_SYNC_DIRECTORY:
        io_uring_prep_fsync(sqe, private->directory_fd, 0);
        break;
    case OP_RENAME:
        io_uring_prep_rename(sqe, private->paths, private->paths + strlen(private->paths) + 1);
        break;
    case OP_UNLINK:
        io_uring_prep_unlink(sqe, private->paths, 0);
        break;
    }
    uring_name_op(sqe, op, URING_FILE);
}

static void bytes_op(struct io_file *file, struct io_op *op, enum op_kind kind, const void *memory, size_t size,
                     uint64_t offset)
{
    ASSERT(!file->closing && op->done != NULL);
    ASSERT(IMPLIES(file->direct, ((uintptr_t)memory | size | offset) % IO_ALIGN_BYTES == 0));
    ASSERT(size <= INT32_MAX); /* the result is an int */
    *file_op(op) = (struct file_op){.io           = file->io,
                                    .file         = file,
                                    .kind         = kind,
                                    .memory       = (uint8_t *)(uintptr_t)memory,
                                    .left_bytes   = size,
                                    .offset       = offset,
                                    .directory_fd = -1};
    file->ops_pending++;
    op_submit(op);
}

void io_read(struct io_file *file, struct io_op *op, void *memory, size_t size, uint64_t offset)
{
    bytes_op(file, op, OP_READ, memory, size, offset);
}

void io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    bytes_op(file, op, OP_WRITE, memory, size, offset);
}

void io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    bytes_op(file, op, OP_WRITE_DURABLE, memory, size, offset);
}

void io_allocate(struct io_file *file, struct io_op *op, uint64_t size)
{
    bytes_op(file, op, OP_ALLOCATE, NULL, 0, size);
}

void io_sync(struct io_file *file, struct io_op *op)
{
    bytes_op(file, op, OP_SYNC, NULL, 0, 0);
}

/* ---- operations on paths -------------------------------------------------------------------------------------- */

/* Told in the next turn, like every other result. */
static void op_failed(struct io_op *op, int error)
{
    struct file_op *private = file_op(op);
    private->result         = error;
    list_push_back(&private->io->ops_failed, &private->link);
}

void io_sync_directory(struct io *io, struct io_op *op, const char *path)
{
    *file_op(op) = (struct file_op){
        .io = io, .kind = OP_SYNC_DIRECTORY, .directory_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
    if (file_op(op)->directory_fd < 0) {
        op_failed(op, -errno);
        return;
    }
    op_submit(op);
}

/* from and, behind its end, to. */
static void paths_op(struct io *io, struct io_op *op, enum op_kind kind, const char *from, const char *to)
{
    size_t from_size = strlen(from) + 1;
    size_t to_size   = strlen(to) + 1;
    *file_op(op) = (struct file_op){.io = io, .kind = kind, .paths = malloc(from_size + to_size), .directory_fd = -1};
    if (file_op(op)->paths == NULL) {
        op_failed(op, -ENOMEM);
        return;
    }
    memcpy(file_op(op)->paths, from, from_size);
    memcpy(file_op(op)->paths + from_size, to, to_size);
    op_submit(op);
}

void io_rename(struct io *io, struct io_op *op, const char *from, const char *to)
{
    paths_op(io, op, OP_RENAME, from, to);
}

void io_unlink(struct io *io, struct io_op *op, const char *path)
{
    paths_op(io, op, OP_UNLINK, path, "");
}

/* ---- completions ---------------------------------------------------------------------------------------------- */

static void op_done(struct io_op *op, int result)
{
    struct file_op *private = file_op(op);
    struct io_file *file    = private->file;
    bool            closing = private->io->closing;
    if (private->directory_fd >= 0) {
        close(private->directory_fd);
    }
    free(private->paths);
    if (file != NULL && --file->ops_pending == 0 && file->closing) {
        file_free(file);
    }
    if (!closing) {
        op->done(op, result);
    }
}

/* Is a part of it still to be moved? A short read is the end of the file, unless it is one of many steps; the kernel's next read
 * would say so with 0, but a direct one must begin on a multiple of IO_ALIGN_BYTES. */
static bool op_goes_on(const struct file_op *private, int result)
{
    if (result <= 0 || private->left_bytes == 0) {
        return false;
    }
    return !(private->file->direct && result % IO_ALIGN_BYTES != 0);
}

void file_on_done(struct io_op *op, int result)
{
    struct file_op *private = file_op(op);
    bool moves              = private->kind <= OP_WRITE_DURABLE;
    if (private->io->closing) {
        op_done(op, result);
        return;
    }
    if (moves && result > 0) {
        private->moved_bytes += (size_t)result;
        private->left_bytes -= (size_t)result;
        private->memory += result;
        private->offset += (uint64_t)result;
    }
    if (moves && (result == -EINTR || op_goes_on(private, result))) {
        op_submit(op);
        return;
    }
    bool write_stopped = moves && private->kind != OP_READ && private->left_bytes > 0 && result >= 0;
    if (write_stopped) { /* the disk took nothing, or an odd part of a direct write, and gave no reason */
        result = -EIO;
    }
    op_done(op, result < 0 ? result : (int)private->moved_bytes);
}

void files_after_turn(struct io *io)
{
    struct list now; /* what these cause is for the next turn */
    list_init(&now);
    for (struct list *link; (link = list_pop_front(&io->ops_failed)) != NULL;) {
        list_push_back(&now, link);
    }
    for (struct list *link; (link = list_pop_front(&now)) != NULL;) {
        struct file_op *private = CONTAINER_OF(link, struct file_op, link);
        struct io_op *op        = CONTAINER_OF((uint64_t(*)[12])(void *)private, struct io_op, private);
        op_done(op, private->result);
    }
}
