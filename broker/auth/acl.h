/* acl - who may publish and subscribe to what: ordered rules, of which the first that decides counts.
 *
 *   allow|deny  [user NAME] [client ID] [group NAME] [address CIDR] | [all]   publish|subscribe|both  [qos 0,1] [retain yes|no]
 *               [topic] FILTER [FILTER ..]     the word `topic` and more filters as often as wanted; `eq FILTER`: these very characters
 *
 *       allow user alice both "home/#"
 *       allow all publish sensors/%c/+         %c: the client id, %u: the user name
 *       deny address 10.0.0.0/8 subscribe # qos 1,2
 *
 *   NAME and ID may end in `*`. Words with blanks stand in double quotes. All conditions of a rule must hold.
 *
 *   publish:    a rule speaks of a topic that its filter matches
 *   subscribe:  `allow` must cover the whole wanted filter (allow a/# lets a/+/b in, not #);
 *               `deny` meets every filter that could bring a topic of its own (deny a/secret stops a/+ and #)
 *   $share/group/ and $exclusive/ in front of a filter, and $delayed/N/ in front of a topic, are not looked at.
 *
 * A name with '/', '+' or '#' in it never takes the place of %c or %u where that would allow something.
 * Threads: a struct acl belongs to one shard; pure. */
#ifndef KEEL_BROKER_AUTH_ACL_H
#define KEEL_BROKER_AUTH_ACL_H

#include "shared/base/assert.h"
#include "shared/base/bytes.h"

enum acl_action { ACL_PUBLISH = 1, ACL_SUBSCRIBE = 2 };
enum acl_retain { ACL_RETAIN_ANY, ACL_RETAIN_YES, ACL_RETAIN_NO };
enum acl_verdict { ACL_SILENT, ACL_ALLOW, ACL_DENY };
enum { ACL_RULE_MAX_BYTES = 8192, ACL_TOPICS_MAX = 64, ACL_ADDRESS_BYTES = 16 };

struct acl_topic {
    struct bytes filter;
    bool         literal;     /* eq */
    bool         substitutes; /* %c or %u in it */
};

/* One rule, in one allocation. */
struct acl_rule {
    bool             allow;
    uint8_t          actions; /* enum acl_action */
    uint8_t          qos;     /* bit n: QoS n */
    uint8_t          retain;  /* enum acl_retain; publish only */
    bool             has_address;
    uint8_t          prefix_bits;
    uint8_t          address[ACL_ADDRESS_BYTES]; /* IPv4 as ::ffff:a.b.c.d */
    struct bytes     user;                       /* size 0: whoever */
    struct bytes     client;
    struct bytes     group;
    struct bytes     text; /* as it was written */
    uint32_t         topic_count;
    struct acl_topic topics[];
};

/* Who asks. Borrowed. */
struct acl_who {
    struct bytes user; /* size 0: anonymous */
    struct bytes client;
    const char  *groups; /* "a,b" */
    bool         has_address;
    uint8_t      address[ACL_ADDRESS_BYTES];
};

/* What is asked for. */
struct acl_wish {
    uint8_t      action; /* one of enum acl_action */
    uint8_t      qos;
    bool         retain;
    struct bytes topic; /* a name, or for ACL_SUBSCRIBE a filter; both valid */
};

/* A rule of malloc'ed memory, or NULL with a sentence in why. */
struct acl_rule *acl_rule_read(struct bytes text, char *why, size_t why_size);
void             acl_rule_free(struct acl_rule *rule);
/* Can the rule ever concern this client? */
bool acl_rule_concerns(const struct acl_rule *rule, const struct acl_who *who);
/* Of a rule that concerns it. */
enum acl_verdict acl_rule_says(const struct acl_rule *rule, const struct acl_who *who, const struct acl_wish *wish);
/* An IPv4 or IPv6 address. False: it is neither. */
bool acl_address(const char *text, uint8_t out[ACL_ADDRESS_BYTES]);

/* ---- an ordered set: immutable and counted, so that a connection may look at the one it knows while a newer one is made -------- */

struct acl {
    uint32_t         refs;
    uint32_t         count;
    struct acl_rule *rules[]; /* owned */
};

/* Takes the rules over. NULL when memory is out: the rules are still the caller's. */
struct acl *acl_new(struct acl_rule *const *rules, uint32_t count);
struct acl *acl_ref(struct acl *acl);
void        acl_unref(struct acl *acl); /* accepts NULL */

#endif
