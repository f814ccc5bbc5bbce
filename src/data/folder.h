/* Pictures in files: a data set's examples that are decoded when they are asked for. */
#ifndef PLUMB_DATA_FOLDER_H
#define PLUMB_DATA_FOLDER_H

#include "data/decode.h"

struct plumb_folder {
    plumb_context *context;
    char *text;       /* full names, one behind the other */
    int64_t *name;    /* [files] where each begins */
    int64_t files;
    int channels;
    int64_t height, width; /* of an example */
    bool resize;           /* else every picture has that size already */
    /* The largest of all files, which decide what a thread needs: */
    int64_t max_file, max_pixels, max_side;
};
void plumb_folder_free(struct plumb_folder *folder);
plumb_status plumb_decoder_make(const struct plumb_folder *folder, struct plumb_decoder **decoder);
void plumb_decoder_free(const struct plumb_folder *folder, struct plumb_decoder *decoder);
/* File `index` as bytes (channels, height, width); false with the reason ("file: offset N, field: reason") in why[400]. Touches
 * nothing of the context but its I/O table. */
bool plumb_folder_decode(const struct plumb_folder *folder, int64_t index, struct plumb_decoder *decoder, uint8_t *to, char *why);

/* pixels (decoder) to `to`: turned by EXIF's orientation, scaled to cover height x width, grey or RGB. */
void plumb_fit_pixels(struct plumb_decoder *decoder, int channels, int64_t height, int64_t width, uint8_t *to);
/* Whether there are sub-folders. */
bool plumb_has_folders(plumb_context *context, const char *folder);

#endif
