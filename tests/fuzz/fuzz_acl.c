/* fuzz_acl - rules, rule files, password files, addresses, and what rules say of topics: the first byte chooses which. */
#include "broker/auth/acl.h"
#include "broker/auth/acl_file.h"
#include "broker/auth/users.h"
#include "broker/kernel/topic.h"
#include "shared/base/assert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A rule, a newline, a topic: what it says must not depend on anything else, and an allowed name is one that the filter matches. */
static void check_rule(struct bytes text)
{
    char             why[256];
    const uint8_t   *end   = text.size == 0 ? NULL : memchr(text.data, '\n', text.size);
    size_t           size  = end == NULL ? text.size : (size_t)(end - text.data);
    struct bytes     topic = end == NULL ? bytes_str("a/b") : bytes_of(end + 1, text.size - size - 1);
    struct acl_rule *rule  = acl_rule_read(bytes_of(text.data, size), why, sizeof why);
    if (rule == NULL) {
        return;
    }
    const struct acl_who who = {.user = bytes_str("u+"), .client = bytes_str("c"), .groups = "g"};
    for (uint8_t action = ACL_PUBLISH; action <= ACL_SUBSCRIBE; action++) {
        struct acl_wish wish = {.action = action, .topic = topic};
        if (topic_filter_valid(topic) && (action == ACL_SUBSCRIBE || !topic_filter_wild(topic)) &&
            acl_rule_concerns(rule, &who)) {
            enum acl_verdict said = acl_rule_says(rule, &who, &wish);
            ASSERT(said == ACL_SILENT || (said == ACL_ALLOW) == rule->allow);
        }
    }
    acl_rule_free(rule);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char              why[256], address[64];
    uint8_t           binary[ACL_ADDRESS_BYTES];
    struct users      users = {0};
    struct acl_rule **rules = NULL;
    uint32_t          count = 0;
    if (size == 0) {
        return 0;
    }
    struct bytes text = bytes_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        check_rule(text);
        break;
    case 1:
        if (acl_file_read(text, &rules, &count, why, sizeof why)) {
            acl_file_free(rules, count);
        }
        break;
    case 2:
        if (users_read(&users, text, why, sizeof why)) {
            ASSERT(users.map.count <= text.size);
        }
        users_fini(&users);
        break;
    default:
        if (text.size < sizeof address) {
            memcpy(address, text.data, text.size);
            address[text.size] = '\0';
            (void)acl_address(address, binary);
        }
        break;
    }
    return 0;
}
