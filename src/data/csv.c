/* Tables of numbers: RFC 4180's quoting, decimal numbers, and nothing that has to be guessed.
 *
 * The file is read once, byte by byte, and rows are appended as they are complete, so memory follows what the file has.
 * What is refused, because it is mostly a slip: rows of another length than the first, empty cells (a missing value is no
 * number), text behind a closing quote, a lone carriage return, bytes of zero, a byte-order mark of UTF-16. One of UTF-8
 * is passed over. The header is the first row if one of its cells is no number, unless `no_header` says otherwise. */
#include <math.h>
#include <stdio.h>

#include "data/dataset.h"
#include "data/source.h"
#include "io/number.h"

#define MAX_COLUMNS 65536
#define MAX_CELL 4096
#define MAX_CLASSES 65536

struct table {
    plumb_context *context;
    const plumb_dataset_options *o;
    struct plumb_source *source;
    unsigned char buffer[4096];
    size_t begin, end;
    int64_t offset; /* of the next byte */
    int64_t line;   /* from 1 */
    /* The row that is being read: cells, one behind the other. */
    char *text;
    int text_used, text_room;
    int *cell; /* where each ends */
    int cells, cell_room;
    int64_t row_offset;
    /* What has been read. */
    int columns, label; /* label: -1 not known yet */
    float *values;
    int64_t rows, row_room;
    int32_t *labels;
    int32_t greatest;
    struct plumb_bads bads;
    int64_t seen; /* rows of data, bad ones too */
};

#define END (-1)
#define FAILED (-2) /* and the context knows why */

static int next_byte(struct table *t)
{
    if (t->begin == t->end) {
        t->begin = 0;
        if (plumb_source_read(t->source, t->buffer, sizeof(t->buffer), &t->end)) {
            return FAILED;
        }
        if (t->end == 0) {
            return END;
        }
    }
    t->offset++;
    return t->buffer[t->begin++];
}

static void put_back(struct table *t)
{
    t->begin--; /* the byte that came last is in the buffer still */
    t->offset--;
}

static plumb_status refuse(struct table *t, const char *why)
{
    return plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset %lld, line %lld, column %d: %s", t->source->path,
                      (long long)t->offset - 1, (long long)t->line, t->cells, why);
}

static plumb_status keep_byte(struct table *t, int byte, int cell_begin)
{
    if (byte == 0) {
        return refuse(t, "a byte of zero (not a text file?)");
    }
    if (t->text_used - cell_begin >= MAX_CELL) {
        return refuse(t, "the cell is longer than 4096 bytes (a quote that is not closed?)");
    }
    if (!plumb_grow(t->context, &t->text, &t->text_room, t->text_used + 1, 1)) {
        return PLUMB_FAILED;
    }
    t->text[t->text_used++] = (char)byte;
    return PLUMB_OK;
}

/* Behind the opening quote, up to and including the closing one. */
static plumb_status read_quoted(struct table *t, int begin)
{
    for (;;) {
        int byte = next_byte(t);
        if (byte == '"') {
            byte = next_byte(t);
            if (byte != '"') {
                if (byte >= 0) {
                    put_back(t);
                }
                return byte == FAILED ? t->context->status : PLUMB_OK;
            }
        }
        if (byte < 0) {
            return byte == FAILED ? t->context->status : refuse(t, "the file ends inside a quoted cell");
        }
        t->line += byte == '\n';
        plumb_status status = keep_byte(t, byte, begin);
        if (status) {
            return status;
        }
    }
}

/* One cell and what ends it: ',', '\n' or END in *ending. */
static plumb_status read_cell(struct table *t, int *ending)
{
    int begin = t->text_used, byte = next_byte(t);
    bool quoted = byte == '"';
    plumb_status status = quoted ? read_quoted(t, begin) : PLUMB_OK;
    for (byte = quoted ? next_byte(t) : byte; !status; byte = next_byte(t)) {
        if (byte == '\r') {
            byte = next_byte(t);
            if (byte != '\n' && byte != FAILED) {
                return refuse(t, "a carriage return that no line feed follows");
            }
        }
        if (byte == FAILED) {
            return t->context->status;
        }
        if (byte == ',' || byte == '\n' || byte == END) {
            break;
        }
        status = quoted      ? refuse(t, "text follows a quoted cell")
                 : byte == '"' ? refuse(t, "a quote inside a cell that does not begin with one")
                               : keep_byte(t, byte, begin);
    }
    *ending = byte;
    return status;
}

/* A row; *more is false where the file ended before one. */
static plumb_status read_row(struct table *t, bool *more)
{
    int ending = ',';
    t->cells = t->text_used = 0;
    t->row_offset = t->offset;
    *more = true;
    while (ending == ',') {
        if (t->cells >= MAX_COLUMNS) {
            return refuse(t, "more than 65536 columns");
        }
        plumb_status status = read_cell(t, &ending);
        if (!status && ending == END && t->cells == 0 && t->text_used == 0 && t->offset == t->row_offset) {
            *more = false;
            return PLUMB_OK;
        }
        if (!status && !plumb_grow(t->context, &t->cell, &t->cell_room, t->cells + 1, sizeof(int))) {
            status = PLUMB_FAILED;
        }
        if (status) {
            return status;
        }
        t->cell[t->cells++] = t->text_used;
    }
    return PLUMB_OK;
}

static const char *cell_text(const struct table *t, int column, size_t *length)
{
    int begin = column > 0 ? t->cell[column - 1] : 0;
    *length = (size_t)(t->cell[column] - begin);
    return t->text ? t->text + begin : "";
}

/* ---- which column is the label ---- */

static int column_named(const struct table *t, const char *name)
{
    for (int c = 0; c < t->cells; c++) {
        size_t length;
        const char *text = cell_text(t, c, &length);
        if (length == strlen(name) && memcmp(text, name, length) == 0) {
            return c;
        }
    }
    return -1;
}

static plumb_status find_label(struct table *t, bool header)
{
    const char *wanted = t->o->label;
    double number;
    t->columns = t->cells;
    t->label = header ? column_named(t, wanted ? wanted : "label") : -1;
    if (t->label < 0 && !wanted) {
        t->label = t->columns - 1;
    } else if (t->label < 0 && plumb_number(wanted, strlen(wanted), &number) && number >= 0 && number < t->columns &&
               number == floor(number)) {
        t->label = (int)number;
    }
    if (t->label < 0) {
        return plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset 0, header: no column is called '%.100s', nor is that a number below %d",
                          t->source->path, wanted, t->columns);
    }
    if (t->columns < 2) {
        return plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset 0, columns: there is %d, at least one beside the label is needed",
                          t->source->path, t->columns);
    }
    return PLUMB_OK;
}

static bool is_header(const struct table *t)
{
    for (int c = 0; c < t->cells; c++) {
        size_t length;
        double number;
        const char *text = cell_text(t, c, &length);
        if (!plumb_number(text, length, &number)) {
            return true;
        }
    }
    return false;
}

/* ---- rows of data ---- */

/* The row's numbers behind those that are there; *why and *column where one is not as it should be. */
static bool convert(struct table *t, float *to, int32_t *label, const char **why, int *column)
{
    int at = 0;
    for (int c = 0; c < t->columns; c++) {
        size_t length;
        double number = 0;
        const char *text = cell_text(t, c, &length);
        *column = c;
        *why = length == 0 ? "is empty" : plumb_number(text, length, &number) ? NULL : "is no number";
        if (!*why && c != t->label) {
            to[at++] = (float)number;
            *why = isfinite(to[at - 1]) ? NULL : "is beyond the range of f32";
        } else if (!*why) {
            int limit = t->o->classes ? t->o->classes : MAX_CLASSES;
            *why = number >= 0 && number < limit && number == floor(number) ? NULL : "the label is no whole number within the classes";
            *label = *why ? 0 : (int32_t)number;
        }
        if (*why) {
            return false;
        }
    }
    return true;
}

static plumb_status make_room(struct table *t)
{
    int64_t room = t->row_room ? 2 * t->row_room : 64, floats, bytes;
    if (!plumb_mul_size(t->rows + 1, t->columns - 1, &floats) || !plumb_mul_size(floats, (int64_t)sizeof(float), &bytes) ||
        bytes > t->o->max_bytes) {
        return plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset %lld, rows: pass the limit of %lld bytes", t->source->path,
                          (long long)t->row_offset, (long long)t->o->max_bytes);
    }
    if (t->rows < t->row_room) {
        return PLUMB_OK;
    }
    float *values = plumb_realloc(t->context, t->values, (size_t)(room * (t->columns - 1)) * sizeof(float));
    t->values = values ? values : t->values;
    int32_t *labels = values ? plumb_realloc(t->context, t->labels, (size_t)room * sizeof(int32_t)) : NULL;
    t->labels = labels ? labels : t->labels;
    t->row_room = labels ? room : t->row_room;
    return labels ? PLUMB_OK : PLUMB_FAILED;
}

static plumb_status take_row(struct table *t)
{
    const char *why = "";
    int column = 0;
    int32_t label = 0;
    t->seen++;
    if (t->cells != t->columns) {
        return plumb_bad(&t->bads, "%s: offset %lld, line %lld: %d cells, the first row has %d", t->source->path,
                         (long long)t->row_offset, (long long)t->line, t->cells, t->columns);
    }
    plumb_status status = make_room(t);
    if (status) {
        return status;
    }
    if (!convert(t, t->values + t->rows * (t->columns - 1), &label, &why, &column)) {
        size_t length;
        const char *text = cell_text(t, column, &length);
        return plumb_bad(&t->bads, "%s: offset %lld, line %lld, column %d: '%.*s' %s", t->source->path, (long long)t->row_offset,
                         (long long)t->line, column, (int)(length < 40 ? length : 40), text, why);
    }
    t->greatest = label > t->greatest ? label : t->greatest;
    t->labels[t->rows++] = label;
    return PLUMB_OK;
}

static plumb_status skip_mark(struct table *t)
{
    int byte = next_byte(t);
    if (byte >= 0x80) { /* the buffer has the first bytes together */
        bool utf8 = byte == 0xef && t->end >= 3 && t->buffer[1] == 0xbb && t->buffer[2] == 0xbf;
        if (!utf8 && byte >= 0xfe) {
            return refuse(t, "is UTF-16, UTF-8 or ASCII is expected");
        }
        t->begin += utf8 ? 2 : 0;
        t->offset += utf8 ? 2 : 0;
    }
    if (byte >= 0 && t->offset == 1) {
        put_back(t);
    }
    return byte == FAILED ? t->context->status : PLUMB_OK;
}

static plumb_status read_table(struct table *t)
{
    bool more = true;
    plumb_status status = skip_mark(t);
    for (bool first = true; !status; first = false) {
        t->line++;
        status = read_row(t, &more);
        if (status || !more) {
            break;
        }
        bool header = first && !t->o->no_header && is_header(t);
        status = first ? find_label(t, header) : PLUMB_OK;
        if (!status && !header) {
            status = take_row(t);
        }
    }
    if (!status && t->seen == 0) {
        status = plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset %lld, rows: there are none", t->source->path,
                            (long long)t->offset);
    }
    if (!status && t->o->expect > 0 && t->seen != t->o->expect) {
        status = plumb_fail(t->context, PLUMB_BAD_INPUT, "%s: offset %lld, rows: there are %lld, expected %lld", t->source->path,
                            (long long)t->offset, (long long)t->seen, (long long)t->o->expect);
    }
    return status ? status : plumb_source_end(t->source, t->offset);
}

static struct dataset *make_set(struct table *t)
{
    struct dataset *d = plumb_zalloc(t->context, sizeof(*d));
    if (!d) {
        return NULL;
    }
    *d = (struct dataset){.context = t->context,
                          .dtype = PLUMB_F32,
                          .shape = PLUMB_SHAPE(t->columns - 1, 1, 1),
                          .count = t->rows,
                          .classes = t->o->classes ? t->o->classes : t->greatest + 1,
                          .data = t->values,
                          .label32 = t->labels};
    t->values = NULL;
    t->labels = NULL;
    if (plumb_bads_settle(&t->bads, d, t->seen)) {
        plumb_dataset_drop(d);
        return NULL;
    }
    return d;
}

plumb_dataset *plumb_dataset_csv(plumb_context *context, const char *path, const plumb_dataset_options *options)
{
    plumb_dataset_options o;
    if (!context || plumb_dataset_options_read(context, options, &o)) {
        return NULL;
    }
    struct table *t = path ? plumb_zalloc(context, sizeof(*t)) : NULL;
    if (!t) {
        plumb_fail(context, PLUMB_BAD_INPUT, "data set: needs a file name");
        return NULL;
    }
    t->context = context;
    t->o = &o;
    t->bads = (struct plumb_bads){.context = context, .share = o.max_bad};
    plumb_status status = plumb_source_open(context, path, &t->source);
    if (!status) {
        status = read_table(t);
    }
    struct dataset *d = status ? NULL : make_set(t);
    plumb_source_close(t->source);
    plumb_bads_free(&t->bads);
    plumb_free(context, t->text);
    plumb_free(context, t->cell);
    plumb_free(context, t->values);
    plumb_free(context, t->labels);
    plumb_free(context, t);
    return d ? plumb_dataset_publish(d) : NULL;
}
