/* test_thread - name, core, end. */
#include "shared/loop/thread.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>

struct seen {
    char name[16];
    int  cpu;
    int  cpu_count;
};

static void look(void *ctx)
{
    struct seen *seen = ctx;
    pthread_getname_np(pthread_self(), seen->name, sizeof seen->name);
    seen->cpu       = sched_getcpu();
    seen->cpu_count = thread_cpu_count();
}

Test(loop_thread, runs_with_its_name_on_its_core)
{
    struct seen    seen = {0};
    int            cpu  = sched_getcpu();
    struct thread *thread;
    cr_assert_eq(thread_start(&thread, "a-name-that-is-too-long", cpu, look, &seen), 0);
    thread_join(thread);
    cr_assert_str_eq(seen.name, "a-name-that-is-");
    cr_assert_eq(seen.cpu, cpu);
    cr_assert_eq(seen.cpu_count, 1);
}

Test(loop_thread, a_core_that_is_not_there_is_an_error)
{
    struct thread *thread;
    cr_assert_eq(thread_start(&thread, "x", 1000, look, NULL), -EINVAL);
    cr_assert_geq(thread_cpu_count(), 1);
}
