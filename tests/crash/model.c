/* model.c - durable bytes, what lies over them, and the dice. */
#include "tests/crash/model.h"

#include "shared/base/assert.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILES_MAX = 4096, PATH_ROOM = 600, SECTOR_LEAST = 512 };

/* A write that is not known to be durable. */
struct over {
    const struct trace_event *write;
    size_t                    done_at; /* SIZE_MAX: under way */
    struct range             *gone;    /* what was overwritten durably: it cannot come back */
    size_t                    gone_count;
};

struct range {
    uint64_t from;
    uint64_t to;
};

struct file {
    bool         directory;
    uint8_t     *durable;
    size_t       size;
    struct over *overs; /* in the order of their beginning */
    size_t       over_count;
};

/* A change of names that is not known to be durable: to now names file, from names nothing any more. */
struct change {
    const char *from;
    const char *to;
    uint32_t    file;
    size_t      event;
    size_t      done_at;
};

struct name {
    char    *path;
    uint32_t file;
};

struct names {
    struct name *entry;
    size_t       count;
};

struct model {
    struct file    files[FILES_MAX];
    uint32_t       file_count;
    struct names   durable;
    struct names   now; /* as the process sees it */
    struct change *changes;
    size_t         change_count;
};

/* ---- names ---- */

static size_t place(const struct names *names, const char *path)
{
    size_t i = 0;
    while (i < names->count && strcmp(names->entry[i].path, path) != 0) {
        i++;
    }
    return i;
}

static void names_drop(struct names *names, const char *path)
{
    size_t i = place(names, path);
    if (i < names->count) {
        free(names->entry[i].path);
        names->entry[i] = names->entry[--names->count];
    }
}

static void names_set(struct names *names, const char *path, uint32_t file)
{
    names_drop(names, path);
    names->entry = realloc(names->entry, (names->count + 1) * sizeof *names->entry);
    ASSERT(names->entry != NULL);
    names->entry[names->count++] = (struct name){.path = strdup(path), .file = file};
}

static void names_apply(struct names *names, const struct change *change)
{
    if (change->to != NULL) {
        names_set(names, change->to, change->file);
    }
    if (change->from != NULL) {
        names_drop(names, change->from);
    }
}

static void names_free(struct names *names)
{
    while (names->count > 0) {
        free(names->entry[--names->count].path);
    }
    free(names->entry);
    *names = (struct names){0};
}

static bool lies_in(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && path[size] == '/' && strchr(path + size + 1, '/') == NULL;
}

/* ---- bytes ---- */

static void room(struct file *file, size_t size)
{
    if (size > file->size) {
        file->durable = realloc(file->durable, size);
        ASSERT(file->durable != NULL);
        memset(file->durable + file->size, 0, size - file->size);
        file->size = size;
    }
}

static bool gone(const struct over *over, uint64_t offset)
{
    for (size_t i = 0; i < over->gone_count; i++) {
        if (offset >= over->gone[i].from && offset < over->gone[i].to) {
            return true;
        }
    }
    return false;
}

static void make_durable(struct file *file, size_t i)
{
    const struct over        *over  = &file->overs[i];
    const struct trace_event *write = over->write;
    room(file, write->offset + write->size);
    for (size_t at = 0, size; at < write->size; at += size) {
        size = write->size - at < SECTOR_LEAST ? write->size - at : SECTOR_LEAST;
        if (!gone(over, write->offset + at)) {
            memcpy(file->durable + write->offset + at, write->bytes + at, size);
        }
    }
    free(file->overs[i].gone);
    memmove(&file->overs[i], &file->overs[i + 1], (file->over_count - i - 1) * sizeof *file->overs);
    file->over_count--;
}

/* ---- changes of names ---- */

static void change_begin(struct model *model, struct change change)
{
    model->changes = realloc(model->changes, (model->change_count + 1) * sizeof *model->changes);
    ASSERT(model->changes != NULL);
    model->changes[model->change_count++] = change;
}

static void change_forget(struct model *model, size_t i)
{
    memmove(&model->changes[i], &model->changes[i + 1], (model->change_count - i - 1) * sizeof *model->changes);
    model->change_count--;
}

/* ---- life ---- */

struct model *model_new(void)
{
    struct model *model = calloc(1, sizeof *model);
    ASSERT(model != NULL);
    names_set(&model->durable, "", model->file_count); /* the directory itself */
    names_set(&model->now, "", model->file_count);
    model->files[model->file_count++].directory = true;
    trace_found("");
    return model;
}

static void read_in(struct model *model, const char *root, const char *path)
{
    char full[PATH_ROOM];
    snprintf(full, sizeof full, "%s%s", root, path);
    DIR *dir = opendir(full);
    ASSERT(dir != NULL);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char        name[PATH_ROOM];
        struct stat status;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        int a = snprintf(name, sizeof name, "%s/%s", path, entry->d_name);
        int b = snprintf(full, sizeof full, "%s%s", root, name);
        ASSERT(a < (int)sizeof name && b < (int)sizeof full && stat(full, &status) == 0);
        ASSERT(model->file_count < FILES_MAX);
        struct file *file = &model->files[model->file_count];
        names_set(&model->durable, name, model->file_count);
        names_set(&model->now, name, model->file_count++);
        trace_found(name);
        file->directory = S_ISDIR(status.st_mode);
        if (file->directory) {
            read_in(model, root, name);
            continue;
        }
        room(file, (size_t)status.st_size);
        int fd = open(full, O_RDONLY);
        ASSERT(fd >= 0 && (file->size == 0 || read(fd, file->durable, file->size) == (ssize_t)file->size));
        close(fd);
    }
    closedir(dir);
}

struct model *model_read(const char *directory)
{
    struct model *model = model_new();
    read_in(model, directory, "");
    return model;
}

/* The number that a path had before the crash, the newest one; a rename under way may have happened. */
static uint32_t number_before(const struct model *before, const char *path)
{
    for (size_t i = before->change_count; i-- > 0;) {
        if (before->changes[i].to != NULL && strcmp(before->changes[i].to, path) == 0) {
            return before->changes[i].file;
        }
    }
    size_t i = place(&before->now, path);
    ASSERT(i < before->now.count);
    return before->now.entry[i].file;
}

/* The bytes of a file that were not durable are not now: those that differ lie over what was. */
static void bytes_undurable(struct file *file, const struct file *before, size_t sector)
{
    struct file was = {0};
    room(&was, before->size);
    if (before->size > 0) {
        memcpy(was.durable, before->durable, before->size);
    }
    for (size_t at = 0; at < file->size; at += sector) {
        size_t size = file->size - at < sector ? file->size - at : sector;
        if (at + size <= was.size && memcmp(file->durable + at, was.durable + at, size) == 0) {
            continue;
        }
        struct trace_event *write = calloc(1, sizeof *write); /* as long as the process */
        file->overs               = realloc(file->overs, (file->over_count + 1) * sizeof *file->overs);
        ASSERT(write != NULL && file->overs != NULL);
        write->offset                   = at;
        write->size                     = size;
        write->bytes                    = file->durable + at;
        file->overs[file->over_count++] = (struct over){.write = write};
    }
    file->durable = was.durable; /* what it was is what lies over it */
    file->size    = was.size;
}

struct model *model_killed(const struct model *before, size_t sector, const char *directory)
{
    struct model *model = model_read(directory);
    for (size_t i = 0; i < model->now.count; i++) {
        const struct name *name   = &model->now.entry[i];
        uint32_t           number = number_before(before, name->path);
        size_t             kept   = place(&before->durable, name->path);
        if (!model->files[name->file].directory) {
            bytes_undurable(&model->files[name->file], &before->files[number], sector);
        }
        if (kept < before->durable.count && before->durable.entry[kept].file == number) {
            continue;
        }
        struct change change = {
            .to = strdup(name->path), .file = name->file, .event = SIZE_MAX}; /* as long as the process */
        names_drop(&model->durable, name->path);
        for (size_t k = 0; k < before->durable.count; k++) { /* it was renamed */
            if (before->durable.entry[k].file == number) {
                change.from = before->durable.entry[k].path;
                names_set(&model->durable, change.from, name->file);
            }
        }
        change_begin(model, change);
    }
    return model;
}

void model_free(struct model *model)
{
    for (uint32_t i = 0; i < model->file_count; i++) {
        free(model->files[i].durable);
        free(model->files[i].overs);
    }
    names_free(&model->durable);
    names_free(&model->now);
    free(model->changes);
    free(model);
}

/* ---- the trace goes on ---- */

static void change_done(struct model *model, size_t begun, size_t event, int result)
{
    for (size_t i = 0; i < model->change_count; i++) {
        if (model->changes[i].event != begun) {
            continue;
        }
        if (result < 0) {
            change_forget(model, i);
            return;
        }
        model->changes[i].done_at = event;
        names_apply(&model->now, &model->changes[i]);
        return;
    }
}

/* Older writes, done when this one began, cannot come back where it is. */
static void overwrite(struct file *file, const struct trace_event *write, size_t begun)
{
    for (size_t i = 0; i < file->over_count; i++) {
        struct over *over = &file->overs[i];
        if (over->done_at <= begun && over->write != write && over->write->offset < write->offset + write->size &&
            write->offset < over->write->offset + over->write->size) {
            over->gone = realloc(over->gone, (over->gone_count + 1) * sizeof *over->gone);
            ASSERT(over->gone != NULL);
            over->gone[over->gone_count++] = (struct range){write->offset, write->offset + write->size};
        }
    }
}

static void write_done(struct model *model, const struct trace_event *write, size_t begun, size_t event)
{
    struct file *file = &model->files[write->file];
    for (size_t i = 0; i < file->over_count; i++) {
        if (file->overs[i].write == write) {
            file->overs[i].done_at = event;
            if (write->durable) {
                overwrite(file, write, begun);
                make_durable(file, i);
            }
            return;
        }
    }
}

static void sync_done(struct model *model, struct file *file, size_t begun)
{
    (void)model;
    for (size_t i = 0; i < file->over_count;) {
        if (file->overs[i].done_at <= begun) {
            make_durable(file, i);
        } else {
            i++;
        }
    }
}

static void directory_done(struct model *model, const char *directory, size_t begun)
{
    for (size_t i = 0; i < model->change_count;) {
        const struct change *change = &model->changes[i];
        if (change->done_at <= begun && lies_in(change->to != NULL ? change->to : change->from, directory)) {
            names_apply(&model->durable, change);
            change_forget(model, i);
        } else {
            i++;
        }
    }
}

static void step_done(struct model *model, const struct trace *trace, size_t event)
{
    const struct trace_event *e     = &trace->events[event];
    const struct trace_event *begun = &trace->events[e->of];
    if (begun->kind == TRACE_RENAME || begun->kind == TRACE_UNLINK) {
        change_done(model, e->of, event, e->result);
    } else if (e->result >= 0 && begun->kind == TRACE_WRITE) {
        write_done(model, begun, e->of, event);
    } else if (e->result >= 0 && begun->kind == TRACE_SYNC) {
        sync_done(model, &model->files[begun->file], e->of);
    } else if (e->result >= 0 && begun->kind == TRACE_SYNC_DIRECTORY) {
        directory_done(model, begun->path, e->of);
    }
}

void model_step(struct model *model, const struct trace *trace, size_t event)
{
    const struct trace_event *e = &trace->events[event];
    switch ((enum trace_kind)e->kind) {
    case TRACE_MKDIR:
    case TRACE_CREATE:
        ASSERT(e->file == model->file_count && e->file < FILES_MAX);
        model->files[model->file_count++].directory = e->kind == TRACE_MKDIR;
        change_begin(model, (struct change){.to = e->path, .file = e->file, .event = event});
        change_done(model, event, event, 0);
        break;
    case TRACE_WRITE: {
        struct file *file = &model->files[e->file];
        file->overs       = realloc(file->overs, (file->over_count + 1) * sizeof *file->overs);
        ASSERT(file->overs != NULL);
        file->overs[file->over_count++] = (struct over){.write = e, .done_at = SIZE_MAX};
        break;
    }
    case TRACE_RENAME:
    case TRACE_UNLINK: {
        size_t i = place(&model->now, e->path);
        if (i < model->now.count) {
            change_begin(model, (struct change){.from    = e->path,
                                                .to      = e->to,
                                                .file    = model->now.entry[i].file,
                                                .event   = event,
                                                .done_at = SIZE_MAX});
        }
        break;
    }
    case TRACE_DONE:
        step_done(model, trace, event);
        break;
    case TRACE_SYNC:
    case TRACE_SYNC_DIRECTORY:
    case TRACE_SENT:
    case TRACE_ACK:
        break;
    }
}

/* ---- the crash ---- */

static bool coin(struct rand *rand)
{
    return rand_chance(rand, 2);
}

static struct names names_left(const struct model *model, struct rand *rand, enum model_loss loss)
{
    struct names left       = {0};
    bool         any_subset = rand_chance(rand, 3), prefix = true;
    for (size_t i = 0; i < model->durable.count; i++) {
        names_set(&left, model->durable.entry[i].path, model->durable.entry[i].file);
    }
    for (size_t i = 0; i < model->change_count; i++) {
        const struct change *change = &model->changes[i];
        prefix                      = prefix && !rand_chance(rand, 4);
        bool kept                   = any_subset ? coin(rand) : prefix;
        if (loss == MODEL_KILLED) {
            kept = change->done_at != SIZE_MAX || coin(rand);
        }
        if (kept) {
            names_apply(&left, change);
        }
    }
    return left;
}

/* How much of what is not durable a file keeps. */
enum share { SHARE_ALL, SHARE_NONE, SHARE_SECTORS, SHARE_WRITES, SHARE_COUNT };

static void lay_over(struct file *out, const struct file *file, struct rand *rand, enum model_loss loss, size_t sector)
{
    enum share share = (enum share)rand_below(rand, SHARE_COUNT);
    size_t     grown = out->size;
    for (size_t i = 0; i < file->over_count; i++) {
        const struct trace_event *write = file->overs[i].write;
        bool                      whole = coin(rand);
        grown                           = grown > write->offset + write->size ? grown : write->offset + write->size;
        for (size_t at = 0; at < write->size;) {
            size_t end = (write->offset + at) / sector * sector + sector - write->offset;
            end        = end < write->size ? end : write->size;
            bool kept =
                share == SHARE_ALL || (share == SHARE_SECTORS && coin(rand)) || (share == SHARE_WRITES && whole);
            kept = kept || (loss == MODEL_KILLED && file->overs[i].done_at != SIZE_MAX);
            if (kept && !gone(&file->overs[i], write->offset + at)) {
                room(out, write->offset + end);
                memcpy(out->durable + write->offset + at, write->bytes + at, end - at);
            }
            at = end;
        }
    }
    if (coin(rand)) { /* the size arrived and the bytes did not */
        room(out, grown);
    }
}

static bool parent_there(const struct names *names, const char *path)
{
    char parent[PATH_ROOM];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash == NULL) {
        return true;
    }
    *slash = '\0';
    return place(names, parent) < names->count && parent_there(names, parent);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct name *)a)->path, ((const struct name *)b)->path);
}

void model_crash(const struct model *model, struct rand *rand, enum model_loss loss, size_t sector,
                 const char *directory)
{
    struct names left = names_left(model, rand, loss);
    qsort(left.entry, left.count, sizeof *left.entry, by_path); /* a directory comes before what is in it */
    for (size_t i = 0; i < left.count; i++) {
        const struct file *file = &model->files[left.entry[i].file];
        char               full[PATH_ROOM];
        int                size = snprintf(full, sizeof full, "%s%s", directory, left.entry[i].path);
        ASSERT(size < (int)sizeof full);
        if (left.entry[i].path[0] == '\0' || !parent_there(&left, left.entry[i].path)) {
            continue;
        }
        if (file->directory) {
            ASSERT(mkdir(full, 0750) == 0);
            continue;
        }
        struct file out = {0};
        room(&out, file->size);
        if (file->size > 0) {
            memcpy(out.durable, file->durable, file->size);
        }
        lay_over(&out, file, rand, loss, sector);
        int fd = open(full, O_WRONLY | O_CREAT | O_EXCL, 0640);
        ASSERT(fd >= 0 && (out.size == 0 || write(fd, out.durable, out.size) == (ssize_t)out.size));
        close(fd);
        free(out.durable);
    }
    names_free(&left);
}
