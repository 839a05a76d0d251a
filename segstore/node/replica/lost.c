/* lost.c - a record that damage took behind the checkpoint, where no replay meets it: found when it is read. Where there are other replicas, they
 * give it back (repair/) and whoever reads it waits for that. One that stands alone, or a record that no replica has: without accept_damage whoever reads it is told; with it, the record is passed over, and in a queue it counts as done, so that its consumer is not held up by it again, nor its log
 * file kept for it. */
#include "segstore/node/state.h"

#include "shared/base/err.h"
#include "shared/base/log.h"
#include "shared/rpc/op.h"

static void mark_done(struct node *node, struct node_stripe *st, uint64_t stream_id, uint64_t epoch, uint64_t offset)
{
    uint8_t            bytes[32];
    struct wire_writer items = wire_writer_fixed(bytes, sizeof bytes);
    op_range_append(&items, (struct op_range){.first = offset, .last = offset, .mark = CURSOR_DONE});
    const struct op op = {
        .kind = OP_CURSOR_MOVE, .stream_id = stream_id, .epoch = epoch, .count = 1, .items = wire_written(&items)};
    node->scratch.size = 0;
    op_encode(&node->scratch, &op);
    const struct proposal origin = {0};
    if (propose(node, st, wire_written(&node->scratch), &origin) < 0) {
        log_warn("a damaged record is passed over, and will be met again: the log takes nothing now");
    }
}

int record_lost(struct node *node, struct node_stripe *st, uint64_t stream_id, uint64_t offset, uint64_t position)
{
    if (!replica_alone(st)) { /* the others have it */
        int wanted = repair_wanted(st, stream_id, offset, position);
        if (wanted != ERR_CORRUPT) {
            return wanted;
        }
    }
    struct stripe_stream stream;
    if (!node->config->accept_damage || stripe_stream(st->stripe, stream_id, &stream) < 0) {
        return ERR_CORRUPT;
    }
    log_warn("the record at offset %llu of stream %llx is lost: passed over, as damage is accepted",
             (unsigned long long)offset, (unsigned long long)stream_id);
    if ((stream.flags & STREAM_QUEUE) != 0) {
        mark_done(node, st, stream_id, stream.epoch, offset);
    }
    return 0;
}
