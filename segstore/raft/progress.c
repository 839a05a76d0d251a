/* progress.c - a leader's followers: what each has, what it wants next, and what a majority has. */
#include "segstore/raft/state.h"

enum { PROBE_ENTRIES = 256, PROBE_BYTES = 256 * 1024 };

static struct follower *follower_find(const struct raft *r, uint16_t node)
{
    for (uint8_t i = 0; i < r->follower_count; i++) {
        if (r->followers[i].node == node) {
            return (struct follower *)&r->followers[i];
        }
    }
    return NULL;
}

static void probe(struct follower *f)
{
    f->state        = PROBE;
    f->probed       = false;
    f->next         = f->match + 1;
    f->flight_count = 0;
    f->flight_bytes = 0;
}

static void add(struct raft *r, uint16_t node)
{
    ASSERT(r->follower_count < FOLLOWERS_MAX);
    r->followers[r->follower_count++] = (struct follower){.node     = node,
                                                          .state    = PROBE,
                                                          .next     = r->log.last + 1,
                                                          .active   = true,
                                                          .heard_ns = r->now_ns,
                                                          .moved_ns = r->now_ns};
}

void followers_reset(struct raft *r)
{
    uint16_t nodes[FOLLOWERS_MAX];
    size_t   count    = raft_members_list(&r->members, nodes);
    r->follower_count = 0;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] != r->options.self) {
            add(r, nodes[i]);
        }
    }
}

void followers_members(struct raft *r)
{
    uint16_t nodes[FOLLOWERS_MAX];
    size_t   count = raft_members_list(&r->members, nodes);
    uint8_t  kept  = 0;
    for (uint8_t i = 0; i < r->follower_count; i++) {
        if (raft_members_any(&r->members, r->followers[i].node)) {
            r->followers[kept++] = r->followers[i];
        }
    }
    r->follower_count = kept;
    for (size_t i = 0; i < count; i++) {
        if (nodes[i] != r->options.self && follower_find(r, nodes[i]) == NULL) {
            add(r, nodes[i]);
        }
    }
    if (r->transferee != RAFT_NONE && !r->transfer_asked && !raft_members_voter(&r->members, r->transferee)) {
        r->transferee = RAFT_NONE;
    }
}

/* ---- what a majority has ---- */

static uint64_t match_of(const struct raft *r, uint16_t node)
{
    if (node == r->options.self) {
        return r->log.stable;
    }
    const struct follower *f = follower_find(r, node);
    return f == NULL || f->damaged ? 0 : f->match;
}

void maybe_commit(struct raft *r)
{
    if (r->quiet_ns != 0) {
        return; /* a leader of before may still serve reads: raft_tick goes on with this */
    }
    uint64_t index = quorum_value(r, match_of);
    if (index > r->commit && log_term(&r->log, index) == r->term) { /* only of its own term: Raft, 5.4.2 */
        r->commit = index;
    }
}

static uint64_t active_of(const struct raft *r, uint16_t node)
{
    const struct follower *f = follower_find(r, node);
    return node == r->options.self || (f != NULL && f->active && !f->damaged);
}

bool check_quorum(struct raft *r)
{
    bool there = quorum_value(r, active_of) == 1;
    for (uint8_t i = 0; i < r->follower_count; i++) {
        r->followers[i].active = false;
    }
    return there;
}

static uint64_t clock_of(const struct raft *r, uint16_t node)
{
    const struct follower *f = follower_find(r, node);
    return node == r->options.self ? UINT64_MAX / 2 : f == NULL || f->damaged ? 0 : f->clock_ns;
}

bool raft_lease(const struct raft *r, uint64_t now_ns)
{
    if (r->role != RAFT_LEADER || r->transferee != RAFT_NONE || r->transfer_asked) {
        return false;
    }
    uint64_t clock = r->alone ? now_ns : quorum_value(r, clock_of);
    return clock != 0 && clock + r->options.lease_ns - r->options.lease_ns / 10 > now_ns;
}

/* ---- heartbeats ---- */

void send_heartbeats(struct raft *r)
{
    for (uint8_t i = 0; i < r->follower_count; i++) {
        struct follower    *f = &r->followers[i];
        struct raft_message m = {
            .kind = RAFT_HEARTBEAT, .commit = f->match < r->commit ? f->match : r->commit, .clock = r->now_ns};
        if (f->damaged) { /* it must know all of it, to know when it is whole; it takes no more for committed than it matches */
            m.damaged = true;
            m.commit  = r->commit;
            m.hint    = quorum_value(r, clock_of);
        }
        /* What it acknowledged last may have been lost on the way here, or what it was sent: find out. */
        if (f->state == REPLICATE && f->flight_count > 0 && r->now_ns > f->moved_ns + 3 * r->options.election_ns) {
            probe(f);
            f->moved_ns = r->now_ns;
        }
        send_message(r, &m, f->node);
    }
}

/* What was known of a damaged one is void. It counts again when it says so in answer to a heartbeat from after that, and from nothing on: what it
 * acknowledged meanwhile may be gone as well. */
static void hear_damage(struct raft *r, struct follower *f, const struct raft_message *m)
{
    bool whole = !m->damaged && m->kind == RAFT_HEARTBEAT_ACK && m->clock > f->damaged_ns;
    if (f->damaged ? !whole : !m->damaged) {
        return;
    }
    f->damaged = m->damaged;
    f->match   = 0;
    if (f->damaged) {
        f->clock_ns   = 0;
        f->damaged_ns = r->now_ns;
    }
    if (f->state != SNAPSHOT) {
        uint64_t next = f->next;
        probe(f);
        f->next = next;
    }
}

void receive_heartbeat_ack(struct raft *r, const struct raft_message *m)
{
    struct follower *f = follower_find(r, m->from);
    if (f == NULL) {
        return;
    }
    f->active   = true;
    f->heard_ns = r->now_ns;
    hear_damage(r, f, m);
    f->clock_ns = m->clock > f->clock_ns && m->clock <= r->now_ns ? m->clock : f->clock_ns;
    f->probed   = false;
}

/* ---- entries ---- */

static void landed(struct follower *f)
{
    while (f->flight_count > 0 && f->flights[f->flight_first].last <= f->match) {
        f->flight_bytes -= f->flights[f->flight_first].bytes;
        f->flight_first = (f->flight_first + 1) % FLIGHTS_MAX;
        f->flight_count--;
    }
}

static void refused(struct raft *r, struct follower *f, const struct raft_message *m)
{
    if (f->state == SNAPSHOT || m->index < f->match || (f->state == PROBE && m->index + 1 != f->next)) {
        return; /* an old one */
    }
    bool full =
        m->hint == m->index && m->log_term == log_term(&r->log, m->index); /* it matches: there is no room now */
    probe(f);
    if (full) {
        f->next   = m->index + 1;
        f->probed = true;
        return;
    }
    uint64_t common = log_conflict(&r->log, m->hint, m->log_term);
    common          = common < m->hint ? common : m->hint;
    if (common == m->index && common > 0) {
        common--; /* where the log begins, the term is all that is known, and it is another one there */
    }
    f->next = (common > f->match ? common : f->match) + 1;
}

static void transfer_now(struct raft *r)
{
    const struct follower *f = follower_find(r, r->transferee);
    if (f != NULL && f->match == r->log.last) {
        struct raft_message m = {.kind = RAFT_TIMEOUT_NOW};
        r->transfer_asked     = true;
        send_message(r, &m, r->transferee);
    }
}

void receive_append_ack(struct raft *r, const struct raft_message *m)
{
    struct follower *f = follower_find(r, m->from);
    if (f == NULL) {
        return;
    }
    f->active   = true;
    f->heard_ns = r->now_ns;
    hear_damage(r, f, m);
    if (f->damaged && !m->damaged) {
        return; /* from before the damage, or nearly whole: the next ones count */
    }
    if (m->refused) {
        refused(r, f, m);
        return;
    }
    if (m->index > r->log.last) {
        return; /* nobody can have more than this leader gave it */
    }
    if (m->index > f->match) {
        f->match    = m->index;
        f->moved_ns = r->now_ns;
        maybe_commit(r);
        if (r->transferee == f->node) {
            transfer_now(r);
        }
    }
    f->next = f->next > f->match ? f->next : f->match + 1;
    landed(f);
    if (f->state == PROBE && m->index + 1 >= f->next) {
        f->state  = REPLICATE;
        f->probed = false;
        f->next   = f->match + 1;
    } else if (f->state == SNAPSHOT && f->match >= f->image) {
        probe(f);
    }
}

bool raft_wants(const struct raft *r, uint16_t node, struct raft_want *out)
{
    const struct follower *f = r->role == RAFT_LEADER ? follower_find(r, node) : NULL;
    if (f == NULL || f->state == SNAPSHOT || (f->state == PROBE && f->probed)) {
        return false;
    }
    *out = (struct raft_want){.first = f->next, .last = r->log.last};
    if (f->next < r->log.first) {
        out->snapshot = true;
        return f->active;
    }
    out->log_term = log_term(&r->log, f->next - 1);
    if (f->state == PROBE) {
        out->bytes_max = PROBE_BYTES;
        out->last      = out->last < f->next + PROBE_ENTRIES - 1 ? out->last : f->next + PROBE_ENTRIES - 1;
        return true;
    }
    uint64_t flying = f->next - 1 - f->match;
    if (f->next > r->log.last || f->flight_count == FLIGHTS_MAX || flying >= r->options.window_entries ||
        f->flight_bytes >= r->options.window_bytes) {
        return false;
    }
    uint64_t room  = r->options.window_entries - flying;
    out->last      = out->last - f->next < room ? out->last : f->next + room - 1;
    out->bytes_max = r->options.window_bytes - f->flight_bytes;
    return true;
}

void raft_sent(struct raft *r, uint16_t node, uint64_t first, uint32_t count, uint64_t bytes)
{
    struct follower *f = follower_find(r, node);
    ASSERT(f != NULL && first == f->next);
    if (f->state == PROBE) {
        f->probed = true;
        return;
    }
    ASSERT(f->state == REPLICATE && f->flight_count < FLIGHTS_MAX);
    if (f->flight_count == 0) {
        f->moved_ns = r->now_ns;
    }
    f->next = first + count;
    f->flights[(f->flight_first + f->flight_count) % FLIGHTS_MAX] =
        (struct flight){.last = f->next - 1, .bytes = bytes};
    f->flight_count++;
    f->flight_bytes += bytes;
}

void raft_snapshot_begin(struct raft *r, uint16_t node, uint64_t index)
{
    struct follower *f = follower_find(r, node);
    ASSERT(f != NULL);
    probe(f);
    f->state = SNAPSHOT;
    f->image = index;
}

void raft_snapshot_end(struct raft *r, uint16_t node, bool arrived)
{
    struct follower *f = r->role == RAFT_LEADER ? follower_find(r, node) : NULL;
    if (f == NULL || f->state != SNAPSHOT) {
        return;
    }
    uint64_t image = f->image;
    probe(f);
    if (arrived && image >= f->next) {
        f->next = image + 1;
    }
    f->probed = !arrived; /* again after the next heartbeat */
}

bool raft_progress(const struct raft *r, uint16_t node, struct raft_progress *out)
{
    const struct follower *f = r->role == RAFT_LEADER ? follower_find(r, node) : NULL;
    if (f == NULL) {
        return false;
    }
    *out = (struct raft_progress){.match    = f->match,
                                  .next     = f->next,
                                  .active   = r->now_ns < f->heard_ns + r->options.election_ns,
                                  .snapshot = f->state == SNAPSHOT,
                                  .image    = f->image,
                                  .keeps_up = f->state == REPLICATE,
                                  .damaged  = f->damaged};
    return true;
}

void raft_peer_reset(struct raft *r, uint16_t node)
{
    if (r->role != RAFT_LEADER) {
        if (r->leader == node && node != RAFT_NONE) { /* acknowledgements may be lost */
            r->ack_wanted = true;
        }
        return;
    }
    struct follower *f = follower_find(r, node);
    if (f != NULL) {
        uint64_t next = f->next;
        probe(f);
        f->next  = next;
        f->match = 0; /* it may come back with less: one whose log is damaged */
    }
}

/* ---- leading ---- */

uint64_t raft_propose(struct raft *r)
{
    if (r->role != RAFT_LEADER || r->transferee != RAFT_NONE) {
        return 0;
    }
    log_append(&r->log, r->term);
    return r->log.last;
}

bool raft_transfer(struct raft *r, uint16_t node, uint64_t now_ns)
{
    const struct follower *f = r->role == RAFT_LEADER ? follower_find(r, node) : NULL;
    r->now_ns                = now_ns;
    if (f == NULL || r->quiet_ns != 0 || !raft_members_voter(&r->members, node) || f->state != REPLICATE ||
        f->damaged || now_ns > f->heard_ns + r->options.election_ns) {
        return false;
    }
    r->transferee  = node;
    r->transfer_ns = now_ns + r->options.election_ns;
    transfer_now(r);
    return true;
}
