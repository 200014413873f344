/*
 * Writes down what a process does to the files of one folder, in order, so that a test can say what
 * a power cut between any two steps leaves on the disk. Loaded with LD_PRELOAD.
 *
 *   CUT_FOLDER   the folder, absolute
 *   CUT_LOG      where it is written down: for each step one letter (w write, t truncate, s sync,
 *                u unlink, r rename), the lengths of the path and of the data (u32), an offset
 *                (u64), then path and data. Of a rename the data is the new path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;

static const char *inside(const char *path) {
    const char *folder = getenv("CUT_FOLDER");
    size_t length = folder ? strlen(folder) : 0;
    if (!length || strncmp(path, folder, length) || path[length] != '/')
        return NULL;
    return path + length + 1;
}

static const char *name_of(int fd, char *buffer, size_t size) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, size - 1);
    if (length <= 0)
        return NULL;
    buffer[length] = 0;
    return inside(buffer);
}

static void record(char what, const char *path, uint64_t offset, const void *data, uint32_t size) {
    static ssize_t (*writes)(int, const struct iovec *, int);
    uint32_t path_size = strlen(path);
    pthread_mutex_lock(&lock);
    if (!writes)
        writes = dlsym(RTLD_NEXT, "writev");
    if (log_fd < 0)
        log_fd = open(getenv("CUT_LOG"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    struct iovec parts[] = {
        {&what, 1}, {&path_size, 4}, {&size, 4}, {&offset, 8},
        {(void *)path, path_size}, {(void *)data, size},
    };
    if (writes(log_fd, parts, size ? 6 : 5) < 0)
        abort();
    pthread_mutex_unlock(&lock);
}

#define REAL(type, name, ...)                                                                       \
    static type (*real)(__VA_ARGS__);                                                               \
    if (!real)                                                                                      \
        real = dlsym(RTLD_NEXT, name);

#define PWRITE(symbol)                                                                              \
    ssize_t symbol(int fd, const void *data, size_t size, off_t offset) {                           \
        REAL(ssize_t, #symbol, int, const void *, size_t, off_t)                                    \
        char buffer[4096];                                                                          \
        ssize_t done = real(fd, data, size, offset);                                                \
        const char *path = done > 0 ? name_of(fd, buffer, sizeof buffer) : NULL;                    \
        if (path)                                                                                   \
            record('w', path, offset, data, done);                                                  \
        return done;                                                                                \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t)
    char buffer[4096];
    off_t offset = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, size);
    const char *path = done > 0 && offset >= 0 ? name_of(fd, buffer, sizeof buffer) : NULL;
    if (path)
        record('w', path, offset, data, done);
    return done;
}

#define TRUNCATE(symbol)                                                                            \
    int symbol(int fd, off_t size) {                                                                \
        REAL(int, #symbol, int, off_t)                                                              \
        char buffer[4096];                                                                          \
        int failed = real(fd, size);                                                                \
        const char *path = failed ? NULL : name_of(fd, buffer, sizeof buffer);                      \
        if (path)                                                                                   \
            record('t', path, size, NULL, 0);                                                       \
        return failed;                                                                              \
    }
TRUNCATE(ftruncate)
TRUNCATE(ftruncate64)

#define SYNC(symbol)                                                                                \
    int symbol(int fd) {                                                                            \
        REAL(int, #symbol, int)                                                                     \
        char buffer[4096];                                                                          \
        int failed = real(fd);                                                                      \
        const char *path = failed ? NULL : name_of(fd, buffer, sizeof buffer);                      \
        if (path)                                                                                   \
            record('s', path, 0, NULL, 0);                                                          \
        return failed;                                                                              \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    REAL(int, "unlink", const char *)
    int failed = real(path);
    const char *name = failed ? NULL : inside(path);
    if (name)
        record('u', name, 0, NULL, 0);
    return failed;
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *)
    int failed = real(from, to);
    const char *name = failed ? NULL : inside(from), *target = failed ? NULL : inside(to);
    if (name && target)
        record('r', name, 0, target, strlen(target));
    return failed;
}
