/* dev.c - two children, started and stopped in order. */
#include "keel/dev.h"

#include "shared/base/err.h"
#include "shared/config/settings.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STOP_WAIT_MS = 10000, STATUS_USAGE = 2, ARGUMENTS_MAX = 256, ADDRESS_TEXT_MAX = 80, READY_LINE_MAX = 1024 };

struct child {
    const char *name;
    pid_t       pid;      /* 0: not running */
    int         ready_fd; /* read end; -1: nothing is awaited */
    int         status;   /* of waitpid, once it ended */
    char        line[READY_LINE_MAX];
    size_t      line_size;
};

struct dev {
    struct settings settings;
    struct child    store;
    struct child    broker;
    int             signals; /* signalfd: SIGTERM, SIGINT, SIGCHLD */
    sigset_t        former_mask;
    bool            stop_asked;
    bool            stop_urgent; /* asked twice */
};

static void print_help(FILE *to)
{
    fputs("keel dev - runs a segment store and a broker on this machine, in the foreground\n\n"
          "  keel dev [--data DIR] [--mqtt ADDR:PORT] [--admin ADDR:PORT] [--segstore ADDR:PORT] [--shards N] "
          "[--config FILE] [--set KEY=VALUE]\n\n",
          to);
    config_print_flags(&settings_table, NULL, to);
    fputs("\nPrints `keel ready mqtt=.. admin=.. segstore=.. segstore-admin=.. data=..` when clients can connect; port "
          "0 picks a free "
          "one.\n"
          "SIGTERM or SIGINT stops the broker, then the store; a second one at once. `keel config` shows every key.\n",
          to);
}

/* The program called name in the directory of this one. */
static int sibling(const char *name, char *path, size_t size)
{
    char    self[PATH_MAX];
    ssize_t used = readlink("/proc/self/exe", self, sizeof self - 1);
    if (used < 0) {
        return -errno;
    }
    self[used] = '\0';
    if (snprintf(path, size, "%s/%s", dirname(self), name) >= (int)size) {
        return -ENAMETOOLONG;
    }
    return access(path, X_OK) == 0 ? 0 : -errno;
}

/* In the new process: becomes the program or says why not. */
static void become(const struct dev *dev, const char *path, char **argv, pid_t parent)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM); /* nobody is left behind when keel dev itself is killed */
    sigprocmask(SIG_SETMASK, &dev->former_mask, NULL);
    dup2(STDERR_FILENO, STDOUT_FILENO); /* standard output is for the one line of keel dev */
    if (getppid() == parent) {
        execv(path, argv);
        fprintf(stderr, "keel dev: %s: %s\n", path, strerror(errno));
    }
    _exit(127);
}

enum { MORE = 4 };

#define FREE_PORT "127.0.0.1:0"

/* Starts one program with the flags of this command and more[] behind them; NULL: nothing more. */
static int child_start(struct dev *dev, struct child *child, int argc, char **argv, char *const more[MORE])
{
    char  path[PATH_MAX], ready[32];
    int   ends[2];
    char *args[ARGUMENTS_MAX];
    int   count = 0;
    int   error = sibling(child->name, path, sizeof path);
    if (error == 0 && argc + MORE + 3 > ARGUMENTS_MAX) {
        error = -E2BIG;
    }
    if (error != 0) {
        fprintf(stderr, "keel dev: %s: %s\n", path, err_sentence(error));
        return error;
    }
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    args[count++] = path;
    for (int i = 1; i < argc; i++) {
        args[count++] = argv[i];
    }
    for (int i = 0; i < MORE && more[i] != NULL; i++) {
        args[count++] = more[i];
    }
    snprintf(ready, sizeof ready, "%d", ends[1]);
    args[count++] = "--ready-fd";
    args[count++] = ready;
    args[count]   = NULL;

    pid_t parent = getpid();
    child->pid   = fork();
    if (child->pid == 0) {
        fcntl(ends[1], F_SETFD, 0);
        become(dev, path, args, parent);
    }
    close(ends[1]);
    if (child->pid < 0) {
        error      = -errno;
        child->pid = 0;
        close(ends[0]);
        return error;
    }
    child->ready_fd = ends[0];
    return 0;
}

static void child_read(struct child *child)
{
    ssize_t got = read(child->ready_fd, child->line + child->line_size, sizeof child->line - 1 - child->line_size);
    if (got > 0) {
        child->line_size += (size_t)got;
    }
    if (got <= 0 || memchr(child->line, '\n', child->line_size) != NULL) {
        close(child->ready_fd);
        child->ready_fd = -1;
    }
}

static bool child_ready(const struct child *child)
{
    return memchr(child->line, '\n', child->line_size) != NULL;
}

static void child_reap(struct child *child)
{
    if (child->pid != 0 && waitpid(child->pid, &child->status, WNOHANG) == child->pid) {
        child->pid = 0;
    }
}

/* The value of name= in a readiness line; false when it is not there. */
static bool ready_value(const struct child *child, const char *name, char *out, size_t size)
{
    char pattern[32];
    snprintf(pattern, sizeof pattern, " %s=", name);
    const char *found = strstr(child->line, pattern);
    if (found == NULL) {
        return false;
    }
    found += strlen(pattern);
    snprintf(out, size, "%.*s", (int)strcspn(found, " \n"), found);
    return true;
}

/* Sleeps until a signal, a line of a child, or the time is over; then notes what happened. */
static void dev_wait(struct dev *dev, int timeout_ms)
{
    struct pollfd fds[] = {
        {.fd = dev->signals, .events = POLLIN},
        {.fd = dev->store.ready_fd, .events = POLLIN},
        {.fd = dev->broker.ready_fd, .events = POLLIN},
    };
    if (poll(fds, 3, timeout_ms) <= 0) {
        return;
    }
    if (fds[1].revents != 0) {
        child_read(&dev->store);
    }
    if (fds[2].revents != 0) {
        child_read(&dev->broker);
    }
    struct signalfd_siginfo info;
    while (fds[0].revents != 0 && read(dev->signals, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGHUP) { /* certificates were renewed */
            if (dev->broker.pid != 0) {
                kill(dev->broker.pid, SIGHUP);
            }
        } else if (info.ssi_signo != SIGCHLD) {
            dev->stop_urgent = dev->stop_asked;
            dev->stop_asked  = true;
        }
    }
    child_reap(&dev->store);
    child_reap(&dev->broker);
}

/* Waits until the child has said that it is ready. False: it died, or a stop was asked for. */
static bool await_ready(struct dev *dev, struct child *child)
{
    while (child->pid != 0 && !child_ready(child) && !dev->stop_asked) {
        dev_wait(dev, -1);
    }
    return child->pid != 0 && child_ready(child) && !dev->stop_asked;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* SIGTERM, then SIGKILL when it takes too long or the user insists. */
static void child_stop(struct dev *dev, struct child *child)
{
    uint64_t deadline = now_ms() + STOP_WAIT_MS;
    bool     killed   = false;
    if (child->pid == 0) {
        return;
    }
    kill(child->pid, SIGTERM);
    while (child->pid != 0) {
        if (!killed && (dev->stop_urgent || now_ms() >= deadline)) {
            fprintf(stderr, "keel dev: %s (pid %d) does not stop; killing it\n", child->name, child->pid);
            kill(child->pid, SIGKILL);
            killed = true;
        }
        dev_wait(dev, killed ? -1 : (int)(deadline - now_ms() > STOP_WAIT_MS ? 0 : deadline - now_ms()));
        child_reap(child);
    }
}

/* What to say and with which status to end when a child ended by itself. */
static int child_verdict(const struct child *child)
{
    if (WIFSIGNALED(child->status)) {
        int number = WTERMSIG(child->status);
        fprintf(stderr, "keel dev: %s was ended by signal %d (%s); stopping\n", child->name, number, strsignal(number));
        return 128 + number;
    }
    int status = WEXITSTATUS(child->status);
    fprintf(stderr, "keel dev: %s ended with status %d; stopping\n", child->name, status);
    return status != 0 ? status : 1;
}

static void print_ready(const struct dev *dev)
{
    static const char *const doors[]                   = {"mqtt", "mqtts", "ws", "wss", "admin"};
    char                     address[ADDRESS_TEXT_MAX] = "?", store[ADDRESS_TEXT_MAX] = "?", data[PATH_MAX];
    char                     line[PATH_MAX + 8 * ADDRESS_TEXT_MAX];
    size_t                   used = (size_t)snprintf(line, sizeof line, "keel ready");
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++) {
        if (ready_value(&dev->broker, doors[i], address, sizeof address)) {
            used += (size_t)snprintf(line + used, sizeof line - used, " %s=%s", doors[i], address);
        }
    }
    ready_value(&dev->store, "listen", store, sizeof store);
    if (realpath(dev->settings.data, data) == NULL) {
        snprintf(data, sizeof data, "%s", dev->settings.data);
    }
    used += (size_t)snprintf(line + used, sizeof line - used, " segstore=%s", store);
    if (ready_value(&dev->store, "admin", address, sizeof address)) {
        used += (size_t)snprintf(line + used, sizeof line - used, " segstore-admin=%s", address);
    }
    snprintf(line + used, sizeof line - used, " data=%s", data);
    printf("%s\n", line);
    fflush(stdout);
    if (dev->settings.ready_fd != 0) {
        dprintf((int)dev->settings.ready_fd, "%s\n", line);
    }
}

static int start_signals(struct dev *dev)
{
    sigset_t wanted;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigaddset(&wanted, SIGCHLD);
    sigaddset(&wanted, SIGHUP);
    sigprocmask(SIG_BLOCK, &wanted, &dev->former_mask);
    dev->signals = signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
    return dev->signals < 0 ? -errno : 0;
}

/* Whether the command line or a file says where the store's HTTP is: with another default they would still say so. */
static bool store_admin_written(int argc, char **argv)
{
    static struct settings settings;
    char                   error[CONFIG_ERROR_MAX];
    struct config_table    table = settings_table;
    struct config_key     *keys  = malloc(table.count * sizeof *keys);
    bool                   said  = true;
    if (keys == NULL) {
        return said;
    }
    memcpy(keys, table.keys, table.count * sizeof *keys);
    for (size_t i = 0; i < table.count; i++) {
        if (keys[i].key != NULL && strcmp(keys[i].key, "segstore.admin") == 0) {
            keys[i].initial = FREE_PORT;
        }
    }
    table.keys = keys;
    if (config_load(argc, argv, &table, &settings, error) == 0) {
        said = settings.segstore_admin.at[0].host[0] == '\0' || settings.segstore_admin.at[0].port != 0;
    }
    free(keys);
    return said;
}

/* Nobody listens there. The default is an IPv4 address. */
static bool is_free(const struct config_address *at)
{
    struct sockaddr_in name  = {.sin_family = AF_INET, .sin_port = htons(at->port)};
    int                fd    = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool               free_ = fd >= 0 && inet_pton(AF_INET, at->host, &name.sin_addr) == 1 &&
                 setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) == 0 &&
                 bind(fd, (const struct sockaddr *)&name, sizeof name) == 0 && listen(fd, 1) == 0;
    if (fd >= 0) {
        close(fd);
    }
    return free_;
}

/* The store's HTTP is where it was written, else where keel ctl looks for it; when another one of this machine is there, the kernel picks a port. */
static char *const *store_admin_flag(const struct dev *dev, int argc, char **argv)
{
    static char        free_port[] = FREE_PORT, flag[] = "--segstore-admin";
    static char *const elsewhere[MORE] = {flag, free_port};
    static char *const nothing[MORE]   = {NULL, NULL};
    bool               usual = store_admin_written(argc, argv) || is_free(&dev->settings.segstore_admin.at[0]);
    return usual ? nothing : elsewhere;
}

/* The happy path: store, broker, ready, until a signal. Returns early when a child dies. */
static void run(struct dev *dev, int argc, char **argv)
{
    char address[ADDRESS_TEXT_MAX];
    if (child_start(dev, &dev->store, argc, argv, store_admin_flag(dev, argc, argv)) != 0 ||
        !await_ready(dev, &dev->store)) {
        return;
    }
    config_address_text(&dev->settings.segstore_address.at[0], address, sizeof address);
    ready_value(&dev->store, "listen", address, sizeof address);
    /* Started again, it is the same one, though its port may be chosen anew. */
    bool named = *dev->settings.broker_name != '\0';
    if (child_start(dev, &dev->broker, argc, argv,
                    (char *const[MORE]){"--segstore", address, named ? NULL : "--set", "broker.name=dev"}) != 0 ||
        !await_ready(dev, &dev->broker)) {
        return;
    }
    print_ready(dev);
    while (!dev->stop_asked && dev->store.pid != 0 && dev->broker.pid != 0) {
        dev_wait(dev, -1);
    }
}

int dev_run(int argc, char **argv)
{
    struct dev dev = {
        .store   = {.name = "keel-segstore", .ready_fd = -1, .status = -1},
        .broker  = {.name = "keel-broker", .ready_fd = -1, .status = -1},
        .signals = -1,
    };
    char error[CONFIG_ERROR_MAX];
    int  loaded = config_load(argc, argv, &settings_table, &dev.settings, error);
    if (loaded == CONFIG_HELP) {
        print_help(stdout);
        return 0;
    }
    if (loaded != 0) {
        fprintf(stderr, "keel dev: %s\n", error);
        return STATUS_USAGE;
    }
    if (start_signals(&dev) != 0) {
        perror("keel dev: signalfd");
        return 1;
    }
    run(&dev, argc, argv);

    /* A child that was started and is gone without having been told to stop decides the status. */
    int                 status = dev.stop_asked ? 0 : 1;
    const struct child *dead   = dev.store.pid == 0 ? &dev.store : dev.broker.pid == 0 ? &dev.broker : NULL;
    if (!dev.stop_asked && dead != NULL && dead->status != -1) {
        status = child_verdict(dead);
    }
    child_stop(&dev, &dev.broker);
    child_stop(&dev, &dev.store);
    close(dev.signals);
    return status;
}
