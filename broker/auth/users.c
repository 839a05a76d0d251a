/* users.c - a hash table of names. */
#include "broker/auth/users.h"

#include "shared/base/hash.h"
#include "shared/base/list.h"

#include <stdio.h>
#include <stdlib.h>

void users_remove(struct users *users, struct user *user)
{
    hashmap_remove(&users->map, &user->by_name);
    free(user);
}

void users_fini(struct users *users)
{
    struct hashmap_node *node;
    while ((node = hashmap_any(&users->map)) != NULL) {
        users_remove(users, CONTAINER_OF(node, struct user, by_name));
    }
    hashmap_fini(&users->map);
    *users = (struct users){0};
}

struct user *users_find(const struct users *users, struct bytes name)
{
    for (struct hashmap_node *n = hashmap_first(&users->map, hash_bytes(name)); n != NULL; n = hashmap_next(n)) {
        struct user *user = CONTAINER_OF(n, struct user, by_name);
        if (bytes_equal(bytes_of(user->name, n->extra), name)) {
            return user;
        }
    }
    return NULL;
}

struct user *users_put(struct users *users, struct bytes name, const struct credential *credential)
{
    struct user *user = users_find(users, name);
    if (user == NULL) {
        user = calloc(1, sizeof *user + name.size);
        if (user == NULL || hashmap_insert(&users->map, &user->by_name, hash_bytes(name)) != 0) {
            free(user);
            return NULL;
        }
        user->by_name.extra = (uint32_t)name.size;
        memcpy(user->name, name.data, name.size);
    }
    user->credential = *credential;
    return user;
}

static const char *read_line(struct users *users, struct bytes line)
{
    while (line.size > 0 && (line.data[line.size - 1] == '\r' || line.data[line.size - 1] == ' ')) {
        line.size--;
    }
    if (line.size == 0 || line.data[0] == '#') {
        return NULL;
    }
    const uint8_t *colon = memchr(line.data, ':', line.size);
    struct bytes   name  = bytes_of(line.data, colon == NULL ? 0 : (size_t)(colon - line.data));
    if (colon == NULL || !credential_name_valid(name)) {
        return "a line that is not NAME:HASH";
    }
    struct credential credential;
    const char       *why = credential_read(bytes_of(colon + 1, line.size - name.size - 1), &credential);
    if (why != NULL) {
        return why;
    }
    if (users_find(users, name) != NULL) {
        return "a name that is there already";
    }
    return users_put(users, name, &credential) != NULL ? NULL : "no memory for a user";
}

bool users_read(struct users *users, struct bytes text, char *why, size_t why_size)
{
    struct users read = {0};
    for (unsigned number = 1; text.size > 0; number++) {
        const uint8_t *end   = memchr(text.data, '\n', text.size);
        size_t         size  = end == NULL ? text.size : (size_t)(end - text.data);
        const char    *wrong = read_line(&read, bytes_of(text.data, size));
        if (wrong != NULL) {
            snprintf(why, why_size, "%u: %s", number, wrong);
            users_fini(&read);
            return false;
        }
        text = end == NULL ? (struct bytes){0} : bytes_of(end + 1, text.size - size - 1);
    }
    users_fini(users);
    *users = read;
    return true;
}
