/* disk_names.c - paths, what they name, and the changes that no sync has saved. */
#include "tests/sim/disk_state.h"

#include <stdlib.h>

#define COMMIT_FIRST_NS SIM_S
#define COMMIT_LAST_NS  (30 * SIM_S)

static char *copy_text(const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    ASSERT(text == NULL || copy != NULL);
    return copy;
}

char *disk_clean_path(const char *path)
{
    char  *clean = malloc(strlen(path) + 2);
    size_t used  = 0;
    ASSERT(clean != NULL);
    while (*path != '\0') {
        while (*path == '/' || (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))) {
            path++;
        }
        size_t part = strcspn(path, "/");
        if (part != 0) {
            clean[used++] = '/';
            memcpy(clean + used, path, part);
            used += part;
            path += part;
        }
    }
    clean[used] = '\0';
    return clean;
}

static uint32_t names_place(const struct names *names, const char *path)
{
    uint32_t low = 0, high = names->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        if (strcmp(names->entry[middle].path, path) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

struct inode *names_find(const struct names *names, const char *path)
{
    uint32_t place = names_place(names, path);
    return place < names->count && strcmp(names->entry[place].path, path) == 0 ? names->entry[place].inode : NULL;
}

void names_remove(struct names *names, const char *path)
{
    uint32_t place = names_place(names, path);
    if (place == names->count || strcmp(names->entry[place].path, path) != 0) {
        return;
    }
    struct name gone = names->entry[place];
    names->count--;
    memmove(&names->entry[place], &names->entry[place + 1], (names->count - place) * sizeof *names->entry);
    free(gone.path);
    gone.inode->names--;
    inode_release(gone.inode);
}

void names_set(struct names *names, const char *path, struct inode *inode)
{
    inode->names++;
    names_remove(names, path);
    if (names->count == names->room) {
        names->room  = names->room == 0 ? 16 : names->room * 2;
        names->entry = realloc(names->entry, names->room * sizeof *names->entry);
        ASSERT(names->entry != NULL);
    }
    uint32_t place = names_place(names, path);
    memmove(&names->entry[place + 1], &names->entry[place], (names->count - place) * sizeof *names->entry);
    names->entry[place] = (struct name){.path = copy_text(path), .inode = inode};
    names->count++;
}

void names_clear(struct names *names)
{
    while (names->count != 0) {
        names_remove(names, names->entry[names->count - 1].path);
    }
    free(names->entry);
    *names = (struct names){0};
}

bool disk_parent_exists(const struct names *names, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path) {
        return true; /* the root is always there */
    }
    char *parent = strndup(path, (size_t)(slash - path));
    ASSERT(parent != NULL);
    const struct inode *inode = names_find(names, parent);
    free(parent);
    return inode != NULL && inode->directory;
}

bool disk_entry_of(const char *path, const char *directory)
{
    size_t size = strlen(directory);
    return path != NULL && strncmp(path, directory, size) == 0 && path[size] == '/' &&
           strchr(path + size + 1, '/') == NULL;
}

void names_apply(struct names *names, const struct change *change)
{
    if (change->to != NULL) {
        names_set(names, change->to, change->inode);
    }
    if (change->from != NULL) {
        names_remove(names, change->from);
    }
}

void change_free(struct change *change)
{
    list_remove(&change->link);
    if (change->inode != NULL) {
        change->inode->names--;
        inode_release(change->inode);
    }
    free(change->from);
    free(change->to);
    free(change);
}

void change_names(struct disk *disk, const char *from, const char *to, struct inode *inode)
{
    struct change *change = calloc(1, sizeof *change);
    ASSERT(change != NULL);
    change->number = ++disk->change;
    change->from   = copy_text(from);
    change->to     = copy_text(to);
    change->inode  = to != NULL ? inode : NULL;
    if (change->inode != NULL) {
        inode->names++;
    }
    list_push_back(&disk->journal, &change->link);
    names_apply(&disk->now, change);
    if (!event_scheduled(&disk->commit)) {
        uint64_t delay_ns = world_between(disk->world, SALT_DISK, COMMIT_FIRST_NS, COMMIT_LAST_NS);
        world_schedule(disk->world, &disk->commit, disk->world->now_ns + delay_ns);
    }
}

/* All in their order: the space of what was deleted is free from now on. */
void names_commit(struct event *event)
{
    struct disk *disk = CONTAINER_OF(event, struct disk, commit);
    LIST_EACH (&disk->journal, link) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        names_apply(&disk->durable, change);
        change_free(change);
    }
}

void disk_save_names(struct disk *disk, const char *directory, uint64_t up_to)
{
    LIST_EACH (&disk->journal, link) {
        struct change *change = CONTAINER_OF(link, struct change, link);
        bool           here   = disk_entry_of(change->to != NULL ? change->to : change->from, directory);
        if (here && change->number <= up_to) {
            names_apply(&disk->durable, change);
            change_free(change);
        }
    }
}
