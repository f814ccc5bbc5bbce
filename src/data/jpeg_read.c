/* JPEG by libjpeg-turbo, baseline and progressive, 8 bits, Huffman: grey, RGB (from YCbCr) or CMYK and YCCK, turned into RGB.
 *
 * What libjpeg warns of (a bad code, an end too early, bytes between markers) is an error here: it would go on with grey pixels.
 * Refused as well: arithmetic coding, more than 100 scans (each costs a pass over the picture, whatever it holds), a component
 * named twice. What follows the end is left alone, since cameras put previews there. Memory is libjpeg's own, limited by the picture's size. It calls back to report an error and must not be
 * returned to; so the one function that calls it holds nothing but what jpeg_destroy frees. Of EXIF the orientation is read, from
 * its first directory; no offset is followed from there. */
#include <stdio.h>

#include "data/decode.h"

#ifdef PLUMB_HAVE_JPEG

#include <jpeglib.h>
#include <setjmp.h>

#define MAX_SCANS 100

struct reading {
    struct jpeg_error_mgr errors; /* first: libjpeg knows it as this */
    struct jpeg_decompress_struct jpeg;
    struct jpeg_source_mgr source;
    struct jpeg_progress_mgr progress;
    struct plumb_decoder *decoder;
    char *why;
    jmp_buf jump;
};

static struct reading *reading_of(j_common_ptr jpeg) { return (struct reading *)(void *)jpeg->err; }

static void fail(struct reading *r, const char *why)
{
    size_t left = r->source.bytes_in_buffer;
    snprintf(r->why, PLUMB_WHY_ROOM, "offset %zu, JPEG: %.200s", r->decoder->file_bytes - left, why);
    longjmp(r->jump, 1);
}

static void on_error(j_common_ptr jpeg)
{
    char text[JMSG_LENGTH_MAX];
    jpeg->err->format_message(jpeg, text);
    fail(reading_of(jpeg), text);
}

static void on_message(j_common_ptr jpeg, int level)
{
    if (level < 0) {
        on_error(jpeg);
    }
}

static void on_output(j_common_ptr jpeg) { (void)jpeg; }

static void on_progress(j_common_ptr jpeg)
{
    if (((j_decompress_ptr)(void *)jpeg)->input_scan_number > MAX_SCANS) {
        fail(reading_of(jpeg), "more than 100 scans");
    }
}

static void source_begin(j_decompress_ptr jpeg) { (void)jpeg; }

static boolean source_fill(j_decompress_ptr jpeg)
{
    fail(reading_of((j_common_ptr)(void *)jpeg), "the file ends in the middle of the picture");
    return FALSE;
}

static void source_skip(j_decompress_ptr jpeg, long bytes)
{
    struct jpeg_source_mgr *s = jpeg->src;
    if (bytes > 0 && (size_t)bytes > s->bytes_in_buffer) {
        source_fill(jpeg);
    }
    if (bytes > 0) {
        s->next_input_byte += bytes;
        s->bytes_in_buffer -= (size_t)bytes;
    }
}

/* ---- EXIF ---- */

static unsigned number(const unsigned char *p, int bytes, bool big)
{
    unsigned value = 0;
    for (int i = 0; i < bytes; i++) {
        value = value << 8 | p[big ? i : bytes - 1 - i];
    }
    return value;
}

static int orientation_in(const unsigned char *p, size_t bytes)
{
    if (bytes < 14 || memcmp(p, "Exif\0\0", 6) != 0) {
        return 1;
    }
    p += 6;
    bytes -= 6;
    bool big = p[0] == 'M';
    size_t at = number(p + 4, 4, big);
    if (memcmp(p, big ? "MM" : "II", 2) != 0 || number(p + 2, 2, big) != 42 || at > bytes - 2) {
        return 1;
    }
    unsigned entries = number(p + at, 2, big);
    for (at += 2; entries > 0 && at + 12 <= bytes; entries--, at += 12) {
        unsigned value = number(p + at + 8, 2, big);
        if (number(p + at, 2, big) == 0x0112 && number(p + at + 2, 2, big) == 3 && number(p + at + 4, 4, big) == 1) {
            return value >= 1 && value <= 8 ? (int)value : 1;
        }
    }
    return 1;
}

/* ---- the picture ---- */

/* Adobe writes inks inverted: 255 is none. */
static void colours_of_inks(uint8_t *pixels, int64_t count, bool inverted)
{
    const uint8_t *from = pixels;
    uint8_t *to = pixels;
    for (int64_t i = 0; i < count; i++, from += 4, to += 3) {
        unsigned black = inverted ? from[3] : 255u - from[3];
        for (int c = 0; c < 3; c++) {
            unsigned ink = inverted ? from[c] : 255u - from[c];
            to[c] = (uint8_t)((ink * black + 127) / 255);
        }
    }
}

static void check_header(struct reading *r)
{
    const struct jpeg_decompress_struct *j = &r->jpeg;
    if (j->arith_code) {
        fail(r, "arithmetic coding, Huffman's is expected");
    }
    for (int i = 0; i < j->num_components; i++) {
        for (int k = 0; k < i; k++) {
            if (j->comp_info[i].component_id == j->comp_info[k].component_id) {
                fail(r, "a component is named twice");
            }
        }
    }
    if ((uint64_t)j->image_width * j->image_height > r->decoder->pixel_room / 4) {
        fail(r, "the size is another than before");
    }
}

static void read_picture(struct reading *r)
{
    struct jpeg_decompress_struct *j = &r->jpeg;
    struct plumb_decoder *d = r->decoder;
    jpeg_save_markers(j, JPEG_APP0 + 1, 0xffff);
    jpeg_read_header(j, TRUE);
    check_header(r);
    bool inks = j->jpeg_color_space == JCS_CMYK || j->jpeg_color_space == JCS_YCCK;
    bool inverted = j->saw_Adobe_marker;
    j->out_color_space = inks ? JCS_CMYK : j->jpeg_color_space == JCS_GRAYSCALE ? JCS_GRAYSCALE : JCS_RGB;
    j->mem->max_memory_to_use = (long)(16u << 20) + 16 * (long)(j->image_width * (uint64_t)j->image_height);
    for (const struct jpeg_marker_struct *m = j->marker_list; m; m = m->next) {
        d->orientation = d->orientation == 1 ? orientation_in(m->data, m->data_length) : d->orientation;
    }
    jpeg_start_decompress(j);
    d->width = j->output_width;
    d->height = j->output_height;
    d->channels = j->output_components;
    size_t row = (size_t)d->width * (size_t)d->channels;
    while (j->output_scanline < j->output_height) {
        JSAMPROW to = d->pixels + j->output_scanline * row;
        jpeg_read_scanlines(j, &to, 1);
    }
    jpeg_finish_decompress(j);
    if (inks) {
        colours_of_inks(d->pixels, d->width * d->height, inverted);
        d->channels = 3;
    }
}

bool plumb_decode_jpeg(struct plumb_decoder *decoder, char *why)
{
    struct reading r = {.decoder = decoder, .why = why};
    decoder->orientation = 1;
    r.jpeg.err = jpeg_std_error(&r.errors);
    r.errors.error_exit = on_error;
    r.errors.emit_message = on_message;
    r.errors.output_message = on_output;
    r.source = (struct jpeg_source_mgr){.next_input_byte = decoder->file,
                                        .bytes_in_buffer = decoder->file_bytes,
                                        .init_source = source_begin,
                                        .fill_input_buffer = source_fill,
                                        .skip_input_data = source_skip,
                                        .resync_to_restart = jpeg_resync_to_restart,
                                        .term_source = source_begin};
    r.progress.progress_monitor = on_progress;
    if (setjmp(r.jump)) {
        jpeg_destroy_decompress(&r.jpeg);
        return false;
    }
    jpeg_create_decompress(&r.jpeg);
    r.jpeg.src = &r.source;
    r.jpeg.progress = &r.progress;
    read_picture(&r);
    jpeg_destroy_decompress(&r.jpeg);
    return true;
}

#else

bool plumb_decode_jpeg(struct plumb_decoder *decoder, char *why)
{
    (void)decoder;
    snprintf(why, PLUMB_WHY_ROOM, "offset 0, file: is a JPEG, and this build has no JPEG reader (libjpeg)");
    return false;
}

#endif
