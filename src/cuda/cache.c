/* What was chosen in earlier processes, on disk: choosing takes milliseconds a call, and a measured choice seconds.
 *
 * A file holds the choices for one version of a library on one kind of GPU, its identity, which is written into it and
 * is part of its name. Decided here: a file of another identity, of another format, cut short or with a bad checksum is
 * as if it were not there, and is replaced. Files are replaced whole by a rename, after what other processes added
 * meanwhile was taken over, so that writers at the same time lose a choice at worst, which is then made again.
 *
 *     folder: PLUMB_CACHE_DIR, else XDG_CACHE_HOME/plumb, else HOME/.cache/plumb; none where PLUMB_CACHE_DIR is empty
 *     file:   "plumb choices 1\n", identity, '\n', then for each choice: bytes of the key, bytes of the choice (u32 each),
 *             key, choice; at the end the CRC-32C of all before. As this machine orders bytes: a cache does not travel. */
#include "cuda/vendor.h"

#include <stdio.h>

#define MAGIC "plumb choices 1\n"
#define LIMIT ((size_t)16 << 20)

static void destroy(void *context, void *choice)
{
    plumb_free(context, choice);
}

static char *make_path(plumb_context *context, const char *name, const char *identity)
{
    struct plumb_text text = {.context = context};
    const char *folder = getenv("PLUMB_CACHE_DIR"), *under = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (folder && !*folder) {
        return NULL;
    }
    if (folder) {
        plumb_text_add(&text, "%s", folder);
    } else if (under && *under == '/') {
        plumb_text_add(&text, "%s/plumb", under);
    } else if (home && *home == '/') {
        plumb_text_add(&text, "%s/.cache/plumb", home);
    } else {
        return NULL;
    }
    plumb_text_add(&text, "/%s-%016llx.choices", name, (unsigned long long)plumb_hash(identity));
    return plumb_text_take(&text);
}

/* ---- reading ---- */

static bool keep(plumb_plans *choices, const void *key, size_t bytes, const void *data, size_t data_bytes)
{
    plumb_cuda_choice *choice = plumb_alloc(choices->context, sizeof *choice + data_bytes);
    if (!choice) {
        return false;
    }
    choice->bytes = data_bytes;
    memcpy(choice->data, data, data_bytes);
    return plumb_plans_add(choices, key, bytes, choice);
}

/* Whether `data` is a whole file of this identity; *at becomes where the choices begin, *end where they end. */
static bool is_ours(const char *identity, const char *data, size_t bytes, size_t *at, size_t *end)
{
    size_t magic = sizeof MAGIC - 1, length = strlen(identity);
    uint32_t sum;
    if (bytes < magic + length + 1 + sizeof sum || memcmp(data, MAGIC, magic) != 0 ||
        memcmp(data + magic, identity, length) != 0 || data[magic + length] != '\n') {
        return false;
    }
    *at = magic + length + 1;
    *end = bytes - sizeof sum;
    memcpy(&sum, data + *end, sizeof sum);
    return sum == plumb_crc32c(0, data, *end);
}

/* Adds what is not there yet: what this process chose is newer. */
static void take_over(plumb_plans *choices, const char *data, size_t at, size_t end)
{
    uint32_t size[2];
    while (end - at > sizeof size) {
        memcpy(size, data + at, sizeof size);
        at += sizeof size;
        if (size[0] > end - at || size[1] > end - at - size[0]) {
            return;
        }
        if (!plumb_plans_find(choices, data + at, size[0]) &&
            !keep(choices, data + at, size[0], data + at + size[0], size[1])) {
            return;
        }
        at += (size_t)size[0] + size[1];
    }
}

/* What goes wrong with a cache is nobody's error. */
static void forget_error(plumb_cuda_cache *cache, bool clean)
{
    if (clean) {
        plumb_clear_error(cache->context);
    }
}

static void read_file(plumb_cuda_cache *cache)
{
    void *data;
    size_t bytes, at, end;
    bool clean = cache->context->status == PLUMB_OK;
    if (plumb_read_file(cache->context, cache->path, LIMIT, &data, &bytes) == PLUMB_OK) {
        if (is_ours(cache->identity, data, bytes, &at, &end)) {
            take_over(&cache->choices, data, at, end);
        }
        plumb_free(cache->context, data);
    }
    forget_error(cache, clean);
}

/* ---- writing ---- */

struct image {
    char *data; /* NULL while only counting */
    size_t bytes;
};

static void put(struct image *image, const void *data, size_t bytes)
{
    if (image->data) {
        memcpy(image->data + image->bytes, data, bytes);
    }
    image->bytes += bytes;
}

static void put_choice(void *user, const void *key, size_t bytes, void *plan)
{
    const plumb_cuda_choice *choice = plan;
    uint32_t size[2] = {(uint32_t)bytes, (uint32_t)choice->bytes};
    put(user, size, sizeof size);
    put(user, key, bytes);
    put(user, choice->data, choice->bytes);
}

static void draw(const plumb_cuda_cache *cache, struct image *image)
{
    image->bytes = 0;
    put(image, MAGIC, sizeof MAGIC - 1);
    put(image, cache->identity, strlen(cache->identity));
    put(image, "\n", 1);
    plumb_plans_visit(&cache->choices, put_choice, image);
}

static plumb_status write_image(plumb_cuda_cache *cache, const struct image *image)
{
    char *slash = strrchr(cache->path, '/');
    *slash = '\0';
    plumb_status status = plumb_make_folder(cache->context, cache->path);
    *slash = '/';
    return status == PLUMB_OK ? plumb_write_file(cache->context, cache->path, image->data, image->bytes) : status;
}

static void write_file(plumb_cuda_cache *cache)
{
    struct image image = {.data = NULL};
    uint32_t sum;
    read_file(cache);
    draw(cache, &image);
    size_t bytes = image.bytes + sizeof sum;
    bool clean = cache->context->status == PLUMB_OK;
    image.data = bytes <= LIMIT ? plumb_alloc(cache->context, bytes) : NULL; /* a longer one could not be read again */
    if (image.data) {
        draw(cache, &image);
        sum = plumb_crc32c(0, image.data, image.bytes);
        put(&image, &sum, sizeof sum);
        if (write_image(cache, &image) != PLUMB_OK) {
            plumb_log_line(cache->context, PLUMB_LOG_DEBUG, "choices are not kept: %s", plumb_message(cache->context));
        }
        plumb_free(cache->context, image.data);
    }
    forget_error(cache, clean);
}

/* ---- use ---- */

void plumb_cuda_cache_open(plumb_cuda_cache *cache, plumb_context *context, const char *name, const char *identity)
{
    bool clean = context->status == PLUMB_OK;
    *cache = (plumb_cuda_cache){.context = context};
    snprintf(cache->identity, sizeof cache->identity, "%s", identity);
    plumb_plans_open(&cache->choices, context, destroy, context);
    cache->path = make_path(context, name, cache->identity);
    forget_error(cache, clean);
    if (cache->path) {
        read_file(cache);
    }
}

void plumb_cuda_cache_close(plumb_cuda_cache *cache)
{
    if (cache->changed && cache->path) {
        write_file(cache);
    }
    plumb_plans_close(&cache->choices);
    plumb_free(cache->context, cache->path);
    cache->path = NULL;
}

const plumb_cuda_choice *plumb_cuda_cache_find(const plumb_cuda_cache *cache, const void *key, size_t bytes)
{
    return plumb_plans_find(&cache->choices, key, bytes);
}

void plumb_cuda_cache_add(plumb_cuda_cache *cache, const void *key, size_t bytes, const void *choice, size_t choice_bytes)
{
    bool clean = cache->context->status == PLUMB_OK;
    cache->changed = keep(&cache->choices, key, bytes, choice, choice_bytes) || cache->changed;
    forget_error(cache, clean);
}
