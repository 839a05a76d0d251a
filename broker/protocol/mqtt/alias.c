/* alias.c - one array for both directions: the topic of alias n is entry n - 1; ours are searched by hash. */
#include "broker/protocol/mqtt/alias.h"

#include "shared/base/err.h"
#include "shared/base/hash.h"

#include <stdlib.h>

struct entry {
    uint64_t hash;
    char    *topic; /* NULL: not set */
    uint32_t size;
    uint32_t used; /* the clock when it was last chosen or set */
};

struct mqtt_aliases {
    uint32_t     clock;
    uint16_t     max;
    struct entry entries[];
};

static struct bytes entry_topic(const struct entry *e)
{
    return bytes_of(e->topic, e->size);
}

int mqtt_alias_set(struct mqtt_aliases **table, uint16_t max, uint16_t alias, struct bytes topic)
{
    ASSERT(alias >= 1 && alias <= max && topic.size > 0);
    if (*table == NULL) {
        *table = calloc(1, sizeof **table + max * sizeof(struct entry));
        if (*table == NULL) {
            return ERR_FULL;
        }
        (*table)->max = max;
    }
    ASSERT((*table)->max == max);
    struct entry *e = &(*table)->entries[alias - 1];
    e->used         = ++(*table)->clock;
    if (e->topic != NULL && bytes_equal(entry_topic(e), topic)) {
        return 0;
    }
    char *copy = malloc(topic.size);
    if (copy == NULL) {
        return ERR_FULL;
    }
    memcpy(copy, topic.data, topic.size);
    free(e->topic);
    e->topic = copy;
    e->size  = (uint32_t)topic.size;
    e->hash  = hash_bytes(topic);
    return 0;
}

struct bytes mqtt_alias_topic(const struct mqtt_aliases *table, uint16_t alias)
{
    if (table == NULL || alias < 1 || alias > table->max || table->entries[alias - 1].topic == NULL) {
        return (struct bytes){0};
    }
    return entry_topic(&table->entries[alias - 1]);
}

uint16_t mqtt_alias_choose(struct mqtt_aliases *table, uint16_t max, struct bytes topic, bool *out_known)
{
    *out_known = false;
    if (table == NULL) {
        return 1;
    }
    ASSERT(table->max == max);
    uint64_t hash   = hash_bytes(topic);
    uint16_t oldest = 0;
    for (uint16_t i = 0; i < max; i++) {
        struct entry *e = &table->entries[i];
        if (e->topic == NULL) { /* they are filled in order: nothing is behind the first free one */
            return (uint16_t)(i + 1);
        }
        if (e->hash == hash && bytes_equal(entry_topic(e), topic)) {
            e->used    = ++table->clock;
            *out_known = true;
            return (uint16_t)(i + 1);
        }
        if (table->clock - e->used > table->clock - table->entries[oldest].used) {
            oldest = i;
        }
    }
    return (uint16_t)(oldest + 1);
}

size_t mqtt_aliases_memory_bytes(const struct mqtt_aliases *table)
{
    size_t bytes = 0;
    if (table != NULL) {
        bytes = sizeof *table + table->max * sizeof(struct entry);
        for (uint16_t i = 0; i < table->max; i++) {
            bytes += table->entries[i].size;
        }
    }
    return bytes;
}

void mqtt_aliases_free(struct mqtt_aliases *table)
{
    if (table == NULL) {
        return;
    }
    for (uint16_t i = 0; i < table->max; i++) {
        free(table->entries[i].topic);
    }
    free(table);
}
