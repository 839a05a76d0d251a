/* uring_unix.c - listeners on a path of this machine ("unix:/run/keel/mqtt.sock"). */
#include "shared/loop/uring.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char scheme[] = "unix:";

const char *unix_path(const char *address)
{
    return strncmp(address, scheme, sizeof scheme - 1) == 0 ? address + sizeof scheme - 1 : NULL;
}

/* Is there nobody behind the socket file that lies there: a process that was killed has left it? */
static bool abandoned(const struct sockaddr_un *name)
{
    struct stat status;
    int         fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return false;
    }
    bool alone = connect(fd, (const struct sockaddr *)name, sizeof *name) != 0 && errno == ECONNREFUSED &&
                 lstat(name->sun_path, &status) == 0 && S_ISSOCK(status.st_mode);
    close(fd);
    return alone;
}

int unix_listen(const char *path, uint32_t backlog, uint32_t mode)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (*path == '\0' || strlen(path) >= sizeof name.sun_path) {
        return -ENAMETOOLONG;
    }
    memcpy(name.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    mode_t before = umask(0777); /* nobody connects before the mode is right */
    int    bound  = bind(fd, (const struct sockaddr *)&name, sizeof name);
    if (bound != 0 && errno == EADDRINUSE && abandoned(&name) && unlink(path) == 0) {
        bound = bind(fd, (const struct sockaddr *)&name, sizeof name);
    }
    int error = bound == 0 ? 0 : -errno;
    umask(before);
    if (error == 0 && (chmod(path, (mode_t)mode) != 0 || listen(fd, (int)backlog) != 0)) {
        error = -errno;
        unlink(path);
    }
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}
