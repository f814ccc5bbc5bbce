/* libFuzzer for the reader of CIFAR's binary files, which stand in a folder made once (their names have to be there): the first
 * byte says which version and which size, the second how much of the input is the file of names; the rest is repeated as
 * records, different in every file. */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "data.h"

static char folder[2][64];
static struct fuzz_input names;
static uint8_t records[2 * 3074 + 1];
static size_t record_bytes;

static const uint8_t ten[] = "\2\26a\nb\nc\nd\ne\nf\ng\nh\ni\nj\n\n\n\1\2\3\4", hundred[] = "\3\0\1\5abc";
static const struct fuzz_input base[] = {{ten, sizeof(ten) - 1}, {hundred, sizeof(hundred) - 1}};

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed)
{
    return fuzz_mutate(data, size, most, seed, base, 2);
}

static void make_folders(void)
{
    static const char *const files[2][7] = {{"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
                                             "data_batch_5.bin", "test_batch.bin", "batches.meta.txt"},
                                            {"train.bin", "test.bin", "fine_label_names.txt"}};
    char path[128];
    for (int v = 0; v < 2; v++) {
        snprintf(folder[v], sizeof(folder[v]), "/tmp/plumb-fuzz-cifar-%d", v);
        mkdir(folder[v], 0700);
        for (int f = 0; f < 7 && files[v][f]; f++) {
            snprintf(path, sizeof(path), "%s/%s", folder[v], files[v][f]);
            int fd = open(path, O_WRONLY | O_CREAT, 0600);
            FUZZ_REQUIRE(fd >= 0);
            close(fd);
        }
    }
}

static int open_one(void *user, const char *path, int flags, int mode)
{
    size_t length = strlen(path);
    (void)user;
    if (path[length - 1] == 't') {
        return fuzz_open(&names, path, flags, mode);
    }
    records[2500] = (uint8_t)path[length - 5]; /* "1" .. "5", "h", "n" */
    return fuzz_open(&(struct fuzz_input){records, record_bytes}, path, flags, mode);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    if (size < 4) {
        return 0;
    }
    if (!folder[0][0]) {
        make_folders();
    }
    int version = input[0] & 1;
    size_t text = input[1] < size - 3 ? input[1] : size - 3, rest = size - 2 - text, record = 3073 + (size_t)version;
    names = (struct fuzz_input){input + 2, text};
    for (size_t i = 0; i < sizeof(records); i++) {
        records[i] = input[2 + text + (i % record) % rest];
    }
    record_bytes = record * (1 + (input[0] >> 1 & 1)) + (input[0] >> 2 & 1);
    plumb_context context = fuzz_context(NULL);
    context.io.open = open_one;
    plumb_dataset_options options = {.size = sizeof(options), .max_bad = input[0] & 8 ? 0.5 : 0};
    fuzz_judge(&context, plumb_dataset_cifar(&context, folder[version], input[0] & 16 ? "test" : "train", &options));
    return 0;
}
