/* trace.c - stands between the store and the ring: the linker calls __wrap_x where x was meant and x where __real_x is. */
#include "tests/crash/trace.h"

#include "shared/base/assert.h"
#include "shared/loop/io.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OPEN_MAX = 256, UNDER_WAY_MAX = 256, NAMES_MAX = 1024 };

/* Of the process: there is one store at a time. */
static struct {
    char         directory[256];
    struct trace trace;
    uint32_t     files; /* numbers given out */
    struct {
        char    *path;
        uint32_t file;
    } names[NAMES_MAX];
    size_t name_count;
    struct {
        struct io_file *file;
        uint32_t        number;
        char           *path;
    } open[OPEN_MAX];
    struct under_way {
        struct io_op *op;
        void (*done)(struct io_op *op, int result);
        uint32_t event;
    } under_way[UNDER_WAY_MAX];
} the;

/* ---- names ---- */

static size_t name_place(const char *path)
{
    size_t i = 0;
    while (i < the.name_count && strcmp(the.names[i].path, path) != 0) {
        i++;
    }
    return i;
}

static void name_drop(const char *path)
{
    size_t i = name_place(path);
    if (i < the.name_count) {
        free(the.names[i].path);
        the.names[i] = the.names[--the.name_count];
    }
}

static void name_set(const char *path, uint32_t file)
{
    name_drop(path);
    ASSERT(the.name_count < NAMES_MAX);
    the.names[the.name_count].path   = strdup(path);
    the.names[the.name_count++].file = file;
}

/* The part of a path below the directory that is watched ("" for itself), or NULL. */
static const char *below(const char *path)
{
    size_t size = strlen(the.directory);
    bool   here = size != 0 && strncmp(path, the.directory, size) == 0 && (path[size] == '/' || path[size] == '\0');
    return here ? path + size : NULL;
}

/* ---- events ---- */

static uint32_t note(struct trace_event event)
{
    struct trace *t = &the.trace;
    if (t->count == t->room) {
        t->room   = t->room == 0 ? 1024 : t->room * 2;
        t->events = realloc(t->events, t->room * sizeof *t->events);
        ASSERT(t->events != NULL);
    }
    t->events[t->count] = event;
    return (uint32_t)t->count++;
}

/* What was recorded before stays in memory: models name it. */
void trace_begin(const char *directory)
{
    memset(&the, 0, sizeof the);
    snprintf(the.directory, sizeof the.directory, "%s", directory == NULL ? "" : directory);
}

const struct trace *trace_now(void)
{
    return &the.trace;
}

void trace_found(const char *path)
{
    name_set(path, the.files++);
}

void trace_note(enum trace_kind kind, uint32_t stripe, uint64_t number)
{
    if (the.directory[0] != '\0') {
        (void)note((struct trace_event){.kind = (uint8_t)kind, .of = stripe, .number = number});
    }
}

/* ---- what happens at once ---- */

int  __real_io_mkdir(struct io *io, const char *path);
int  __wrap_io_mkdir(struct io *io, const char *path);
int  __real_io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
int  __wrap_io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out);
void __real_io_file_close(struct io_file *file);
void __wrap_io_file_close(struct io_file *file);

static void made_directory(const char *name)
{
    char parent[256];
    if (name_place(name) < the.name_count) {
        return;
    }
    snprintf(parent, sizeof parent, "%s", name);
    *strrchr(parent, '/') = '\0'; /* the directory itself, "", was found */
    made_directory(parent);
    name_set(name, the.files++);
    (void)note((struct trace_event){.kind = TRACE_MKDIR, .path = strdup(name), .file = the.files - 1});
}

int __wrap_io_mkdir(struct io *io, const char *path)
{
    int         result = __real_io_mkdir(io, path);
    const char *name   = below(path);
    if (result == 0 && name != NULL) {
        made_directory(name);
    }
    return result;
}

int __wrap_io_file_open(struct io *io, const char *path, unsigned flags, struct io_file **out)
{
    int         result = __real_io_file_open(io, path, flags, out);
    const char *name   = below(path);
    if (result < 0 || name == NULL) {
        return result;
    }
    if (name_place(name) == the.name_count) {
        ASSERT((flags & (IO_OPEN_CREATE | IO_OPEN_EXCLUSIVE)) != 0); /* else we missed how it came about */
        name_set(name, the.files++);
        (void)note((struct trace_event){.kind = TRACE_CREATE, .path = strdup(name), .file = the.files - 1});
    }
    size_t i = 0;
    while (the.open[i].file != NULL) {
        i++;
        ASSERT(i < OPEN_MAX);
    }
    the.open[i].file   = *out;
    the.open[i].number = the.names[name_place(name)].file;
    the.open[i].path   = strdup(name);
    return result;
}

void __wrap_io_file_close(struct io_file *file)
{
    for (size_t i = 0; file != NULL && i < OPEN_MAX; i++) {
        if (the.open[i].file == file) {
            free(the.open[i].path);
            the.open[i].path = NULL;
            the.open[i].file = NULL;
        }
    }
    __real_io_file_close(file);
}

/* ---- what takes its time ---- */

static void done(struct io_op *op, int result)
{
    struct under_way *way = the.under_way;
    while (way->op != op) {
        way++;
        ASSERT(way < the.under_way + UNDER_WAY_MAX);
    }
    way->op                   = NULL;
    op->done                  = way->done;
    struct trace_event *begun = &the.trace.events[way->event];
    if (result >= 0 && (begun->kind == TRACE_RENAME || begun->kind == TRACE_UNLINK)) {
        size_t from = name_place(begun->path);
        if (from < the.name_count && begun->to != NULL) {
            name_set(begun->to, the.names[from].file);
        }
        name_drop(begun->path);
    }
    (void)note((struct trace_event){.kind = TRACE_DONE, .of = way->event, .result = result});
    op->done(op, result);
}

/* op is told to done() above from now on. */
static void watch(struct io_op *op, uint32_t event)
{
    struct under_way *way = the.under_way;
    while (way->op != NULL) {
        way++;
        ASSERT(way < the.under_way + UNDER_WAY_MAX);
    }
    *way     = (struct under_way){.op = op, .done = op->done, .event = event};
    op->done = done;
}

static void watch_file(struct io_file *file, struct io_op *op, struct trace_event event)
{
    for (size_t i = 0; i < OPEN_MAX; i++) {
        if (the.open[i].file == file) {
            event.file = the.open[i].number;
            event.path = strdup(the.open[i].path);
            watch(op, note(event));
            return;
        }
    }
}

static uint8_t *copy(const void *memory, size_t size)
{
    uint8_t *bytes = malloc(size);
    ASSERT(bytes != NULL);
    memcpy(bytes, memory, size);
    return bytes;
}

void __real_io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
void __wrap_io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
void __real_io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
void __wrap_io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset);
void __real_io_allocate(struct io_file *file, struct io_op *op, uint64_t size);
void __wrap_io_allocate(struct io_file *file, struct io_op *op, uint64_t size);
void __real_io_sync(struct io_file *file, struct io_op *op);
void __wrap_io_sync(struct io_file *file, struct io_op *op);
void __real_io_sync_directory(struct io *io, struct io_op *op, const char *path);
void __wrap_io_sync_directory(struct io *io, struct io_op *op, const char *path);
void __real_io_rename(struct io *io, struct io_op *op, const char *from, const char *to);
void __wrap_io_rename(struct io *io, struct io_op *op, const char *from, const char *to);
void __real_io_unlink(struct io *io, struct io_op *op, const char *path);
void __wrap_io_unlink(struct io *io, struct io_op *op, const char *path);

void __wrap_io_write(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    watch_file(file, op,
               (struct trace_event){.kind = TRACE_WRITE, .bytes = copy(memory, size), .size = size, .offset = offset});
    __real_io_write(file, op, memory, size, offset);
}

void __wrap_io_write_durable(struct io_file *file, struct io_op *op, const void *memory, size_t size, uint64_t offset)
{
    watch_file(file, op,
               (struct trace_event){
                   .kind = TRACE_WRITE, .durable = true, .bytes = copy(memory, size), .size = size, .offset = offset});
    __real_io_write_durable(file, op, memory, size, offset);
}

/* As if the zeros were written: what a crash may leave of them is the same. */
void __wrap_io_allocate(struct io_file *file, struct io_op *op, uint64_t size)
{
    uint8_t *zeros = calloc(1, size);
    ASSERT(zeros != NULL);
    watch_file(file, op, (struct trace_event){.kind = TRACE_WRITE, .bytes = zeros, .size = size});
    __real_io_allocate(file, op, size);
}

void __wrap_io_sync(struct io_file *file, struct io_op *op)
{
    watch_file(file, op, (struct trace_event){.kind = TRACE_SYNC});
    __real_io_sync(file, op);
}

static void watch_path(struct io_op *op, enum trace_kind kind, const char *path, const char *to)
{
    const char *name = below(path);
    if (name != NULL) {
        char *other = to == NULL ? NULL : strdup(below(to));
        watch(op, note((struct trace_event){.kind = (uint8_t)kind, .path = strdup(name), .to = other}));
    }
}

void __wrap_io_sync_directory(struct io *io, struct io_op *op, const char *path)
{
    watch_path(op, TRACE_SYNC_DIRECTORY, path, NULL);
    __real_io_sync_directory(io, op, path);
}

void __wrap_io_rename(struct io *io, struct io_op *op, const char *from, const char *to)
{
    watch_path(op, TRACE_RENAME, from, to);
    __real_io_rename(io, op, from, to);
}

void __wrap_io_unlink(struct io *io, struct io_op *op, const char *path)
{
    watch_path(op, TRACE_UNLINK, path, NULL);
    __real_io_unlink(io, op, path);
}
