/* Augmentation: what is drawn for an example, and what is done with it, in this order: places (mirror, crop, resized crop,
 * rotation, shear and the elastic warp, as one map), colours, erasing, mixing with another example.
 *
 * Every draw is a word of Philox keyed (seed, epoch, index of the example) with a number of its own, so that one kind of
 * change does not move another's draws. The other example of a mixture is drawn from the whole set and changed with draws
 * of its own; so a mixture does not depend on the batch, at the price of reading two examples for one.
 *
 * The map goes from the result to the source: a pixel of the result is read there, between four pixels. Coordinates of
 * mirrored and moved pictures are exact in double, and a neighbour that weighs nothing is not read, so those are copies. */
#include <math.h>
#include <stdio.h>

#include "data/augment.h"

#define PI 3.14159265358979323846

/* Numbers of draws; what draws more than one has the numbers behind it. */
enum draw {
    DRAW_MIRROR, DRAW_CROP_X, DRAW_CROP_Y, DRAW_AREA, DRAW_ASPECT, DRAW_PLACE_X, DRAW_PLACE_Y, DRAW_ROTATE, DRAW_SHEAR,
    DRAW_BRIGHTNESS, DRAW_CONTRAST, DRAW_SATURATION, DRAW_HUE, DRAW_ERASE, DRAW_ERASE_AREA, DRAW_ERASE_ASPECT,
    DRAW_ERASE_X, DRAW_ERASE_Y, DRAW_PARTNER, DRAW_EITHER, DRAW_BOX_X, DRAW_BOX_Y, DRAW_BETA = 64, DRAW_FIELD = 1024
};

/* What the draws of one example depend on. */
struct draws {
    uint64_t seed, step;
    uint32_t stream;
};

static struct draws draws_of(uint64_t seed, int64_t epoch, int64_t index, bool partner)
{
    return (struct draws){.seed = seed,
                          .step = (uint64_t)epoch << 40 ^ (uint64_t)index,
                          .stream = PLUMB_AUGMENT_STREAM + (partner ? 0x10000u : 0)};
}

static void draw_words(const struct draws *r, uint32_t number, uint32_t word[4])
{
    plumb_philox(r->seed, r->stream, r->step, number, word);
}

static double draw(const struct draws *r, uint32_t number) /* of [0, 1) */
{
    uint32_t word[4];
    draw_words(r, number, word);
    return plumb_uniform_of_word(word[0]);
}

static double between(const struct draws *r, uint32_t number, double low, double high)
{
    return low + (high - low) * draw(r, number);
}

/* ---- places ---- */

/* From a pixel of the result, counted from its centre, to one of the source. */
struct map {
    double xx, xy, x, yx, yy, y;
};

static struct map draw_map(const plumb_augment *a, const struct draws *r, int64_t height, int64_t width)
{
    struct map m = {.xx = a->mirror && draw(r, DRAW_MIRROR) < 0.5 ? -1 : 1, .yy = 1};
    if (a->crop > 0) {
        m.x = floor(between(r, DRAW_CROP_X, -a->crop, a->crop + 1));
        m.y = floor(between(r, DRAW_CROP_Y, -a->crop, a->crop + 1));
    }
    if (a->rotate > 0 || a->shear > 0) {
        double angle = a->rotate > 0 ? between(r, DRAW_ROTATE, -a->rotate, a->rotate) * PI / 180 : 0;
        double lean = a->shear > 0 ? tan(between(r, DRAW_SHEAR, -a->shear, a->shear) * PI / 180) : 0;
        double c = cos(angle), s = sin(angle);
        struct map n = {.yx = -s * m.xx + c * m.yx, .yy = -s * m.xy + c * m.yy, .y = -s * m.x + c * m.y};
        n.xx = c * m.xx + s * m.yx + lean * n.yx;
        n.xy = c * m.xy + s * m.yy + lean * n.yy;
        n.x = c * m.x + s * m.y + lean * n.y;
        m = n;
    }
    if (a->resized_crop > 0) {
        double area = between(r, DRAW_AREA, a->resized_crop, 1);
        double aspect = exp(between(r, DRAW_ASPECT, -1, 1) * log(4.0 / 3));
        double w = fmin(1, sqrt(area * aspect)), h = fmin(1, sqrt(area / aspect));
        double x = between(r, DRAW_PLACE_X, -0.5, 0.5) * (1 - w) * (double)width;
        double y = between(r, DRAW_PLACE_Y, -0.5, 0.5) * (1 - h) * (double)height;
        m = (struct map){m.xx * w, m.xy * w, m.x * w + x, m.yx * h, m.yy * h, m.y * h + y};
    }
    return m;
}

/* A line of `in`, `step` apart, smoothed into `out`; beyond the ends there is nothing. */
static void smooth(const float *in, float *out, int64_t count, int64_t step, const double *kernel, int radius)
{
    for (int64_t i = 0; i < count; i++) {
        double sum = 0;
        int64_t from = i < radius ? -i : -radius, to = count - 1 - i < radius ? count - 1 - i : radius;
        for (int64_t k = from; k <= to; k++) {
            sum += kernel[k + radius] * (double)in[(i + k) * step];
        }
        out[i * step] = (float)sum;
    }
}

/* Two fields of steps, smoothed in both directions: work->field[0] across, [1] down. */
static void draw_field(const plumb_augment *a, const struct draws *r, int64_t height, int64_t width,
                       struct plumb_augment_work *work)
{
    int64_t pixels = height * width;
    for (int f = 0; f < 2; f++) {
        float *field = work->field + f * pixels, *half = work->field + (2 + f) * pixels;
        for (int64_t i = 0; i < pixels; i += 4) {
            uint32_t word[4];
            draw_words(r, DRAW_FIELD + (uint32_t)f * 0x40000000u + (uint32_t)(i / 4), word);
            for (int64_t k = i; k < pixels && k < i + 4; k++) {
                field[k] = (float)(a->elastic * (2 * plumb_uniform_of_word(word[k - i]) - 1));
            }
        }
        for (int64_t y = 0; y < height; y++) {
            smooth(field + y * width, half + y * width, width, 1, work->kernel, work->radius);
        }
        for (int64_t x = 0; x < width; x++) {
            smooth(half + x, field + x, height, width, work->kernel, work->radius);
        }
    }
}

/* Between four pixels; what weighs nothing is not read, so that it may be infinite or outside. */
static void read_pixel(const float *from, int64_t channels, int64_t height, int64_t width, double x, double y, double fill,
                       float *to)
{
    int64_t pixels = height * width;
    /* Far outside, and not a number, is outside; no conversion overflows. */
    if (!(x > -1 && x < (double)width && y > -1 && y < (double)height)) {
        for (int64_t c = 0; c < channels; c++) {
            to[c * pixels] = (float)fill;
        }
        return;
    }
    int64_t left = (int64_t)floor(x), top = (int64_t)floor(y);
    double fx = x - (double)left, fy = y - (double)top;
    const double weight[4] = {(1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy};
    for (int64_t c = 0; c < channels; c++) {
        double sum = 0;
        for (int k = 0; k < 4; k++) {
            int64_t column = left + (k & 1), row = top + (k >> 1);
            bool inside = column >= 0 && column < width && row >= 0 && row < height;
            if (weight[k] > 0) {
                sum += weight[k] * (inside ? (double)from[c * pixels + row * width + column] : fill);
            }
        }
        to[c * pixels] = (float)sum;
    }
}

static bool moves(const plumb_augment *a)
{
    return a->mirror || a->crop > 0 || a->resized_crop > 0 || a->rotate > 0 || a->shear > 0 || a->elastic > 0;
}

static void move_pixels(const plumb_augment *a, const struct draws *r, const plumb_shape *shape,
                        struct plumb_augment_work *work, const float *from, float *to)
{
    int64_t channels = shape->dim[0], height = shape->dim[1], width = shape->dim[2];
    struct map m = draw_map(a, r, height, width);
    if (a->elastic > 0) {
        draw_field(a, r, height, width, work);
    }
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            int64_t at = y * width + x;
            double u = (double)x + 0.5 - (double)width / 2, v = (double)y + 0.5 - (double)height / 2;
            if (a->elastic > 0) {
                u += (double)work->field[at];
                v += (double)work->field[height * width + at];
            }
            read_pixel(from, channels, height, width, m.xx * u + m.xy * v + m.x + (double)width / 2 - 0.5,
                       m.yx * u + m.yy * v + m.y + (double)height / 2 - 0.5, a->fill, to + at);
        }
    }
}

/* ---- colours ---- */

static double grey_of(double r, double g, double b) { return 0.299 * r + 0.587 * g + 0.114 * b; }

static double mean_of(const float *x, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += (double)x[i];
    }
    return sum / (double)count;
}

/* Three channels: distance from grey, and a turn about the line of greys, as one matrix. */
static void change_chroma(const plumb_augment *a, const struct draws *r, int64_t pixels, float *x)
{
    double s = a->saturation > 0 ? between(r, DRAW_SATURATION, 1 - a->saturation, 1 + a->saturation) : 1;
    double angle = a->hue > 0 ? 2 * PI * between(r, DRAW_HUE, -a->hue, a->hue) : 0;
    /* Rodrigues' formula about (1, 1, 1) / sqrt 3. */
    double c = cos(angle), n = (1 - c) / 3, t = sin(angle) / sqrt(3);
    for (int64_t i = 0; i < pixels; i++) {
        double v[3] = {(double)x[i], (double)x[pixels + i], (double)x[2 * pixels + i]};
        double grey = grey_of(v[0], v[1], v[2]);
        for (int k = 0; k < 3; k++) {
            v[k] = grey + s * (v[k] - grey);
        }
        double sum = n * (v[0] + v[1] + v[2]);
        for (int k = 0; k < 3; k++) {
            x[k * pixels + i] = (float)(c * v[k] + sum + t * (v[(k + 2) % 3] - v[(k + 1) % 3]));
        }
    }
}

static void change_colours(const plumb_augment *a, const struct draws *r, const struct dataset *d, float *x)
{
    int64_t pixels = d->item / d->shape.dim[0];
    bool changed = false;
    if (a->brightness > 0 || a->contrast > 0) {
        double b = a->brightness > 0 ? between(r, DRAW_BRIGHTNESS, 1 - a->brightness, 1 + a->brightness) : 1;
        double c = a->contrast > 0 ? between(r, DRAW_CONTRAST, 1 - a->contrast, 1 + a->contrast) : 1;
        double mean = a->contrast > 0 ? b * mean_of(x, d->item) : 0;
        for (int64_t i = 0; i < d->item; i++) {
            x[i] = (float)(mean + c * (b * (double)x[i] - mean));
        }
        changed = true;
    }
    if (a->saturation > 0 || a->hue > 0) {
        change_chroma(a, r, pixels, x);
        changed = true;
    }
    for (int64_t i = 0; changed && d->dtype == PLUMB_U8 && i < d->item; i++) {
        x[i] = fminf(fmaxf(x[i], 0), 255);
    }
}

/* ---- rectangles ---- */

static void erase(const plumb_augment *a, const struct draws *r, const plumb_shape *shape, float *x)
{
    int64_t height = shape->dim[1], width = shape->dim[2];
    if (!(draw(r, DRAW_ERASE) < a->erase)) {
        return;
    }
    double area = between(r, DRAW_ERASE_AREA, 0.02, 0.33) * (double)height * (double)width;
    double aspect = exp(between(r, DRAW_ERASE_ASPECT, -1, 1) * log(3));
    int64_t w = (int64_t)fmin((double)width, fmax(1, round(sqrt(area * aspect))));
    int64_t h = (int64_t)fmin((double)height, fmax(1, round(sqrt(area / aspect))));
    int64_t left = (int64_t)floor(draw(r, DRAW_ERASE_X) * (double)(width - w + 1));
    int64_t top = (int64_t)floor(draw(r, DRAW_ERASE_Y) * (double)(height - h + 1));
    for (int64_t row = 0; row < shape->dim[0] * h; row++) {
        int64_t y = row / h * height + top + row % h;
        for (int64_t i = 0; i < w; i++) {
            x[y * width + left + i] = (float)a->fill;
        }
    }
}

/* ---- mixing ---- */

/* Beta(alpha, alpha) for alpha of 0 to 1 by Jöhnk's rejection; after 64 tries in vain, which at alpha = 1 is 2^-64 of the
 * cases and otherwise less, one half. */
static double draw_beta(const struct draws *r, double alpha)
{
    for (uint32_t i = 0; i < 64; i++) {
        uint32_t word[4];
        draw_words(r, DRAW_BETA + i, word);
        double x = pow(plumb_uniform_of_word(word[0]), 1 / alpha), y = pow(plumb_uniform_of_word(word[1]), 1 / alpha);
        if (x + y > 0 && x + y <= 1) {
            return x / (x + y);
        }
    }
    return 0.5;
}

/* A rectangle of `other` in `x`; returns which share is left of x. */
static double paste(const struct draws *r, double share, const plumb_shape *shape, const float *other, float *x)
{
    int64_t height = shape->dim[1], width = shape->dim[2];
    double side = sqrt(1 - share);
    int64_t w = (int64_t)round(side * (double)width), h = (int64_t)round(side * (double)height);
    int64_t cx = (int64_t)floor(draw(r, DRAW_BOX_X) * (double)width), cy = (int64_t)floor(draw(r, DRAW_BOX_Y) * (double)height);
    int64_t left = cx - w / 2, top = cy - h / 2, right = left + w, bottom = top + h;
    left = left < 0 ? 0 : left;
    top = top < 0 ? 0 : top;
    right = right > width ? width : right;
    bottom = bottom > height ? height : bottom;
    for (int64_t c = 0; c < shape->dim[0]; c++) {
        for (int64_t y = top; y < bottom; y++) {
            int64_t at = (c * height + y) * width + left;
            memcpy(x + at, other + at, (size_t)(right - left) * sizeof(float));
        }
    }
    return 1 - (double)((right - left) * (bottom - top)) / (double)(height * width);
}

static bool change(const struct dataset *d, const plumb_augment *a, const struct draws *r, int64_t index,
                   struct plumb_augment_work *work, float *to)
{
    float *from = moves(a) ? work->from : to;
    if (!plumb_dataset_floats(d, index, &work->scratch, from)) {
        return false;
    }
    if (moves(a)) {
        move_pixels(a, r, &d->shape, work, from, to);
    }
    change_colours(a, r, d, to);
    if (a->erase > 0) {
        erase(a, r, &d->shape, to);
    }
    return true;
}

bool plumb_augment_example(const struct dataset *d, const plumb_augment *a, uint64_t seed, int64_t epoch, int64_t index,
                           struct plumb_augment_work *work, float *to, struct plumb_mixed *mixed)
{
    const struct draws own = draws_of(seed, epoch, index, false), partner = draws_of(seed, epoch, index, true);
    if (!change(d, a, &own, index, work, to)) {
        return false;
    }
    if (!(a->mixup > 0) && !(a->cutmix > 0)) {
        return true;
    }
    uint32_t word[4];
    draw_words(&own, DRAW_PARTNER, word);
    int64_t other = plumb_draw_below(word, d->count);
    if (!change(d, a, &partner, other, work, work->other)) {
        return false;
    }
    bool cut = a->cutmix > 0 && (!(a->mixup > 0) || draw(&own, DRAW_EITHER) < 0.5);
    double share = draw_beta(&own, cut ? a->cutmix : a->mixup);
    if (cut) {
        share = paste(&own, share, &d->shape, work->other, to);
    } else {
        for (int64_t i = 0; i < d->item; i++) {
            to[i] = (float)(share * (double)to[i] + (1 - share) * (double)work->other[i]);
        }
    }
    mixed->second = plumb_dataset_label_at(d, other);
    mixed->share = (float)share;
    return true;
}

/* ---- room to work in ---- */

static plumb_status make_kernel(const struct dataset *d, double sigma, struct plumb_augment_work *work)
{
    work->radius = (int)ceil(3 * sigma);
    work->kernel = plumb_alloc(d->context, (size_t)(2 * work->radius + 1) * sizeof(double));
    work->field = plumb_alloc(d->context, (size_t)(4 * d->shape.dim[1] * d->shape.dim[2]) * sizeof(float));
    double sum = 0;
    for (int i = 0; work->kernel && i <= 2 * work->radius; i++) {
        double at = (i - work->radius) / sigma;
        work->kernel[i] = exp(-at * at / 2);
        sum += work->kernel[i];
    }
    for (int i = 0; work->kernel && i <= 2 * work->radius; i++) {
        work->kernel[i] /= sum;
    }
    return work->kernel && work->field ? PLUMB_OK : PLUMB_FAILED;
}

plumb_status plumb_augment_work_make(const struct dataset *d, const plumb_augment *a, struct plumb_augment_work *work)
{
    plumb_status status = plumb_scratch_make(d, &work->scratch);
    if (!status && a) {
        work->from = plumb_alloc(d->context, (size_t)d->item * sizeof(float));
        work->other = plumb_alloc(d->context, (size_t)d->item * sizeof(float));
        status = work->from && work->other ? PLUMB_OK : PLUMB_FAILED;
        if (!status && a->elastic > 0) {
            status = make_kernel(d, a->elastic_sigma, work);
        }
    }
    return status;
}

void plumb_augment_work_free(const struct dataset *d, struct plumb_augment_work *work)
{
    plumb_scratch_free(d, &work->scratch);
    plumb_free(d->context, work->from);
    plumb_free(d->context, work->other);
    plumb_free(d->context, work->field);
    plumb_free(d->context, work->kernel);
}
