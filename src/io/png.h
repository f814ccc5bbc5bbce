/* Pictures: a canvas of 8-bit RGB to draw on, and PNG files. */
#ifndef PLUMB_IO_PNG_H
#define PLUMB_IO_PNG_H

#include "core/core.h"

/* Writes 8-bit pixels, `channels` 1 (grey) or 3 (RGB), rows from the top. */
plumb_status plumb_png_write(plumb_context *context, const char *path, int width, int height, int channels,
                             const uint8_t *pixels);
/* The file in memory (free with plumb_free); `what` is named in messages. */
plumb_status plumb_png_pack(plumb_context *context, const char *what, int width, int height, int channels,
                            const uint8_t *pixels, uint8_t **file, size_t *bytes);

struct plumb_canvas {
    plumb_context *context;
    int width, height;
    uint8_t *pixels; /* (height, width, 3) */
};
plumb_status plumb_canvas_make(plumb_context *context, int width, int height,
                               struct plumb_canvas *canvas); /* white */
void plumb_canvas_free(struct plumb_canvas *canvas);
/* Colours are 0xRRGGBB. What lies outside the canvas is not drawn. */
void plumb_canvas_fill(struct plumb_canvas *canvas, int left, int top, int width, int height,
                       uint32_t colour);
/* Letters of 5 x 7 dots on a grid of 6 x 9, each dot `scale` pixels wide; returns where the text ends. */
int plumb_canvas_text(struct plumb_canvas *canvas, int left, int top, int scale, uint32_t colour,
                      const char *text);
/* A picture (channels, height, width) of floats, `low` black and `high` white, each pixel `scale` wide. 1 or 3 channels. */
void plumb_canvas_picture(struct plumb_canvas *canvas, int left, int top, int scale, const float *picture,
                          int channels, int height, int width, double low, double high);

#endif
