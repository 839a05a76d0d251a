/* raft_desk.c - taking note. */
#include "tests/unit/segstore/raft/raft_desk.h"

#include <criterion/criterion.h>

static const uint64_t ms = 1000000;

static void on_send(void *ctx, const struct raft_message *m)
{
    struct desk *d = ctx;
    cr_assert(d->sent_count < DESK_SENT_MAX, "messages without end");
    d->sent[d->sent_count++] = *m;
}

static void on_save(void *ctx, uint64_t term, uint16_t vote)
{
    struct desk *d = ctx;
    d->save_term   = term;
    d->save_vote   = vote;
    d->saves++;
}

static void on_lead(void *ctx)
{
    ((struct desk *)ctx)->lead_wanted = true;
}

struct raft_members desk_members(uint8_t voters, uint8_t learners)
{
    struct raft_members m = {.voter_count = voters, .learner_count = learners};
    for (uint8_t i = 0; i < voters; i++) {
        m.voters[i] = (uint16_t)(i + 1);
    }
    for (uint8_t i = 0; i < learners; i++) {
        m.learners[i] = (uint16_t)(voters + i + 1);
    }
    return m;
}

void desk_open(struct desk *d, uint16_t self, const struct raft_members *members, const uint64_t *terms, uint64_t term,
               uint16_t vote)
{
    struct raft_options options = {.self           = self,
                                   .heartbeat_ns   = DESK_BEAT_MS * ms,
                                   .election_ns    = DESK_ELECTION_MS * ms,
                                   .lease_ns       = DESK_ELECTION_MS * ms / 2,
                                   .window_entries = 16,
                                   .window_bytes   = 1000,
                                   .seed           = self};
    struct raft_hooks   hooks   = {.ctx = d, .send = on_send, .save = on_save, .lead = on_lead};
    struct raft_stored  stored  = {.term = term, .vote = vote, .members = *members};
    *d                          = (struct desk){.self = self, .now_ns = 5000 * ms};
    d->raft                     = raft_new(&options, &hooks);
    raft_restore(d->raft, &stored);
    for (uint64_t i = 0; terms != NULL && terms[i] != 0; i++) {
        cr_assert(raft_restore_entry(d->raft, i + 1, terms[i]));
    }
}

void desk_start(struct desk *d)
{
    raft_start(d->raft, d->now_ns);
}

void desk_close(struct desk *d)
{
    raft_free(d->raft);
}

void desk_wait(struct desk *d, uint64_t how_long_ms)
{
    for (uint64_t i = 0; i < how_long_ms; i++) {
        d->now_ns += ms;
        if (raft_next_ns(d->raft) <= d->now_ns) {
            raft_tick(d->raft, d->now_ns);
        }
    }
}

void desk_timeout(struct desk *d)
{
    enum raft_role role = raft_role(d->raft);
    for (int i = 0; i < 2 * DESK_ELECTION_MS + 1 && raft_role(d->raft) == role; i++) {
        desk_wait(d, 1);
    }
}

void desk_saved(struct desk *d)
{
    d->saves = 0;
    raft_saved(d->raft, d->save_term, d->save_vote);
}

void desk_clear(struct desk *d)
{
    d->sent_count = 0;
}

void desk_hear(struct desk *d, struct raft_message m)
{
    m.to = d->self;
    raft_receive(d->raft, &m, d->now_ns);
}

const struct raft_message *desk_sent(const struct desk *d, enum raft_kind kind, uint16_t to)
{
    for (size_t i = d->sent_count; i > 0; i--) {
        if (d->sent[i - 1].kind == kind && d->sent[i - 1].to == to) {
            return &d->sent[i - 1];
        }
    }
    return NULL;
}

size_t desk_count(const struct desk *d, enum raft_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < d->sent_count; i++) {
        count += d->sent[i].kind == kind;
    }
    return count;
}

struct raft_taken desk_append(struct desk *d, uint16_t from, uint64_t term, uint64_t index, uint64_t log_term,
                              uint64_t commit, const uint64_t *terms, bool stable)
{
    struct raft_message m = {.kind     = RAFT_APPEND,
                             .from     = from,
                             .to       = d->self,
                             .term     = term,
                             .index    = index,
                             .log_term = log_term,
                             .commit   = commit,
                             .terms    = terms};
    while (terms != NULL && terms[m.count] != 0) {
        m.count++;
    }
    struct raft_taken taken = raft_append(d->raft, &m, d->now_ns);
    if (stable) {
        if (d->saves > 0) {
            desk_saved(d);
        }
        for (uint32_t i = taken.skip; taken.take && i < m.count; i++) {
            raft_stable(d->raft, index + 1 + i, terms[i]);
        }
        raft_flush(d->raft);
    }
    return taken;
}

void desk_elect(struct desk *d)
{
    uint16_t nodes[3 * RAFT_MEMBERS_MAX];
    size_t   count = raft_members_list(raft_members(d->raft), nodes);
    desk_timeout(d);
    for (int pre = 1; pre >= 0; pre--) {
        uint64_t term = raft_term(d->raft) + (pre != 0);
        for (size_t i = 0; i < count; i++) {
            if (nodes[i] != d->self) {
                desk_hear(
                    d, (struct raft_message){.kind = RAFT_VOTE_ACK, .from = nodes[i], .term = term, .pre = pre != 0});
            }
        }
        if (d->saves > 0) {
            desk_saved(d);
        }
    }
    cr_assert_eq(raft_role(d->raft), RAFT_LEADER);
    if (d->lead_wanted) {
        d->lead_wanted = false;
        desk_propose(d);
    }
}

void desk_acked(struct desk *d, uint16_t from, uint64_t index)
{
    desk_hear(d,
              (struct raft_message){.kind = RAFT_APPEND_ACK, .from = from, .term = raft_term(d->raft), .index = index});
}

uint64_t desk_propose(struct desk *d)
{
    uint64_t index = raft_propose(d->raft);
    if (index != 0) {
        raft_stable(d->raft, index, raft_term(d->raft));
    }
    return index;
}

bool desk_replicate(struct desk *d, uint16_t to, struct raft_want *out)
{
    if (!raft_wants(d->raft, to, out)) {
        return false;
    }
    if (!out->snapshot) {
        raft_sent(d->raft, to, out->first, (uint32_t)(out->last + 1 - out->first), 10 * (out->last + 1 - out->first));
    }
    return true;
}

void desk_beat(struct desk *d, uint16_t from)
{
    const struct raft_message *m = desk_sent(d, RAFT_HEARTBEAT, from);
    cr_assert_not_null(m);
    desk_hear(d, (struct raft_message){
                     .kind = RAFT_HEARTBEAT_ACK, .from = from, .term = raft_term(d->raft), .clock = m->clock});
}
