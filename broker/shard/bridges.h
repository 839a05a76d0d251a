/* bridges - the bridges of one shard: their rows in the store's table, their sockets, and what operators ask of them.
 *
 *   table 22  key: name    value: version u8 = 1 | the lines of broker/bridge/spec.h
 *
 * Every shard watches the table; a bridge runs on shard hash(name) % shards of the senior process (broker/kernel/company.h), which alone lists them. A changed row makes the bridge anew; a deleted one ends it and its session.
 *
 *   GET    /bridges          NAME<tab>HOST:PORT<tab>STATE<tab>SENT<tab>RECEIVED<tab>DROPPED<tab>CONNECTS, one line each
 *   GET    /bridges/NAME     the same as "word: value" lines, and its topics
 *   PUT    /bridges/NAME     body: the lines of spec.h
 *   DELETE /bridges/NAME
 *
 * Threads: the shard; bridges_handle any other. */
#ifndef KEEL_BROKER_SHARD_BRIDGES_H
#define KEEL_BROKER_SHARD_BRIDGES_H

#include "shared/base/bytes.h"

struct bridges;
struct desk;
struct shard;

enum { TABLE_BRIDGES = 22 };

/* NULL when memory is out. */
struct bridges *bridges_new(struct shard *shard);
void            bridges_free(struct bridges *bridges);
/* First thing of a turn: the clock. */
void bridges_begin(struct bridges *bridges);
/* Behind the kernel's turn: connects, sends. */
void bridges_turn(struct bridges *bridges);
/* The broker stops. */
void     bridges_stop(struct bridges *bridges);
uint64_t bridges_up(const struct bridges *bridges);

/* desks, bridges: of each shard, *bridges[i] there while somebody sits at desks[i]. Returns an HTTP status; *out_text is malloc'ed or NULL. */
int bridges_handle(struct desk *const *desks, struct bridges *const *bridges, unsigned count, const char *method,
                   const char *path, struct bytes body, char **out_text);

#endif
