/* ticket.c - checks, and what makes them cheap. */
#include "broker/auth/ticket.h"

#include <stdlib.h>

static uint8_t pack(const struct acl_wish *wish)
{
    return (uint8_t)(wish->action | wish->qos << 2 | (wish->retain ? 0x10 : 0));
}

/* ---- life ----------------------------------------------------------------------------------------------------------------------- */

static void expired(struct timer *timer, uint64_t now_ns)
{
    struct ticket *ticket = CONTAINER_OF(timer, struct ticket, expiry);
    if (now_ns < ticket->expires_ns) { /* a wheel is no calendar: far times are approached in steps */
        timer_arm(ticket->office->timers, timer, ticket->expires_ns, expired);
    } else if (ticket->owner != NULL) {
        ticket->owner->revoked(ticket->ctx, "its token or permission has expired");
    }
}

static void free_rules(struct acl_rule *const *rules, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        acl_rule_free(rules[i]);
    }
}

struct ticket *ticket_new(struct ticket_office *office, const struct ticket_spec *spec)
{
    struct bytes   groups  = bytes_str(spec->groups != NULL ? spec->groups : "");
    struct bytes   address = bytes_str(spec->address != NULL ? spec->address : "");
    struct ticket *ticket =
        calloc(1, sizeof *ticket + spec->user.size + spec->client_id.size + groups.size + address.size + 4);
    if (ticket == NULL) {
        free_rules(spec->rules, spec->rule_count);
        return NULL;
    }
    if (spec->rule_count > 0 || spec->rules_only) {
        ticket->own = acl_new(spec->rules, spec->rule_count);
        if (ticket->own == NULL) {
            free_rules(spec->rules, spec->rule_count);
            free(ticket);
            return NULL;
        }
    }
    char *at           = ticket->text;
    ticket->office     = office;
    ticket->in_table   = spec->in_table;
    ticket->counted    = spec->counted;
    ticket->own_only   = spec->rules_only;
    ticket->who.user   = bytes_keep(&at, spec->user);
    ticket->who.client = bytes_keep(&at, spec->client_id);
    ticket->who.groups = at;
    (void)bytes_keep(&at, groups);
    ticket->address         = address.size > 0 ? (const char *)bytes_keep(&at, address).data : NULL;
    ticket->who.has_address = spec->address != NULL && acl_address(spec->address, ticket->who.address);
    list_init(&ticket->questions);
    list_push_back(&office->tickets, &ticket->link);
    ticket_extend(ticket, spec->expires_wall_ns, spec->wall_ns, spec->now_ns);
    return ticket;
}

void ticket_free(struct ticket *ticket)
{
    if (ticket == NULL) {
        return;
    }
    struct list *link;
    while ((link = list_pop_front(&ticket->questions)) != NULL) {
        struct auth_question *question = CONTAINER_OF(link, struct auth_question, link);
        if (question->asked != NULL) {
            ticket->office->forget(ticket->office, question);
        }
        free(question);
    }
    if (ticket->counted != 0) {
        ticket->office->left(ticket->office, ticket);
    }
    timer_cancel(ticket->office->timers, &ticket->expiry);
    list_remove(&ticket->link);
    acl_unref(ticket->acl);
    acl_unref(ticket->own);
    free(ticket->rules);
    free(ticket);
}

void ticket_own(struct ticket *ticket, const struct ticket_owner *owner, void *ctx)
{
    ticket->owner = owner;
    ticket->ctx   = ctx;
}

void ticket_extend(struct ticket *ticket, uint64_t expires_wall_ns, uint64_t wall_ns, uint64_t now_ns)
{
    timer_cancel(ticket->office->timers, &ticket->expiry);
    if (expires_wall_ns == 0) {
        return;
    }
    uint64_t left_ns   = expires_wall_ns > wall_ns ? expires_wall_ns - wall_ns : 0;
    ticket->expires_ns = now_ns + left_ns;
    timer_arm(ticket->office->timers, &ticket->expiry, ticket->expires_ns, expired);
}

struct bytes ticket_user(const struct ticket *ticket)
{
    return ticket->who.user;
}

size_t ticket_memory_bytes(const struct ticket *ticket)
{
    return ticket == NULL ? 0
                          : sizeof *ticket + ticket->who.user.size + ticket->who.client.size +
                                strlen(ticket->who.groups) + (ticket->address == NULL ? 0 : strlen(ticket->address)) +
                                4 + (ticket->rules == NULL ? 0 : ticket->rule_count * sizeof *ticket->rules);
}

/* ---- the rules that concern it ------------------------------------------------------------------------------------------------- */

static void pick(struct ticket *ticket)
{
    struct ticket_office *office = ticket->office;
    struct acl           *acl    = office->acl;
    uint32_t              count  = 0;
    acl_unref(ticket->acl);
    free(ticket->rules);
    ticket->acl       = acl_ref(acl);
    ticket->rules     = NULL;
    ticket->last_size = 0;
    for (uint32_t i = 0; i < acl->count; i++) {
        count += acl_rule_concerns(acl->rules[i], &ticket->who);
    }
    ticket->rule_count = count;
    ticket->open       = count == 0 && ticket->own == NULL && office->ask == NULL && office->default_allow;
    if (count == 0 || count == acl->count) {
        return;
    }
    ticket->rules = malloc(count * sizeof *ticket->rules);
    if (ticket->rules == NULL) { /* all are looked at, with their conditions: slower, not wrong */
        ticket->rule_count = acl->count;
        return;
    }
    for (uint32_t i = 0, n = 0; i < acl->count; i++) {
        if (acl_rule_concerns(acl->rules[i], &ticket->who)) {
            ticket->rules[n++] = i;
        }
    }
}

static enum acl_verdict rules_say(const struct ticket *ticket, const struct acl_wish *wish)
{
    for (uint32_t i = 0; ticket->own != NULL && i < ticket->own->count; i++) {
        enum acl_verdict said = acl_rule_says(ticket->own->rules[i], &ticket->who, wish);
        if (said != ACL_SILENT) {
            return said;
        }
    }
    if (ticket->own_only) {
        return ACL_DENY;
    }
    for (uint32_t i = 0; i < ticket->rule_count; i++) {
        const struct acl_rule *rule = ticket->acl->rules[ticket->rules != NULL ? ticket->rules[i] : i];
        if (ticket->rules == NULL && !acl_rule_concerns(rule, &ticket->who)) {
            continue;
        }
        enum acl_verdict said = acl_rule_says(rule, &ticket->who, wish);
        if (said != ACL_SILENT) {
            return said;
        }
    }
    return ACL_SILENT;
}

/* ---- checks --------------------------------------------------------------------------------------------------------------------- */

static struct auth_question *find_question(struct ticket *ticket, const struct acl_wish *wish)
{
    LIST_EACH (&ticket->questions, link) {
        struct auth_question *question = CONTAINER_OF(link, struct auth_question, link);
        if (question->wish == pack(wish) && bytes_equal(bytes_of(question->topic, question->topic_size), wish->topic)) {
            return question;
        }
    }
    return NULL;
}

static enum access ask(struct ticket *ticket, const struct acl_wish *wish)
{
    struct ticket_office *office = ticket->office;
    struct auth_question *known  = find_question(ticket, wish);
    if (known != NULL) {
        return known->asked != NULL ? ACCESS_WAIT : known->allow ? ACCESS_ALLOW : ACCESS_DENY;
    }
    struct auth_question *question = NULL;
    return office->ask(office, ticket, wish, &question);
}

static enum access decide(struct ticket *ticket, const struct acl_wish *wish)
{
    switch (rules_say(ticket, wish)) {
    case ACL_ALLOW:
        return ACCESS_ALLOW;
    case ACL_DENY:
        return ACCESS_DENY;
    default:
        break;
    }
    if (ticket->office->ask != NULL) {
        return ask(ticket, wish);
    }
    return ticket->office->default_allow ? ACCESS_ALLOW : ACCESS_DENY;
}

enum access ticket_check_slow(struct ticket *ticket, const struct acl_wish *wish)
{
    if (UNLIKELY(ticket->acl != ticket->office->acl)) {
        pick(ticket);
        if (ticket->open) {
            return ACCESS_ALLOW;
        }
    }
    if (ticket->last_size == wish->topic.size && ticket->last_wish == pack(wish) && wish->topic.size > 0 &&
        memcmp(ticket->last_topic, wish->topic.data, wish->topic.size) == 0) {
        ticket->office->denied += !ticket->last_allow;
        return ticket->last_allow ? ACCESS_ALLOW : ACCESS_DENY;
    }
    enum access access = decide(ticket, wish);
    /* Answers of the hook have a time to live of their own, so they are not remembered here. */
    if (access != ACCESS_WAIT && ticket->office->ask == NULL && wish->topic.size <= TICKET_TOPIC_BYTES) {
        ticket->last_size  = (uint8_t)wish->topic.size;
        ticket->last_wish  = pack(wish);
        ticket->last_allow = access == ACCESS_ALLOW;
        memcpy(ticket->last_topic, wish->topic.data, wish->topic.size);
    }
    ticket->office->denied += access == ACCESS_DENY;
    return access;
}

void ticket_settled_slow(struct ticket *ticket)
{
    LIST_EACH (&ticket->questions, link) {
        struct auth_question *question = CONTAINER_OF(link, struct auth_question, link);
        if (question->asked == NULL) {
            list_remove(link);
            free(question);
        }
    }
}

/* ---- the office ------------------------------------------------------------------------------------------------------------------ */

struct auth_question *ticket_question(struct ticket *ticket, const struct acl_wish *wish)
{
    struct auth_question *question = malloc(sizeof *question + wish->topic.size);
    if (question == NULL) {
        return NULL;
    }
    *question = (struct auth_question){.ticket = ticket, .wish = pack(wish), .topic_size = wish->topic.size};
    memcpy(question->topic, wish->topic.data, wish->topic.size);
    list_push_back(&ticket->questions, &question->link);
    return question;
}

void ticket_answer(struct auth_question *question, bool allow)
{
    struct ticket *ticket = question->ticket;
    question->asked       = NULL;
    question->allow       = allow;
    LIST_EACH (&ticket->questions, link) {
        if (CONTAINER_OF(link, struct auth_question, link)->asked != NULL) {
            return;
        }
    }
    if (ticket->owner != NULL) {
        ticket->owner->again(ticket->ctx);
    }
}

void ticket_office_rules(struct ticket_office *office, struct acl *acl)
{
    acl_unref(office->acl);
    office->acl = acl;
}

void ticket_office_tell(struct ticket_office *office)
{
    LIST_EACH (&office->tickets, link) {
        struct ticket *ticket = CONTAINER_OF(link, struct ticket, link);
        if (ticket->owner != NULL) {
            ticket->owner->changed(ticket->ctx);
        }
    }
}

void ticket_office_revoke(struct ticket_office *office, struct bytes user, const char *why)
{
    LIST_EACH (&office->tickets, link) {
        struct ticket *ticket = CONTAINER_OF(link, struct ticket, link);
        if (ticket->in_table && ticket->owner != NULL && bytes_equal(ticket->who.user, user)) {
            ticket->owner->revoked(ticket->ctx, why);
        }
    }
}

static bool same(struct bytes wanted, struct bytes has)
{
    return wanted.size == 0 || bytes_equal(wanted, has);
}

void ticket_office_ban(struct ticket_office *office, struct bytes client_id, struct bytes user, struct bytes address,
                       const char *why)
{
    LIST_EACH (&office->tickets, link) {
        struct ticket *ticket = CONTAINER_OF(link, struct ticket, link);
        struct bytes   from   = bytes_str(ticket->address != NULL ? ticket->address : "");
        if (ticket->owner != NULL && same(client_id, ticket->who.client) && same(user, ticket->who.user) &&
            same(address, from)) {
            ticket->owner->banned(ticket->ctx, why);
        }
    }
}
