/* Pictures and numbers as text: a PNG holds the pixels it was given, numbers have a decimal point in every locale, a
 * chart survives whatever values it gets. */
#include <locale.h>
#include <unistd.h>
#include <zlib.h>

#include "check.h"
#include "io/number.h"
#include "io/png.h"
#include "io/svg.h"

static uint32_t big_endian(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Reads back what plumb_png_write wrote: three chunks with right checksums, rows without filter. */
static void check_png(plumb_context *context, int width, int height, int channels)
{
    char path[] = "/tmp/plumb-pngXXXXXX";
    int fd = mkstemp(path);
    size_t row = (size_t)width * (size_t)channels, count = row * (size_t)height, bytes;
    uint8_t *pixels = malloc(count), *raw = malloc(count + (size_t)height), *at;
    void *file;
    for (size_t i = 0; i < count; i++) {
        pixels[i] = (uint8_t)(i * 37 + i / 251);
    }
    CHECK(plumb_png_write(context, path, width, height, channels, pixels) == PLUMB_OK);
    REQUIRE(plumb_read_file(context, path, 1 << 24, &file, &bytes) == PLUMB_OK);
    at = (uint8_t *)file + 8;
    for (int chunk = 0; chunk < 3; chunk++) {
        uint32_t length = big_endian(at);
        CHECK(memcmp(at + 4, &"IHDRIDATIEND"[4 * chunk], 4) == 0);
        CHECK(big_endian(at + 8 + length) == crc32(0, at + 4, length + 4));
        if (chunk == 0) {
            CHECK((int)big_endian(at + 8) == width && (int)big_endian(at + 12) == height && at[16] == 8);
            CHECK(at[17] == (channels == 3 ? 2 : 0));
        } else if (chunk == 1) {
            uLongf unpacked = (uLongf)(count + (size_t)height);
            CHECK(uncompress(raw, &unpacked, at + 8, length) == Z_OK && unpacked == count + (size_t)height);
        }
        at += 12 + length;
    }
    CHECK(at == (uint8_t *)file + bytes);
    for (size_t y = 0; y < (size_t)height; y++) {
        CHECK(raw[y * (row + 1)] == 0 && memcmp(raw + y * (row + 1) + 1, pixels + y * row, row) == 0);
    }
    plumb_free(context, file);
    free(pixels);
    free(raw);
    close(fd);
    remove(path);
}

PLUMB_TEST(pictures, png_holds_its_pixels)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    check_png(context, 1, 1, 1);
    check_png(context, 33, 7, 1);
    check_png(context, 200, 100, 3);
    const uint8_t pixel[3] = {0};
    CHECK(plumb_png_write(context, "/tmp/never.png", 0, 1, 1, pixel) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_png_write(context, "/tmp/never.png", 1, 1, 2, pixel) == PLUMB_BAD_INPUT);
    plumb_clear_error(context);
    CHECK(plumb_png_write(context, "/nonexistent/never.png", 1, 1, 3, pixel) == PLUMB_IO_ERROR);
    plumb_close(context);
}

PLUMB_TEST(pictures, drawing_stays_on_the_canvas)
{
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    struct plumb_canvas c;
    const float picture[4] = {0, 1, NAN, 2};
    REQUIRE(context && plumb_canvas_make(context, 20, 10, &c) == PLUMB_OK);
    plumb_canvas_fill(&c, -5, -5, 100, 100, 0x102030);
    CHECK(c.pixels[0] == 0x10 && c.pixels[1] == 0x20 && c.pixels[20 * 10 * 3 - 1] == 0x30);
    CHECK(plumb_canvas_text(&c, -3, 4, 2, 0, "far too long for this \xff") == -3 + 23 * 12);
    plumb_canvas_picture(&c, 18, 8, 1, picture, 1, 2, 2, 0, 1);
    CHECK(c.pixels[(8 * 20 + 18) * 3] == 0 && c.pixels[(8 * 20 + 19) * 3] == 255);
    CHECK(c.pixels[(9 * 20 + 18) * 3] == 0 && c.pixels[(9 * 20 + 19) * 3] == 255);
    plumb_canvas_free(&c);
    plumb_close(context);
}

PLUMB_TEST(pictures, numbers_have_points)
{
    static const char *const locales[] = {"C", "de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "ps_AF.UTF-8"};
    char text[PLUMB_NUMBER_ROOM];
    for (size_t i = 0; i < sizeof(locales) / sizeof(locales[0]); i++) {
        setlocale(LC_ALL, locales[i]); /* what is not installed leaves the one before */
        CHECK(strcmp(plumb_fixed(text, 1234.5, 2), "1234.50") == 0);
        CHECK(strcmp(plumb_fixed(text, -0.25, 1), "-0.2") == 0);
        CHECK(strcmp(plumb_fixed(text, 7, 0), "7") == 0);
        CHECK(strcmp(plumb_general(text, 1.25e-5, 6), "1.25e-05") == 0);
        CHECK(strcmp(plumb_general(text, 0.001, 7), "0.001") == 0);
        CHECK(strcmp(plumb_general(text, 1e30, 3), "1e+30") == 0);
        CHECK(strcmp(plumb_fixed(text, 1e300, 2), "1e+300") == 0);
        CHECK(strcmp(plumb_general(text, NAN, 3), "nan") == 0 || strcmp(text, "-nan") == 0);
        CHECK(strcmp(plumb_fixed(text, -INFINITY, 3), "-inf") == 0);
    }
    setlocale(LC_ALL, "C");
}

PLUMB_TEST(pictures, charts_take_any_values)
{
    static const double x[4] = {1, 2, 3, 4};
    static const double ys[][4] = {
        {1, 2, 3, 4},   {5, 5, 5, 5}, {NAN, NAN, NAN, NAN}, {1, NAN, INFINITY, 2}, {1e-300, 1e300, 0, -1e300},
        {0, 0, 0, 1e-9}};
    plumb_context *context = plumb_open(&(plumb_options){.threads = 1});
    REQUIRE(context);
    for (size_t i = 0; i < sizeof(ys) / sizeof(ys[0]); i++) {
        for (int count = 0; count <= 4; count += i ? 4 : 1) {
            struct plumb_text svg = {.context = context};
            const struct plumb_series series = {"line", "#000000", x, ys[i], count, NULL};
            plumb_svg_begin(&svg, 400, 300, "chart");
            plumb_svg_chart(&svg,
                            &(struct plumb_chart){"title", "x", 0, 0, 400, 300, i % 2 == 0, &series, 1});
            plumb_svg_end(&svg);
            CHECK(svg.length < 20000);
            char *text = plumb_text_take(&svg);
            CHECK(text && !strstr(text, "nan") && !strstr(text, "=\"inf") && !strstr(text, "=\"-inf"));
            plumb_free(context, text);
        }
    }
    plumb_close(context);
}
