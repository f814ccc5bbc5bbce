/* Values that lie in files beside the model. A model that somebody sent must not make us read what is not part of it: the
 * place is a relative path below the model's folder, without "..", opened folder by folder without following links; the file
 * must be a regular one with a single name, and long enough. */
#include "onnx/onnx.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    const char *location;
    int64_t offset, length; /* length -1: not said */
};

static plumb_status refuse(const plumb_onnx *file, const char *what, const char *field, const char *why)
{
    return plumb_fail(file->context, PLUMB_BAD_INPUT, "%s: %s, external_data %s: %s", file->path, what, field, why);
}

/* A whole number from 0 that fits; else -1. */
static int64_t number(const char *text)
{
    int64_t value = 0;
    for (const char *p = text; *p; p++) {
        if (*p < '0' || *p > '9' || value > (INT64_MAX - 9) / 10) {
            return -1;
        }
        value = 10 * value + (*p - '0');
    }
    return *text ? value : -1;
}

static plumb_status read_place(const plumb_onnx *file, const Onnx__Tensor *t, const char *what, struct place *place)
{
    *place = (struct place){.location = NULL, .length = -1};
    for (size_t i = 0; i < t->n_external_data; i++) {
        const char *key = t->external_data[i]->key ? t->external_data[i]->key : "";
        const char *text = t->external_data[i]->value ? t->external_data[i]->value : "";
        if (strcmp(key, "location") == 0) {
            place->location = text;
        } else if (strcmp(key, "offset") == 0 || strcmp(key, "length") == 0) {
            int64_t value = number(text);
            if (value < 0) {
                return refuse(file, what, key, "is no whole number from 0");
            }
            *(*key == 'o' ? &place->offset : &place->length) = value;
        } else if (strcmp(key, "checksum") != 0 && strcmp(key, "basepath") != 0) {
            return refuse(file, what, "key", "is none of location, offset, length, checksum, basepath");
        }
    }
    return place->location && *place->location ? PLUMB_OK : refuse(file, what, "location", "is missing");
}

/* Opens `location` below the folder, name by name; -1 with *why. */
static int open_below(int folder, const char *location, const char **why)
{
    int at = folder;
    const char *p = location;
    *why = *p == '/' ? "is an absolute path" : strlen(p) > 4096 ? "is longer than 4096 bytes" : NULL;
    while (!*why) {
        const char *end = strchr(p, '/');
        size_t length = end ? (size_t)(end - p) : strlen(p);
        char name[256];
        if (length == 0 || length >= sizeof(name) || (p[0] == '.' && (length == 1 || (length == 2 && p[1] == '.')))) {
            *why = "has a part that is empty, too long, \".\" or \"..\"";
            break;
        }
        memcpy(name, p, length);
        name[length] = '\0';
        int next = openat(at, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | (end ? O_DIRECTORY : 0));
        if (next < 0) {
            *why = errno == ELOOP || errno == ENOTDIR ? "leads through a symbolic link or what is no folder" : "cannot be opened";
            break;
        }
        if (at != folder) {
            close(at);
        }
        at = next;
        if (!end) {
            return at;
        }
        p = end + 1;
    }
    if (at != folder) {
        close(at);
    }
    return -1;
}

static const char *read_at(int fd, const struct place *place, void *to, size_t bytes)
{
    struct stat s;
    if (fstat(fd, &s) != 0 || !S_ISREG(s.st_mode)) {
        return "is no regular file";
    }
    if (s.st_nlink != 1) {
        return "has other names (hard links)";
    }
    if (place->offset > s.st_size || (uint64_t)bytes > (uint64_t)(s.st_size - place->offset)) {
        return "ends before the values do";
    }
    for (size_t done = 0; to && done < bytes;) {
        ssize_t n = pread(fd, (char *)to + done, bytes - done, (off_t)place->offset + (off_t)done);
        if (n <= 0 && errno != EINTR) {
            return "cannot be read";
        }
        done += n > 0 ? (size_t)n : 0;
    }
    return NULL;
}

plumb_status plumb_onnx_external(const plumb_onnx *file, const Onnx__Tensor *tensor, const char *what, void *to, size_t bytes)
{
    struct place place;
    plumb_status status = read_place(file, tensor, what, &place);
    if (status) {
        return status;
    }
    if (tensor->has_raw_data || tensor->n_float_data || tensor->n_int64_data || tensor->n_double_data || tensor->n_int32_data) {
        return refuse(file, what, "location", "there are values in the model, too");
    }
    if (place.length >= 0 && (uint64_t)place.length != bytes) {
        return refuse(file, what, "length", "is not what the dimensions say");
    }
    const char *slash = strrchr(file->path, '/'), *why = "the model's folder cannot be opened";
    char *path = plumb_strdup(file->context, slash ? file->path : ".");
    if (!path) {
        return PLUMB_FAILED;
    }
    if (slash) {
        path[slash == file->path ? 1 : slash - file->path] = '\0';
    }
    int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    plumb_free(file->context, path);
    int fd = folder < 0 ? -1 : open_below(folder, place.location, &why);
    if (fd >= 0) {
        why = read_at(fd, &place, to, bytes);
        close(fd);
    }
    if (folder >= 0) {
        close(folder);
    }
    return why ? refuse(file, what, "location", why) : PLUMB_OK;
}
