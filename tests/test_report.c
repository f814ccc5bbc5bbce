/* The report page, the history as lines of JSON, and TensorBoard's files. The page is read as a browser would at least
 * have to: tags that match, nothing from outside, pictures that are PNG. Event files are read back by a parser that
 * shares nothing with the writer, checksums included. */
#include <unistd.h>

#include "check.h"
#include "core/core.h"
#include "files.h"
#include "plumb/plumb.h"

#define SIDE 8
#define COUNT 30

/* ---- what is reported on ---- */

struct scarce {
    int64_t left; /* allocations still granted; negative: all */
};

static void *scarce_alloc(void *user, size_t bytes)
{
    struct scarce *s = user;
    if (s->left == 0) {
        return NULL;
    }
    s->left -= s->left > 0;
    return aligned_alloc(64, (bytes + 63) / 64 * 64 + 64);
}

static void scarce_free(void *user, void *memory, size_t bytes)
{
    (void)user, (void)bytes;
    free(memory);
}

struct subject {
    struct scarce scarce;
    char folder[40], path[80];
    plumb_context *context;
    plumb_model model;
    plumb_state *state;
    plumb_dataset *d;
    plumb_epoch history[3];
    int64_t confusion[9];
    int32_t predicted[COUNT];
    float probabilities[COUNT * 3];
    plumb_evaluation e;
    plumb_diagnosis diagnosis;
};

/* A small convolutional network, trained for no time at all, of random pictures in three classes. */
static bool open_subject(struct subject *s)
{
    static float x[COUNT * SIDE * SIDE];
    static int32_t y[COUNT];
    *s = (struct subject){.scarce = {-1}, .folder = "/tmp/plumb-report-XXXXXX"};
    const plumb_allocator allocator = {&s->scarce, scarce_alloc, scarce_free};
    s->context = plumb_open(&(plumb_options){.threads = 1, .seed = 3, .allocator = &allocator});
    for (int i = 0; i < COUNT * SIDE * SIDE; i++) {
        x[i] = (float)plumb_normal_of_word(plumb_random_word(8, 0, 0, i));
    }
    for (int i = 0; i < COUNT; i++) {
        y[i] = i % 3;
    }
    s->d = plumb_dataset_arrays(s->context, PLUMB_F32, PLUMB_SHAPE(1, SIDE, SIDE), COUNT, x, y, 3);
    plumb_graph *g = plumb_graph_new(s->context, "small");
    plumb_t in = plumb_input(g, "image", PLUMB_F32, PLUMB_SHAPE(PLUMB_BATCH, 1, SIDE, SIDE));
    plumb_t label = plumb_input(g, "label", PLUMB_I32, PLUMB_SHAPE(PLUMB_BATCH));
    plumb_t h = plumb_conv2d_layer(g, "conv1", in, .filters = 4, .kernel = {3, 3}, .activation = PLUMB_RELU);
    plumb_t logits = plumb_linear_layer(g, "fc", plumb_flatten(g, h, 1), .units = 3);
    s->model = (plumb_model){.graph = g,
                             .input = in,
                             .label = label,
                             .logits = logits,
                             .loss = plumb_softmax_cross_entropy(g, logits, label, NULL),
                             .input_shape = PLUMB_SHAPE(1, SIDE, SIDE),
                             .classes = 3};
    s->state = plumb_state_new(g);
    for (int i = 0; i < 3; i++) {
        s->history[i] = (plumb_epoch){.epoch = i + 1,
                                      .steps = 10,
                                      .lr = 0.1 / (i + 1),
                                      .train_loss = 1.0 / (i + 1),
                                      .train_accuracy = 0.5 + 0.1 * i,
                                      .test_loss = i == 1 ? NAN : 1.1 / (i + 1),
                                      .test_accuracy = i == 1 ? NAN : 0.4 + 0.1 * i,
                                      .dev_loss = NAN,
                                      .dev_accuracy = NAN,
                                      .seconds = 2,
                                      .images_per_s = 1000 + i,
                                      .data_wait = 0.01};
    }
    s->e = (plumb_evaluation){
        .confusion = s->confusion, .predicted = s->predicted, .probabilities = s->probabilities};
    plumb_evaluate(&s->model, s->state, s->d, 0, &s->e);
    plumb_diagnose(s->context,
                   &(plumb_errors){.human = NAN, .train = 0.3, .train_dev = NAN, .dev = 0.4, .test = NAN}, &s->diagnosis);
    CHECK_MSG(plumb_last_status(s->context) == PLUMB_OK, "%s", plumb_message(s->context));
    bool made = mkdtemp(s->folder) != NULL;
    snprintf(s->path, sizeof(s->path), "%s/file", s->folder);
    return made && plumb_last_status(s->context) == PLUMB_OK;
}

static void close_subject(struct subject *s)
{
    plumb_close(s->context);
    remove(s->path);
    CHECK(rmdir(s->folder) == 0); /* no temporary file was left */
}

static plumb_report whole_report(const struct subject *s)
{
    static const char *const settings[] = {"optimizer", "adam", "note", "a < b & \"c\"", NULL};
    static const plumb_optimizer optimizer = {.rule = "adam", .lr = 1e-3};
    return (plumb_report){.title = "Small & <quick>",
                          .settings = settings,
                          .history = s->history,
                          .epochs = 3,
                          .model = &s->model,
                          .state = s->state,
                          .optimizer = &optimizer,
                          .batch = 8,
                          .train = s->d,
                          .data = s->d,
                          .evaluation = &s->e,
                          .diagnosis = &s->diagnosis};
}

/* ---- the page ---- */

static bool is_void(const char *name, size_t length)
{
    static const char *const names[] = {"meta", "img", "br", "!doctype"};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strlen(names[i]) == length && memcmp(names[i], name, length) == 0) {
            return true;
        }
    }
    return false;
}

/* Every tag is closed in its turn. */
static void check_tags(const char *html)
{
    struct {
        const char *name;
        size_t length;
    } open[64];
    int depth = 0;
    for (const char *p = strchr(html, '<'); p; p = strchr(p + 1, '<')) {
        bool end = p[1] == '/';
        const char *name = p + 1 + end, *close = strchr(p, '>');
        size_t length = strcspn(name, " >/\n");
        REQUIRE(close && depth < 63);
        if (is_void(name, length) || close[-1] == '/') {
            continue;
        }
        if (!end) {
            open[depth].name = name;
            open[depth++].length = length;
            continue;
        }
        depth--;
        if (depth < 0 || open[depth].length != length || memcmp(open[depth].name, name, length) != 0) {
            check_fail(__FILE__, __LINE__, "</%.10s> closes <%.10s>", name, depth < 0 ? "nothing" : open[depth].name);
            return;
        }
    }
    CHECK(depth == 0);
}

static int count_of(const char *text, const char *word)
{
    int n = 0;
    for (const char *p = strstr(text, word); p; p = strstr(p + 1, word)) {
        n++;
    }
    return n;
}

PLUMB_TEST(report, page_has_everything_and_needs_nothing)
{
    static struct subject s;
    static const char *const parts[] = {
        "<h2 id=\"curves\">", "<h2 id=\"diagnosis\">", "<h2 id=\"confusion\">", "<h2 id=\"classes\">",
        "<h2 id=\"mistakes\">", "<h2 id=\"samples\">", "<h2 id=\"filters\">", "<h2 id=\"layers\">",
        "<h2 id=\"memory\">", "<h2 id=\"times\">", "<h2 id=\"settings\">", "<h2 id=\"history\">",
        "Small &amp; &lt;quick&gt;", "a &lt; b &amp; &quot;c&quot;", "conv1.weight: 4 of 3 x 3", "prefers-color-scheme:dark",
        "@media print", "<html lang=\"en\">", "avoidable bias", "variance", "gradients</th><td>"};
    REQUIRE(open_subject(&s));
    plumb_report report = whole_report(&s);
    CHECK_MSG(plumb_write_report_html(s.context, s.path, &report) == PLUMB_OK, "%s", plumb_message(s.context));
    size_t bytes;
    char *html = files_read(s.path, &bytes);
    REQUIRE(html);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        CHECK_TEXT(html, parts[i]);
    }
    check_tags(html);
    CHECK(!strstr(html, "http:") && !strstr(html, "https:") && !strstr(html, "<script") && !strstr(html, "<link") && !strstr(html, "@import"));
    CHECK(count_of(html, " src=") == count_of(html, " src=\"data:image/png;base64,iVBORw0KGgo"));
    CHECK(count_of(html, "<img") == count_of(html, " alt=\"") && count_of(html, "<img") > 30 + 4 + 4);
    CHECK(count_of(html, "<svg") == 5 && count_of(html, "<svg") == count_of(html, "role=\"img\" aria-label=\"") - 2);
    CHECK(!strstr(html, ">nan") && !strstr(html, " nan") && !strstr(html, "\"nan") && !strstr(html, ">inf"));
    CHECK(bytes < 120000);
    free(html);
    close_subject(&s);
}

PLUMB_TEST(report, page_leaves_out_what_is_not_known)
{
    static struct subject s;
    REQUIRE(open_subject(&s));
    const plumb_report nothing = {.title = NULL};
    CHECK(plumb_write_report_html(s.context, s.path, &nothing) == PLUMB_OK);
    size_t bytes;
    char *html = files_read(s.path, &bytes);
    REQUIRE(html);
    CHECK_TEXT(html, "<h1>Report</h1>");
    CHECK(!strstr(html, "<section"));
    check_tags(html);
    free(html);
    plumb_report report = whole_report(&s);
    s.e.count = COUNT + 1;
    CHECK(plumb_write_report_html(s.context, s.path, &report) == PLUMB_BAD_INPUT);
    CHECK_TEXT(plumb_message(s.context), "of 31 examples, the data set has 30");
    s.e.count = COUNT;
    plumb_clear_error(s.context);
    CHECK(plumb_write_report_html(s.context, "/nonexistent/report.html", &report) == PLUMB_IO_ERROR);
    close_subject(&s);
}

PLUMB_TEST(report, every_failing_allocation_leaves_the_old_page)
{
    static struct subject s;
    REQUIRE(open_subject(&s));
    plumb_report report = whole_report(&s);
    REQUIRE(plumb_write_report_html(s.context, s.path, &report) == PLUMB_OK);
    size_t bytes, other;
    char *page = files_read(s.path, &bytes);
    int64_t n = 0;
    plumb_status status = PLUMB_FAILED;
    for (; status && n < 100000 && check_failures() < 5; n++) {
        plumb_clear_error(s.context);
        int64_t held = plumb_memory_now(s.context);
        s.scarce.left = n;
        status = plumb_write_report_html(s.context, s.path, &report);
        s.scarce.left = -1;
        CHECK_MSG(!status || (status == PLUMB_FAILED && *plumb_message(s.context)), "allocation %lld: %d", (long long)n,
                  (int)status);
        CHECK_MSG(plumb_memory_now(s.context) == held, "allocation %lld: %lld bytes are held", (long long)n,
                  (long long)(plumb_memory_now(s.context) - held));
    }
    CHECK_MSG(n > 200, "only %lld allocations", (long long)n);
    char *last = files_read(s.path, &other);
    CHECK(page && last && bytes == other && memcmp(page, last, bytes) == 0);
    free(page);
    free(last);
    close_subject(&s);
}

PLUMB_TEST(report, history_as_lines_of_json)
{
    static struct subject s;
    REQUIRE(open_subject(&s));
    CHECK(plumb_write_history_jsonl(s.context, s.path, s.history, 3) == PLUMB_OK);
    size_t bytes;
    char *text = files_read(s.path, &bytes);
    CHECK_TEXT(text, "{\"epoch\":1,\"steps\":10,\"lr\":0.1,\"train_loss\":1,\"train_accuracy\":0.5,\"test_loss\":1.1,"
                     "\"test_accuracy\":0.4,\"seconds\":2,\"test_seconds\":0,\"train_images_per_s\":1000,"
                     "\"data_wait\":0.01,\"skipped_steps\":0,\"dev_loss\":null,\"dev_accuracy\":null,\"better\":0}\n{\"epoch\":2,");
    CHECK_TEXT(text, "\"test_loss\":null,\"test_accuracy\":null");
    CHECK(text && count_of(text, "\n") == 3);
    free(text);
    close_subject(&s);
}

/* ---- TensorBoard's files ---- */

/* CRC-32C bit by bit, as its definition says. */
static uint32_t crc_of(const uint8_t *data, size_t bytes)
{
    uint32_t crc = ~0u;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
        }
    }
    crc = ~crc;
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

static uint64_t little(const uint8_t *p, int bytes)
{
    uint64_t v = 0;
    for (int i = bytes - 1; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

static uint64_t varint(const uint8_t **p)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t byte = *(*p)++;
        v |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) {
            break;
        }
    }
    return v;
}

struct field {
    int number, kind;
    uint64_t value; /* of kinds 0, 1 and 5 */
    const uint8_t *data;
    size_t bytes;
};

/* The first field of that number in a message: false if it has none. */
static bool find_field(const uint8_t *p, size_t bytes, int number, struct field *f)
{
    const uint8_t *end = p + bytes;
    while (p < end) {
        uint64_t key = varint(&p);
        *f = (struct field){.number = (int)(key >> 3), .kind = (int)(key & 7)};
        if (f->kind == 0) {
            f->value = varint(&p);
        } else if (f->kind == 2) {
            f->bytes = (size_t)varint(&p);
            f->data = p;
            p += f->bytes;
        } else {
            int size = f->kind == 1 ? 8 : 4;
            f->value = little(p, size);
            p += size;
        }
        if (f->number == number) {
            return p <= end;
        }
    }
    return false;
}

/* The record at *at: its event, or NULL at the end or after a failed check. */
static const uint8_t *next_record(const uint8_t *file, size_t bytes, size_t *at, size_t *length)
{
    if (*at == bytes) {
        return NULL;
    }
    if (*at + 16 > bytes) {
        check_fail(__FILE__, __LINE__, "a record ends early");
        return NULL;
    }
    const uint8_t *p = file + *at;
    *length = (size_t)little(p, 8);
    CHECK(little(p + 8, 4) == crc_of(p, 8));
    if (*length > bytes - *at - 16) {
        check_fail(__FILE__, __LINE__, "a record is longer than the file");
        return NULL;
    }
    CHECK(little(p + 12 + *length, 4) == crc_of(p + 12, *length));
    *at += 16 + *length;
    return p + 12;
}

static double as_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, 8);
    return value;
}

/* The value's message inside an event of `step`, with its tag checked. */
static bool open_value(const uint8_t *event, size_t length, int64_t step, const char *tag, struct field *value)
{
    struct field f, name;
    if (!event || !find_field(event, length, 2, &f) || (int64_t)f.value != step || !find_field(event, length, 5, &f) ||
        !find_field(f.data, f.bytes, 1, value) || !find_field(value->data, value->bytes, 1, &name)) {
        return false;
    }
    return name.bytes == strlen(tag) && memcmp(name.data, tag, name.bytes) == 0;
}

PLUMB_TEST(report, events_are_what_tensorboard_reads)
{
    static struct subject s;
    static const float values[5] = {-1, 0, 0.5f, 2, NAN};
    static const uint8_t pixels[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    REQUIRE(open_subject(&s));
    const plumb_scalar_event scalars[2] = {{"loss", 7, 0.25, 1234.5}, {"a/b", 1LL << 40, -3, 0}};
    CHECK(plumb_add_scalars(s.context, s.path, scalars, 2) == PLUMB_OK);
    CHECK(plumb_add_epoch(s.context, s.path, &s.history[1]) == PLUMB_OK);
    CHECK(plumb_add_histogram(s.context, s.path, "weights", 3, values, 5) == PLUMB_OK);
    CHECK(plumb_add_picture(s.context, s.path, "picture", 4, 2, 2, 3, pixels) == PLUMB_OK);
    size_t bytes, at = 0, length = 0;
    char *file = files_read(s.path, &bytes);
    const uint8_t *data = (const uint8_t *)file, *event;
    struct field f, value;
    REQUIRE(file);

    event = next_record(data, bytes, &at, &length);
    CHECK(event && find_field(event, length, 3, &f) && f.bytes == 13 && memcmp(f.data, "brain.Event:2", 13) == 0);
    event = next_record(data, bytes, &at, &length);
    CHECK(event && find_field(event, length, 1, &f) && f.kind == 1 && as_double(f.value) == 1234.5);
    REQUIRE(open_value(event, length, 7, "loss", &value));
    CHECK(find_field(value.data, value.bytes, 2, &f) && f.kind == 5 && f.value == 0x3e800000u);
    event = next_record(data, bytes, &at, &length);
    CHECK(event && find_field(event, length, 1, &f) && as_double(f.value) > 1.7e9); /* now */
    REQUIRE(open_value(event, length, 1LL << 40, "a/b", &value));

    static const char *const tags[] = {"loss/train", "accuracy/train", "learning_rate", "speed/images_per_s",
                                       "speed/data_wait"}; /* the test's were not finite */
    for (int i = 0; i < 5; i++) {
        event = next_record(data, bytes, &at, &length);
        CHECK_MSG(open_value(event, length, 2, tags[i], &value), "%s", tags[i]);
    }
    event = next_record(data, bytes, &at, &length);
    REQUIRE(open_value(event, length, 3, "weights", &value) && find_field(value.data, value.bytes, 5, &value));
    static const double expected[5] = {-1, 2, 4, 1.5, 5.25};
    for (int i = 0; i < 5; i++) {
        CHECK(find_field(value.data, value.bytes, i + 1, &f) && as_double(f.value) == expected[i]);
    }
    double sum = 0, last = -1;
    REQUIRE(find_field(value.data, value.bytes, 7, &f) && f.bytes == 30 * 8);
    for (int i = 0; i < 30; i++) {
        sum += as_double(little(f.data + 8 * i, 8));
    }
    CHECK(sum == 4);
    REQUIRE(find_field(value.data, value.bytes, 6, &f) && f.bytes == 30 * 8);
    for (int i = 0; i < 30; i++) {
        double limit = as_double(little(f.data + 8 * i, 8));
        CHECK(limit > last);
        last = limit;
    }
    CHECK(last == 2);
    event = next_record(data, bytes, &at, &length);
    REQUIRE(open_value(event, length, 4, "picture", &value) && find_field(value.data, value.bytes, 4, &value));
    CHECK(find_field(value.data, value.bytes, 1, &f) && f.value == 2 && find_field(value.data, value.bytes, 3, &f) &&
          f.value == 3);
    CHECK(find_field(value.data, value.bytes, 4, &f) && f.bytes > 50 && memcmp(f.data, "\x89PNG\r\n\x1a\n", 8) == 0);
    CHECK(!next_record(data, bytes, &at, &length) && at == bytes);
    CHECK(plumb_add_epoch(s.context, "/nonexistent/events", &s.history[0]) == PLUMB_IO_ERROR);
    free(file);
    close_subject(&s);
}
