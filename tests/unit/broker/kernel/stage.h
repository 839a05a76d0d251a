/* stage - brokers of one or more shards on one fake segment store, and clients that write down what happens to them.
 * Threads: the test. */
#ifndef KEEL_TESTS_UNIT_BROKER_KERNEL_STAGE_H
#define KEEL_TESTS_UNIT_BROKER_KERNEL_STAGE_H

#include "broker/kernel/kernel.h"
#include "tests/unit/broker/kernel/fake_store.h"

enum { STAGE_SHARDS_MAX = 4, STAGE_STRIPES = 5 };

struct got { /* one delivery */
    char     topic[64];
    char     payload[64];
    char     properties[160]; /* bytes that are no text are dots */
    uint64_t expires_wall_ns;
    uint8_t  qos;
    bool     retain;
    bool     duplicate;
    uint16_t id;
    uint8_t  count;
    uint32_t ids[SUBSCRIPTION_IDS_MAX];
};

struct actor {
    struct client     client; /* first */
    char              id[64];
    int               opened; /* how often opened() came */
    int               status;
    bool              present;
    int               evicted;
    enum evict_reason why;
    bool              full;    /* its output is full */
    int               full_in; /* this many more deliveries, then full; -1: no */
    uint32_t          too_big; /* payloads above this are too big; 0: no */
    bool              untold;  /* set before it enters: as a client of 3.1.1 it is not told of refusals */
    bool              paused;
    int               pauses;
    struct got       *gots;
    int               got_count;
    int               got_capacity;
    uint16_t          releases[64]; /* deliver_release: the last ones */
    int               release_count;
    struct {
        uint16_t id;
        uint8_t  qos;
        int      status;
        bool     matched;
    } published[4096];
    int published_count;
    struct {
        uint16_t id;
        int      status;
    } released[1024];
    int released_count;
    int results[256];
    int subscribed;
    int unsubscribed;
};

struct broker {
    struct fake_world  *world;
    unsigned            shard_count;
    struct kernel      *kernels[STAGE_SHARDS_MAX];
    struct store       *stores[STAGE_SHARDS_MAX];
    struct timer_wheel *timers[STAGE_SHARDS_MAX];
    struct list         mails[STAGE_SHARDS_MAX]; /* to that shard */
    struct port        *ports;
    int                 mail_room; /* mails a mailbox takes; the others are refused */
};

extern const struct kernel_limits stage_limits;

/* Returns when it is ready. limits: NULL for stage_limits. */
struct broker *broker_new(struct fake_world *world, unsigned shards, const struct kernel_limits *limits);
/* A process beside others that are there: all are turned until it is ready. Processes that know of each other: the first one is made with this, too; NULL: no other. */
struct broker *broker_beside(struct fake_world *world, unsigned shards, struct broker *other, struct broker *third);
/* kill -9: nothing is finished. Its actors are as if disconnected. */
void broker_kill(struct broker *broker);
/* One turn of every shard: mails, what the store has (at most applies transactions are applied), kernel_end. True: something happened. */
bool broker_turn(struct broker *broker, int applies);
/* Turns until nothing happens any more. */
void settle(struct broker *broker);
void settle_two(struct broker *a, struct broker *b);
/* Wall clock and steady clock go on. */
void pass(struct broker *broker, uint64_t seconds);

struct actor *actor_new(const char *id);
void          actor_free(struct actor *actor);
/* Forgets what was written down. */
void actor_clear(struct actor *actor);

/* Opens and settles. */
void enter(struct broker *broker, unsigned shard, struct actor *actor, bool clean_start, uint32_t expiry_s);
void enter_will(struct broker *broker, unsigned shard, struct actor *actor, bool clean_start, uint32_t expiry_s,
                struct will will);
void open_only(struct broker *broker, unsigned shard, struct actor *actor, bool clean_start, uint32_t expiry_s,
               uint16_t receive_max, const struct will *will);
void leave(struct broker *broker, unsigned shard, struct actor *actor);
void leave_with(struct broker *broker, unsigned shard, struct actor *actor, struct close_request request);
/* Acknowledges: QoS 1 wholly, QoS 2 first (1) and second (2) step; got: which delivery. */
int ack(struct broker *broker, unsigned shard, struct actor *actor, int got, int step);
/* Subscribes and settles; the granted QoS or error. */
int follow(struct broker *broker, unsigned shard, struct actor *actor, const char *filter, uint8_t qos);
int follow_with(struct broker *broker, unsigned shard, struct actor *actor, struct subscription subscription);
int unfollow(struct broker *broker, unsigned shard, struct actor *actor, const char *filter);
/* Publishes, does not settle. */
void say(struct broker *broker, unsigned shard, struct actor *actor, const char *topic, const char *payload,
         uint8_t qos, uint16_t id);
void say_retained(struct broker *broker, unsigned shard, struct actor *actor, const char *topic, const char *payload,
                  uint8_t qos, uint16_t id, uint32_t expiry_s);
/* Did it get exactly these payloads, in this order? Joined by spaces. */
bool heard(const struct actor *actor, const char *payloads);
/* How often did it get that one, without the repetitions that say so? */
int times_heard(const struct actor *actor, const char *payload);

#endif
