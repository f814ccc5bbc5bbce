/* PNG: first the chunks, walked here, then the pixels, by libpng's row API.
 *
 * The walk sees to what libpng forgives: order, checksums of all chunks that count, exactly one IHDR, PLTE at most once,
 * IDAT in one run, IEND at the end of the file and nothing behind it. Animations (APNG) are refused, since which frame is meant
 * nobody knows. Chunks that say nothing about pixels (text, profiles, times) are not read at all, so they cannot be bombs; with
 * a wrong checksum they are passed over. What libpng calls benign errors are errors here. Its memory is one piece that is
 * given back as a whole, so longjmp leaves nothing behind. */
#include <stdio.h>

#include "data/decode.h"

#ifdef PLUMB_HAVE_PNG

#include <png.h>
#include <setjmp.h>
#include <zlib.h>

struct reading {
    struct plumb_decoder *decoder;
    char *why;
    size_t at;
    jmp_buf jump;
    png_structp png;
    png_infop info;
};

/* ---- chunks ---- */

struct walk {
    const unsigned char *file;
    size_t bytes, at;
    int palettes, data_runs;
    bool in_data;
};

static bool is(const unsigned char *type, const char *name) { return memcmp(type, name, 4) == 0; }

/* What is wrong with the chunk at w->at, whose frame fits the file; NULL: nothing. */
static const char *judge(struct walk *w, uint32_t length, const unsigned char *type)
{
    bool critical = !(type[0] & 0x20), first = w->at == 8;
    bool sound = crc32(crc32(0, type, 4), type + 4, length) == plumb_big32(type + 4 + length);
    bool data = is(type, "IDAT");
    w->data_runs += data && !w->in_data;
    w->in_data = data;
    for (int i = 0; i < 4; i++) {
        if (!((type[i] | 0x20) >= 'a' && (type[i] | 0x20) <= 'z')) {
            return "its type is not four letters";
        }
    }
    if (first != is(type, "IHDR")) {
        return first ? "the first chunk is not IHDR" : "a second IHDR";
    }
    if (first && length != 13) {
        return "IHDR has not 13 bytes";
    }
    if (is(type, "acTL") || is(type, "fdAT") || is(type, "fcTL")) {
        return "is an animation";
    }
    if (is(type, "PLTE") && (w->palettes++ > 0 || w->data_runs > 0)) {
        return "a second palette, or one behind the data";
    }
    if (data && w->data_runs > 1) {
        return "the data are not in one run";
    }
    if (critical && !first && !data && !is(type, "PLTE") && !is(type, "IEND")) {
        return "an unknown chunk that may not be passed over";
    }
    return sound || !(critical || is(type, "tRNS")) ? NULL : "its checksum does not hold";
}

static bool walk(const struct plumb_decoder *d, char *why)
{
    struct walk w = {.file = d->file, .bytes = d->file_bytes, .at = 8};
    const char *wrong = NULL;
    const unsigned char *type = NULL;
    while (!wrong && !(type && is(type, "IEND"))) {
        if (w.bytes - w.at < 12) {
            wrong = "the file ends before IEND";
            break;
        }
        uint32_t length = plumb_big32(w.file + w.at);
        type = w.file + w.at + 4;
        if (length > w.bytes - w.at - 12) {
            wrong = "is longer than the rest of the file";
            break;
        }
        wrong = judge(&w, length, type);
        if (!wrong && is(type, "IEND")) {
            wrong = length ? "IEND is not empty" : w.data_runs == 0 ? "there are no data" : NULL;
        }
        w.at += wrong ? 0 : 12 + (size_t)length;
    }
    if (!wrong && w.at != w.bytes) {
        wrong = "bytes follow the end of the picture";
    }
    if (wrong) {
        snprintf(why, PLUMB_WHY_ROOM, "offset %zu, PNG chunk: %s", w.at, wrong);
    }
    return !wrong;
}

/* ---- libpng ---- */

static void on_error(png_structp png, png_const_charp message)
{
    struct reading *r = png_get_error_ptr(png);
    snprintf(r->why, PLUMB_WHY_ROOM, "offset %zu, PNG: %.200s", r->at, message);
    longjmp(r->jump, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static void on_read(png_structp png, png_bytep to, size_t bytes)
{
    struct reading *r = png_get_io_ptr(png);
    if (bytes > r->decoder->file_bytes - r->at) {
        png_error(png, "the file ends here");
    }
    memcpy(to, r->decoder->file + r->at, bytes);
    r->at += bytes;
}

static png_voidp on_alloc(png_structp png, png_alloc_size_t bytes)
{
    struct plumb_decoder *d = png_get_mem_ptr(png);
    size_t begin = (d->arena_used + 15) & ~(size_t)15;
    if (begin > d->arena_room || bytes > d->arena_room - begin) {
        return NULL;
    }
    d->arena_used = begin + bytes;
    return d->arena + begin;
}

static void on_free(png_structp png, png_voidp memory)
{
    (void)png;
    (void)memory;
}

/* A byte a pixel becomes its four, from the end, where there is room. */
static void look_up(struct reading *r)
{
    png_colorp colour = NULL;
    png_bytep alpha = NULL;
    int colours = 0, alphas = 0;
    uint8_t *p = r->decoder->pixels;
    png_get_PLTE(r->png, r->info, &colour, &colours);
    png_get_tRNS(r->png, r->info, &alpha, &alphas, NULL);
    for (int64_t i = r->decoder->width * r->decoder->height; i-- > 0;) {
        int index = p[i];
        if (index >= colours) {
            png_error(r->png, "a pixel is outside the palette");
        }
        p[4 * i] = colour[index].red;
        p[4 * i + 1] = colour[index].green;
        p[4 * i + 2] = colour[index].blue;
        p[4 * i + 3] = index < alphas ? alpha[index] : 255;
    }
}

/* Reads the rows; `channels` may still have alpha behind it. */
static void read_rows(struct reading *r, int *channels)
{
    png_structp png = r->png;
    struct plumb_decoder *d = r->decoder;
    png_set_user_limits(png, 0x7fffffff, 0x7fffffff); /* judged below, by the room there is */
    png_set_chunk_cache_max(png, 64);
    png_set_chunk_malloc_max(png, 262144);
    png_set_benign_errors(png, 0);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE); /* the walk has looked */
    png_read_info(png, r->info);
    d->width = png_get_image_width(png, r->info);
    d->height = png_get_image_height(png, r->info);
    bool palette = png_get_color_type(png, r->info) == PNG_COLOR_TYPE_PALETTE;
    if (palette) { /* looked up here: libpng expands what is outside the palette without a word */
        png_set_packing(png);
    } else {
        png_set_expand(png);
        png_set_scale_16(png);
    }
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, r->info);
    *channels = png_get_channels(png, r->info);
    size_t row = png_get_rowbytes(png, r->info);
    if (row != (size_t)d->width * (size_t)*channels || row > d->pixel_room / (size_t)d->height) {
        png_error(png, "the size is another than before");
    }
    for (int pass = 0; pass < passes; pass++) {
        for (int64_t y = 0; y < d->height; y++) {
            png_read_row(png, d->pixels + (size_t)y * row, NULL);
        }
    }
    png_read_end(png, NULL);
    if (palette) {
        look_up(r);
        *channels = 4;
    }
}

/* Over black: colour times alpha. */
static void drop_alpha(struct plumb_decoder *d, int channels)
{
    d->channels = channels - (channels % 2 == 0);
    const uint8_t *from = d->pixels;
    uint8_t *to = d->pixels;
    for (int64_t i = 0; channels % 2 == 0 && i < d->width * d->height; i++, from += channels, to += d->channels) {
        unsigned alpha = from[channels - 1];
        for (int c = 0; c < d->channels; c++) {
            to[c] = (uint8_t)((from[c] * alpha + 127) / 255);
        }
    }
}

bool plumb_decode_png(struct plumb_decoder *decoder, char *why)
{
    struct reading r = {.decoder = decoder, .why = why};
    int channels = 0;
    decoder->arena_used = 0;
    decoder->orientation = 1;
    if (!walk(decoder, why)) {
        return false;
    }
    if (setjmp(r.jump)) {
        return false; /* all of libpng's memory is the arena */
    }
    r.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &r, on_error, on_warning, decoder, on_alloc, on_free);
    r.info = r.png ? png_create_info_struct(r.png) : NULL;
    if (!r.info) {
        snprintf(why, PLUMB_WHY_ROOM, "offset 0, PNG: libpng cannot start");
        return false;
    }
    png_set_read_fn(r.png, &r, on_read);
    read_rows(&r, &channels);
    drop_alpha(decoder, channels);
    return true;
}

#else

bool plumb_decode_png(struct plumb_decoder *decoder, char *why)
{
    (void)decoder;
    snprintf(why, PLUMB_WHY_ROOM, "offset 0, file: is a PNG, and this build has no PNG reader (libpng)");
    return false;
}

#endif
