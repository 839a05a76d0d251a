/* group_client - a broker shard as far as several segment stores can tell, that believes nothing.
 *
 *   per stripe one stream; transaction n:  APPEND record n (idempotent: writer, sequence n + 1)  +  TABLE_PUT "n"
 *
 * It is connected to every node, sends a stripe's transactions to the node that leads it, in order, several under way, and those that were not
 * answered again to the next leader. So each is applied once, in its order: record n lies at offset n, whoever led in between. From time to time it asks
 * the node that it takes for the leader to READ: an answer must know everything that was acknowledged before it was asked.
 * Threads: one; it is a process of its own in the simulated world. */
#ifndef KEEL_TESTS_SIM_GROUP_CLIENT_H
#define KEEL_TESTS_SIM_GROUP_CLIENT_H

#include "tests/sim/group_link.h"

struct client_stripe {
    uint64_t stream_id; /* 0: not known yet */
    uint64_t term;
    uint16_t leader;   /* node number, 0: not known */
    uint64_t later_ns; /* nothing before */
    uint64_t wanted;   /* transactions to make */
    uint64_t sent;     /* to this leader */
    uint64_t answered; /* all below are acknowledged */
    uint64_t trim;     /* wanted */
    uint64_t trimmed;
    uint64_t epoch; /* counts changes of leader: in ids, so that late answers are told apart */
    bool     creating;
    uint64_t read_from;     /* the offset that the reads at the end go on with */
    uint64_t read_answered; /* acknowledged when the READ under way was asked */
    bool     reading;
    bool     all_read;
    uint64_t refused;  /* NOT_LEADER */
    uint64_t acked_ns; /* when the last one was acknowledged */
};

struct group_client {
    struct world        *world;
    struct process      *process;
    struct io           *io;
    struct group_link    links[GROUP_MAX];
    uint32_t             link_count;
    struct client_stripe stripes[GROUP_STRIPES_MAX];
    uint32_t             stripe_count;
    uint32_t             window;
    uint32_t             large_one_in;
    uint32_t             read_one_in; /* turns */
    uint64_t             instance;
    uint16_t members[GROUP_MAX]; /* who the nodes shall be; member_count 0: that was not said, or it is known */
    uint16_t member_count;
    bool     members_sent;
    bool     reading_all; /* the end: everything is read from offset trimmed on */
};

/* On a machine of its own, "client". */
void group_client_start(struct group_client *client, struct group *group);
void group_client_want(struct group_client *client, uint32_t stripe, uint64_t count);
void group_client_trim(struct group_client *client, uint32_t stripe, uint64_t offset);
/* Tells stripe 0 who the nodes shall be. */
void group_client_members(struct group_client *client, const uint16_t *nodes, uint16_t count);
/* All that was wanted was acknowledged. */
bool group_client_answered(void *client);
/* Reads every stream from its start to its end and checks each record: begin, then wait for done. */
void group_client_read_all(struct group_client *client);
bool group_client_all_read(void *client);
void group_client_end(struct group_client *client);

#endif
