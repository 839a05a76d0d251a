/* io_files.c - the file half of shared/loop/io.h over a simulated disk. */
#include "tests/sim/disk.h"
#include "tests/sim/io_sim.h"

#include <errno.h>
#include <stdlib.h>

struct io_file {
    struct list   link; /* in io->files */
    struct io    *io;
    struct inode *inode;
    unsigned      flags;
    uint32_t      ops;
};

/* An io_op with its operation on the disk. */
struct file_op {
    struct ready    ready;
    struct list     link;  /* in io->ops */
    struct list     fresh; /* in io->fresh, until the turn ends */
    struct io      *io;
    struct io_op   *op;
    struct io_file *file; /* NULL for operations on names */
    struct disk_op  disk;
};

static struct disk *disk_of(const struct io *io)
{
    return io->core->process->machine->disk;
}

/* ---- operations ---- */

static void op_release(struct ready *ready)
{
    struct file_op *op = CONTAINER_OF(ready, struct file_op, ready);
    free(op->disk.path);
    free(op->disk.path_to);
    free(op);
}

static void op_deliver(struct ready *ready)
{
    struct file_op *op     = CONTAINER_OF(ready, struct file_op, ready);
    struct io_op   *told   = op->op;
    int             result = op->disk.result;
    list_remove(&op->link);
    if (op->file != NULL) {
        op->file->ops--;
    }
    io_sim_bury(op->io, &op->ready);
    told->done(told, result);
}

static void op_done(struct disk_op *disk)
{
    struct file_op *op = disk->owner;
    io_sim_ready(op->io, &op->ready);
}

static struct file_op *op_new(struct io *io, struct io_op *told, struct io_file *file, enum disk_verb verb)
{
    ASSERT(told->done != NULL);
    LIST_EACH (&io->ops, link) {
        ASSERT(CONTAINER_OF(link, struct file_op, link)->op != told); /* it is under way already */
    }
    struct file_op *op = calloc(1, sizeof *op);
    ASSERT(op != NULL);
    op->ready.deliver = op_deliver;
    op->ready.release = op_release;
    op->io            = io;
    op->op            = told;
    op->file          = file;
    op->disk.disk     = disk_of(io);
    op->disk.verb     = verb;
    op->disk.done     = op_done;
    op->disk.owner    = op;
    if (file != NULL) {
        op->disk.inode = file->inode;
        file->ops++;
    }
    list_push_back(&io->ops, &op->link);
    list_push_back(&io->fresh, &op->fresh);
    return op;
}

void io_files_submit(struct io *io)
{
    struct list *link;
    while ((link = list_pop_front(&io->fresh)) != NULL) {
        disk_begin(&CONTAINER_OF(link, struct file_op, fresh)->disk);
    }
}

/* Memory is NULL for zeros. */
static void move(struct io_file *file, struct io_op *told, enum disk_verb verb, void *memory, size_t size,
                 uint64_t offset)
{
    if (file->io->dead) {
        return;
    }
    ASSERT(size > 0 && size <= INT32_MAX);
    ASSERT(IMPLIES(verb != DISK_READ, (file->flags & IO_OPEN_READ_ONLY) == 0));
    ASSERT(IMPLIES((file->flags & IO_OPEN_DIRECT) != 0, size % IO_ALIGN_BYTES == 0 && offset % IO_ALIGN_BYTES == 0 &&
                                                            (uintptr_t)memory % IO_ALIGN_BYTES == 0));
    struct file_op *op = op_new(file->io, told, file, verb);
    op->disk.memory    = memory;
    op->disk.size      = size;
    op->disk.offset    = offset;
}

void io_read(struct io_file *file, struct io_op *op, void *memory, size_t size, uint64_t offset)
{
    ASSERT(memory != NULL);
    move(file, op, DISK_READ, memory, size, offset);
}

void io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    ASSERT(memory != NULL);
    move(file, op, DISK_WRITE, (void *)(uintptr_t)memory, size, offset);
}

void io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    ASSERT(memory != NULL);
    move(file, op, DISK_WRITE_DURABLE, (void *)(uintptr_t)memory, size, offset);
}

/* A disk that writes zeros, at the price of a write: what a crash leaves of it is the same. For files that are new. */
void io_allocate(struct io_file *file, struct io_op *op, uint64_t size)
{
    ASSERT(file->io->dead || disk_size(file->inode) == 0);
    move(file, op, DISK_WRITE, NULL, size, 0);
}

void io_sync(struct io_file *file, struct io_op *op)
{
    if (!file->io->dead) {
        (void)op_new(file->io, op, file, DISK_SYNC);
    }
}

static void names(struct io *io, struct io_op *told, enum disk_verb verb, const char *path, const char *path_to)
{
    if (io->dead) {
        return;
    }
    struct file_op *op = op_new(io, told, NULL, verb);
    op->disk.path      = strdup(path);
    op->disk.path_to   = path_to == NULL ? NULL : strdup(path_to);
}

void io_sync_directory(struct io *io, struct io_op *op, const char *path)
{
    names(io, op, DISK_SYNC_DIRECTORY, path, NULL);
}

void io_rename(struct io *io, struct io_op *op, const char *from, const char *to)
{
    names(io, op, DISK_RENAME, from, to);
}

void io_unlink(struct io *io, struct io_op *op, const char *path)
{
    names(io, op, DISK_UNLINK, path, NULL);
}

/* ---- synchronous verbs ---- */

int io_mkdir(struct io *io, const char *path)
{
    return io->dead ? -ESHUTDOWN : disk_mkdir(disk_of(io), path);
}

int io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
    struct inode *inode;
    int           result = io->dead ? -ESHUTDOWN : disk_open(disk_of(io), path, flags, &inode);
    world_trace(io->world, "open", path, flags, (uint64_t)result);
    if (result < 0) {
        return result;
    }
    struct io_file *file = calloc(1, sizeof *file);
    ASSERT(file != NULL);
    file->io    = io;
    file->inode = inode;
    file->flags = flags;
    list_push_back(&io->files, &file->link);
    *out = file;
    return 0;
}

static void file_free(struct io_file *file)
{
    list_remove(&file->link);
    free(file);
}

void io_file_close(struct io_file *file)
{
    if (file == NULL || file->io->dead) {
        return;
    }
    ASSERT(file->ops == 0); /* operations are under way */
    disk_close(disk_of(file->io), file->inode);
    file_free(file);
}

int64_t io_file_size(struct io_file *file)
{
    return file->io->dead ? -ESHUTDOWN : disk_size(file->inode);
}

/* Another process that holds it would have to end within 5 s; the wait is not simulated, the answer is the one after it. */
int io_file_lock(struct io_file *file, const char *name)
{
    (void)name;
    return file->io->dead ? -ESHUTDOWN : disk_lock(file->inode, file->io->core->process);
}

int io_list(struct io *io, const char *directory, void (*each)(void *ctx, const char *name), void *ctx)
{
    return io->dead ? -ESHUTDOWN : disk_list(disk_of(io), directory, each, ctx);
}

int64_t io_free_bytes(struct io *io, const char *path)
{
    (void)path; /* a machine has one file system */
    return io->dead ? -ESHUTDOWN : disk_free_bytes(disk_of(io));
}

/* ---- the end ---- */

/* What was not submitted never happens; what was is cut short. Files close. Memory stays: a fini function may still name it. */
void io_files_die(struct io *io)
{
    struct list *link;
    while ((link = list_pop_front(&io->fresh)) != NULL) {
    }
    LIST_EACH (&io->ops, place) {
        struct file_op *op = CONTAINER_OF(place, struct file_op, link);
        if (op->disk.under_way) {
            disk_op_crash(&op->disk);
        }
        list_remove(&op->ready.link);
    }
    LIST_EACH (&io->files, place) {
        struct io_file *file = CONTAINER_OF(place, struct io_file, link);
        disk_close(disk_of(io), file->inode);
        file->inode = NULL;
    }
}

void io_files_free(struct io *io)
{
    LIST_EACH (&io->ops, link) {
        struct file_op *op = CONTAINER_OF(link, struct file_op, link);
        list_remove(&op->link);
        op_release(&op->ready);
    }
    LIST_EACH (&io->files, link) {
        struct io_file *file = CONTAINER_OF(link, struct io_file, link);
        if (file->inode != NULL) {
            disk_close(disk_of(io), file->inode);
        }
        file_free(file);
    }
}
