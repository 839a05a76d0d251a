/* ticket, cache, config: rights of one client, and who is told. */
#include "broker/auth/ticket.h"

#include "broker/auth/cache.h"
#include "broker/auth/config.h"

#include <criterion/criterion.h>
#include <stdlib.h>

struct stage {
    struct ticket_office  office;
    int                   asked, again, changed, revoked;
    bool                  answers;
    struct auth_question *question;
};

static struct stage stage;

static void on_again(void *ctx)
{
    ((struct stage *)ctx)->again++;
}
static void on_changed(void *ctx)
{
    ((struct stage *)ctx)->changed++;
}
static void on_revoked(void *ctx, const char *why)
{
    cr_assert_not_null(why);
    ((struct stage *)ctx)->revoked++;
}
static const struct ticket_owner owner = {on_again, on_changed, on_revoked, on_revoked};

static enum access ask(struct ticket_office *office, struct ticket *ticket, const struct acl_wish *wish,
                       struct auth_question **out)
{
    (void)office;
    stage.asked++;
    stage.question = *out = ticket_question(ticket, wish);
    stage.question->asked = &stage;
    return ACCESS_WAIT;
}

static void forget(struct ticket_office *office, struct auth_question *question)
{
    (void)office;
    cr_assert_eq(question, stage.question);
    stage.question = NULL;
}

static struct acl *acl_of(const char *const *lines, uint32_t count)
{
    struct acl_rule *rules[8];
    char             why[128];
    for (uint32_t i = 0; i < count; i++) {
        rules[i] = acl_rule_read(bytes_str(lines[i]), why, sizeof why);
        cr_assert_not_null(rules[i], "%s", why);
    }
    return acl_new(rules, count);
}

static void open_stage(bool default_allow)
{
    stage = (struct stage){.office = {.default_allow = default_allow, .timers = timer_wheel_new(0)}};
    list_init(&stage.office.tickets);
    stage.office.acl = acl_new(NULL, 0);
}

static void close_stage(void)
{
    acl_unref(stage.office.acl);
    timer_wheel_free(stage.office.timers);
}

static struct ticket *let_in(const char *user, const char *client)
{
    const struct ticket_spec spec = {
        .user = bytes_str(user), .client_id = bytes_str(client), .address = "127.0.0.1", .in_table = true};
    struct ticket *ticket = ticket_new(&stage.office, &spec);
    ticket_own(ticket, &owner, &stage);
    return ticket;
}

static enum access publish(struct ticket *ticket, const char *topic)
{
    const struct acl_wish wish = {.action = ACL_PUBLISH, .topic = bytes_str(topic)};
    return ticket_check(ticket, &wish);
}

Test(auth_ticket, without_rules_the_default_counts)
{
    open_stage(true);
    struct ticket *ticket = let_in("u", "c");
    cr_expect_eq(publish(ticket, "a"), ACCESS_ALLOW);
    cr_expect(ticket->open, "the next check is one comparison");
    cr_expect_eq(publish(ticket, "b"), ACCESS_ALLOW);
    stage.office.default_allow = false;
    ticket_office_rules(&stage.office, acl_new(NULL, 0));
    cr_expect_eq(publish(ticket, "a"), ACCESS_DENY);
    cr_expect_eq(stage.office.denied, 1);
    ticket_free(ticket);
    close_stage();
}

Test(auth_ticket, the_first_rule_that_speaks_decides_and_a_change_counts_with_the_next_check)
{
    static const char *const before[] = {"allow user u publish a/b", "deny all publish a/#", "deny user other both #"};
    static const char *const after[]  = {"deny all publish a/b x"};
    open_stage(true);
    ticket_office_rules(&stage.office, acl_of(before, 3));
    struct ticket *ticket = let_in("u", "c");
    for (int twice = 0; twice < 2; twice++) { /* the second one is the last topic again */
        cr_expect_eq(publish(ticket, "a/b"), ACCESS_ALLOW);
        cr_expect_eq(publish(ticket, "a/b"), ACCESS_ALLOW);
        cr_expect_eq(publish(ticket, "a/c"), ACCESS_DENY);
        cr_expect_eq(publish(ticket, "a/c"), ACCESS_DENY);
        cr_expect_eq(publish(ticket, "x"), ACCESS_ALLOW);
    }
    cr_expect_eq(ticket->rule_count, 2, "the rule of another user is left out");
    ticket_office_rules(&stage.office, acl_of(after, 1));
    ticket_office_tell(&stage.office);
    cr_expect_eq(stage.changed, 1);
    cr_expect_eq(publish(ticket, "x"), ACCESS_DENY, "it was asked last and allowed");
    cr_expect_eq(publish(ticket, "a/b"), ACCESS_DENY);
    cr_expect_eq(publish(ticket, "a/c"), ACCESS_ALLOW);
    ticket_free(ticket);
    close_stage();
}

Test(auth_ticket, rules_of_its_own_come_first_and_may_be_all_there_are)
{
    static const char *const rules[] = {"deny all publish a"};
    char                     why[64];
    open_stage(true);
    ticket_office_rules(&stage.office, acl_of(rules, 1));
    for (int only = 0; only < 2; only++) {
        struct acl_rule   *own  = acl_rule_read(bytes_str("allow all publish a"), why, sizeof why);
        struct ticket_spec spec = {
            .client_id = bytes_str("c"), .rules = &own, .rule_count = 1, .rules_only = only == 1};
        struct ticket *ticket = ticket_new(&stage.office, &spec);
        cr_expect_eq(publish(ticket, "a"), ACCESS_ALLOW);
        cr_expect_eq(publish(ticket, "b"), only == 1 ? ACCESS_DENY : ACCESS_ALLOW);
        ticket_free(ticket);
    }
    close_stage();
}

Test(auth_ticket, the_hook_is_asked_once_and_its_answer_waits_until_it_was_used)
{
    open_stage(true);
    stage.office.ask      = ask;
    stage.office.forget   = forget;
    struct ticket *ticket = let_in("u", "c");
    cr_expect_eq(publish(ticket, "a"), ACCESS_WAIT);
    cr_expect_eq(publish(ticket, "a"), ACCESS_WAIT);
    cr_expect_eq(stage.asked, 1);
    ticket_answer(stage.question, false);
    cr_expect_eq(stage.again, 1);
    cr_expect_eq(publish(ticket, "a"), ACCESS_DENY);
    cr_expect_eq(publish(ticket, "a"), ACCESS_DENY);
    cr_expect_eq(stage.asked, 1);
    ticket_settled(ticket);
    cr_expect_eq(publish(ticket, "a"), ACCESS_WAIT);
    cr_expect_eq(stage.asked, 2);
    ticket_free(ticket);
    cr_expect_null(stage.question, "it was told that nobody waits any more");
    close_stage();
}

Test(auth_ticket, who_expires_or_is_removed_must_go)
{
    open_stage(true);
    struct ticket *gone = let_in("u", "c"), *stays = let_in("v", "d");
    ticket_office_revoke(&stage.office, bytes_str("u"), "gone");
    cr_expect_eq(stage.revoked, 1);
    ticket_extend(stays, 5000000000u, 2000000000u, 0);
    timer_expire(stage.office.timers, 2900000000u);
    cr_expect_eq(stage.revoked, 1);
    timer_expire(stage.office.timers, 3100000000u);
    cr_expect_eq(stage.revoked, 2);
    ticket_free(gone);
    ticket_free(stays);
    close_stage();
}

Test(auth_ticket, the_one_not_used_for_longest_goes_and_none_stays_for_ever)
{
    struct cache cache;
    uint8_t      value = 9;
    cache_init(&cache, 2, 100);
    cache_put(&cache, bytes_str("a"), 0, 1);
    cache_put(&cache, bytes_str("b"), 10, 2);
    cr_expect(cache_find(&cache, bytes_str("a"), 20, &value) && value == 1);
    cache_put(&cache, bytes_str("c"), 30, 3);
    cr_expect_not(cache_find(&cache, bytes_str("b"), 30, &value));
    cr_expect(cache_find(&cache, bytes_str("a"), 99, &value));
    cr_expect_not(cache_find(&cache, bytes_str("a"), 100, &value));
    cache_put(&cache, bytes_str("c"), 90, 4);
    cr_expect(cache_find(&cache, bytes_str("c"), 180, &value) && value == 4);
    cr_expect_eq(cache.map.count, 1);
    cache_fini(&cache);
    cache_init(&cache, 0, 100);
    cache_put(&cache, bytes_str("a"), 0, 1);
    cr_expect_not(cache_find(&cache, bytes_str("a"), 0, &value));
    cache_fini(&cache);
}

Test(auth_ticket, the_chain_is_words_in_an_order)
{
    struct auth_config config;
    char               why[128];
    cr_assert(auth_chain_read("http, password", &config, why, sizeof why));
    cr_expect(config.link_count == 2 && config.links[0] == AUTH_LINK_HTTP && config.links[1] == AUTH_LINK_PASSWORD);
    cr_assert(auth_chain_read("", &config, why, sizeof why) && config.link_count == 0);
    cr_expect_not(auth_chain_read("password,passwd", &config, why, sizeof why));
    cr_expect_not(auth_chain_read("jwt jwt", &config, why, sizeof why));
}
