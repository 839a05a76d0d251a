/* list - doubly linked, intrusive, circular: a link lives inside the thing it links.
 * A list head is a link that points to itself when empty. A zeroed link is in no list.
 * Threads: those of the owner. */
#ifndef KEEL_SHARED_BASE_LIST_H
#define KEEL_SHARED_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next;
    struct list *prev;
};

#define CONTAINER_OF(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

static inline void list_init(struct list *head)
{
    head->next = head;
    head->prev = head;
}

static inline bool list_empty(const struct list *head)
{
    return head->next == head;
}

/* Is this link in a list? True for a head that was initialised. */
static inline bool list_linked(const struct list *link)
{
    return link->next != NULL;
}

static inline void list_push_back(struct list *head, struct list *link)
{
    link->prev       = head->prev;
    link->next       = head;
    head->prev->next = link;
    head->prev       = link;
}

static inline void list_push_front(struct list *head, struct list *link)
{
    list_push_back(head->next, link);
}

/* Takes the link out; does nothing when it is in no list. */
static inline void list_remove(struct list *link)
{
    if (link->next == NULL) {
        return;
    }
    link->prev->next = link->next;
    link->next->prev = link->prev;
    link->next       = NULL;
    link->prev       = NULL;
}

/* The first link, taken out, or NULL when empty. */
static inline struct list *list_pop_front(struct list *head)
{
    struct list *first = head->next;
    if (first == head) {
        return NULL;
    }
    list_remove(first);
    return first;
}

/* Walks a list; the current link may be removed in the body. */
#define LIST_EACH(head, link)                                                         \
    for (struct list *link = (head)->next, *link##_next = link->next; link != (head); \
         link = link##_next, link##_next = link->next)

#endif
