/* model - what a disk may hold when the machine dies in the middle of a trace.
 *
 *                    completed            its sync, or a durable write, completed
 *   memory ─────────▶ page cache ────────────────────────────────────────────────▶ durable
 *            a killed process keeps this    a machine without power keeps this, and of what lies before it
 *                                           any mixture, sector by sector
 *
 * Names (mkdir, create, rename, unlink) are durable when their directory was synced behind them; a machine without power keeps a prefix of
 * the others, or any of them. A write under way has reached the disk in any part.
 * Threads: one.   Units: bytes. */
#ifndef KEEL_TESTS_CRASH_MODEL_H
#define KEEL_TESTS_CRASH_MODEL_H

#include "shared/base/rand.h"
#include "tests/crash/trace.h"

enum model_loss { MODEL_KILLED, MODEL_POWER };

struct model;

/* An empty directory. */
struct model *model_new(void);
/* What lies in a directory now, all of it durable; tells trace.h about the names. */
struct model *model_read(const char *directory);
/* What lies there now after a process was killed, and is no more durable than it was before. The model from before lives as long. */
struct model *model_killed(const struct model *before, size_t sector, const char *directory);
void          model_free(struct model *model);
/* The next event of the trace happens; events are taken in their order, and live as long as the model. */
void model_step(struct model *model, const struct trace *trace, size_t event);
/* Fills an empty directory as the crash leaves it. sector: what the device writes at once. */
void model_crash(const struct model *model, struct rand *rand, enum model_loss loss, size_t sector,
                 const char *directory);

#endif
