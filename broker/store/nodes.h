/* nodes - who the segment store consists of, and a link to every shard of each.
 *
 *   seeds (addresses of the configuration) ── WELCOME ──▶ who answers, and where the others are ──▶ links to those
 *
 * A seed may be reached by another address than the one that nodes tell: then the node has two entries until it has said who it is, and the
 * second one is dropped. A node that belongs to another cluster, or has other stripes, is not used; each is said, and tried again like one that is down.
 * Threads: the broker shard. */
#ifndef KEEL_BROKER_STORE_NODES_H
#define KEEL_BROKER_STORE_NODES_H

#include "broker/store/state.h"

/* Calls the seeds. */
void nodes_start(struct store *store);
void nodes_fini(struct store *store);
/* A link is up: what the WELCOME says is learned, leaders too. False: it is of no use. */
MUST_CHECK bool nodes_welcome(struct store *store, struct link *link, const struct link_welcome *welcome);
/* To the shard of the stripe on that node, or NULL: such a node is not known. */
struct link *nodes_link(const struct store *store, uint16_t id, uint16_t stripe);

#endif
