/* Where data sets are found, what kind they are and what their classes are called. A known name stands for a folder under
 * $PLUMB_DATA or where its Debian package puts it. In a folder the names of files say what they are for (which part, pictures or
 * labels); what is in a file given by name is told by its first bytes. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/folder.h"

struct known {
    const char *name, *folder, *package;
    const char *const classes[10];
};

static const struct known known_sets[] = {
    {"fashion-mnist",
     "/usr/share/datasets/fashion-mnist",
     "dataset-fashion-mnist",
     {"T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
      "Ankle boot"}},
};
#define KNOWN_COUNT (sizeof(known_sets) / sizeof(known_sets[0]))

static const struct known *find_known(const char *name, size_t length)
{
    for (size_t i = 0; i < KNOWN_COUNT; i++) {
        if (strlen(known_sets[i].name) == length && memcmp(known_sets[i].name, name, length) == 0) {
            return &known_sets[i];
        }
    }
    return NULL;
}

const char *const *plumb_known_classes(const char *name_or_folder)
{
    size_t end = strlen(name_or_folder);
    while (end > 1 && name_or_folder[end - 1] == '/') {
        end--;
    }
    size_t begin = end;
    while (begin > 0 && name_or_folder[begin - 1] != '/') {
        begin--;
    }
    const struct known *set = find_known(name_or_folder + begin, end - begin);
    return set ? set->classes : NULL;
}

static bool file_is_there(const char *folder, const char *name, char *path, size_t room)
{
    int n = snprintf(path, room, "%s/%s", folder, name);
    return n > 0 && (size_t)n < room && access(path, F_OK) == 0;
}

bool plumb_dataset_where(const char *name, char *to, size_t room)
{
    const struct known *set = name ? find_known(name, strlen(name)) : NULL;
    const char *root = getenv("PLUMB_DATA");
    if (!set || !to) {
        return false;
    }
    if (root && *root && file_is_there(root, name, to, room)) {
        return true;
    }
    int n = snprintf(to, room, "%s", set->folder);
    return n > 0 && (size_t)n < room && access(set->folder, F_OK) == 0;
}

/* The first of the usual spellings that is there. */
static bool find_file(const char *folder, const char *part, const char *what, const char *rank, char *path,
                      size_t room)
{
    static const char separators[2] = {'-', '.'};
    char name[96];
    for (int i = 0; i < 4; i++) {
        snprintf(name, sizeof(name), "%s-%s%c%s-ubyte%s", part, what, separators[i / 2], rank,
                 i % 2 ? "" : ".gz");
        if (file_is_there(folder, name, path, room)) {
            return true;
        }
    }
    return false;
}

static plumb_status find_folder(plumb_context *context, const char *name, char *folder, size_t room)
{
    const struct known *set = find_known(name, strlen(name));
    if (set) {
        if (plumb_dataset_where(name, folder, room)) {
            return PLUMB_OK;
        }
        return plumb_fail(
            context, PLUMB_IO_ERROR,
            "data set %s: not found in %s nor under $PLUMB_DATA (install the package %s, or give a folder)",
            name, set->folder, set->package);
    }
    if (access(name, F_OK) != 0) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set '%s': neither a known name (%s) nor a folder or file",
                          name, known_sets[0].name);
    }
    int n = snprintf(folder, room, "%s", name);
    if (n < 0 || (size_t)n >= room) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set: the folder's name is too long");
    }
    return PLUMB_OK;
}

/* MNIST calls its test files t10k; other sets say test. NULL with no error: there are none. */
static plumb_dataset *find_idx(plumb_context *context, const char *name, const char *folder, const char *part,
                               const plumb_dataset_options *options, bool *found)
{
    char images[4400], labels[4400];
    const char *prefix[2] = {strcmp(part, "test") == 0 ? "t10k" : "train", part};
    for (int i = 0; i < 2; i++) {
        if (find_file(folder, prefix[i], "images", "idx3", images, sizeof(images)) &&
            find_file(folder, prefix[i], "labels", "idx1", labels, sizeof(labels))) {
            plumb_dataset *handle = plumb_dataset_idx(context, images, labels, options);
            struct dataset *d = plumb_dataset_get(handle);
            const char *const *classes = plumb_known_classes(name);
            if (d && classes && d->classes == 10) {
                d->class_names = classes;
            }
            *found = true;
            return handle;
        }
    }
    return NULL;
}

static bool is_directory(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* The other kinds of folders. */
static plumb_dataset *find_in_folder(plumb_context *context, const char *folder, const char *part,
                                     const plumb_dataset_options *options)
{
    static const char *const endings[] = {".csv", ".csv.gz", ".npz"};
    char path[4400], second[4400], name[64];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof(name), "%s%s", part, endings[i]);
        if (file_is_there(folder, name, path, sizeof(path))) {
            return i < 2 ? plumb_dataset_csv(context, path, options)
                         : plumb_dataset_npz(context, path, NULL, NULL, "train", options);
        }
    }
    snprintf(name, sizeof(name), "x_%s.npy", part);
    if (file_is_there(folder, name, path, sizeof(path))) {
        snprintf(second, sizeof(second), "%s/y_%s.npy", folder, part);
        return plumb_dataset_npy(context, path, second, options);
    }
    bool parts = file_is_there(folder, "train", second, sizeof(second)) && is_directory(second);
    if (file_is_there(folder, part, path, sizeof(path)) && is_directory(path)) {
        return plumb_dataset_folder(context, path, parts ? second : NULL, options);
    }
    if (plumb_is_cifar(folder)) {
        return plumb_dataset_cifar(context, folder, part, options);
    }
    if (!parts && strcmp(part, "train") == 0 && plumb_has_folders(context, folder)) {
        return plumb_dataset_folder(context, folder, NULL, options);
    }
    const char *prefix = strcmp(part, "test") == 0 ? "t10k" : "train";
    plumb_fail(context, PLUMB_IO_ERROR,
               "%.300s: lacks %s-images-idx3-ubyte or %s-labels-idx1-ubyte (plain or .gz), and what other kinds of sets call their "
               "part %s",
               folder, prefix, prefix, part);
    return NULL;
}

/* A file of its own: an archive of arrays, or a table. */
static plumb_dataset *open_file(plumb_context *context, const char *path, const char *part, const plumb_dataset_options *options)
{
    unsigned char magic[6] = {0};
    plumb_io *io = &context->io;
    int fd = io->open(io->user, path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY, 0);
    if (fd >= 0) {
        (void)io->read(io->user, fd, magic, sizeof(magic)); /* whoever reads it below says what is wrong */
        io->close(io->user, fd);
    }
    if (memcmp(magic, "PK\3\4", 4) == 0) {
        return plumb_dataset_npz(context, path, NULL, NULL, part, options);
    }
    if (memcmp(magic, "\x93NUMPY", 6) == 0) {
        plumb_fail(context, PLUMB_BAD_INPUT, "%.300s: offset 0, file: is one array; data and labels are needed, as an .npz", path);
        return NULL;
    }
    if (strcmp(part, "train") != 0) {
        plumb_fail(context, PLUMB_BAD_INPUT, "%.300s: offset 0, file: is one table without a part \"test\" (split it)", path);
        return NULL;
    }
    return plumb_dataset_csv(context, path, options);
}

plumb_dataset *plumb_dataset_find(plumb_context *context, const char *name_or_folder, const char *part,
                                  const plumb_dataset_options *options)
{
    char folder[4096];
    bool found = false;
    if (!context) {
        return NULL;
    }
    if (!name_or_folder || !*name_or_folder || !part ||
        (strcmp(part, "train") != 0 && strcmp(part, "test") != 0)) {
        plumb_fail(context, PLUMB_BAD_INPUT,
                   "data set: needs a name and a part, which is \"train\" or \"test\"");
        return NULL;
    }
    if (find_folder(context, name_or_folder, folder, sizeof(folder))) {
        return NULL;
    }
    if (!is_directory(folder)) {
        return open_file(context, folder, part, options);
    }
    plumb_dataset *set = find_idx(context, name_or_folder, folder, part, options, &found);
    return found ? set : find_in_folder(context, folder, part, options);
}
