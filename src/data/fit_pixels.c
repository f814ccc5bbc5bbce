/* Decoded pixels to those of an example: turned as EXIF says, scaled, cut, grey or RGB.
 *
 * Scaling weighs the source's pixels by a triangle as wide as two of the result's (two of the source's where it enlarges), as
 * bilinear resizing with antialiasing does. Both directions have one scale, by which the picture just covers the result; its middle is
 * kept. Where sizes agree the weights are 1 and 0, and pixels are copied. */
#include <math.h>

#include "data/folder.h"

/* The picture as it is to be seen, through strides in the pixels as they lie. */
struct seen {
    const uint8_t *origin;
    int64_t width, height, across, down; /* strides */
    int channels;
};

static struct seen turn(const struct plumb_decoder *d)
{
    int64_t column = d->channels, row = d->width * d->channels, right = (d->width - 1) * column, bottom = (d->height - 1) * row;
    /* By orientation 1 to 8: where (0, 0) is seen, and the steps across and down. */
    const int64_t rules[8][3] = {{0, column, row},           {right, -column, row},        {right + bottom, -column, -row},
                                 {bottom, column, -row},     {0, row, column},             {bottom, -row, column},
                                 {right + bottom, -row, -column}, {right, row, -column}};
    const int64_t *rule = rules[d->orientation - 1];
    bool turned = d->orientation > 4;
    return (struct seen){.origin = d->pixels + rule[0],
                         .width = turned ? d->height : d->width,
                         .height = turned ? d->width : d->height,
                         .across = rule[1],
                         .down = rule[2],
                         .channels = d->channels};
}

/* One direction: result pixel i covers the source around begin + (i + 0.5) * step. */
struct axis {
    double begin, step, radius;
    int64_t count;
};

static struct axis make_axis(int64_t source, int64_t result, double step)
{
    return (struct axis){.begin = ((double)source - (double)result * step) / 2,
                         .step = step,
                         .radius = step > 1 ? step : 1,
                         .count = source};
}

static double weight_of(const struct axis *a, double centre, int64_t i)
{
    return fmax(0, 1 - fabs((double)i + 0.5 - centre) / a->radius);
}

static void range(const struct axis *a, int64_t i, double *centre, int64_t *from, int64_t *to, double *sum)
{
    *centre = a->begin + ((double)i + 0.5) * a->step;
    *from = (int64_t)fmax(0, floor(*centre - a->radius));
    *to = (int64_t)fmin((double)a->count - 1, ceil(*centre + a->radius));
    *sum = 0;
    for (int64_t k = *from; k <= *to; k++) {
        *sum += weight_of(a, *centre, k);
    }
}

/* The source's rows under row y of the result, summed: row[width][channels]. */
static void blend_rows(const struct seen *s, const struct axis *a, int64_t y, float *row)
{
    double centre, sum;
    int64_t from, to;
    range(a, y, &centre, &from, &to, &sum);
    memset(row, 0, (size_t)(s->width * s->channels) * sizeof(float));
    for (int64_t k = from; k <= to; k++) {
        float weight = (float)(weight_of(a, centre, k) / sum);
        const uint8_t *p = s->origin + k * s->down;
        for (int64_t x = 0; weight > 0 && x < s->width; x++, p += s->across) {
            for (int c = 0; c < s->channels; c++) {
                row[x * s->channels + c] += weight * (float)p[c];
            }
        }
    }
}

static uint8_t byte_of(double value) { return (uint8_t)(value <= 0 ? 0 : value >= 255 ? 255 : value + 0.5); }

static void put_pixel(const double *v, int from, int to, uint8_t *at, int64_t plane)
{
    if (to == 1) {
        at[0] = byte_of(from == 1 ? v[0] : 0.299 * v[0] + 0.587 * v[1] + 0.114 * v[2]);
    }
    for (int c = 0; to == 3 && c < 3; c++) {
        at[c * plane] = byte_of(v[from == 1 ? 0 : c]);
    }
}

void plumb_fit_pixels(struct plumb_decoder *decoder, int channels, int64_t height, int64_t width, uint8_t *to)
{
    struct seen s = turn(decoder);
    double step = fmin((double)s.width / (double)width, (double)s.height / (double)height);
    struct axis across = make_axis(s.width, width, step), down = make_axis(s.height, height, step);
    for (int64_t y = 0; y < height; y++) {
        blend_rows(&s, &down, y, decoder->row);
        for (int64_t x = 0; x < width; x++) {
            double centre, sum, v[3] = {0, 0, 0};
            int64_t from, end;
            range(&across, x, &centre, &from, &end, &sum);
            for (int64_t k = from; k <= end; k++) {
                double weight = weight_of(&across, centre, k) / sum;
                for (int c = 0; c < s.channels; c++) {
                    v[c] += weight * (double)decoder->row[k * s.channels + c];
                }
            }
            put_pixel(v, s.channels, channels, to + y * width + x, height * width);
        }
    }
}
