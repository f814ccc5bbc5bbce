/* A folder for one process at a time. The lock is the operating system's, on an open file, so it ends with the process
 * however that ends; what the file says (process and time) is for people. The file is removed with the lock, so whoever
 * got the lock of a file that was removed meanwhile has nothing and tries again. */
#include "core/inside.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define TRIES 100 /* each lost to a process that ended in this moment */

static bool still_there(const char *path, int fd)
{
    struct stat here, held;
    return stat(path, &here) == 0 && fstat(fd, &held) == 0 && here.st_ino == held.st_ino && here.st_dev == held.st_dev;
}

/* Who has it, as far as the file says. */
static plumb_status refuse(plumb_context *context, const char *folder, int fd)
{
    char text[80] = "";
    int64_t got = pread(fd, text, sizeof(text) - 1, 0);
    text[got > 0 ? strcspn(text, "\n") : 0] = '\0';
    return plumb_fail(context, PLUMB_BAD_INPUT, "%s: another run is using this folder%s%s", folder, *text ? ": " : "", text);
}

static plumb_status sign(plumb_context *context, const char *path, int fd)
{
    char text[80], when[32] = "";
    time_t now = time(NULL);
    struct tm parts;
    if (gmtime_r(&now, &parts)) {
        strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &parts);
    }
    int length = snprintf(text, sizeof(text), "process %ld since %s UTC\n", (long)getpid(), when);
    return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)length, 0) == length
               ? PLUMB_OK
               : plumb_fail(context, PLUMB_IO_ERROR, "%s: cannot write: %s", path, strerror(errno));
}

static plumb_status try_lock(plumb_context *context, const char *folder, struct plumb_lock *lock, bool *again)
{
    *again = false;
    lock->fd = open(lock->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
    if (lock->fd < 0) {
        return plumb_fail(context, PLUMB_IO_ERROR, "%s: cannot open: %s", lock->path, strerror(errno));
    }
    if (flock(lock->fd, LOCK_EX | LOCK_NB) != 0) {
        return errno == EWOULDBLOCK
                   ? refuse(context, folder, lock->fd)
                   : plumb_fail(context, PLUMB_IO_ERROR, "%s: cannot lock: %s", lock->path, strerror(errno));
    }
    *again = !still_there(lock->path, lock->fd);
    return *again ? PLUMB_FAILED : sign(context, lock->path, lock->fd);
}

plumb_status plumb_lock_folder(plumb_context *context, const char *folder, struct plumb_lock *lock)
{
    *lock = (struct plumb_lock){.fd = -1};
    if (!plumb_io_is_real(context)) {
        return PLUMB_OK;
    }
    struct plumb_text path = {.context = context};
    plumb_text_add(&path, "%s/lock", folder);
    lock->path = plumb_text_take(&path);
    plumb_status status = PLUMB_FAILED;
    bool again = lock->path != NULL;
    for (int i = 0; again && i < TRIES; i++) {
        status = try_lock(context, folder, lock, &again);
        if (status && lock->fd >= 0) {
            close(lock->fd);
        }
    }
    if (status) {
        plumb_free(context, lock->path);
        *lock = (struct plumb_lock){.fd = -1};
    }
    return again ? plumb_fail(context, PLUMB_IO_ERROR, "%s: its lock changes hands all the time", folder) : status;
}

void plumb_unlock_folder(plumb_context *context, struct plumb_lock *lock)
{
    if (lock->path) {
        unlink(lock->path);
        close(lock->fd);
        plumb_free(context, lock->path);
    }
    *lock = (struct plumb_lock){.fd = -1};
}
