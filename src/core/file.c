/* Files, read whole and written whole. Reading never blocks on a FIFO and never swallows a device; writing goes to a
 * temporary file beside the old one, which stays as it was until the rename. The calls go through the context's I/O
 * table; questions the table has no words for (what kind of file, what mode) are asked only of the real file system. */
#include "core/inside.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_ROOM ((size_t)1 << 16)
#define CALL_BYTES ((size_t)1 << 30) /* Linux moves at most 2 GiB in one call */

static int posix_open(void *user, const char *path, int flags, int mode)
{
    (void)user;
    return open(path, flags, (mode_t)mode);
}

static int64_t posix_read(void *user, int fd, void *to, size_t bytes)
{
    (void)user;
    return read(fd, to, bytes);
}

static int64_t posix_write(void *user, int fd, const void *from, size_t bytes)
{
    (void)user;
    return write(fd, from, bytes);
}

static int posix_sync(void *user, int fd)
{
    (void)user;
    return fsync(fd);
}

static int posix_close(void *user, int fd)
{
    (void)user;
    return close(fd);
}

static int posix_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return rename(from, to);
}

static int posix_unlink(void *user, const char *path)
{
    (void)user;
    return unlink(path);
}

static int posix_list(void *user, const char *folder, void (*each)(void *to, const char *name), void *to)
{
    (void)user;
    DIR *directory = opendir(folder);
    if (!directory) {
        return -1;
    }
    struct dirent *entry;
    int wrong;
    for (errno = 0; (entry = readdir(directory)); errno = 0) { /* at the end and after an error it is NULL */
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            each(to, entry->d_name);
        }
    }
    wrong = errno;
    closedir(directory);
    errno = wrong;
    return wrong ? -1 : 0;
}

const plumb_io plumb_io_posix = {
    .open = posix_open,
    .read = posix_read,
    .write = posix_write,
    .sync = posix_sync,
    .close = posix_close,
    .rename = posix_rename,
    .unlink = posix_unlink,
    .list = posix_list,
};

static int open_file(plumb_context *context, const char *path, int flags, int mode)
{
    int fd;
    do {
        fd = context->io.open(context->io.user, path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static bool sync_file(plumb_context *context, int fd)
{
    int result;
    do {
        result = context->io.sync(context->io.user, fd);
    } while (result != 0 && errno == EINTR);
    return result == 0;
}

/* An interrupted close has closed on Linux: trying again could close somebody else's file. */
static bool close_file(plumb_context *context, int fd)
{
    return context->io.close(context->io.user, fd) == 0 || errno == EINTR;
}

static const char *not_regular(mode_t mode)
{
    if (S_ISREG(mode)) {
        return NULL;
    }
    return S_ISDIR(mode) ? "is a directory" :
           S_ISFIFO(mode) ? "is a FIFO" :
           S_ISCHR(mode) || S_ISBLK(mode) ? "is a device" :
           S_ISSOCK(mode) ? "is a socket" : "is not a regular file";
}

static plumb_status os_error(plumb_context *context, const char *path, const char *doing)
{
    return plumb_fail(context, PLUMB_IO_ERROR, "%s: %s: %s", path, doing, strerror(errno));
}

/* Checks what was opened; *size becomes a first guess of the length (files in /proc say 0). */
static plumb_status inspect(plumb_context *context, const char *path, int fd, size_t limit, size_t *size)
{
    struct stat about;
    if (!plumb_io_is_real(context)) {
        return PLUMB_OK;
    }
    if (fstat(fd, &about) != 0) {
        return os_error(context, path, "cannot stat");
    }
    const char *wrong = not_regular(about.st_mode);
    if (wrong) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: %s, a regular file is expected", path, wrong);
    }
    if ((uint64_t)about.st_size > limit) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: %lld bytes long, at most %zu are allowed", path,
                          (long long)about.st_size, limit);
    }
    *size = (size_t)about.st_size;
    return PLUMB_OK;
}

/* Reads to the end of the file, which may have grown or shrunk since it was inspected. */
static plumb_status read_all(plumb_context *context, const char *path, int fd, size_t limit, size_t room, void **data,
                             size_t *bytes)
{
    char *buffer = plumb_alloc(context, room);
    size_t length = 0;
    while (buffer) {
        size_t want = room - length < CALL_BYTES ? room - length : CALL_BYTES;
        int64_t got = context->io.read(context->io.user, fd, buffer + length, want);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            plumb_free(context, buffer);
            return os_error(context, path, "cannot read");
        }
        if (got == 0) {
            buffer[length] = '\0'; /* length < room always */
            *data = buffer;
            *bytes = length;
            return PLUMB_OK;
        }
        length += (size_t)got;
        if (length > limit) {
            plumb_free(context, buffer);
            return plumb_fail(context, PLUMB_BAD_INPUT, "%s: longer than the %zu bytes allowed", path, limit);
        }
        if (length == room) {
            char *larger = plumb_realloc(context, buffer, room * 2);
            if (!larger) {
                plumb_free(context, buffer);
            }
            buffer = larger;
            room *= 2;
        }
    }
    return plumb_fail(context, PLUMB_FAILED, "%s: out of memory", path);
}

static plumb_status read_file(plumb_context *context, const char *path, int flags, size_t limit, void **data, size_t *bytes)
{
    *data = NULL;
    *bytes = 0;
    size_t size = 0;
    int fd = open_file(context, path, O_RDONLY | O_NONBLOCK | O_NOCTTY | flags, 0);
    if (fd < 0 && errno == ELOOP && (flags & O_NOFOLLOW)) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: is a symbolic link, a regular file is expected", path);
    }
    if (fd < 0) {
        return os_error(context, path, "cannot open");
    }
    plumb_status status = inspect(context, path, fd, limit, &size);
    if (status == PLUMB_OK) {
        /* One byte more than the file: the read that meets the end needs room, and so does the closing 0. */
        status = read_all(context, path, fd, limit, size ? size + 1 : FIRST_ROOM, data, bytes);
    }
    close_file(context, fd); /* nothing was written: its failure changes nothing */
    return status;
}

plumb_status plumb_read_file(plumb_context *context, const char *path, size_t limit, void **data, size_t *bytes)
{
    return read_file(context, path, 0, limit, data, bytes);
}

plumb_status plumb_read_no_link(plumb_context *context, const char *path, size_t limit, void **data, size_t *bytes)
{
    return read_file(context, path, O_NOFOLLOW, limit, data, bytes);
}

static plumb_status write_all(plumb_context *context, const char *path, int fd, const void *data, size_t bytes)
{
    const char *at = data;
    while (bytes > 0) {
        int64_t put = context->io.write(context->io.user, fd, at, bytes < CALL_BYTES ? bytes : CALL_BYTES);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put == 0) {
            errno = ENOSPC; /* "nothing written, no error": a full disk by another name */
        }
        if (put <= 0) {
            return os_error(context, path, "cannot write");
        }
        at += put;
        bytes -= (size_t)put;
    }
    return PLUMB_OK;
}

/* The names a write deals with, in one allocation. */
struct names {
    const char *path;
    char *temporary; /* path.tmp.PID, or path.tmp.PID-N when a killed process left that one behind */
    char *folder;
    size_t room; /* of temporary */
};

static plumb_status make_names(plumb_context *context, const char *path, struct names *names)
{
    size_t length = strlen(path);
    *names = (struct names){.path = path, .room = length + 64};
    names->temporary = plumb_alloc(context, names->room + length + 2);
    if (!names->temporary) {
        return PLUMB_FAILED;
    }
    names->folder = names->temporary + names->room;
    const char *slash = strrchr(path, '/');
    size_t folder = slash ? (size_t)(slash - path) : 0;
    if (!slash) {
        memcpy(names->folder, ".", 2);
    } else {
        folder += folder == 0; /* "/file" lies in "/" */
        memcpy(names->folder, path, folder);
        names->folder[folder] = '\0';
    }
    return PLUMB_OK;
}

/* What would be replaced: only a regular file may be, and its mode is kept. *mode is -1 when there is none. */
static plumb_status inspect_old(plumb_context *context, const char *path, int *mode)
{
    struct stat about;
    *mode = -1;
    if (!plumb_io_is_real(context) || stat(path, &about) != 0) {
        return PLUMB_OK; /* what is truly wrong with the path shows when the temporary file is made */
    }
    const char *wrong = not_regular(about.st_mode);
    if (wrong) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "%s: %s, it is not replaced by a file", path, wrong);
    }
    *mode = (int)(about.st_mode & 07777);
    return PLUMB_OK;
}

static int open_temporary(plumb_context *context, struct names *names)
{
    int fd = -1;
    for (int n = 0; n < 100; n++) {
        char suffix[16] = "";
        if (n > 0) {
            snprintf(suffix, sizeof(suffix), "-%d", n);
        }
        snprintf(names->temporary, names->room, "%s.tmp.%ld%s", names->path, (long)getpid(), suffix);
        fd = open_file(context, names->temporary, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (fd >= 0 || errno != EEXIST) {
            break;
        }
    }
    return fd;
}

static plumb_status fill_temporary(plumb_context *context, const struct names *names, int fd, int mode,
                                   const void *data, size_t bytes)
{
    plumb_status status = write_all(context, names->path, fd, data, bytes);
    if (status == PLUMB_OK && mode >= 0 && fchmod(fd, (mode_t)mode) != 0) {
        status = os_error(context, names->path, "cannot keep the mode of the old file");
    }
    if (status == PLUMB_OK && !sync_file(context, fd)) {
        status = os_error(context, names->path, "cannot sync");
    }
    if (!close_file(context, fd) && status == PLUMB_OK) {
        status = os_error(context, names->path, "cannot close");
    }
    return status;
}

/* Reads the temporary file again: what a disk or its driver lost without a word is seen while the old file is there. */
static plumb_status compare(plumb_context *context, const struct names *names, const void *data, size_t bytes)
{
    unsigned char *part = plumb_alloc(context, FIRST_ROOM);
    int fd = part ? open_file(context, names->temporary, O_RDONLY, 0) : -1;
    plumb_status status = fd >= 0 ? PLUMB_OK : part ? os_error(context, names->path, "cannot read it again") : PLUMB_FAILED;
    for (size_t at = 0; status == PLUMB_OK;) {
        int64_t got = context->io.read(context->io.user, fd, part, FIRST_ROOM);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            status = os_error(context, names->path, "cannot read it again");
        } else if (got == 0 && at == bytes) {
            break;
        } else if (got == 0 || (size_t)got > bytes - at || memcmp(part, (const char *)data + at, (size_t)got) != 0) {
            status = plumb_fail(context, PLUMB_IO_ERROR, "%s: what was written reads back otherwise", names->path);
        } else {
            at += (size_t)got;
        }
    }
    if (fd >= 0) {
        close_file(context, fd);
    }
    plumb_free(context, part);
    return status;
}

static plumb_status replace(plumb_context *context, struct names *names, int folder, const void *data, size_t bytes,
                            bool verified)
{
    int mode;
    plumb_status status = inspect_old(context, names->path, &mode);
    if (status != PLUMB_OK) {
        return status;
    }
    int fd = open_temporary(context, names);
    if (fd < 0) {
        return os_error(context, names->path, "cannot create a temporary file beside it");
    }
    status = fill_temporary(context, names, fd, mode, data, bytes);
    if (status == PLUMB_OK && verified) {
        status = compare(context, names, data, bytes);
    }
    if (status == PLUMB_OK && context->io.rename(context->io.user, names->temporary, names->path) != 0) {
        status = os_error(context, names->path, "cannot rename the temporary file");
    }
    if (status != PLUMB_OK) {
        context->io.unlink(context->io.user, names->temporary); /* if this fails too, the first error says more */
        return status;
    }
    /* Some file systems have no way to sync a folder and say EINVAL: nothing more can be done there. */
    if (!sync_file(context, folder) && errno != EINVAL && errno != ENOTSUP) {
        return os_error(context, names->path, "written, but cannot sync its folder");
    }
    return PLUMB_OK;
}

static plumb_status write_file(plumb_context *context, const char *path, const void *data, size_t bytes, bool verified)
{
    struct names names;
    if (make_names(context, path, &names) != PLUMB_OK) {
        return plumb_fail(context, PLUMB_FAILED, "%s: out of memory", path);
    }
    /* The folder first: if it cannot be opened, the rename could not be made durable, so nothing is begun. */
    int folder = open_file(context, names.folder, O_RDONLY | O_DIRECTORY, 0);
    plumb_status status = folder < 0 ? os_error(context, path, "cannot open its folder")
                                     : replace(context, &names, folder, data, bytes, verified);
    if (folder >= 0) {
        close_file(context, folder);
    }
    plumb_free(context, names.temporary);
    return status;
}

plumb_status plumb_write_file(plumb_context *context, const char *path, const void *data, size_t bytes)
{
    return write_file(context, path, data, bytes, false);
}

plumb_status plumb_write_verified(plumb_context *context, const char *path, const void *data, size_t bytes)
{
    return write_file(context, path, data, bytes, true);
}

plumb_status plumb_remove_file(plumb_context *context, const char *path)
{
    return context->io.unlink(context->io.user, path) == 0 ? PLUMB_OK : os_error(context, path, "cannot remove");
}

plumb_status plumb_list_folder(plumb_context *context, const char *path, void (*each)(void *to, const char *name), void *to)
{
    return context->io.list(context->io.user, path, each, to) == 0 ? PLUMB_OK : os_error(context, path, "cannot list");
}

plumb_status plumb_make_folder(plumb_context *context, const char *path)
{
    char *name = plumb_io_is_real(context) ? plumb_strdup(context, path) : NULL;
    bool made = true;
    if (!name) {
        return plumb_io_is_real(context) ? PLUMB_FAILED : PLUMB_OK;
    }
    for (char *at = name; made && *at;) {
        at += strspn(at, "/");
        at += strcspn(at, "/");
        char after = *at;
        *at = '\0';
        made = mkdir(name, 0777) == 0 || errno == EEXIST;
        *at = after;
    }
    plumb_status status = made ? PLUMB_OK : os_error(context, path, "cannot make the folder");
    plumb_free(context, name);
    return status;
}
