/* raft_world.c - the world. */
#include "tests/unit/segstore/raft/raft_world.h"

#include "segstore/raft/raft.h"
#include "shared/base/rand.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    NODES          = 5,
    INDEX_MAX      = 1200,
    TERM_MAX       = 256,
    JOURNAL_MAX    = 8192,
    FLYING_MAX     = 4096,
    ENTRIES_MAX    = 16, /* of one APPEND */
    CONFIGS_MAX    = 64,
    ELECTION_STEPS = 100,
    BEAT_STEPS     = 20,
    HEAL_STEPS     = 10 * ELECTION_STEPS,
    STEP_NS        = 1000000
};

struct entry {
    uint64_t term;
    uint64_t hash;   /* of everything up to it */
    uint16_t config; /* 0: none */
};

struct image {
    uint64_t            index, term, hash;
    uint64_t            state_term;
    uint16_t            state_vote;
    struct raft_members members;
    uint64_t            changed;
    size_t              replay_from; /* of the journal */
};

enum record_kind { RECORD_ENTRY, RECORD_STATE, RECORD_IMAGE };

/* One of the node's only log, in order; complete ones are what a restart finds. */
struct record {
    uint8_t      kind;
    uint16_t     vote;
    uint64_t     index, term, copy, commit, done_at;
    struct entry entry;
};

enum { SNAP = 100, SNAP_DONE };

struct flight {
    struct raft_message message;
    uint64_t            terms[ENTRIES_MAX];
    struct entry        entries[ENTRIES_MAX];
    struct image        image;
    uint64_t            at;
    uint32_t            connection;
    uint32_t            to_life;
    uint32_t            serial;
    bool                arrived;
};

struct node {
    struct raft *raft;
    uint32_t     life;
    bool         up;
    bool         marked_damaged; /* durable */
    uint64_t     back_at;        /* while down */
    int64_t      drift;          /* of its clock, in 1/1000 */
    struct entry log[INDEX_MAX]; /* in memory */
    uint64_t     copy[INDEX_MAX];
    uint64_t     last, applied, commit_seen;
    uint64_t changed, changed_durable; /* the last change of members that was applied, and that it will know again */
    uint64_t stall_until;              /* the disk */
    uint64_t commit_durable;
    uint64_t last_disk_at;
    struct record journal[JOURNAL_MAX];
    size_t        complete, written;
    struct image  image, coming; /* durable; being written */
    uint64_t      coming_at;
    bool          lead_wanted;
    /* what the complete records amount to */
    struct entry  disk_log[INDEX_MAX];
    uint64_t      disk_last, disk_term;
    uint16_t      disk_vote;
    uint64_t      snap_until[NODES + 1]; /* an image is on its way there */
    uint16_t      votes[TERM_MAX];       /* what it ever promised, to whom */
    uint64_t      led_term;
    uint32_t      id;
    struct world *world;
};

struct world {
    struct rand               r;
    struct raft_world_result *out;
    jmp_buf                   failed;
    uint64_t                  step;
    struct node               nodes[NODES + 1];
    struct flight            *flying[FLYING_MAX];
    size_t                    flying_count;
    struct flight            *spare[FLYING_MAX];
    size_t                    spare_count;
    uint32_t                  serial;
    uint32_t                  connection[NODES + 1][NODES + 1];
    uint64_t                  behind[NODES + 1][NODES + 1]; /* the last message of the connection arrives then */
    bool                      blocked[NODES + 1][NODES + 1];
    uint16_t                  leader_of[TERM_MAX];
    uint32_t                  leader_life[TERM_MAX];
    struct entry              committed[INDEX_MAX];
    uint64_t            committed_in[INDEX_MAX]; /* term of the one that was first seen to hold it for committed */
    uint64_t            commit;                  /* of anyone, ever */
    uint64_t            hash_of[INDEX_MAX][TERM_MAX];
    struct raft_members configs[CONFIGS_MAX];
    uint16_t            config_count;
    uint64_t            value;
    bool                trouble;
    int                 first_voters;
    int                 verbose;
    /* What this run does, one time in so many. 0: never. */
    uint64_t delay_max, disk_max, drop, twice, crash, cut, part, one_way, refuse, transfer, damage, change, compact,
        propose, lazy_flush, stall, shy, firewall;
};

static void fail(struct world *w, const char *format, ...) __attribute__((noreturn, format(printf, 2, 3)));

static void fail(struct world *w, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(w->out->failure, sizeof w->out->failure, format, args);
    va_end(args);
    longjmp(w->failed, 1);
}

#define SAY(w, ...)                                          \
    do {                                                     \
        if ((w)->verbose) {                                  \
            printf("%5llu ", (unsigned long long)(w)->step); \
            printf(__VA_ARGS__);                             \
            putchar('\n');                                   \
        }                                                    \
    } while (0)

typedef unsigned long long ull;

static bool one_in(struct world *w, uint64_t n)
{
    return w->trouble && n != 0 && rand_chance(&w->r, n);
}

static uint64_t now_of(const struct node *n)
{
    return (1000 + n->world->step) * (uint64_t)(STEP_NS / 1000 * (1000 + n->drift));
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x9e3779b97f4a7c15u;
    return (hash ^ (hash >> 29)) * 0xbf58476d1ce4e5b9u | 1;
}

/* ---- the network ---- */

static struct flight *flight_new(struct world *w)
{
    if (w->spare_count > 0) {
        return w->spare[--w->spare_count];
    }
    struct flight *f = malloc(sizeof *f);
    if (f == NULL) {
        fail(w, "out of memory");
    }
    return f;
}

static void launch(struct world *w, struct flight *f)
{
    uint16_t from = f->message.from;
    uint16_t to   = f->message.to;
    if (w->flying_count == FLYING_MAX) {
        fail(w, "messages without end from %u to %u", from, to);
    }
    if (w->blocked[from][to] || !w->nodes[to].up || one_in(w, w->drop)) {
        w->spare[w->spare_count++] = f;
        return;
    }
    uint64_t at                  = w->step + 1 + rand_below(&w->r, w->trouble ? w->delay_max : 3);
    at                           = at > w->behind[from][to] ? at : w->behind[from][to];
    w->behind[from][to]          = at;
    f->at                        = at;
    f->connection                = w->connection[from][to];
    f->to_life                   = w->nodes[to].life;
    f->serial                    = w->serial++;
    w->flying[w->flying_count++] = f;
}

static void take_off(struct world *w, size_t i)
{
    w->spare[w->spare_count++] = w->flying[i];
    w->flying[i]               = w->flying[--w->flying_count];
}

/* The connection breaks and another one begins; what was under way is lost, or comes late, from the old one. */
static void cut(struct world *w, uint16_t a, uint16_t b)
{
    bool late = one_in(w, 2);
    for (size_t i = 0; i < w->flying_count;) {
        struct flight *f = w->flying[i];
        bool ours        = (f->message.from == a && f->message.to == b) || (f->message.from == b && f->message.to == a);
        if (ours && !late) {
            take_off(w, i);
            continue;
        }
        if (ours && f->connection == w->connection[f->message.from][f->message.to]) {
            f->at += rand_below(&w->r, ELECTION_STEPS);
        }
        i++;
    }
    w->connection[a][b]++;
    w->connection[b][a]++;
    w->behind[a][b] = w->behind[b][a] = 0;
    if (w->nodes[a].up) {
        raft_peer_reset(w->nodes[a].raft, b);
        w->nodes[a].snap_until[b] = 0;
    }
    if (w->nodes[b].up) {
        raft_peer_reset(w->nodes[b].raft, a);
        w->nodes[b].snap_until[a] = 0;
    }
}

/* ---- what must hold ---- */

static bool holds(const struct raft_members *m, uint64_t held)
{
    int in = 0, out = 0;
    for (int i = 0; i < m->voter_count; i++) {
        in += (int)(held >> m->voters[i] & 1);
    }
    for (int i = 0; i < m->outgoing_count; i++) {
        out += (int)(held >> m->outgoing[i] & 1);
    }
    return in > m->voter_count / 2 && (m->outgoing_count == 0 || out > m->outgoing_count / 2);
}

static bool durably_holds(const struct node *n, uint64_t index, uint64_t hash)
{
    return n->image.index >= index || (n->disk_last >= index && n->disk_log[index].hash == hash);
}

static void check_leader(struct world *w, struct node *n)
{
    uint64_t term = raft_term(n->raft);
    if (term >= TERM_MAX) {
        fail(w, "terms without end");
    }
    if (n->led_term != term) {
        n->led_term = term;
        w->out->elections++;
        SAY(w, "%u leads in term %llu, log to %llu", n->id, (ull)term, (ull)raft_last(n->raft));
        if (w->leader_of[term] != 0) {
            fail(w, "term %llu is led by %u and by %u (or by it in another life)", (ull)term, w->leader_of[term],
                 n->id);
        }
        w->leader_of[term]   = (uint16_t)n->id;
        w->leader_life[term] = n->life;
        if (n->disk_term != term || n->disk_vote != n->id) {
            fail(w, "%u leads in term %llu and has not saved it", n->id, (ull)term);
        }
        if (raft_is_damaged(n->raft)) {
            fail(w, "%u leads and is damaged", n->id);
        }
        for (uint64_t i = n->applied + 1; i <= w->commit; i++) {
            if (w->committed_in[i] < term && (i > n->last || n->log[i].hash != w->committed[i].hash)) {
                fail(w, "%u leads in term %llu and lacks the committed entry %llu", n->id, (ull)term, (ull)i);
            }
        }
    } else if (w->leader_of[term] != n->id || w->leader_life[term] != n->life) {
        fail(w, "term %llu is led by %u and by %u", (ull)term, w->leader_of[term], n->id);
    }
}

static void check_commit(struct world *w, struct node *n)
{
    uint64_t commit = raft_commit(n->raft);
    uint64_t term   = raft_term(n->raft);
    if (commit < n->commit_seen) {
        fail(w, "commit of %u went back from %llu to %llu", n->id, (ull)n->commit_seen, (ull)commit);
    }
    if (commit > raft_last(n->raft) || raft_last(n->raft) != n->last) {
        fail(w, "%u has %llu, committed %llu, and its log ends at %llu", n->id, (ull)raft_last(n->raft), (ull)commit,
             (ull)n->last);
    }
    for (uint64_t i = n->commit_seen + 1; i <= commit; i++) {
        if (i > w->commit) {
            w->committed[i]    = n->log[i];
            w->committed_in[i] = term;
            w->commit          = i;
        } else if (w->committed[i].hash != n->log[i].hash) {
            fail(w, "entry %llu was committed in two ways, at %u in the second", (ull)i, n->id);
        }
    }
    if (commit > n->commit_seen && raft_role(n->raft) == RAFT_LEADER) {
        uint64_t held = 0;
        for (int i = 1; i <= NODES; i++) {
            struct node *o = &w->nodes[i];
            if (o->marked_damaged || durably_holds(o, commit, n->log[commit].hash)) {
                held |= 1ull << i;
            }
        }
        if (!holds(raft_members(n->raft), held)) {
            fail(w, "%u committed entry %llu, which a majority does not hold", n->id, (ull)commit);
        }
        if (n->log[commit].term != term) {
            fail(w, "%u committed entry %llu of term %llu by counting in term %llu", n->id, (ull)commit,
                 (ull)n->log[commit].term, (ull)term);
        }
    }
    n->commit_seen = commit;
}

static void check_entry(struct world *w, const struct node *n, uint64_t index)
{
    const struct entry *e = &n->log[index];
    if (index >= INDEX_MAX - 1 || e->term >= TERM_MAX) {
        fail(w, "a log without end");
    }
    uint64_t *hash = &w->hash_of[index][e->term];
    if (*hash != 0 && *hash != e->hash) {
        fail(w, "entry %llu of term %llu is not the same in two logs (seen at %u)", (ull)index, (ull)e->term, n->id);
    }
    *hash = e->hash;
    if (raft_term_at(n->raft, index) != e->term) {
        fail(w, "%u takes entry %llu for one of term %llu, it is of %llu", n->id, (ull)index,
             (ull)raft_term_at(n->raft, index), (ull)e->term);
    }
}

static void check_sent(struct world *w, const struct raft_message *m)
{
    struct node *n = &w->nodes[m->from];
    if (m->term >= TERM_MAX) {
        fail(w, "terms without end");
    }
    bool grant = m->kind == RAFT_VOTE_ACK && !m->pre && !m->refused;
    if (grant || (m->kind == RAFT_VOTE && !m->pre)) {
        uint16_t to = grant ? m->to : m->from;
        if (n->disk_term != m->term || n->disk_vote != to) {
            fail(w, "%u votes for %u in term %llu; on its disk is %u in term %llu", m->from, to, (ull)m->term,
                 n->disk_vote, (ull)n->disk_term);
        }
        if (n->votes[m->term] != 0 && n->votes[m->term] != to) {
            fail(w, "%u votes for %u and for %u in term %llu", m->from, n->votes[m->term], to, (ull)m->term);
        }
        n->votes[m->term] = to;
        if (raft_is_damaged(n->raft)) {
            fail(w, "%u votes and is damaged", m->from);
        }
    }
    if (m->kind == RAFT_APPEND_ACK && !m->refused) {
        if (n->disk_term < m->term) {
            fail(w, "%u acknowledges in term %llu and has not saved it", m->from, (ull)m->term);
        }
        if (m->index > n->image.index &&
            (m->index > n->disk_last || m->index > n->last || n->disk_log[m->index].hash != n->log[m->index].hash)) {
            fail(w, "%u acknowledges entry %llu, which its disk does not hold", m->from, (ull)m->index);
        }
    }
}

static void check_lease(struct world *w, const struct node *n)
{
    if (!raft_lease(n->raft, now_of(n))) {
        return;
    }
    w->out->leases++;
    if (raft_is_settled(n->raft) && raft_commit(n->raft) < w->commit) {
        fail(w, "%u has the lease, is settled at %llu, and %llu is committed", n->id, (ull)raft_commit(n->raft),
             (ull)w->commit);
    }
}

static void check(struct world *w)
{
    for (int i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (!n->up) {
            continue;
        }
        if (raft_role(n->raft) == RAFT_LEADER) {
            check_leader(w, n);
        }
        check_commit(w, n);
    }
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].up && raft_role(w->nodes[i].raft) == RAFT_LEADER) {
            check_lease(w, &w->nodes[i]);
        }
    }
}

/* ---- hooks ---- */

static void on_send(void *ctx, const struct raft_message *m)
{
    struct node  *n = ctx;
    struct world *w = n->world;
    if (m->to < 1 || m->to > NODES || m->to == n->id || m->from != n->id || m->kind == RAFT_APPEND) {
        fail(w, "%u sends a message that makes no sense", n->id);
    }
    check_sent(w, m);
    for (int copies = one_in(w, w->twice) ? 2 : 1; copies > 0; copies--) {
        struct flight *f = flight_new(w);
        f->message       = *m;
        launch(w, f);
    }
}

static struct record *write_record(struct node *n, uint8_t kind)
{
    struct world *w = n->world;
    if (n->written == JOURNAL_MAX) {
        fail(w, "writes without end at %u", n->id);
    }
    uint64_t at      = w->step + 1 + rand_below(&w->r, w->trouble ? w->disk_max : 2);
    at               = at > n->stall_until || !w->trouble ? at : n->stall_until;
    n->last_disk_at  = at > n->last_disk_at ? at : n->last_disk_at;
    struct record *r = &n->journal[n->written++];
    *r = (struct record){.kind = kind, .done_at = n->last_disk_at, .commit = n->raft ? raft_commit(n->raft) : 0};
    return r;
}

static void on_save(void *ctx, uint64_t term, uint16_t vote)
{
    struct record *r = write_record(ctx, RECORD_STATE);
    r->term          = term;
    r->vote          = vote;
}

static void on_lead(void *ctx)
{
    ((struct node *)ctx)->lead_wanted = true;
}

/* ---- a node's life ---- */

static void disk_entry(struct node *n, const struct record *r)
{
    n->disk_log[r->index] = r->entry;
    n->disk_last          = r->index;
}

static void disk_replay(struct node *n)
{
    n->disk_last = n->disk_term = n->disk_vote = 0;
    for (size_t i = 0; i < n->complete; i++) {
        const struct record *r = &n->journal[i];
        if (r->kind == RECORD_ENTRY) {
            disk_entry(n, r);
        } else {
            n->disk_term = r->term;
            n->disk_vote = r->vote;
        }
    }
    if (n->disk_term < n->image.state_term || (n->disk_term == n->image.state_term && n->disk_vote == 0)) {
        n->disk_term = n->image.state_term;
        n->disk_vote = n->image.state_vote;
    }
}

static void write_entry(struct node *n, uint64_t index, const struct entry *e)
{
    if (index >= INDEX_MAX - 1) {
        fail(n->world, "a log without end");
    }
    for (uint64_t i = index; i <= n->last; i++) {
        n->copy[i]++; /* what is still being written of these is void */
    }
    n->log[index]    = *e;
    n->last          = index;
    struct record *r = write_record(n, RECORD_ENTRY);
    r->index         = index;
    r->term          = e->term;
    r->entry         = *e;
    r->copy          = ++n->copy[index];
    check_entry(n->world, n, index);
}

static void apply(struct node *n)
{
    struct world *w = n->world;
    while (n->applied < raft_commit(n->raft)) {
        const struct entry *e = &n->log[n->applied + 1];
        n->applied++;
        if (e->config != 0) {
            SAY(w, "%u applies configuration %u at %llu", n->id, e->config, (ull)n->applied);
            raft_set_members(n->raft, &w->configs[e->config]);
            n->changed = n->applied;
        }
        raft_applied(n->raft, n->applied);
    }
}

/* What the log held of the image is in its hash. */
static uint64_t hash_at(const struct node *n, uint64_t index)
{
    return index == 0 ? 1 : n->log[index].hash;
}

static void propose(struct node *n, uint16_t config)
{
    struct world *w     = n->world;
    uint64_t      index = raft_propose(n->raft);
    if (index == 0) {
        return;
    }
    if (index != n->last + 1) {
        fail(w, "%u proposes %llu behind %llu", n->id, (ull)index, (ull)n->last);
    }
    uint64_t     term = raft_term(n->raft);
    struct entry e    = {.term = term, .hash = mix(mix(hash_at(n, index - 1), term), ++w->value), .config = config};
    write_entry(n, index, &e);
    if (config != 0) {
        raft_changing(n->raft, index);
        w->out->changes++;
    }
}

static void crash(struct world *w, struct node *n)
{
    SAY(w, "%u crashes", n->id);
    w->out->crashes++;
    raft_free(n->raft);
    n->raft    = NULL;
    n->up      = false;
    n->back_at = w->step + 1 + rand_below(&w->r, 3) * rand_below(&w->r, 3 * ELECTION_STEPS);
    n->written = n->complete;
    bool told  = one_in(w, 2);
    for (uint16_t i = 1; i <= NODES; i++) {
        if (i != n->id) {
            cut(w, (uint16_t)n->id, i);
            if (told && w->nodes[i].up) {
                raft_peer_dead(w->nodes[i].raft, (uint16_t)n->id, now_of(&w->nodes[i]));
            }
        }
    }
}

static void restart(struct world *w, struct node *n)
{
    struct raft_options options = {.self           = (uint16_t)n->id,
                                   .heartbeat_ns   = (uint64_t)BEAT_STEPS * STEP_NS,
                                   .election_ns    = (uint64_t)ELECTION_STEPS * STEP_NS,
                                   .lease_ns       = (uint64_t)ELECTION_STEPS * STEP_NS / 2,
                                   .window_entries = 24,
                                   .window_bytes   = 400,
                                   .seed           = rand_u64(&w->r)};
    struct raft_hooks   hooks   = {.ctx = n, .send = on_send, .save = on_save, .lead = on_lead};
    n->raft                     = raft_new(&options, &hooks);
    n->life++;
    n->led_term        = 0;
    n->lead_wanted     = false;
    n->coming_at       = 0;
    n->last_disk_at    = 0;
    n->changed         = 0;
    n->changed_durable = 0;
    memset(n->snap_until, 0, sizeof n->snap_until);
    memset(n->copy, 0, sizeof n->copy);
    disk_replay(n);
    struct raft_stored stored = {.term         = n->image.state_term,
                                 .vote         = n->image.state_vote,
                                 .commit       = n->image.index,
                                 .applied      = n->image.index,
                                 .applied_term = n->image.term,
                                 .members      = n->image.members,
                                 .damaged      = n->marked_damaged};
    raft_restore(n->raft, &stored);
    n->last                 = n->image.index;
    n->log[n->last]         = (struct entry){.term = n->image.term, .hash = n->image.hash};
    uint64_t commit_durable = n->image.index;
    bool     noted          = w->change != 0 || one_in(w, 2); /* does the log note what is committed? */
    for (size_t i = one_in(w, 2) ? 0 : n->image.replay_from; i < n->complete; i++) {
        const struct record *r = &n->journal[i];
        if (r->kind == RECORD_STATE) {
            raft_restore_state(n->raft, r->term, r->vote);
        } else {
            if (!raft_restore_entry(n->raft, r->index, r->term) && !n->marked_damaged) {
                fail(w, "%u finds a hole before entry %llu of term %llu", n->id, (ull)r->index, (ull)r->term);
            }
            if (raft_last(n->raft) == r->index && raft_term_at(n->raft, r->index) == r->term &&
                r->index > n->image.index) {
                n->log[r->index] = r->entry;
            }
        }
        if (noted) {
            raft_restore_commit(n->raft, r->commit);
            commit_durable = r->commit > commit_durable ? r->commit : commit_durable;
        }
    }
    n->last    = raft_last(n->raft);
    n->applied = n->image.index;
    n->changed = n->changed_durable = n->image.changed;
    n->up                           = true;
    for (uint64_t i = n->applied + 1; i <= n->last; i++) {
        if (n->disk_log[i].hash != n->log[i].hash || n->disk_last < i) {
            fail(w, "%u restores entry %llu, which was replaced", n->id, (ull)i);
        }
        check_entry(w, n, i);
    }
    if (n->disk_last > n->last && n->disk_log[n->disk_last].term >= n->image.term) {
        fail(w, "%u restores entries to %llu of %llu", n->id, (ull)n->last, (ull)n->disk_last);
    }
    n->commit_seen = n->image.index;
    if (raft_commit(n->raft) < (commit_durable < n->last ? commit_durable : n->last)) {
        fail(w, "%u comes back with %llu committed, it knew of %llu", n->id, (ull)raft_commit(n->raft),
             (ull)commit_durable);
    }
    if (raft_term(n->raft) != n->disk_term || raft_vote(n->raft) != n->disk_vote) {
        fail(w, "%u comes back in term %llu with vote %u, on its disk is %u in term %llu", n->id,
             (ull)raft_term(n->raft), raft_vote(n->raft), n->disk_vote, (ull)n->disk_term);
    }
    SAY(w, "%u is back: log %llu .. %llu, term %llu%s", n->id, (ull)raft_first(n->raft), (ull)n->last,
        (ull)raft_term(n->raft), n->marked_damaged ? ", damaged" : "");
    apply(n);
    raft_start(n->raft, now_of(n));
}

/* A suffix of what was durable is gone; of one node only, until it is whole again. */
static void damage(struct world *w, struct node *n)
{
    for (int i = 1; i <= NODES; i++) {
        if (w->nodes[i].marked_damaged) {
            return;
        }
    }
    size_t most = n->complete < 60 ? n->complete : 60;
    if (most == 0) {
        return;
    }
    size_t lost =
        1 + rand_below(&w->r, rand_chance(&w->r, 2) && most > 4 ? 4 : most); /* the last vote, perhaps, or more */
    n->complete -= lost;
    n->written        = n->complete;
    n->marked_damaged = true;
    if (n->image.replay_from > n->complete) {
        n->image.replay_from = n->complete;
    }
    w->out->damages++;
    SAY(w, "%u loses %zu records", n->id, lost);
}

/* ---- images ---- */

static struct image image_now(const struct node *n)
{
    struct image image = {.index       = n->applied,
                          .term        = raft_term_at(n->raft, n->applied),
                          .hash        = n->log[n->applied].hash,
                          .members     = *raft_members(n->raft),
                          .changed     = n->changed,
                          .state_term  = n->disk_term,
                          .state_vote  = n->disk_vote,
                          .replay_from = n->complete};
    /* The replay begins where the first entry behind the image was written. */
    for (size_t i = n->complete; i > 0; i--) {
        if (n->journal[i - 1].kind == RECORD_ENTRY && n->journal[i - 1].index == n->applied + 1) {
            image.replay_from = i - 1;
            break;
        }
    }
    return image;
}

static void compact(struct node *n)
{
    uint64_t stable = raft_stable_index(n->raft);
    if (n->applied == 0 || n->applied > stable || n->image.index == n->applied || n->coming_at != 0) {
        return;
    }
    n->image      = image_now(n);
    uint64_t keep = rand_below(&n->world->r, 10);
    if (n->applied > keep) {
        raft_compact(n->raft, n->applied - keep);
    }
    SAY(n->world, "%u keeps an image of %llu", n->id, (ull)n->applied);
}

static void take_image(struct world *w, struct node *n, const struct flight *f)
{
    if (n->coming_at == 0) {
        n->coming       = f->image;
        n->coming_at    = w->step + 1 + rand_below(&w->r, 20);
        n->coming_at    = n->coming_at > n->last_disk_at ? n->coming_at : n->last_disk_at + 1;
        n->last_disk_at = n->coming_at;
    }
}

static void image_done(struct world *w, struct node *n)
{
    struct image *image = &n->coming;
    n->coming_at        = 0;
    if (raft_install(n->raft, image->index, image->term, &image->members)) {
        SAY(w, "%u installs an image of %llu", n->id, (ull)image->index);
        w->out->installs++;
        image->state_term  = n->disk_term;
        image->state_vote  = n->disk_vote;
        image->replay_from = n->complete;
        n->image           = *image;
        n->changed = n->changed_durable = image->changed;
        for (uint64_t i = 0; i <= n->last || i <= image->index; i++) {
            n->copy[i]++;
        }
        n->last = n->applied = image->index;
        n->log[n->last]      = (struct entry){.term = image->term, .hash = image->hash};
        n->disk_last         = n->disk_last < n->last ? n->disk_last : n->last;
        if (n->commit_seen < n->applied || n->marked_damaged) {
            n->commit_seen = n->applied;
        }
        if (image->index > w->commit || (image->index > 0 && w->committed[image->index].hash != image->hash)) {
            fail(w, "%u installs an image of %llu that was not committed so", n->id, (ull)image->index);
        }
    }
}

/* ---- a step ---- */

static void deliver(struct world *w, struct flight *f)
{
    struct node         *n = &w->nodes[f->message.to];
    struct raft_message *m = &f->message;
    uint64_t             t = now_of(n);
    if (!n->up || n->life != f->to_life) {
        return;
    }
    if (m->kind == SNAP) {
        take_image(w, n, f);
    } else if (m->kind != RAFT_APPEND) {
        raft_receive(n->raft, m, t);
    } else if (one_in(w, w->refuse)) {
        m->terms = f->terms;
        raft_append_refuse(n->raft, m, t);
    } else {
        m->terms                = f->terms;
        struct raft_taken taken = raft_append(n->raft, m, t);
        if (taken.take) {
            if (taken.skip >= m->count || m->index + 1 + taken.skip > n->last + 1) {
                fail(w, "%u takes %u of %u entries behind %llu", n->id, taken.skip, m->count, (ull)m->index);
            }
            for (uint32_t i = taken.skip; i < m->count; i++) {
                write_entry(n, m->index + 1 + i, &f->entries[i]);
            }
        }
    }
}

static void deliver_due(struct world *w)
{
    for (;;) {
        size_t best = SIZE_MAX;
        for (size_t i = 0; i < w->flying_count; i++) {
            if (w->flying[i]->at <= w->step &&
                (best == SIZE_MAX || w->flying[i]->at < w->flying[best]->at ||
                 (w->flying[i]->at == w->flying[best]->at && w->flying[i]->serial < w->flying[best]->serial))) {
                best = i;
            }
        }
        if (best == SIZE_MAX) {
            return;
        }
        struct flight *f = w->flying[best];
        deliver(w, f);
        take_off(w, best);
        check(w);
    }
}

static void finish_writes(struct world *w, struct node *n)
{
    while (n->up && n->complete < n->written && n->journal[n->complete].done_at <= w->step) {
        const struct record *r = &n->journal[n->complete++];
        if (r->kind == RECORD_STATE) {
            n->disk_term = r->term;
            n->disk_vote = r->vote;
            raft_saved(n->raft, r->term, r->vote);
            n->changed_durable = n->changed <= r->commit ? n->changed : n->changed_durable;
        } else {
            disk_entry(n, r);
            n->changed_durable = n->changed <= r->commit ? n->changed : n->changed_durable;
            if (r->copy == n->copy[r->index]) {
                raft_stable(n->raft, r->index, r->term);
            }
        }
        check(w);
    }
    if (n->up && n->coming_at != 0 && n->coming_at <= w->step) {
        image_done(w, n);
        check(w);
    }
}

static void send_append(struct world *w, struct node *n, uint16_t to, const struct raft_want *want)
{
    struct flight *f = flight_new(w);
    f->message       = (struct raft_message){.kind     = RAFT_APPEND,
                                             .from     = (uint16_t)n->id,
                                             .to       = to,
                                             .term     = raft_term(n->raft),
                                             .index    = want->first - 1,
                                             .log_term = want->log_term,
                                             .commit   = raft_commit(n->raft)};
    uint64_t most    = 1 + rand_below(&w->r, ENTRIES_MAX);
    for (uint64_t i = want->first; i <= want->last && f->message.count < most; i++) {
        if (i > n->last || i < raft_first(n->raft)) {
            fail(w, "%u is asked for entry %llu for %u, it has none", n->id, (ull)i, to);
        }
        f->terms[f->message.count]     = n->log[i].term;
        f->entries[f->message.count++] = n->log[i];
    }
    raft_sent(n->raft, to, want->first, f->message.count, f->message.count * 10);
    launch(w, f);
}

static void replicate(struct world *w, struct node *n)
{
    for (uint16_t to = 1; to <= NODES; to++) {
        struct raft_want want;
        int              rounds = 0;
        if (n->snap_until[to] != 0 && n->snap_until[to] <= w->step) {
            n->snap_until[to] = 0;
            raft_snapshot_end(n->raft, to, one_in(w, 2)); /* that it arrived may not be known */
        }
        while (to != n->id && raft_wants(n->raft, to, &want)) {
            if (++rounds > 70) {
                fail(w, "%u wants to send to %u without end", n->id, to);
            }
            if (!want.snapshot) {
                send_append(w, n, to, &want);
                continue;
            }
            struct flight *f  = flight_new(w);
            f->message        = (struct raft_message){.kind = SNAP, .from = (uint16_t)n->id, .to = to};
            f->image          = image_now(n);
            n->snap_until[to] = w->step + 60;
            raft_snapshot_begin(n->raft, to, f->image.index);
            launch(w, f);
        }
    }
}

/* The next members: out of a joint configuration, or into one. */
static void change_members(struct world *w, struct node *n)
{
    const struct raft_members *now = raft_members(n->raft);
    if (!raft_may_change(n->raft) || w->config_count == CONFIGS_MAX) {
        return;
    }
    for (uint16_t i = 1; i <= NODES; i++) { /* every member has applied the former, for good */
        if (raft_members_any(now, i) && (!w->nodes[i].up || w->nodes[i].changed_durable < n->changed)) {
            return;
        }
    }
    struct raft_members next = {0};
    if (now->outgoing_count > 0) {
        next                = *now;
        next.outgoing_count = 0;
    } else {
        memcpy(next.outgoing, now->voters, sizeof next.outgoing);
        next.outgoing_count = now->voter_count;
        for (uint16_t i = 1; i <= NODES; i++) {
            uint64_t lot = rand_below(&w->r, 8);
            if (lot < 5) {
                next.voters[next.voter_count++] = i;
            } else if (lot < 7 && !raft_members_voter(now, i)) {
                next.learners[next.learner_count++] = i;
            }
        }
        if (next.voter_count < 3) {
            return;
        }
    }
    w->configs[w->config_count] = next;
    propose(n, w->config_count++);
}

static void live(struct world *w, struct node *n)
{
    uint64_t t = now_of(n);
    if (n->up) {
        finish_writes(w, n);
    }
    if (raft_next_ns(n->raft) <= t) {
        raft_tick(n->raft, t);
        check(w);
    }
    if (n->lead_wanted) {
        n->lead_wanted = false;
        propose(n, 0);
    }
    apply(n);
    if (raft_role(n->raft) == RAFT_LEADER) {
        if (w->trouble ? one_in(w, w->propose) : w->step % 10 == 0) {
            for (uint64_t many = w->trouble ? 1 + rand_below(&w->r, 4) : 1;
                 many > 0 && n->last < (uint64_t)(w->trouble ? INDEX_MAX - 500 : INDEX_MAX - 100); many--) {
                propose(n, 0);
            }
        }
        if (one_in(w, w->change) || (w->change != 0 && raft_members(n->raft)->outgoing_count > 0 && w->step % 8 == 0)) {
            change_members(w, n);
        }
        if (one_in(w, w->transfer) && raft_transfer(n->raft, (uint16_t)(1 + rand_below(&w->r, NODES)), t)) {
            w->out->transfers++;
        }
        replicate(w, n);
    }
    if (!one_in(w, w->lazy_flush)) {
        raft_flush(n->raft);
    }
    if (one_in(w, w->compact)) {
        compact(n);
    }
    if (n->marked_damaged && !raft_is_damaged(n->raft) && n->disk_term == raft_term(n->raft) &&
        n->disk_vote == raft_vote(n->raft)) {
        SAY(w, "%u is whole again", n->id);
        n->marked_damaged = false;
        w->out->healed++;
    }
    check(w);
}

/* A firewall between one and the others answers in its place: they are told that its process is gone, and it lives on. */
static void firewall(struct world *w)
{
    uint16_t v = (uint16_t)(1 + rand_below(&w->r, (uint64_t)w->first_voters));
    for (uint16_t i = 1; i <= NODES; i++) {
        if (i != v && rand_below(&w->r, 4) > 0) {
            cut(w, v, i);
            w->blocked[v][i] = true;
            w->blocked[i][v] = rand_below(&w->r, 4) > 0;
            if (w->nodes[i].up) {
                SAY(w, "%u is told that %u is gone", i, v);
                raft_peer_dead(w->nodes[i].raft, v, now_of(&w->nodes[i]));
            }
        }
    }
}

static void trouble(struct world *w)
{
    for (uint16_t i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (!n->up) {
            if (w->step >= n->back_at) {
                restart(w, n);
            }
        } else if (one_in(w, w->crash)) {
            crash(w, n);
            if (one_in(w, w->damage)) {
                damage(w, n);
            }
        } else if (one_in(w, w->stall)) {
            n->stall_until = w->step + rand_below(&w->r, 200);
        } else if (one_in(w, w->shy)) {
            raft_shy(n->raft, rand_chance(&w->r, 4));
        }
    }
    if (one_in(w, w->cut)) {
        uint16_t a = (uint16_t)(1 + rand_below(&w->r, NODES));
        uint16_t b = (uint16_t)(1 + rand_below(&w->r, NODES));
        if (a != b) {
            w->out->cuts++;
            cut(w, a, b);
        }
    }
    if (one_in(w, w->part)) {
        uint64_t sides = rand_below(&w->r, 3) == 0 ? 0 : rand_u64(&w->r);
        for (uint16_t a = 1; a <= NODES; a++) {
            for (uint16_t b = 1; b <= NODES; b++) {
                bool was         = w->blocked[a][b];
                w->blocked[a][b] = ((sides >> a) & 1) != ((sides >> b) & 1);
                if (was && !w->blocked[a][b] && one_in(w, 2)) {
                    cut(w, a, b);
                }
            }
        }
    }
    if (one_in(w, w->firewall)) {
        firewall(w);
    } else if (w->firewall != 0 && one_in(w, 2 * ELECTION_STEPS)) {
        memset(w->blocked, 0, sizeof w->blocked);
    }
    if (one_in(w, w->one_way)) { /* two do not hear each other, or one does not hear the other; all the rest do */
        uint64_t a       = 1 + rand_below(&w->r, (uint64_t)w->first_voters);
        uint64_t b       = 1 + rand_below(&w->r, (uint64_t)w->first_voters);
        w->blocked[a][b] = rand_below(&w->r, 3) > 0;
        w->blocked[b][a] = w->blocked[a][b] ? rand_below(&w->r, 3) > 0 : w->blocked[b][a];
    }
}

static void heal(struct world *w)
{
    w->trouble = false;
    memset(w->blocked, 0, sizeof w->blocked);
    for (uint16_t i = 1; i <= NODES; i++) {
        if (!w->nodes[i].up) {
            restart(w, &w->nodes[i]);
        }
        raft_shy(w->nodes[i].raft, false);
    }
    for (uint16_t a = 1; a <= NODES; a++) {
        for (uint16_t b = (uint16_t)(a + 1); b <= NODES; b++) {
            cut(w, a, b);
        }
    }
}

/* One leads, everybody has what it has committed since all was healed. */
static bool whole(struct world *w, uint64_t than)
{
    struct node *leader = NULL;
    for (int i = 1; i <= NODES; i++) {
        if (raft_role(w->nodes[i].raft) == RAFT_LEADER) {
            if (leader != NULL) {
                return false;
            }
            leader = &w->nodes[i];
        }
    }
    if (leader == NULL || raft_commit(leader->raft) <= than || raft_members(leader->raft)->outgoing_count > 0) {
        return false;
    }
    for (uint16_t i = 1; i <= NODES; i++) {
        struct node *n = &w->nodes[i];
        if (raft_members_any(raft_members(leader->raft), i) &&
            (n->marked_damaged || raft_is_damaged(n->raft) || raft_leader(n->raft) != leader->id ||
             raft_commit(n->raft) <= than || raft_commit(n->raft) + 20 < raft_commit(leader->raft) ||
             n->log[n->applied].hash != w->committed[n->applied].hash)) {
            return false;
        }
    }
    return raft_lease(leader->raft, now_of(leader)) && raft_is_settled(leader->raft);
}

static void tell(const struct world *w)
{
    for (int i = 1; w->verbose && i <= NODES; i++) {
        const struct node         *n = &w->nodes[i];
        const struct raft_members *m = raft_members(n->raft);
        printf("%d: role %d term %llu vote %u leader %u log %llu .. %llu durable %llu committed %llu%s%s voters", i,
               (int)raft_role(n->raft), (ull)raft_term(n->raft), raft_vote(n->raft), raft_leader(n->raft),
               (ull)raft_first(n->raft), (ull)n->last, (ull)raft_stable_index(n->raft), (ull)raft_commit(n->raft),
               raft_is_damaged(n->raft) ? " damaged" : "", n->marked_damaged ? " marked" : "");
        for (int j = 0; j < m->voter_count; j++) {
            printf(" %u", m->voters[j]);
        }
        printf(" outgoing");
        for (int j = 0; j < m->outgoing_count; j++) {
            printf(" %u", m->outgoing[j]);
        }
        for (uint16_t j = 1; j <= NODES; j++) {
            struct raft_progress p;
            if (raft_progress(n->raft, j, &p)) {
                printf(" [%u: match %llu next %llu %s]", j, (ull)p.match, (ull)p.next,
                       p.snapshot   ? "image"
                       : p.keeps_up ? "keeps up"
                                    : "probe");
            }
        }
        printf("\n");
    }
}

static uint64_t rate(struct world *w, uint64_t one_in_runs, uint64_t from, uint64_t to)
{
    return rand_chance(&w->r, one_in_runs) ? from + rand_below(&w->r, to - from) : 0;
}

/* Which faults this run has, and how often. */
static void draw_faults(struct world *w)
{
    w->delay_max  = rand_chance(&w->r, 3) ? 10 + rand_below(&w->r, 110) : 2 + rand_below(&w->r, 12);
    w->disk_max   = rand_chance(&w->r, 3) ? 10 + rand_below(&w->r, 150) : 2 + rand_below(&w->r, 8);
    w->drop       = rate(w, 3, 5, 200);
    w->twice      = rate(w, 3, 5, 100);
    w->crash      = rate(w, 2, 100, 2000);
    w->cut        = rate(w, 2, 10, 300);
    w->part       = rate(w, 2, 30, 400);
    w->one_way    = rate(w, 3, 20, 300);
    w->refuse     = rate(w, 4, 4, 100);
    w->transfer   = rate(w, 3, 20, 300);
    w->damage     = rate(w, 2, 1, 4);
    w->change     = rate(w, 4, 20, 300);
    w->compact    = rate(w, 2, 30, 500);
    w->propose    = 2 + rand_below(&w->r, 30);
    w->lazy_flush = rate(w, 3, 2, 10);
    w->stall      = rate(w, 3, 300, 3000);
    w->shy        = rate(w, 6, 200, 2000);
    w->firewall   = rate(w, 4, 50, 800);
    if (w->damage != 0) {
        w->change = 0; /* of another set of members the damaged one could be the majority */
        w->crash  = w->crash != 0 ? w->crash : 500;
        if (rand_chance(
                &w->r,
                2)) { /* .. again and again, with a network in which the old and the new leader do not hear each other */
            w->damage    = 1;
            w->crash     = 100 + rand_below(&w->r, 400);
            w->one_way   = 10 + rand_below(&w->r, 80);
            w->propose   = 2 + rand_below(&w->r, 4);
            w->delay_max = 2 + rand_below(&w->r, 6);
            w->disk_max  = 2 + rand_below(&w->r, 6);
            w->part      = 0;
            w->compact   = 0;
        }
    }
}

static void play(struct world *w, uint64_t steps)
{
    for (w->step = 1; w->step < steps; w->step++) {
        trouble(w);
        deliver_due(w);
        for (int i = 1; i <= NODES; i++) {
            if (w->nodes[i].up) {
                live(w, &w->nodes[i]);
            }
        }
        w->out->step = w->step;
    }
    heal(w);
    SAY(w, "all is healed");
    uint64_t than = w->commit;
    for (; w->step < steps + HEAL_STEPS; w->step++) {
        deliver_due(w);
        for (int i = 1; i <= NODES; i++) {
            live(w, &w->nodes[i]);
        }
        w->out->step = w->step;
        if (whole(w, than)) {
            w->out->steps_to_heal = w->step - steps;
            return;
        }
    }
    tell(w);
    fail(w, "ten election timeouts after everything was healed they are not whole");
}

void raft_world_run(const struct raft_world_options *options, struct raft_world_result *out)
{
    struct world *w = calloc(1, sizeof *w);
    *out            = (struct raft_world_result){.step = 0};
    if (w == NULL) {
        snprintf(out->failure, sizeof out->failure, "out of memory");
        return;
    }
    w->out          = out;
    w->trouble      = true;
    w->verbose      = options->verbose;
    w->config_count = 1;
    w->first_voters = options->nodes;
    rand_init(&w->r, options->seed, 1);
    draw_faults(w);
    struct raft_members members = {.voter_count = (uint8_t)options->nodes};
    for (int i = 0; i < options->nodes; i++) {
        members.voters[i] = (uint16_t)(i + 1);
    }
    if (setjmp(w->failed) == 0) {
        for (uint32_t i = 1; i <= NODES; i++) {
            struct node *n   = &w->nodes[i];
            n->id            = i;
            n->world         = w;
            n->drift         = (int64_t)rand_below(&w->r, 7) - 3;
            n->image.members = members;
            n->image.hash    = 1;
        }
        for (uint32_t i = 1; i <= NODES; i++) {
            restart(w, &w->nodes[i]);
        }
        play(w, options->steps);
    }
    out->committed = w->commit;
    for (int i = 1; i <= NODES; i++) {
        raft_free(w->nodes[i].raft);
    }
    for (size_t i = 0; i < w->flying_count; i++) {
        free(w->flying[i]);
    }
    for (size_t i = 0; i < w->spare_count; i++) {
        free(w->spare[i]);
    }
    free(w);
}
