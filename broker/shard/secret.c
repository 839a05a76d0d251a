/* secret - see secret.h. */
#include "broker/shard/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* NULL, or what is wrong with the file. */
static const char *look(int fd, char *text, size_t text_size)
{
    struct stat status;
    if (fd < 0 || fstat(fd, &status) != 0) {
        return strerror(errno);
    }
    if (!S_ISREG(status.st_mode)) {
        return "it is no file";
    }
    if ((status.st_mode & 0077) != 0) {
        (void)snprintf(text, text_size, "its mode %04o lets others at it; make it 0600",
                       (unsigned)(status.st_mode & 07777));
        return text;
    }
    return NULL;
}

bool secret_read(const char *path, char *out, size_t room, char *why, size_t why_size)
{
    char        text[64];
    int         fd    = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* not waiting for whoever writes to a pipe */
    const char *wrong = look(fd, text, sizeof text);
    ssize_t     size  = wrong != NULL ? 0 : read(fd, out, room);
    if (fd >= 0) {
        close(fd);
    }
    if (wrong == NULL && size < 0) {
        wrong = strerror(errno);
    }
    size_t line = 0;
    while (wrong == NULL && line < (size_t)size && out[line] != '\n' && out[line] != '\r') {
        line++;
    }
    if (wrong == NULL && (line == 0 || line == room)) {
        wrong = line == 0 ? "its first line is empty" : "its first line is too long";
    }
    if (wrong != NULL) {
        (void)snprintf(why, why_size, "the password file %s: %s", path, wrong);
        return false;
    }
    memset(out + line, 0, room - line);
    return true;
}
