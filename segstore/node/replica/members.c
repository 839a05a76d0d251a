/* members.c - there and back. */
#include "segstore/node/replica/members.h"

enum { MEMBERS_VERSION = 1 };

static void put_list(struct wire_writer *w, const uint16_t *nodes, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++) {
        wire_put_u16(w, nodes[i]);
    }
}

void members_put(struct wire_writer *w, const struct raft_members *m)
{
    wire_put_u8(w, MEMBERS_VERSION);
    wire_put_u8(w, m->voter_count);
    wire_put_u8(w, m->outgoing_count);
    wire_put_u8(w, m->learner_count);
    put_list(w, m->voters, m->voter_count);
    put_list(w, m->outgoing, m->outgoing_count);
    put_list(w, m->learners, m->learner_count);
}

static void get_list(struct wire_reader *r, uint16_t *nodes, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++) {
        nodes[i] = wire_get_u16(r);
        r->bad   = r->bad || nodes[i] == RAFT_NONE;
    }
}

bool members_read(struct wire_reader *r, struct raft_members *out)
{
    *out             = (struct raft_members){0};
    uint8_t version  = wire_get_u8(r);
    uint8_t voters   = wire_get_u8(r);
    uint8_t outgoing = wire_get_u8(r);
    uint8_t learners = wire_get_u8(r);
    if (r->bad || version != MEMBERS_VERSION || voters > RAFT_MEMBERS_MAX || outgoing > RAFT_MEMBERS_MAX ||
        learners > RAFT_MEMBERS_MAX) {
        return false;
    }
    out->voter_count    = voters;
    out->outgoing_count = outgoing;
    out->learner_count  = learners;
    get_list(r, out->voters, voters);
    get_list(r, out->outgoing, outgoing);
    get_list(r, out->learners, learners);
    return !r->bad;
}

bool members_get(struct bytes bytes, struct raft_members *out)
{
    struct wire_reader r = wire_reader_of(bytes);
    return members_read(&r, out) && wire_left(&r) == 0 && out->voter_count > 0;
}
