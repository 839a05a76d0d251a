/* silence.c - a broker that says nothing is asked, and then given up: behind a cut network or a machine without power its connection would
 * look alive for ever, and keep its successor out. A node whose frames wait for a slow disk here hears that this one lives: its question waits behind them,
 * and were it to give up, an image would begin anew, and wait as long. */
#include "segstore/node/state.h"

#include "shared/base/log.h"
#include "shared/loop/io.h"

static const uint64_t LOOK_EVERY_NS = 2000000000;
static const uint64_t ASK_AFTER_NS  = 4000000000;
static const uint64_t GONE_AFTER_NS = 10000000000;

static void look(struct session *s, uint64_t now_ns)
{
    bool stalled = list_linked(&s->stalled_link);
    if (stalled && s->peer != 0 && s->state == SESSION_OPEN) {
        session_end(s, session_begin(s, RPC_PONG, 0));
    }
    if (s->state > SESSION_OPEN || stalled) {
        s->heard_ns = now_ns;
        return;
    }
    uint64_t silent_ns = now_ns - s->heard_ns;
    if (silent_ns >= GONE_AFTER_NS) {
        log_warn("a broker has said nothing for %u s: its connection is closed", (unsigned)(silent_ns / 1000000000));
        session_close(s);
    } else if (silent_ns >= ASK_AFTER_NS && s->state == SESSION_OPEN) {
        session_end(s, session_begin(s, RPC_PING, 0));
    }
}

void silence_turn(struct node *node)
{
    uint64_t now_ns = io_now_ns(node->io);
    if (now_ns < node->silence_ns) {
        return;
    }
    /* When this thread did not run itself, what was said meanwhile is not read yet. */
    bool late        = now_ns >= node->silence_ns + LOOK_EVERY_NS;
    node->silence_ns = now_ns + LOOK_EVERY_NS;
    LIST_EACH (&node->sessions, link) {
        struct session *s = CONTAINER_OF(link, struct session, link);
        s->heard_ns       = late ? now_ns : s->heard_ns;
        look(s, now_ns);
    }
}

uint64_t silence_next_ns(const struct node *node)
{
    return list_empty(&node->sessions) ? UINT64_MAX : node->silence_ns;
}
