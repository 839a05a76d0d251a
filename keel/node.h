/* node - `keel ctl node`: drains, removes and replaces nodes of a segment-store cluster, and waits until that is done.
 *
 *   what is wanted goes to the broker's admin, which writes it into stripe 0; how far it is, the nodes' own admin says (/cluster)
 *
 * Whoever stops waiting stops nothing: the cluster goes on.
 * Threads: the one that there is. */
#ifndef KEEL_KEEL_NODE_H
#define KEEL_KEEL_NODE_H

/* argv[0] is the verb. Returns the exit status. */
int node_run(int argc, char **argv);

#endif
