/* Random histories: stored sessions publish to stored sessions while connections end, move between shards and brokers are killed at any step.
 * In the end every message that a publisher was ever told to be accepted is there: QoS 1 at least once, QoS 2 exactly once, first arrivals in order. */
#include "shared/base/err.h"
#include "shared/base/rand.h"
#include "tests/unit/broker/kernel/stage.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

enum { PEOPLE = 4, INFLIGHT = 6, SHARDS = 3, MESSAGES_MAX = 4000 };

struct line; /* one connection */

struct flying {
    int      number;
    uint8_t  qos;
    bool     received; /* PUBREC came */
    uint16_t id;
};

/* Who a client is, over its connections. */
struct person {
    char          id[24];
    struct line  *line; /* NULL: not connected */
    struct flying flying[INFLIGHT];
    int           flying_count;
    int           next_number;
    uint16_t      next_id;
    bool          known;
    bool          has[65536]; /* QoS 2 ids received and not released */
    int           got[PEOPLE][MESSAGES_MAX];
    uint8_t       sent_qos[MESSAGES_MAX];
    int           last_first[PEOPLE][3];
};

struct todo {
    uint16_t id;
    uint8_t  what; /* 1 received, 2 taken, 3 writable, 4 released */
};

struct line {
    struct client  client; /* first */
    struct person *person;
    unsigned       shard;
    bool           open;
    bool           over;
    bool           subscribed;
    struct todo    todo[4096];
    int            todo_count;
    struct line   *next; /* all that were made, to be freed */
};

static struct fake_world *world;
static struct broker     *b;
static struct person     *people;
static struct line       *lines;
static struct rand        dice;
static int                accepted;

static void on_opened(struct client *client, int status, bool present)
{
    struct line *l = (struct line *)client;
    if (status != 0) {
        l->over = true;
        if (l->person->line == l) {
            l->person->line = NULL;
        }
        return;
    }
    cr_assert(!l->person->known || present, "the session of %s is gone", l->person->id);
    l->person->known = true;
    l->open          = true;
}

static void on_evicted(struct client *client, enum evict_reason why)
{
    struct line *l = (struct line *)client;
    cr_assert_eq(why, EVICT_TAKEN_OVER);
    l->open = false;
    l->over = true;
    if (l->person->line == l) {
        l->person->line = NULL;
    }
}

static int flying_find(const struct person *p, uint16_t id)
{
    for (int i = 0; i < p->flying_count; i++) {
        if (p->flying[i].id == id) {
            return i;
        }
    }
    return -1;
}

static void landed(struct person *p, int which)
{
    memmove(&p->flying[which], &p->flying[which + 1], (size_t)(p->flying_count - which - 1) * sizeof p->flying[0]);
    p->flying_count--;
    accepted++;
}

static void on_published(struct client *client, uint16_t id, uint8_t qos, int status, bool matched)
{
    struct line *l     = (struct line *)client;
    int          which = flying_find(l->person, id);
    cr_assert_eq(status, 0);
    cr_assert(matched);
    cr_assert_geq(which, 0);
    if (qos == 1) {
        landed(l->person, which);
    } else {
        l->person->flying[which].received = true;
        kernel_publish_release(b->kernels[l->shard], client, id);
    }
}

static void on_publish_released(struct client *client, uint16_t id, int status)
{
    struct line *l     = (struct line *)client;
    int          which = flying_find(l->person, id);
    cr_assert(status == 0 || status == ERR_NOT_FOUND);
    if (which >= 0 && l->person->flying[which].received) {
        landed(l->person, which);
    }
}

static void later(struct line *l, uint16_t id, uint8_t what)
{
    cr_assert_lt(l->todo_count, 4096);
    l->todo[l->todo_count++] = (struct todo){.id = id, .what = what};
}

static enum deliver_result on_deliver(struct client *client, struct delivery *d)
{
    struct line   *l = (struct line *)client;
    struct person *p = l->person;
    int            from;
    int            number;
    char           text[32];
    cr_assert(l->open);
    if (rand_chance(&dice, 30)) {
        later(l, 0, 3);
        return DELIVER_FULL;
    }
    memcpy(text, d->message->payload.data, d->message->payload.size);
    text[d->message->payload.size] = 0;
    cr_assert_eq(sscanf(text, "%d-%d", &from, &number), 2);
    if (d->qos == 2) {
        later(l, d->id, 1);
        if (p->has[d->id]) {
            cr_assert(d->duplicate);
            return DELIVER_OK;
        }
        p->has[d->id] = true;
    } else {
        later(l, d->id, 2);
    }
    if (p->got[from][number]++ == 0) {
        cr_assert_gt(number, p->last_first[from][d->qos], "%s: message %d-%d came after %d", p->id, from, number,
                     p->last_first[from][d->qos]);
        p->last_first[from][d->qos] = number;
    }
    return DELIVER_OK;
}

static void on_deliver_release(struct client *client, uint16_t id)
{
    struct line *l     = (struct line *)client;
    l->person->has[id] = false;
    later(l, id, 4);
}

static void on_subscribed(struct client *client, uint16_t id, const int *results, int count)
{
    (void)id;
    cr_assert_eq(count, 1);
    cr_assert_eq(results[0], 2);
    ((struct line *)client)->subscribed = true;
}

static void on_pause(struct client *client, bool paused)
{
    (void)client;
    (void)paused;
}

static const struct client_ops ops = {
    .opened           = on_opened,
    .evicted          = on_evicted,
    .published        = on_published,
    .publish_released = on_publish_released,
    .deliver          = on_deliver,
    .deliver_release  = on_deliver_release,
    .subscribed       = on_subscribed,
    .pause            = on_pause,
};

static void connect_one(struct person *p)
{
    struct line *l              = calloc(1, sizeof *l);
    l->client.ops               = &ops;
    l->person                   = p;
    l->shard                    = (unsigned)rand_below(&dice, SHARDS);
    l->next                     = lines;
    lines                       = l;
    p->line                     = l; /* the older connection, if any, is taken over */
    struct open_request request = {
        .client_id = bytes_str(p->id), .expiry_s = 100000, .receive_max = (uint16_t)(1 + rand_below(&dice, 20))};
    kernel_open(b->kernels[l->shard], &l->client, &request);
}

static void send(struct person *p, const struct flying *f)
{
    char topic[16];
    char text[32];
    int  who = (int)(p - people);
    snprintf(topic, sizeof topic, "t/%d", who);
    snprintf(text, sizeof text, "%d-%d", who, f->number);
    if (f->received) {
        kernel_publish_release(b->kernels[p->line->shard], &p->line->client, f->id);
        return;
    }
    struct message m = {.topic = bytes_str(topic), .payload = bytes_str(text), .qos = f->qos};
    kernel_publish(b->kernels[p->line->shard], &p->line->client, &m, f->id);
}

static void hang_up(struct person *p)
{
    struct line *l = p->line;
    p->line        = NULL;
    if (l != NULL && !l->over) {
        l->over = true;
        l->open = false;
        kernel_close(b->kernels[l->shard], &l->client, &(struct close_request){0});
    }
}

static void act_acks(struct line *l, int most)
{
    int done = 0;
    for (; done < most && done < l->todo_count && l->open; done++) {
        struct todo t = l->todo[done];
        if (t.what == 1) {
            cr_assert_eq(kernel_received(b->kernels[l->shard], &l->client, t.id), 0);
        } else if (t.what != 3) {
            enum delivery_end end = t.what == 2 ? DELIVERY_TAKEN : DELIVERY_RELEASED;
            cr_assert_eq(kernel_done(b->kernels[l->shard], &l->client, t.id, end), 0);
        } else {
            kernel_writable(b->kernels[l->shard], &l->client);
        }
    }
    memmove(l->todo, l->todo + done, (size_t)(l->todo_count - done) * sizeof l->todo[0]);
    l->todo_count -= done;
}

/* What a client does once per connection: subscribe, and send again in order what was not acknowledged. */
static void greet(struct person *p)
{
    struct line *l = p->line;
    if (l == NULL || !l->open || l->subscribed) {
        return;
    }
    struct subscription sub = {.filter = bytes_str("t/+"), .qos = 2};
    kernel_subscribe(b->kernels[l->shard], &l->client, 1, &sub, 1);
    l->subscribed = true; /* asked */
    struct flying again[INFLIGHT];
    int           count = p->flying_count;
    memcpy(again, p->flying, sizeof again);
    for (int i = 0; i < count && p->line == l; i++) {
        send(p, &again[i]);
    }
}

static void step(bool quiet)
{
    struct person *p = &people[rand_below(&dice, PEOPLE)];
    struct line   *l = p->line;
    greet(p);
    switch (rand_below(&dice, 12)) {
    case 0:
        if (!quiet && rand_chance(&dice, 6)) {
            hang_up(p);
        }
        return;
    case 1:
        if (l == NULL || (!quiet && rand_chance(&dice, 20))) {
            connect_one(p);
        }
        return;
    case 2:
    case 3:
    case 4:
        if (!quiet && l != NULL && l->open && p->flying_count < INFLIGHT && p->next_number < MESSAGES_MAX) {
            struct flying f = {
                .number = p->next_number++, .qos = (uint8_t)(1 + rand_below(&dice, 2)), .id = p->next_id};
            p->next_id = (uint16_t)(p->next_id % 30 + 1);
            while (flying_find(p, p->next_id) >= 0) {
                p->next_id = (uint16_t)(p->next_id % 30 + 1);
            }
            p->sent_qos[f.number]        = f.qos;
            p->flying[p->flying_count++] = f;
            send(p, &f);
        }
        return;
    case 5:
    case 6:
    case 7:
        if (l != NULL && l->open) {
            act_acks(l, (int)rand_below(&dice, 6));
        }
        return;
    default:
        broker_turn(b, (int)rand_below(&dice, 4));
    }
}

static void kill_broker(void)
{
    broker_kill(b);
    for (int i = 0; i < PEOPLE; i++) {
        people[i].line = NULL;
    }
    for (struct line *l = lines; l != NULL; l = l->next) {
        l->open = false;
        l->over = true;
    }
    b            = broker_new(world, SHARDS, NULL);
    b->mail_room = (int)(1 + rand_below(&dice, 20));
}

static void history(uint64_t seed, int steps, int kills)
{
    rand_init(&dice, seed, 1);
    world    = fake_world_new((uint16_t)(1 + rand_below(&dice, 7)), 0);
    b        = broker_new(world, SHARDS, NULL);
    people   = calloc(PEOPLE, sizeof *people);
    lines    = NULL;
    accepted = 0;
    for (int i = 0; i < PEOPLE; i++) {
        snprintf(people[i].id, sizeof people[i].id, "person-%d", i);
        people[i].next_id = 1;
        for (int j = 0; j < PEOPLE; j++) {
            people[i].last_first[j][1] = people[i].last_first[j][2] = -1;
        }
        connect_one(&people[i]);
        settle(b);
        greet(&people[i]);
        settle(b);
    }
    for (int i = 0; i < steps; i++) {
        step(false);
        if (kills != 0 && rand_chance(&dice, (uint64_t)(steps / kills))) {
            kill_broker();
        }
    }
    for (int rest = 1, round = 0; rest != 0; round++) {
        cr_assert_lt(round, 200000, "seed %lu does not come to rest", (unsigned long)seed);
        step(true);
        rest = 0;
        for (int i = 0; i < PEOPLE; i++) {
            struct line *l = people[i].line;
            rest += l == NULL || !l->open || l->todo_count != 0 || people[i].flying_count != 0;
        }
        if (rest == 0) {
            settle(b);
            for (int i = 0; i < PEOPLE; i++) {
                rest += people[i].line == NULL || people[i].line->todo_count != 0;
            }
        }
    }
    int sent = 0;
    for (int from = 0; from < PEOPLE; from++) {
        sent += people[from].next_number;
        for (int to = 0; to < PEOPLE; to++) {
            for (int n = 0; n < people[from].next_number; n++) {
                int times = people[to].got[from][n];
                cr_assert(people[from].sent_qos[n] == 1 || times <= 1, "seed %lu: %s got %d-%d %d times",
                          (unsigned long)seed, people[to].id, from, n, times);
                cr_assert_geq(times, 1, "seed %lu: %s never got %d-%d", (unsigned long)seed, people[to].id, from, n);
            }
        }
    }
    cr_assert_eq(accepted, sent, "seed %lu", (unsigned long)seed);
    cr_assert_gt(sent, 10);
    for (int i = 0; i < PEOPLE; i++) {
        hang_up(&people[i]);
    }
    settle(b);
    broker_kill(b);
    fake_world_free(world);
    while (lines != NULL) {
        struct line *next = lines->next;
        free(lines);
        lines = next;
    }
    free(people);
}

Test(kernel_history, nothing_is_lost_when_connections_come_and_go)
{
    for (uint64_t seed = 1; seed <= 20; seed++) {
        history(seed, 6000, 0);
    }
}

Test(kernel_history, nothing_is_lost_when_brokers_are_killed)
{
    for (uint64_t seed = 100; seed <= 130; seed++) {
        history(seed, 6000, 8);
    }
}
