/* ticket - what a client that was let in may do: its name, the rules that concern it, what was asked last.
 *
 *     protocol ──ticket_check(wish)──▶ ticket ──▶ its own rules (of a token) ──▶ the shard's rules ──▶ the hook ──▶ the default
 *        ▲                                             allow, deny                 allow, deny      allow, deny, or ACCESS_WAIT
 *        └── owner->again() when what it waits for is known; owner->changed() when rules are different; owner->revoked() when it must go
 *
 * A check costs a comparison when no rule stands against anybody; else a comparison with the last topic; else a walk over the rules that concern this
 * client, which were picked out once. Nothing is allocated by it.
 * Lifetime: made by the port (port.h) when a client is let in, ended by the protocol with ticket_free.   Threads: the shard. */
#ifndef KEEL_BROKER_AUTH_TICKET_H
#define KEEL_BROKER_AUTH_TICKET_H

#include "broker/auth/acl.h"
#include "shared/base/list.h"
#include "shared/base/timer.h"

struct ticket;
struct auth_question;

enum access { ACCESS_ALLOW, ACCESS_DENY, ACCESS_WAIT /* nothing may be done with it yet: again() will be called */ };

/* Of the protocol. Called from the shard's turn, never from inside a call to a ticket. */
struct ticket_owner {
    void (*again)(void *ctx);
    void (*changed)(void *ctx);
    void (*revoked)(void *ctx, const char *why);
    void (*banned)(void *ctx, const char *why);
};

/* What all tickets of a shard share. Owned by the room that hands tickets out. */
struct ticket_office {
    struct acl         *acl;           /* now in force; never NULL */
    bool                default_allow; /* what nobody speaks of */
    struct timer_wheel *timers;
    struct list         tickets; /* struct ticket.link */
    uint64_t            denied;  /* counts what was refused */
    /* Asks the hook; NULL: there is none. ACCESS_WAIT: question stays with it until ticket_answer or forget. */
    enum access (*ask)(struct ticket_office *office, struct ticket *ticket, const struct acl_wish *wish,
                       struct auth_question **out);
    void (*forget)(struct ticket_office *office, struct auth_question *question);
    /* A ticket that was counted (ticket_spec) is freed; NULL: nobody counts. */
    void (*left)(struct ticket_office *office, const struct ticket *ticket);
};

/* Who is let in. Texts are copied. */
struct ticket_spec {
    struct bytes      user; /* size 0: anonymous */
    struct bytes      client_id;
    const char       *groups;  /* or NULL */
    const char       *address; /* of the peer, or NULL */
    struct acl_rule **rules;   /* of its own, from a token or the hook; taken over */
    uint32_t          rule_count;
    bool              rules_only;      /* what they do not speak of is denied */
    uint8_t           counted;         /* the office's own */
    bool              in_table;        /* the user's row let it in: the row's end is its end */
    uint64_t          expires_wall_ns; /* 0: never */
    uint64_t          wall_ns;
    uint64_t          now_ns;
};

enum { TICKET_TOPIC_BYTES = 62 };

/* Public for the office; a protocol uses the verbs below. */
struct ticket {
    struct list                link;
    struct ticket_office      *office;
    const struct ticket_owner *owner; /* NULL until ticket_own */
    void                      *ctx;
    struct acl                *acl;   /* the one that `rules` was picked from; NULL: not yet */
    uint32_t                  *rules; /* indexes into it; NULL with rule_count > 0: all of them */
    uint32_t                   rule_count;
    bool                       open; /* nothing forbids anything */
    uint8_t                    counted;
    bool                       in_table;
    bool                       own_only;
    uint8_t                    last_wish; /* action, qos, retain of the last check */
    uint8_t                    last_size; /* 0: none */
    bool                       last_allow;
    uint8_t                    last_topic[TICKET_TOPIC_BYTES];
    struct acl                *own;       /* or NULL */
    struct acl_who             who;       /* views into text */
    const char                *address;   /* of the peer, NULL: none; into text */
    struct list                questions; /* struct auth_question */
    struct timer               expiry;
    uint64_t                   expires_ns;
    char                       text[];
};

/* NULL when memory is out; spec.rules are freed then. */
struct ticket *ticket_new(struct ticket_office *office, const struct ticket_spec *spec);
/* Accepts NULL. */
void ticket_free(struct ticket *ticket);
/* From now on somebody is told. */
void ticket_own(struct ticket *ticket, const struct ticket_owner *owner, void *ctx);
/* A later time to expire at (re-authentication); 0: never. */
void         ticket_extend(struct ticket *ticket, uint64_t expires_wall_ns, uint64_t wall_ns, uint64_t now_ns);
struct bytes ticket_user(const struct ticket *ticket);
/* What it holds, rules of its own apart; 0 of NULL. */
size_t ticket_memory_bytes(const struct ticket *ticket);

enum access ticket_check_slow(struct ticket *ticket, const struct acl_wish *wish);
/* May the client do this? After ACCESS_WAIT it asks again, for the same, when again() was called. */
static inline enum access ticket_check(struct ticket *ticket, const struct acl_wish *wish)
{
    if (LIKELY(ticket == NULL || (ticket->open && ticket->acl == ticket->office->acl))) {
        return ACCESS_ALLOW;
    }
    return ticket_check_slow(ticket, wish);
}
/* What was asked for is done with: answers of the hook that were kept for it are forgotten. */
void               ticket_settled_slow(struct ticket *ticket);
static inline void ticket_settled(struct ticket *ticket)
{
    if (UNLIKELY(ticket != NULL && !list_empty(&ticket->questions))) {
        ticket_settled_slow(ticket);
    }
}

/* ---- the office ------------------------------------------------------------------------------------------------------------------ */

/* One wish of one ticket that the hook was asked about; waits there, then keeps the answer until it was used. */
struct auth_question {
    struct list    link; /* in ticket->questions */
    struct ticket *ticket;
    void          *asked; /* the hook's; NULL: answered */
    bool           allow;
    uint8_t        wish; /* packed */
    size_t         topic_size;
    uint8_t        topic[];
};

struct auth_question *ticket_question(struct ticket *ticket, const struct acl_wish *wish);
/* The answer of a question that waits. Calls again() once none waits any more. */
void ticket_answer(struct auth_question *question, bool allow);
/* Other rules are in force: the office holds them from now on. Tickets look at them with their next check; ticket_office_tell says so to their owners. */
void ticket_office_rules(struct ticket_office *office, struct acl *acl);
void ticket_office_tell(struct ticket_office *office);
/* The user is gone: those who came in by the table must go. */
void ticket_office_revoke(struct ticket_office *office, struct bytes user, const char *why);
/* Those with this client identifier, user or address must go; of size 0: whatever it is. One at least is not. */
void ticket_office_ban(struct ticket_office *office, struct bytes client_id, struct bytes user, struct bytes address,
                       const char *why);

#endif
