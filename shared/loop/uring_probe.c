/* uring_probe.c - turns an error number into the sentence that an operator needs.
 *
 *   EPERM    kernel.io_uring_disabled is not 0, or else a seccomp profile (containers)
 *   ENOSYS   a kernel without io_uring, or a sandbox such as gVisor
 *   ENOMEM   RLIMIT_MEMLOCK (kernels before 5.12 count rings), or memory of the control group
 *   EMFILE   RLIMIT_NOFILE */
#include "shared/loop/uring.h"

#include "shared/base/err.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

static int read_disabled(void)
{
    FILE *file  = fopen("/proc/sys/kernel/io_uring_disabled", "re");
    int   value = -1;
    if (file != NULL) {
        if (fscanf(file, "%d", &value) != 1) {
            value = -1;
        }
        fclose(file);
    }
    return value;
}

static int64_t limit_value(rlim_t limit)
{
    return limit == RLIM_INFINITY ? INT64_MAX : (int64_t)limit;
}

void uring_limits_read(struct uring_limits *limits)
{
    struct rlimit  limit;
    struct utsname name;
    *limits = (struct uring_limits){.memlock_bytes = -1, .memlock_max_bytes = -1, .files = -1, .files_max = -1};
    limits->disabled = read_disabled();
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
        limits->memlock_bytes     = limit_value(limit.rlim_cur);
        limits->memlock_max_bytes = limit_value(limit.rlim_max);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limits->files     = limit_value(limit.rlim_cur);
        limits->files_max = limit_value(limit.rlim_max);
    }
    if (uname(&name) == 0) {
        memcpy(limits->kernel, name.release, sizeof limits->kernel);
        limits->kernel[sizeof limits->kernel - 1] = '\0';
    }
}

static const char *limit_text(int64_t value, char *buffer, size_t size)
{
    if (value == INT64_MAX) {
        return "unlimited";
    }
    if (value < 0) {
        return "unknown";
    }
    snprintf(buffer, size, "%lld", (long long)value);
    return buffer;
}

static void explain_forbidden(const struct uring_limits *limits, char *why, size_t size)
{
    if (limits->disabled == 2) {
        snprintf(why, size,
                 "kernel.io_uring_disabled is 2, which forbids io_uring to every process: "
                 "run `sysctl kernel.io_uring_disabled=0` (and put it into /etc/sysctl.d)");
    } else if (limits->disabled == 1) {
        snprintf(why, size,
                 "kernel.io_uring_disabled is 1, which allows io_uring to privileged processes and to the group "
                 "kernel.io_uring_group only: run `sysctl kernel.io_uring_disabled=0`, or add this user to that group");
    } else {
        snprintf(
            why, size,
            "a seccomp profile forbids it (the default of Docker and containerd): allow io_uring_setup, io_uring_enter "
            "and io_uring_register, with `docker run --security-opt seccomp=<profile>`, in Kubernetes with "
            "securityContext.seccompProfile, in systemd with SystemCallFilter=@system-service @io-event");
    }
}

void uring_explain(const char *call, int error, const struct uring_limits *limits, char *why, size_t why_size)
{
    char now[24], most[24], reason[512];
    switch (error) {
    case -EPERM:
    case -EACCES:
        explain_forbidden(limits, reason, sizeof reason);
        break;
    case -ENOSYS:
    case -EOPNOTSUPP:
        snprintf(reason, sizeof reason,
                 "this kernel (%s) or sandbox (gVisor, for example) lacks it: Linux 6.0 or newer is needed, 6.1 or "
                 "newer is best",
                 limits->kernel);
        break;
    case -EINVAL:
        snprintf(reason, sizeof reason,
                 "this kernel (%s) does not know what was asked: Linux 6.0 or newer is needed, 6.1 or newer is best",
                 limits->kernel);
        break;
    case -ENOMEM:
        snprintf(
            reason, sizeof reason,
            "memory that may be locked (RLIMIT_MEMLOCK) is %s bytes, at most %s, and may be used up: set "
            "LimitMEMLOCK=infinity in systemd, `--ulimit memlock=-1` in Docker, or give the control group more memory",
            limit_text(limits->memlock_bytes, now, sizeof now),
            limit_text(limits->memlock_max_bytes, most, sizeof most));
        break;
    case -EMFILE:
    case -ENFILE:
        snprintf(reason, sizeof reason,
                 "open files (RLIMIT_NOFILE) are limited to %s, at most %s: set LimitNOFILE=1048576 in systemd or "
                 "`--ulimit nofile=1048576` in Docker, or ask for fewer connections",
                 limit_text(limits->files, now, sizeof now), limit_text(limits->files_max, most, sizeof most));
        break;
    default:
        snprintf(reason, sizeof reason, "%s", err_sentence(error));
        break;
    }
    snprintf(why, why_size, "io_uring is not available (%s: %s): %s", call, err_name(error), reason);
}

int uring_probe_operations(struct io_uring *ring, const char **missing)
{
    /* IORING_OP_SEND_ZC came with multishot receive (Linux 6.0), which has no sign of its own. */
    static const struct {
        int         operation;
        const char *name;
    } needed[] = {
        {IORING_OP_ACCEPT, "IORING_OP_ACCEPT"},
        {IORING_OP_CONNECT, "IORING_OP_CONNECT"},
        {IORING_OP_RECV, "IORING_OP_RECV"},
        {IORING_OP_SEND, "IORING_OP_SEND"},
        {IORING_OP_SENDMSG, "IORING_OP_SENDMSG"},
        {IORING_OP_SHUTDOWN, "IORING_OP_SHUTDOWN"},
        {IORING_OP_CLOSE, "IORING_OP_CLOSE"},
        {IORING_OP_ASYNC_CANCEL, "IORING_OP_ASYNC_CANCEL"},
        {IORING_OP_POLL_ADD, "IORING_OP_POLL_ADD"},
        {IORING_OP_READ, "IORING_OP_READ"},
        {IORING_OP_WRITE, "IORING_OP_WRITE"},
        {IORING_OP_FSYNC, "IORING_OP_FSYNC"},
        {IORING_OP_RENAMEAT, "IORING_OP_RENAMEAT"},
        {IORING_OP_UNLINKAT, "IORING_OP_UNLINKAT"},
        {IORING_OP_SEND_ZC, "multishot IORING_OP_RECV"},
    };
    struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
    if (probe == NULL) {
        *missing = "IORING_REGISTER_PROBE";
        return -ENOSYS;
    }
    int result = 0;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0] && result == 0; i++) {
        if (!io_uring_opcode_supported(probe, needed[i].operation)) {
            *missing = needed[i].name;
            result   = -ENOSYS;
        }
    }
    io_uring_free_probe(probe);
    return result;
}
