/* test_uring_probe - the sentence for each limit that may forbid io_uring. */
#include "shared/loop/uring.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

static const struct uring_limits good = {.disabled          = 0,
                                         .memlock_bytes     = 8 << 20,
                                         .memlock_max_bytes = INT64_MAX,
                                         .files             = 1024,
                                         .files_max         = 4096,
                                         .kernel            = "5.4.0"};

static void says(int error, struct uring_limits limits, const char *const words[])
{
    char why[1024];
    uring_explain("io_uring_setup", error, &limits, why, sizeof why);
    for (int i = 0; words[i] != NULL; i++) {
        cr_assert(strstr(why, words[i]) != NULL, "\"%s\" is missing in: %s", words[i], why);
    }
    cr_assert_null(strchr(why, '\n'), "one line");
    cr_assert_lt(strlen(why), 700);
}

Test(loop_uring_probe, a_disabled_io_uring_names_the_sysctl)
{
    struct uring_limits limits = good;
    limits.disabled            = 2;
    says(-EPERM, limits,
         (const char *[]){"io_uring_setup: EPERM", "kernel.io_uring_disabled is 2", "sysctl kernel.io_uring_disabled=0",
                          NULL});
    limits.disabled = 1;
    says(-EPERM, limits, (const char *[]){"kernel.io_uring_disabled is 1", "kernel.io_uring_group", NULL});
}

Test(loop_uring_probe, a_refusal_without_the_sysctl_blames_seccomp)
{
    struct uring_limits limits = good;
    says(-EPERM, limits,
         (const char *[]){"seccomp", "io_uring_setup, io_uring_enter and io_uring_register", "docker run", "Kubernetes",
                          NULL});
    limits.disabled = -1; /* a kernel before 6.6 does not have the sysctl */
    says(-EPERM, limits, (const char *[]){"seccomp", NULL});
}

Test(loop_uring_probe, an_old_kernel_is_named)
{
    says(-ENOSYS, good, (const char *[]){"ENOSYS", "5.4.0", "gVisor", "Linux 6.0", NULL});
    says(-EINVAL, good, (const char *[]){"EINVAL", "5.4.0", "Linux 6.0", NULL});
}

Test(loop_uring_probe, limits_of_memory_and_files_are_named_with_their_values)
{
    says(-ENOMEM, good, (const char *[]){"RLIMIT_MEMLOCK", "8388608", "unlimited", "LimitMEMLOCK=infinity", NULL});
    says(-EMFILE, good, (const char *[]){"RLIMIT_NOFILE", "1024", "4096", "LimitNOFILE=", NULL});
}

Test(loop_uring_probe, another_error_is_told_in_its_own_words)
{
    says(-EIO, good, (const char *[]){"EIO", "Input/output error", NULL});
}

Test(loop_uring_probe, a_short_buffer_is_not_overrun)
{
    char why[16];
    memset(why, 'x', sizeof why);
    uring_explain("io_uring_setup", -EPERM, &good, why, 8);
    cr_assert_eq(strlen(why), 7);
    cr_assert_eq(why[8], 'x');
}

Test(loop_uring_probe, the_limits_of_this_machine_are_read)
{
    struct uring_limits limits;
    uring_limits_read(&limits);
    cr_assert_gt(limits.files, 0);
    cr_assert_geq(limits.files_max, limits.files);
    cr_assert_gt(strlen(limits.kernel), 3);
}
