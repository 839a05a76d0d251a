/* test_tree - the table of edges grows a bucket at a time, and every edge is found at every moment. */
#include "broker/kernel/tree.h"

#include "shared/base/hash.h"
#include "shared/base/rand.h"

#include <criterion/criterion.h>
#include <stdio.h>

/* Some texts lie in their node, some do not. */
static struct bytes level_of(uint32_t i, char text[32])
{
    snprintf(text, 32, i % 3 == 0 ? "%u, a level of many bytes" : "%u", i);
    return bytes_str(text);
}

static uint32_t child(struct tree *tree, uint32_t i, bool make)
{
    char         text[32];
    struct bytes level = level_of(i, text);
    return make ? tree_make_child(tree, TREE_ROOT, level, hash_bytes(level))
                : tree_child(tree, TREE_ROOT, level, hash_bytes(level));
}

static void grow_to(struct tree *tree, uint32_t count)
{
    struct rand r;
    rand_init(&r, 8, 8);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t buckets = tree->bucket_count;
        cr_assert_neq(child(tree, i, true), (uint32_t)MATCH_NONE);
        cr_assert_leq(tree->bucket_count, buckets + 2);
        cr_assert_neq(child(tree, (uint32_t)rand_below(&r, i + 1), false), (uint32_t)MATCH_NONE);
        cr_assert_eq(child(tree, i + 1, false), (uint32_t)MATCH_NONE);
    }
}

Test(kernel_tree, an_edge_is_found_at_every_moment_and_a_new_one_splits_two_buckets)
{
    enum { CHILDREN = 200000 };
    struct tree tree;
    cr_assert(tree_init(&tree));
    grow_to(&tree, CHILDREN);
    for (uint32_t i = 0; i < CHILDREN; i++) {
        tree_prune(&tree, child(&tree, i, false));
    }
    cr_assert_eq(tree.node_count, 2u, "the roots");
    cr_assert_eq(tree.text_bytes, 0u);
    tree_fini(&tree);
}
