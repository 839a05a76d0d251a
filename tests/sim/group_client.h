/* group_client - a broker shard as far as several segment stores can tell, that believes nothing.
 *
 *   per stripe one stream; transaction n:  APPEND record n (idempotent: writer, sequence n + 1)  +  TABLE_PUT "n"  +  TABLE_PUT "last" = n
 *
 * It is connected to every node, sends a stripe's transactions to the node that leads it, in order, several under way, and those that were not
 * answered again to the next leader. So each is applied once, in its order: record n lies at offset n, whoever led in between. From time to time it asks
 * the node that it takes for the leader to READ: an answer must know everything that was acknowledged before it was asked.
 * Threads: one; it is a process of its own in the simulated world. */
#ifndef KEEL_TESTS_SIM_GROUP_CLIENT_H
#define KEEL_TESTS_SIM_GROUP_CLIENT_H

#include "tests/sim/group_link.h"

enum { GROUP_TABLE = 7 };

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
    uint64_t read_asked;    /* where the READ under way begins */
    uint32_t read_limit;    /* records it may be answered with */
    uint64_t lost;          /* offset + 1 of the one record that no node can read any more; 0: all can be read */
    /* NULL: none but that one; else, of each that was acknowledged when there was damage: is it perhaps on no node?. */
    const bool *may_be_lost;
    uint64_t    may_be_count;
    uint64_t    lost_told; /* times that a READ of it was answered so */
    bool        reading;
    bool        all_read;
    bool        records_read;
    bool        scanning;
    uint64_t    scanned;  /* rows of transactions below are there */
    uint64_t    refused;  /* NOT_LEADER */
    uint64_t    acked_ns; /* when the last one was acknowledged */
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
    char                 row_name[32]; /* what the cluster is told; empty: nothing, or it is known */
    uint8_t              row[2 + 2 * GROUP_MAX];
    size_t               row_size; /* 0: the row is deleted */
    bool                 row_sent;
    bool                 reading_all; /* the end: everything is read from offset trimmed on */
};

/* On a machine of its own, "client". */
void group_client_start(struct group_client *client, struct group *group);
/* The first `count` transactions are to be acknowledged; never fewer than were wanted before. */
void group_client_want(struct group_client *client, uint32_t stripe, uint64_t count);
void group_client_trim(struct group_client *client, uint32_t stripe, uint64_t offset);
/* Tells stripe 0 who the nodes shall be. */
void group_client_members(struct group_client *client, const uint16_t *nodes, uint16_t count);
/* Another row of the table RPC_TABLE_CLUSTER; count 0: it is deleted. One at a time. */
void group_client_row(struct group_client *client, const char *name, const uint16_t *numbers, uint16_t count);
/* All that was wanted was acknowledged. */
bool group_client_answered(void *client);
/* Reads every stream from its start to its end and checks each record, then the rows of the table: begin, then wait for done. */
void group_client_read_all(struct group_client *client);
bool group_client_all_read(void *client);
/* The nodes agree and nothing happens to them any more: this one leads all stripes, and all is read from it. */
void group_client_check_at(struct group_client *client, struct group *group, uint32_t member);
void group_client_end(struct group_client *client);

#endif
