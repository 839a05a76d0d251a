/* limits.c - the limits that an operator has chosen become those of a stripe: by an entry, so that every replica applies every other entry alike. */
#include "segstore/node/state.h"

#include "shared/base/err.h"

/* What brokers call it: broker/kernel/tables.h. Their other tables are bounded by what uses them. */
enum { TABLE_RETAINED = 3 };

static struct stripe_limits limits_chosen(const struct segstore_config *c)
{
    return (struct stripe_limits){.table_bytes_max    = c->table_bytes_max,
                                  .bounded_table      = TABLE_RETAINED,
                                  .bounded_rows_max   = c->retained_max,
                                  .bounded_bytes_max  = c->retained_bytes_max,
                                  .streams_max        = c->streams_max,
                                  .delays_max         = c->delays_max,
                                  .stream_records_max = c->stream_records_max,
                                  .stream_bytes_max   = c->stream_bytes_max,
                                  .writers_max        = c->writers_max};
}

void limits_propose(struct node_stripe *st)
{
    struct node         *node   = st->node;
    struct stripe_limits limits = limits_chosen(node->config);
    st->limits_wanted           = false;
    if (!st->led || stripe_limits_are(st->stripe, &limits)) {
        return;
    }
    node->scratch.size = 0;
    stripe_limits_op(st->stripe, &limits, &node->scratch);
    struct proposal origin = {0};
    if (propose(node, st, wire_written(&node->scratch), &origin) < 0) { /* the log is full now: due.c tries again */
        uint64_t again_ns = node_wall_ns(node) + DUE_AGAIN_NS;
        st->limits_wanted = true;
        node->next_due_ns = again_ns < node->next_due_ns ? again_ns : node->next_due_ns;
    }
}
