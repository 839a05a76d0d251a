/* Which of two broker processes at one place is let in. */
#include "segstore/node/state.h"

#include "shared/loop/io.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { PLACE = 7, FORMER = 11, HEIR = 12, SHARD = 1 /* behind an instance: its owner */ };

static struct segstore_config config;
static struct node           *node;

static void begin(void)
{
    char             why[1024];
    struct io_config io = {.sockets_max = 8, .recv_buffers = 8, .recv_buffer_bytes = 4096, .cpu = -1};
    config              = (struct segstore_config){.shards = 1, .owner_lease_ns = 3600000000000};
    node                = calloc(1, sizeof *node);
    node->config        = &config;
    cr_assert_eq(io_open(&io, &node->io, why, sizeof why), 0, "%s", why);
    list_init(&node->owners);
    list_init(&node->sessions);
}

static void end(void)
{
    owners_free(node);
    io_close(node->io);
    free(node);
}

TestSuite(session_owner, .init = begin, .fini = end);

static void hello(uint64_t instance)
{
    owner_hello(node, instance, instance * 256 + SHARD, PLACE);
}

static void gone(uint64_t instance)
{
    owner_gone(node, instance, instance * 256 + SHARD);
}

Test(session_owner, who_has_an_heir_that_is_there_is_not_let_in)
{
    hello(FORMER);
    gone(FORMER);
    hello(HEIR);
    cr_assert(owner_replaced(node, FORMER));
    cr_assert_not(owner_replaced(node, HEIR));
    gone(HEIR);
    cr_assert(owner_replaced(node, FORMER), "it comes back, as long as its lease lasts");
}

Test(session_owner, who_was_taken_for_the_former_is_let_in_when_the_other_one_says_nothing_more)
{
    hello(HEIR);
    gone(HEIR);
    hello(FORMER); /* it had died when this was read */
    cr_assert(owner_replaced(node, HEIR));
    config.owner_lease_ns = 0;
    gone(FORMER);
    cr_assert_not(owner_replaced(node, HEIR));
    hello(HEIR);
    cr_assert(owner_replaced(node, FORMER));
    cr_assert_not(owner_replaced(node, HEIR));
}

Test(session_owner, who_comes_while_another_one_of_its_place_is_there_is_asked_whether_it_lives)
{
    cr_assert_not(owner_contested(node, HEIR, PLACE, 0));
    hello(HEIR);
    cr_assert_not(owner_contested(node, HEIR, PLACE, 0), "its next shard");
    cr_assert(owner_contested(node, FORMER, PLACE, 0));
    cr_assert_not(owner_contested(node, FORMER, PLACE + 1, 0));
    cr_assert_not(owner_contested(node, FORMER, 0, 0), "it has not said its place");
    uint64_t asked = ++node->greetings;
    cr_assert_not(owner_contested(node, FORMER, PLACE, asked), "it has answered");
    gone(HEIR);
    hello(HEIR);
    cr_assert(owner_contested(node, FORMER, PLACE, asked), "it had answered before the other one came");
    gone(HEIR);
    cr_assert(owner_contested(node, FORMER, PLACE, asked), "it comes back, as long as its lease lasts");
    config.owner_lease_ns = 0;
    hello(HEIR);
    gone(HEIR);
    cr_assert_not(owner_contested(node, FORMER, PLACE, asked));
}

Test(session_owner, processes_at_other_places_are_not_in_each_others_way)
{
    hello(FORMER);
    gone(FORMER);
    owner_hello(node, HEIR, HEIR * 256 + SHARD, PLACE + 1);
    cr_assert_not(owner_replaced(node, FORMER));
}
