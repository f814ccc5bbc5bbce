/* The vendors' libraries on the simulator, where they are fakes: opened or not and why, the tables and files that keep
 * what was chosen. */
#include "check.h"
#include "control.h"
#include "cuda/vendor.h"
#include "plumb/plumb.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

static plumb_context *open_cuda(void)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cuda", .threads = 1});
}

static bool nothing_left(void)
{
    cudasim_alive alive = cudasim_count();
    return alive.device + alive.pinned + alive.streams + alive.events + alive.graphs == 0 && cudasim_vendor_alive() == 0;
}

/* ---- opening ---- */

static plumb_device_library ask(const char *name)
{
    plumb_context *context = open_cuda();
    plumb_device_library library = {.name = NULL};
    for (int i = 0; context && context->device->table->library(context->device, i, &library); i++) {
        if (strcmp(library.name, name) == 0) {
            break;
        }
    }
    CHECK(context && plumb_last_status(context) == PLUMB_OK);
    plumb_close(context);
    CHECK(nothing_left());
    return library;
}

PLUMB_TEST(vendor, libraries_say_what_they_are)
{
    plumb_device_library library = ask("cublaslt");
    CHECK(library.used);
    CHECK_TEXT(library.text, "13.1.0");
    cudasim_vendor("cublaslt", 0);
    library = ask("cublaslt");
    CHECK(!library.used);
    CHECK_TEXT(library.text, "libcublasLt.so.13");
    cudasim_vendor("cublaslt", 111103);
    library = ask("cublaslt");
    CHECK(!library.used);
    CHECK_TEXT(library.text, "too old");
    cudasim_vendor("cublaslt", -1);
    for (int n = 1; n <= 2; n++) { /* the opening, the handle */
        cudasim_fail(CUDASIM_VENDOR, n);
        library = ask("cublaslt");
        CHECK(!library.used && cudasim_failed());
        CHECK_TEXT(library.text, n == 1 ? "can be opened" : "does not start");
    }
    cudasim_fail(CUDASIM_VENDOR, 0);
    CHECK(ask("cublaslt").used);
}

/* ---- the table ---- */

static int destroyed;

static void count_destroyed(void *user, void *plan)
{
    destroyed++;
    plumb_free(user, plan);
}

PLUMB_TEST(vendor, plans_are_found_by_their_key)
{
    plumb_context *context = plumb_open(NULL);
    REQUIRE(context);
    plumb_cuda_plans plans;
    plumb_cuda_plans_open(&plans, context, count_destroyed, context);
    destroyed = 0;
    int64_t key[3] = {0, 7, 7};
    CHECK(!plumb_cuda_plans_find(&plans, key, sizeof key));
    for (int64_t i = 0; i < 1000; i++) {
        int64_t *plan = plumb_alloc(context, sizeof *plan);
        REQUIRE(plan);
        *plan = key[0] = i;
        CHECK(plumb_cuda_plans_add(&plans, key, i % 2 ? sizeof key : sizeof key[0], plan));
    }
    int64_t before = plumb_memory_now(context);
    for (int64_t i = 0; i < 1000; i++) {
        key[0] = i;
        const int64_t *plan = plumb_cuda_plans_find(&plans, key, i % 2 ? sizeof key : sizeof key[0]);
        CHECK(plan && *plan == i);
        CHECK(!plumb_cuda_plans_find(&plans, key, i % 2 ? sizeof key[0] : sizeof key));
    }
    CHECK(plumb_memory_now(context) == before && destroyed == 0);
    key[0] = 3;
    CHECK(plumb_cuda_plans_add(&plans, key, sizeof key, plumb_alloc(context, 8)) && destroyed == 1);
    plumb_cuda_plans_close(&plans);
    CHECK(destroyed == 1001);
    plumb_close(context);
}

/* ---- the file ---- */

static char folder[64];

static void enter_folder(void)
{
    snprintf(folder, sizeof folder, "/tmp/plumb-vendor-%ld", (long)getpid());
    setenv("PLUMB_CACHE_DIR", folder, 1);
}

static void leave_folder(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    CHECK(system(command) == 0);
    setenv("PLUMB_CACHE_DIR", "", 1);
}

static void add(const char *identity, int64_t first, int64_t count)
{
    plumb_context *context = plumb_open(NULL);
    plumb_cuda_cache cache;
    plumb_cuda_cache_open(&cache, context, "test", identity);
    for (int64_t i = first; i < first + count; i++) {
        char choice[40];
        int n = snprintf(choice, sizeof choice, "choice %lld", (long long)i);
        plumb_cuda_cache_add(&cache, &i, sizeof i, choice, (size_t)n);
    }
    plumb_cuda_cache_close(&cache);
    CHECK_MSG(plumb_last_status(context) == PLUMB_OK, "%s", plumb_message(context));
    CHECK(plumb_memory_now(context) >= 0);
    plumb_close(context);
}

/* How many of the keys 0 to 99 are there, each with the choice that belongs to it. */
static int count(const char *identity)
{
    plumb_context *context = plumb_open(NULL);
    plumb_cuda_cache cache;
    int found = 0;
    plumb_cuda_cache_open(&cache, context, "test", identity);
    for (int64_t i = 0; i < 100; i++) {
        char choice[40];
        size_t n = (size_t)snprintf(choice, sizeof choice, "choice %lld", (long long)i);
        const plumb_cuda_choice *kept = plumb_cuda_cache_find(&cache, &i, sizeof i);
        CHECK(!kept || (kept->bytes == n && memcmp(kept->data, choice, n) == 0));
        found += kept != NULL;
    }
    plumb_cuda_cache_close(&cache);
    CHECK(plumb_last_status(context) == PLUMB_OK);
    plumb_close(context);
    return found;
}

/* The one file in the folder, whole. */
static void find_file(char path[128])
{
    char command[160];
    snprintf(command, sizeof command, "ls %s/test-*.choices", folder);
    FILE *pipe = popen(command, "r");
    if (!pipe || !fgets(path, 128, pipe)) {
        path[0] = '\0';
    }
    path[strcspn(path, "\n")] = '\0';
    CHECK(pipe && pclose(pipe) == 0);
}

PLUMB_TEST(vendor, choices_last)
{
    enter_folder();
    CHECK(count("one") == 0);
    add("one", 0, 10);
    CHECK(count("one") == 10 && count("two") == 0);
    add("one", 5, 20); /* adds to what is there */
    add("two", 0, 3);
    CHECK(count("one") == 25 && count("two") == 3);
    leave_folder();
    add("one", 0, 10);
    CHECK(count("one") == 0 && access(folder, F_OK) != 0);
}

PLUMB_TEST(vendor, damaged_choices_are_replaced)
{
    enter_folder();
    add("one", 0, 10);
    char path[128], image[4096], other[256];
    find_file(path);
    FILE *file = fopen(path, "rb");
    REQUIRE(file);
    size_t bytes = fread(image, 1, sizeof image, file);
    fclose(file);
    REQUIRE(bytes > 100 && bytes < sizeof image);
    for (size_t n = 0; n < 2 * bytes; n++) { /* cut short at n, or with a bit of byte n turned */
        char damaged[4096];
        memcpy(damaged, image, bytes);
        damaged[n % bytes] = (char)(damaged[n % bytes] ^ (n < bytes ? 0 : 1 << n % 8));
        file = fopen(path, "wb");
        REQUIRE(file);
        fwrite(damaged, 1, n < bytes ? n : bytes, file);
        fclose(file);
        CHECK_MSG(count("one") == 0, "damage %zu is believed", n);
    }
    add("one", 0, 4);
    CHECK(count("one") == 4);
    add("two", 0, 4); /* a foreign file under our name */
    snprintf(other, sizeof other, "cd '%s' && for f in *; do cp \"$f\" keep; done; for f in *.choices; do cp keep \"$f\"; done", folder);
    CHECK(system(other) == 0);
    CHECK(count("one") + count("two") == 4);
    leave_folder();
}

PLUMB_TEST(vendor, a_folder_that_cannot_be_used_is_no_error)
{
    enter_folder();
    FILE *file = fopen(folder, "w"); /* a file where the folder should be */
    REQUIRE(file);
    fclose(file);
    add("one", 0, 10);
    CHECK(count("one") == 0);
    leave_folder();
    setenv("PLUMB_CACHE_DIR", "/proc/plumb", 1);
    add("one", 0, 10);
    CHECK(count("one") == 0);
    setenv("PLUMB_CACHE_DIR", "", 1);
}

static void *write_some(void *first)
{
    for (int i = 0; i < 10; i++) {
        add("one", *(int64_t *)first, 10);
    }
    return NULL;
}

/* Whoever comes last wins, and takes over what it saw: the file is whole at all times. */
PLUMB_TEST(vendor, choices_written_at_the_same_time)
{
    enter_folder();
    enum { WRITERS = 4 };
    pthread_t thread[WRITERS];
    int64_t first[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        first[i] = i * 10;
        REQUIRE(pthread_create(&thread[i], NULL, write_some, &first[i]) == 0);
    }
    for (int i = 0; i < 50; i++) {
        CHECK(count("one") % 10 == 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(thread[i], NULL);
    }
    CHECK(count("one") >= 10);
    char command[128];
    snprintf(command, sizeof command, "test $(ls '%s' | wc -l) = 1", folder); /* no temporary file is left */
    CHECK(system(command) == 0);
    leave_folder();
}
