/* spare - what the disk has left beside the log: for zeros of files to come, and for checkpoints. Nobody waits for these, but producers wait for the log behind them.
 *
 *   the log     ──── 70 KB, 0.4 ms ──── 70 KB, 0.4 ms ────       tells of each of its writes
 *   an account  + share x 70 KB      + share x 70 KB      ..     is paid with them: what is written beside is spread over the life of the log, not a burst that it stands behind
 *               + a little by the clock, so that it comes to an end; much while the log rests
 *
 * Slow: writes of the log take more than twice as long as when nothing is written beside them. Then what can be left out is.
 * Threads: the shard; pure.   Units: bytes, ns. */
#ifndef KEEL_SEGSTORE_DISK_SPARE_H
#define KEEL_SEGSTORE_DISK_SPARE_H

#include <stdbool.h>
#include <stdint.h>

enum { SPARE_ONE = 16 /* a share of 1: a byte beside for each byte of the log */, SPARE_LARGE_BYTES = 64 * 1024 };

struct spare {
    uint64_t logged_bytes; /* all there ever were */
    uint64_t mean_bytes;   /* of a write of the log, about; 0: there was none */
    uint64_t mean_ns;      /* that the last ones took, about */
    uint64_t usual_ns;     /* the same of those that nothing was written beside; 0: not known */
    uint64_t logged_ns;    /* when the last one ended */
    uint64_t beside_ns;    /* when something was last under way beside; 0: never */
    uint32_t beside_count; /* under way now */
};

/* A write of the log has ended. */
void spare_logged(struct spare *s, uint64_t bytes, uint64_t begun_ns, uint64_t now_ns);
/* Something is written beside it; it ended. */
void spare_begin(struct spare *s, uint64_t now_ns);
void spare_end(struct spare *s, uint64_t now_ns);
/* Do writes of the log wait longer for what is written beside them than they should? Not when there were none for a second: a full disk has none until a file is ready. */
bool spare_slow(const struct spare *s, uint64_t now_ns);
/* Are they so large that it is of little use to them what a file was filled with before? */
bool spare_large(const struct spare *s);

/* What is written beside, one of the kinds. An empty one is all zeros: it may write at once. */
struct spare_account {
    uint64_t logged_bytes; /* as of when it was paid last */
    uint64_t paid_ns;
    uint64_t debt_bytes;
};

/* So much is written. What the log did before counts for nothing: nothing is saved up for a burst. */
void spare_owe(struct spare_account *a, const struct spare *s, uint64_t bytes, uint64_t now_ns);
/* Pays: share / SPARE_ONE for each byte of the log. How long until it should be asked again; 0: more may be written now. */
uint64_t spare_pay(struct spare_account *a, const struct spare *s, uint64_t share, uint64_t now_ns);

#endif
