#include "segstore/placement/placement.h"

#include <criterion/criterion.h>
#include <stdlib.h>

enum { STRIPES_MAX = 4096 };

static struct plan plan_of(uint8_t count, uint8_t replicas)
{
    struct plan p = {.epoch = 1, .replicas = replicas, .count = count};
    for (uint8_t i = 0; i < count; i++) {
        p.at[i] = (struct plan_place){.node = (uint16_t)(i + 1), .key = (uint16_t)(i + 1)};
    }
    return p;
}

static struct placement *make(const struct plan *p, uint32_t stripes, uint32_t shards)
{
    struct placement *out = calloc(stripes, sizeof *out);
    placement_make(p, stripes, shards, out);
    return out;
}

static bool has(const struct placement *p, uint16_t node)
{
    for (uint8_t i = 0; i < p->count; i++) {
        if (p->nodes[i] == node) {
            return true;
        }
    }
    return false;
}

static uint32_t load_of(const struct placement *all, uint32_t stripes, uint16_t node)
{
    uint32_t load = 0;
    for (uint32_t s = 0; s < stripes; s++) {
        load += has(&all[s], node);
    }
    return load;
}

/* Replicas that have to be made. */
static uint32_t moves(const struct placement *from, const struct placement *to, uint32_t stripes)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < stripes; s++) {
        for (uint8_t i = 0; i < to[s].count; i++) {
            count += !has(&from[s], to[s].nodes[i]);
        }
    }
    return count;
}

static void check_whole(const struct plan *p, const struct placement *all, uint32_t stripes)
{
    for (uint32_t s = 0; s < stripes; s++) {
        cr_assert_eq(all[s].count, p->replicas < p->count ? p->replicas : p->count);
        for (uint8_t i = 0; i < all[s].count; i++) {
            cr_assert_not_null(plan_find(p, all[s].nodes[i]));
            for (uint8_t k = 0; k < i; k++) {
                cr_assert_neq(all[s].nodes[i], all[s].nodes[k]);
            }
        }
    }
}

static void check_even(const struct plan *p, const struct placement *all, uint32_t stripes)
{
    uint32_t least = UINT32_MAX, most = 0;
    for (uint8_t i = 0; i < p->count; i++) {
        uint32_t load = load_of(all, stripes, p->at[i].node);
        least         = load < least ? load : least;
        most          = load > most ? load : most;
    }
    cr_assert_leq(most - least, 1, "%u nodes, %u replicas, %u stripes: %u to %u", p->count, p->replicas, stripes, least,
                  most);
}

static void check_leads(const struct plan *p, const struct placement *all, uint32_t stripes, uint32_t shards)
{
    for (uint32_t shard = 0; shard < shards; shard++) {
        uint32_t least = UINT32_MAX, most = 0;
        for (uint8_t i = 0; i < p->count; i++) {
            uint32_t leads = 0;
            for (uint32_t s = shard; s < stripes; s += shards) {
                leads += all[s].lead == p->at[i].node;
            }
            if (p->at[i].drained) {
                cr_assert_eq(leads, 0);
                continue;
            }
            least = leads < least ? leads : least;
            most  = leads > most ? leads : most;
        }
        cr_assert_leq(most - least, 1, "%u nodes, shard %u of %u: %u to %u leads", p->count, shard, shards, least,
                      most);
    }
    for (uint32_t s = 0; s < stripes; s++) {
        cr_assert(has(&all[s], all[s].lead));
    }
}

Test(placement, replicas_and_leads_are_spread_evenly_over_nodes_and_shards)
{
    static const uint32_t stripes[] = {1, 8, 64, 512};
    for (uint8_t count = 1; count <= 12; count++) {
        for (uint8_t replicas = 1; replicas <= 5; replicas += 2) {
            for (size_t i = 0; i < sizeof stripes / sizeof *stripes; i++) {
                uint32_t          shards = stripes[i] < 4 ? 1 : 4;
                struct plan       p      = plan_of(count, replicas);
                struct placement *all    = make(&p, stripes[i], shards);
                check_whole(&p, all, stripes[i]);
                check_even(&p, all, stripes[i]);
                if (stripes[i] >= 64 && replicas >= 3) {
                    check_leads(&p, all, stripes[i], shards);
                }
                free(all);
            }
        }
    }
}

Test(placement, replicas_of_a_stripe_are_in_different_racks_where_there_are_enough)
{
    for (uint16_t racks = 1; racks <= 4; racks++) {
        struct plan p = plan_of(9, 3);
        for (uint8_t i = 0; i < p.count; i++) {
            p.at[i].rack = (uint16_t)(1 + i % racks);
        }
        struct placement *all = make(&p, 64, 2);
        check_whole(&p, all, 64);
        for (uint32_t s = 0; s < 64; s++) {
            uint32_t most = 0;
            for (uint16_t rack = 1; rack <= racks; rack++) {
                uint32_t count = 0;
                for (uint8_t i = 0; i < 3; i++) {
                    count += plan_find(&p, all[s].nodes[i])->rack == rack;
                }
                most = count > most ? count : most;
            }
            cr_assert_eq(most, racks >= 3 ? 1 : racks == 2 ? 2 : 3);
        }
        if (racks == 3) {
            check_even(&p, all, 64);
        }
        free(all);
    }
}

Test(placement, racks_count_for_more_than_evenness)
{
    struct plan p = plan_of(4, 3); /* racks of 2, 1 and 1: those who are alone in theirs hold everything */
    for (uint8_t i = 0; i < p.count; i++) {
        p.at[i].rack = (uint16_t)(i < 2 ? 1 : i);
    }
    struct placement *all = make(&p, 64, 1);
    cr_assert_eq(load_of(all, 64, 3), 64);
    cr_assert_eq(load_of(all, 64, 4), 64);
    cr_assert_eq(load_of(all, 64, 1), 32);
    cr_assert_eq(load_of(all, 64, 2), 32);
    free(all);
}

/* Replicas of the stripe in the rack of node, itself among them, but for the one on `except`. */
static uint32_t in_rack(const struct plan *p, const struct placement *of, uint16_t node, uint16_t except)
{
    uint16_t rack  = plan_find(p, node)->rack;
    uint32_t count = 0;
    for (uint8_t i = 0; i < of->count; i++) {
        uint16_t other = of->nodes[i];
        count += other != except && (other == node || (rack != 0 && plan_find(p, other)->rack == rack));
    }
    return count;
}

/* Where one node holds two replicas more than another, no stripe could go from the one to the other without making its racks worse. */
static void check_stuck(const struct plan *p, const struct placement *all, uint32_t stripes)
{
    for (uint8_t f = 0; f < p->count; f++) {
        for (uint8_t t = 0; t < p->count; t++) {
            uint16_t from = p->at[f].node, to = p->at[t].node;
            if (load_of(all, stripes, from) < load_of(all, stripes, to) + 2) {
                continue;
            }
            for (uint32_t s = 0; s < stripes; s++) {
                cr_assert(!has(&all[s], from) || has(&all[s], to) ||
                              in_rack(p, &all[s], to, from) > in_rack(p, &all[s], from, from),
                          "stripe %u could go from %u to %u", s, from, to);
            }
        }
    }
}

Test(placement, what_is_uneven_is_so_because_of_racks)
{
    for (uint8_t count = 4; count <= 20; count++) {
        for (uint8_t shape = 0; shape < 6; shape++) {
            struct plan p = plan_of(count, (uint8_t)(2 + shape % 4));
            for (uint8_t i = 0; i < count; i++) { /* most in one rack, some in racks of their own or by two */
                p.at[i].rack = (uint16_t)(i % (2 + shape) == 0 ? 2 + i / (1 + shape % 2 * 7) : 1);
            }
            struct placement *all = make(&p, 40, 2);
            check_whole(&p, all, 40);
            check_stuck(&p, all, 40);
            free(all);
        }
    }
}

Test(placement, a_node_that_comes_or_goes_moves_little_more_than_its_share)
{
    for (uint8_t count = 4; count <= 12; count++) {
        for (uint16_t out = 1; out <= count; out++) {
            struct plan whole = plan_of(count, 3), less = plan_of(count, 3);
            memmove(&less.at[out - 1], &less.at[out], (size_t)(count - out) * sizeof less.at[0]);
            less.count--;
            struct placement *a     = make(&whole, 512, 1);
            struct placement *b     = make(&less, 512, 1);
            uint32_t          share = load_of(a, 512, out);
            cr_assert_leq(moves(a, b, 512), share + share / 2, "without %u of %u: %u moves, %u replicas were there",
                          out, count, moves(a, b, 512), share);
            cr_assert_leq(moves(b, a, 512), share + share / 2, "with %u of %u: %u moves, %u replicas get there", out,
                          count, moves(b, a, 512), share);
            free(a);
            free(b);
        }
    }
}

Test(placement, who_takes_a_place_over_gets_what_lay_there_and_nothing_else_moves)
{
    struct plan before = plan_of(5, 3), after = plan_of(5, 3);
    after.at[2].node    = 9;
    struct placement *a = make(&before, 64, 2);
    struct placement *b = make(&after, 64, 2);
    for (uint32_t s = 0; s < 64; s++) {
        for (uint16_t node = 1; node <= 5; node++) {
            cr_assert_eq(has(&a[s], node), has(&b[s], node == 3 ? 9 : node));
        }
        cr_assert_eq(a[s].lead == 3 ? 9 : a[s].lead, b[s].lead);
    }
    free(a);
    free(b);
}

Test(placement, the_order_of_the_list_does_not_matter)
{
    struct plan one = plan_of(5, 3), other = plan_of(5, 3);
    for (uint8_t i = 0; i < 5; i++) {
        other.at[i] = one.at[4 - i];
    }
    struct placement *a = make(&one, 64, 2);
    struct placement *b = make(&other, 64, 2);
    cr_assert_eq(memcmp(a, b, 64 * sizeof *a), 0);
    free(a);
    free(b);
}

Test(placement, a_drained_node_leads_nothing_and_the_others_share_what_it_led)
{
    struct plan p         = plan_of(3, 3);
    p.at[1].drained       = true;
    struct placement *all = make(&p, 64, 2);
    check_leads(&p, all, 64, 2);
    p.at[0].drained = p.at[2].drained = true;
    placement_make(&p, 64, 2, all);
    cr_assert_eq(all[0].lead, 0);
    free(all);
}

Test(placement, the_largest_cluster_is_placed)
{
    struct plan       p   = plan_of(PLAN_NODES_MAX, 3);
    struct placement *all = make(&p, STRIPES_MAX, 16);
    check_whole(&p, all, STRIPES_MAX);
    check_even(&p, all, STRIPES_MAX);
    check_leads(&p, all, STRIPES_MAX, 16);
    free(all);
}
