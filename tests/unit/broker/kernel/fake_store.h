/* fake_store - kernel/store.h answered in memory, over real stripes: what an op means is segstore/stripe's to say, here as in production.
 *
 *     store_txn_end ─▶ submitted ─fake_apply─▶ in the stripes, answered ─fake_answer─▶ done()
 *
 * Between the steps a broker may be lost: what was submitted and not applied never happened, what was applied and not answered did.
 * Threads: the test. */
#ifndef KEEL_TESTS_UNIT_BROKER_KERNEL_FAKE_STORE_H
#define KEEL_TESTS_UNIT_BROKER_KERNEL_FAKE_STORE_H

#include "broker/kernel/store.h"

enum { FAKE_SHARDS = 2 };

struct fake_world;

/* The cluster: outlives every broker. */
struct fake_world *fake_world_new(uint16_t stripes, uint64_t stream_records_max);
void               fake_world_free(struct fake_world *world);
/* Moves the wall clock; what is due then fires. */
void     fake_world_advance(struct fake_world *world, uint64_t ns);
uint64_t fake_world_wall_ns(const struct fake_world *world);
/* Every append, of any broker, is refused with status until it is 0 again. */
void fake_world_refuse_appends(struct fake_world *world, int status);
/* The same for every transaction that puts something into that table. */
void fake_world_refuse_puts(struct fake_world *world, uint32_t table, int status);
/* .. that deletes something from it. */
void fake_world_refuse_deletes(struct fake_world *world, uint32_t table, int status);
/* Every transaction is applied a second time, and that is answered: the first answer was lost with its connection (store.h). */
void     fake_world_repeat(struct fake_world *world, bool repeat);
uint64_t fake_world_rows(const struct fake_world *world, uint32_t table);
uint64_t fake_world_applied(const struct fake_world *world);

/* One broker shard's connection. */
struct store *fake_store_new(struct fake_world *world, uint64_t owner);
/* Without a word to the kernel; the world hears that the owner is lost. */
void fake_store_lose(struct store *store);
/* Applies what was submitted, at most count transactions; true: something was. */
bool fake_apply(struct store *store, int count);
/* The connection was lost before what was applied was answered, and all of it is asked again, in its order. */
void fake_ask_again(struct store *store);
/* Answers what was applied, and pushes what watches, scans and follows have; true: something was. */
bool fake_answer(struct store *store);
void fake_congest(struct store *store, bool congested);
/* Of the packets that other brokers send to it one of so many is lost; 0: none. */
void fake_lose_packets(struct store *store, uint32_t one_in);
/* Nothing of the store is connected, and packets neither come nor go. */
void fake_cut(struct store *store, bool cut);
/* The connection to a store shard was lost and is back: the watch begins anew. */
void fake_reconnect(struct store *store, uint32_t shard);

#endif
