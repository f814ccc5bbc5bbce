/* A disk in memory. Files are few and small, so everything is an array. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>

#include "check.h"

#define FILES 4096  /* contents ever made */
#define NAMES 256
#define OPEN 32
#define SECTOR 512

struct content {
    unsigned char *data;
    size_t bytes, synced; /* files are written from beginning to end: what is synced is a beginning */
};

struct name {
    char path[256];
    int content;
};

/* A name made or removed since the folder was synced. */
struct change {
    struct name name;
    bool removed;
};

struct disk {
    struct content content[FILES];
    int n_contents;
    struct name name[NAMES], durable[NAMES];
    int n_names, n_durable;
    struct change change[4 * NAMES];
    int n_changes;
    struct {
        int content; /* -1: free; -2: a folder */
        size_t at;
    } open[OPEN];
    int calls, from, fail_at, cut_at, error;
    enum disk_fault fault;
    bool failed;
};

struct disk *disk_new(void)
{
    struct disk *d = calloc(1, sizeof(*d));
    for (int i = 0; d && i < OPEN; i++) {
        d->open[i].content = -1;
    }
    return d;
}

void disk_free(struct disk *d)
{
    for (int i = 0; d && i < d->n_contents; i++) {
        free(d->content[i].data);
    }
    free(d);
}

static int find(const struct name *names, int n, const char *path)
{
    for (int i = 0; i < n; i++) {
        if (strcmp(names[i].path, path) == 0) {
            return i;
        }
    }
    return -1;
}

static void set_name(struct name *names, int *n, const char *path, int content)
{
    int at = find(names, *n, path);
    if (at < 0) {
        at = (*n)++;
        snprintf(names[at].path, sizeof(names[at].path), "%s", path);
    }
    names[at].content = content;
}

static void drop_name(struct name *names, int *n, const char *path)
{
    int at = find(names, *n, path);
    if (at >= 0) {
        names[at] = names[--*n];
    }
}

static void change(struct disk *d, const char *path, int content, bool removed)
{
    struct change *c = &d->change[d->n_changes++];
    snprintf(c->name.path, sizeof(c->name.path), "%s", path);
    c->name.content = content;
    c->removed = removed;
    if (removed) {
        drop_name(d->name, &d->n_names, path);
    } else {
        set_name(d->name, &d->n_names, path, content);
    }
}

/* Counts a call. 0: it goes on; 1: one byte of it; 2: wrongly; -1: it fails, errno is set. */
static int enter(struct disk *d)
{
    int call = ++d->calls - d->from;
    if (d->cut_at > 0 && call >= d->cut_at) {
        errno = EIO;
        return -1;
    }
    if (call != d->fail_at) {
        return 0;
    }
    d->failed = true;
    errno = d->fault == DISK_INTERRUPTS ? EINTR : d->error;
    return d->fault == DISK_SHORT ? 1 : d->fault == DISK_LIES ? 2 : -1;
}

static int disk_open(void *user, const char *path, int flags, int mode)
{
    struct disk *d = *(struct disk **)user;
    int fd = 0;
    (void)mode;
    if (enter(d) < 0) {
        return -1;
    }
    while (fd < OPEN && d->open[fd].content != -1) {
        fd++;
    }
    int at = find(d->name, d->n_names, path);
    if (fd == OPEN || (at >= 0 && (flags & O_EXCL)) || (at < 0 && !(flags & (O_CREAT | O_DIRECTORY)))) {
        errno = fd == OPEN ? EMFILE : at >= 0 ? EEXIST : ENOENT;
        return -1;
    }
    d->open[fd].at = 0;
    d->open[fd].content = flags & O_DIRECTORY ? -2 : at >= 0 ? d->name[at].content : d->n_contents;
    if (at < 0 && (flags & O_CREAT)) {
        d->content[d->n_contents] = (struct content){0};
        change(d, path, d->n_contents++, false);
    }
    return fd;
}

static int64_t disk_read(void *user, int fd, void *to, size_t bytes)
{
    struct disk *d = *(struct disk **)user;
    int how = enter(d);
    if (how < 0) {
        return -1;
    }
    const struct content *c = &d->content[d->open[fd].content];
    size_t left = c->bytes - d->open[fd].at;
    size_t count = how == 1 && left > 0 ? 1 : left < bytes ? left : bytes;
    if (count > 0) {
        memcpy(to, c->data + d->open[fd].at, count);
    }
    d->open[fd].at += count;
    return (int64_t)count;
}

static int64_t disk_write(void *user, int fd, const void *from, size_t bytes)
{
    struct disk *d = *(struct disk **)user;
    int how = enter(d);
    if (how < 0) {
        return -1;
    }
    struct content *c = &d->content[d->open[fd].content];
    size_t count = how == 1 && bytes > 0 ? 1 : bytes;
    c->data = realloc(c->data, c->bytes + count + 1);
    memcpy(c->data + c->bytes, from, count);
    c->bytes += count;
    c->data[c->bytes / 2] ^= how == 2 ? 64 : 0;
    return (int64_t)count;
}

static int disk_fsync(void *user, int fd)
{
    struct disk *d = *(struct disk **)user;
    if (enter(d) < 0) {
        return -1;
    }
    if (d->open[fd].content == -2) { /* there is one folder */
        memcpy(d->durable, d->name, sizeof(d->name));
        d->n_durable = d->n_names;
        d->n_changes = 0;
    } else {
        d->content[d->open[fd].content].synced = d->content[d->open[fd].content].bytes;
    }
    return 0;
}

static int disk_close(void *user, int fd)
{
    struct disk *d = *(struct disk **)user;
    int how = enter(d);
    d->open[fd].content = -1; /* also when it fails, as Linux does */
    return how < 0 ? -1 : 0;
}

static int disk_rename(void *user, const char *from, const char *to)
{
    struct disk *d = *(struct disk **)user;
    int at = find(d->name, d->n_names, from);
    if (enter(d) < 0) {
        return -1;
    }
    if (at < 0) {
        errno = ENOENT;
        return -1;
    }
    change(d, to, d->name[at].content, false);
    change(d, from, -1, true);
    return 0;
}

static int disk_unlink(void *user, const char *path)
{
    struct disk *d = *(struct disk **)user;
    if (enter(d) < 0) {
        return -1;
    }
    if (find(d->name, d->n_names, path) < 0) {
        errno = ENOENT;
        return -1;
    }
    change(d, path, -1, true);
    return 0;
}

static int disk_list(void *user, const char *folder, void (*each)(void *to, const char *name), void *to)
{
    struct disk *d = *(struct disk **)user;
    size_t length = strlen(folder);
    int how = enter(d);
    for (int i = 0; i < d->n_names && how >= 0; i++) {
        if (strncmp(d->name[i].path, folder, length) == 0 && d->name[i].path[length] == '/') {
            each(to, d->name[i].path + length + 1);
        }
    }
    return how < 0 ? -1 : 0;
}

plumb_io disk_io(struct disk **disk)
{
    return (plumb_io){.user = disk, .open = disk_open, .read = disk_read, .write = disk_write, .sync = disk_fsync,
                      .close = disk_close, .rename = disk_rename, .unlink = disk_unlink, .list = disk_list};
}

int disk_calls(const struct disk *d) { return d->calls; }
bool disk_failed(const struct disk *d) { return d->failed; }

void disk_fail(struct disk *d, int call, enum disk_fault fault, int error)
{
    d->from = d->calls;
    d->fail_at = call;
    d->fault = fault;
    d->error = error;
    d->failed = false;
}

void disk_cut(struct disk *d, int call)
{
    d->from = d->calls;
    d->cut_at = call;
}

void disk_sync(struct disk *d)
{
    memcpy(d->durable, d->name, sizeof(d->name));
    d->n_durable = d->n_names;
    d->n_changes = 0;
    for (int i = 0; i < d->n_contents; i++) {
        d->content[i].synced = d->content[i].bytes;
    }
}

int disk_open_files(const struct disk *d)
{
    int n = 0;
    for (int i = 0; i < OPEN; i++) {
        n += d->open[i].content != -1;
    }
    return n;
}

int disk_files(const struct disk *d) { return d->n_names; }

const unsigned char *disk_data(const struct disk *d, const char *path, size_t *bytes)
{
    int at = find(d->name, d->n_names, path);
    *bytes = at < 0 ? 0 : d->content[d->name[at].content].bytes;
    return at < 0 ? NULL : d->content[d->name[at].content].data;
}

void disk_put(struct disk *d, const char *path, const void *data, size_t bytes)
{
    struct content *c = &d->content[d->n_contents];
    *c = (struct content){malloc(bytes + 1), bytes, bytes};
    memcpy(c->data, data, bytes);
    set_name(d->name, &d->n_names, path, d->n_contents++);
    disk_sync(d);
}

/* ---- the power goes ---- */

struct draw {
    uint64_t seed;
    int64_t n;
};

static uint32_t draw(struct draw *r, uint32_t below)
{
    return (uint32_t)(((uint64_t)plumb_random_word(r->seed, 7, 0, r->n++) * below) >> 32);
}

static void survive(struct content *to, const struct content *from, struct draw *r)
{
    size_t unsynced = from->bytes - from->synced;
    size_t bytes = from->synced + (unsynced > 0 && draw(r, 2) ? unsynced : draw(r, (uint32_t)unsynced + 1));
    *to = (struct content){malloc(bytes + 1), bytes, bytes};
    if (from->synced > 0) {
        memcpy(to->data, from->data, from->synced);
    }
    for (size_t at = from->synced; at < bytes;) {
        size_t end = at / SECTOR * SECTOR + SECTOR;
        end = end < bytes ? end : bytes;
        uint32_t fate = draw(r, 4); /* two in four are whole */
        memcpy(to->data + at, from->data + at, end - at);
        for (size_t i = fate == 2 ? at + (end - at) / 2 : at; i < end && fate >= 2; i++) {
            to->data[i] = fate == 2 ? (unsigned char)draw(r, 256) : 0;
        }
        at = end;
    }
}

struct disk *disk_survivor(const struct disk *d, uint64_t seed)
{
    struct disk *to = disk_new();
    struct draw r = {seed, 0};
    int order[4 * NAMES];
    for (int i = 0; i < d->n_contents; i++) {
        survive(&to->content[i], &d->content[i], &r);
    }
    to->n_contents = d->n_contents;
    memcpy(to->name, d->durable, sizeof(to->name));
    to->n_names = d->n_durable;
    for (int i = 0; i < d->n_changes; i++) { /* in any order */
        int j = (int)draw(&r, (uint32_t)i + 1);
        order[i] = order[j];
        order[j] = i;
    }
    for (int i = 0; i < d->n_changes; i++) {
        const struct change *c = &d->change[order[i]];
        if (draw(&r, 2) && c->removed) {
            drop_name(to->name, &to->n_names, c->name.path);
        } else if (draw(&r, 2) && !c->removed) {
            set_name(to->name, &to->n_names, c->name.path, c->name.content);
        }
    }
    disk_sync(to);
    return to;
}
