/* Where data sets are found and what their classes are called. A set is a folder with files named as MNIST names
 * them; a known name stands for a folder under $PLUMB_DATA or where its Debian package puts it. */
#include <stdio.h>
#include <unistd.h>

#include "data/dataset.h"

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
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set '%s': neither a known name (%s) nor a folder",
                          name, known_sets[0].name);
    }
    int n = snprintf(folder, room, "%s", name);
    if (n < 0 || (size_t)n >= room) {
        return plumb_fail(context, PLUMB_BAD_INPUT, "data set: the folder's name is too long");
    }
    return PLUMB_OK;
}

plumb_dataset *plumb_dataset_find(plumb_context *context, const char *name_or_folder, const char *part,
                                  const plumb_dataset_options *options)
{
    char folder[4096], images[4400], labels[4400];
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
    /* MNIST calls its test files t10k; other sets say test. */
    const char *prefix[2] = {strcmp(part, "test") == 0 ? "t10k" : "train", part};
    for (int i = 0; i < 2; i++) {
        if (find_file(folder, prefix[i], "images", "idx3", images, sizeof(images)) &&
            find_file(folder, prefix[i], "labels", "idx1", labels, sizeof(labels))) {
            plumb_dataset *handle = plumb_dataset_idx(context, images, labels, options);
            struct dataset *d = plumb_dataset_get(handle);
            const char *const *classes = plumb_known_classes(name_or_folder);
            if (d && classes && d->classes == 10) {
                d->class_names = classes;
            }
            return handle;
        }
    }
    plumb_fail(context, PLUMB_IO_ERROR,
               "%s: lacks %s-images-idx3-ubyte or %s-labels-idx1-ubyte (plain or .gz)", folder, prefix[0],
               prefix[0]);
    return NULL;
}
