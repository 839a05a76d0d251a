/* streams - capture rules, as operators ask for them: from the admin's HTTP threads over a desk to a shard's kernel (broker/kernel/capture.h) and back.
 *
 *   GET    /streams          NAME<tab>FILTER<tab>log|last-value<tab>max_age_ns<tab>max_bytes<tab>max_count, one line each; 0: no limit
 *   GET    /streams/NAME     "word: value" lines: what it is, what it keeps, what is in it
 *   PUT    /streams/NAME     body, lines: filter=FILTER, and if wanted max_age_ns=N, max_bytes=N, max_count=N, last_value=1
 *   DELETE /streams/NAME
 *
 * Threads: streams_handle on any thread, waits up to five seconds. */
#ifndef KEEL_BROKER_SHARD_STREAMS_H
#define KEEL_BROKER_SHARD_STREAMS_H

#include "shared/base/bytes.h"

struct desk;
struct kernel;

/* desk: of a shard; *kernel: of that shard, there while somebody sits at the desk. Returns an HTTP status; *out_text is malloc'ed, ended by a zero, or NULL. */
int streams_handle(struct desk *desk, struct kernel *const *kernel, const char *method, const char *path,
                   struct bytes body, char **out_text);

#endif
