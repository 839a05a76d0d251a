/* What was handed out here already is known by its publisher's number. */
#include "broker/kernel/marks.h"

#include "broker/kernel/state.h"

#include <criterion/criterion.h>

static struct kernel kernel;

static void begin(void)
{
    kernel = (struct kernel){0};
    list_init(&kernel.marked);
}

static void end(void)
{
    marks_fini(&kernel);
}

TestSuite(kernel_marks, .init = begin, .fini = end);

static struct number number(uint64_t writer, uint64_t epoch, uint64_t sequence)
{
    return (struct number){.writer = writer, .epoch = epoch, .sequence = sequence};
}

static bool is_new(uint64_t writer, uint64_t epoch, uint64_t sequence)
{
    return marks_new(&kernel, number(writer, epoch, sequence));
}

Test(kernel_marks, a_message_is_new_once)
{
    cr_assert(is_new(1, 1, 5));
    cr_assert(!is_new(1, 1, 5));
    cr_assert(!is_new(1, 1, 4), "and so is none before it");
    cr_assert(is_new(1, 1, 6));
    cr_assert(!is_new(1, 1, 6));
}

Test(kernel_marks, writers_are_told_apart)
{
    cr_assert(is_new(1, 1, 5));
    cr_assert(is_new(2, 1, 5));
    cr_assert(!is_new(1, 1, 5));
    cr_assert(!is_new(2, 1, 5));
}

Test(kernel_marks, a_later_epoch_counts_from_the_beginning_and_an_earlier_one_has_passed)
{
    cr_assert(is_new(1, 2, 100));
    cr_assert(is_new(1, 3, 1));
    cr_assert(!is_new(1, 2, 101));
    cr_assert(is_new(1, 3, 2));
}

Test(kernel_marks, what_is_not_counted_is_always_new)
{
    cr_assert(is_new(0, 0, 0));
    cr_assert(is_new(0, 0, 0));
    cr_assert_eq(kernel.marks.count, 0);
    cr_assert_eq(marks_number(NULL).writer, 0);
    const struct pending uncounted = {.sequence = 9};
    cr_assert_eq(marks_number(&uncounted).writer, 0);
}

Test(kernel_marks, the_writer_that_was_heard_of_longest_ago_is_forgotten_first)
{
    for (uint64_t writer = 1; writer <= MARKS_MAX; writer++) {
        cr_assert(is_new(writer, 1, 1));
    }
    cr_assert(is_new(1, 1, 2)); /* heard of again */
    cr_assert(is_new(MARKS_MAX + 1, 1, 1));
    cr_assert_eq(kernel.marks.count, MARKS_MAX);
    cr_assert(!is_new(1, 1, 2));
    cr_assert(!is_new(3, 1, 1));
    cr_assert(!is_new(MARKS_MAX + 1, 1, 1));
    cr_assert(is_new(2, 1, 1));
}
