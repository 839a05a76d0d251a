/* members.c - who counts, and when enough agree. */
#include "segstore/raft/state.h"

static bool within(const uint16_t *nodes, uint8_t count, uint16_t node)
{
    for (uint8_t i = 0; i < count; i++) {
        if (nodes[i] == node) {
            return true;
        }
    }
    return false;
}

bool raft_members_voter(const struct raft_members *m, uint16_t node)
{
    return within(m->voters, m->voter_count, node) || within(m->outgoing, m->outgoing_count, node);
}

bool raft_members_any(const struct raft_members *m, uint16_t node)
{
    return raft_members_voter(m, node) || within(m->learners, m->learner_count, node);
}

static size_t add(uint16_t *out, size_t size, const uint16_t *nodes, uint8_t count)
{
    for (uint8_t i = 0; i < count; i++) {
        bool there = false;
        for (size_t j = 0; j < size; j++) {
            there = there || out[j] == nodes[i];
        }
        if (!there) {
            out[size++] = nodes[i];
        }
    }
    return size;
}

size_t raft_members_list(const struct raft_members *m, uint16_t out[3 * RAFT_MEMBERS_MAX])
{
    size_t size = add(out, 0, m->voters, m->voter_count);
    size        = add(out, size, m->outgoing, m->outgoing_count);
    return add(out, size, m->learners, m->learner_count);
}

/* The value that a majority of the half reaches. */
static uint64_t reached(const uint16_t *nodes, uint8_t count, uint64_t (*value)(const struct raft *, uint16_t),
                        const struct raft *r)
{
    uint64_t values[RAFT_MEMBERS_MAX];
    for (uint8_t i = 0; i < count; i++) { /* insertion, largest first */
        uint64_t v  = value(r, nodes[i]);
        uint8_t  at = i;
        for (; at > 0 && values[at - 1] < v; at--) {
            values[at] = values[at - 1];
        }
        values[at] = v;
    }
    return count == 0 ? UINT64_MAX : values[count / 2];
}

uint64_t quorum_value(const struct raft *r, uint64_t (*value)(const struct raft *, uint16_t))
{
    uint64_t in  = reached(r->members.voters, r->members.voter_count, value, r);
    uint64_t out = reached(r->members.outgoing, r->members.outgoing_count, value, r);
    return in < out ? in : out;
}

static enum tally half(const uint16_t *nodes, uint8_t count, const uint16_t *granted, uint8_t granted_count,
                       const uint16_t *refused, uint8_t refused_count)
{
    uint8_t yes = 0;
    uint8_t no  = 0;
    for (uint8_t i = 0; i < count; i++) {
        yes = (uint8_t)(yes + within(granted, granted_count, nodes[i]));
        no  = (uint8_t)(no + within(refused, refused_count, nodes[i]));
    }
    return count == 0 || yes > count / 2 ? TALLY_WON : no >= count - count / 2 ? TALLY_LOST : TALLY_OPEN;
}

enum tally tally(const struct raft *r)
{
    enum tally in =
        half(r->members.voters, r->members.voter_count, r->granted, r->granted_count, r->denied, r->denied_count);
    enum tally out =
        half(r->members.outgoing, r->members.outgoing_count, r->granted, r->granted_count, r->denied, r->denied_count);
    return in == TALLY_LOST || out == TALLY_LOST ? TALLY_LOST
           : in == TALLY_WON && out == TALLY_WON ? TALLY_WON
                                                 : TALLY_OPEN;
}
