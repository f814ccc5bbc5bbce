/* The list of others' bugs, tests/known_bugs.txt: every place it names must exist, so that a case that is renamed or taken out
 * takes its row with it. And the rows that no case of a single op can hold. */
#include "cases.h"
#include "check.h"

#include <glob.h>

#include "plumb/program.h"
#include "plumb/state.h"

/* ---- the list ---- */

static const case_list *all_cases(void)
{
    static case_list list; /* until the end of the program */
    if (list.count == 0) {
#define CASE_FAMILY(name) cases_##name(&list);
#include "cases/families.h"
#undef CASE_FAMILY
    }
    return &list;
}

static bool is_case(const char *op, const char *label)
{
    const case_list *list = all_cases();
    for (int i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].op->name, op) == 0 && strcmp(list->items[i].label, label) == 0) {
            return true;
        }
    }
    return false;
}

static bool holds(const char *path, const char *text)
{
    char line[1024];
    bool found = false;
    FILE *from = fopen(path, "re");
    while (from && !found && fgets(line, sizeof line, from)) {
        found = strstr(line, text) != NULL;
    }
    if (from) {
        fclose(from);
    }
    return found;
}

/* Does a file of the sources, named from their root, hold the text? */
static bool file_holds(const char *file, const char *text)
{
    char path[1024];
    snprintf(path, sizeof path, PLUMB_TESTS_DIR "/../%s", file);
    return holds(path, text);
}

/* PLUMB_TEST(suite, name), in whichever of the test files. */
static bool is_test(const char *suite, const char *name)
{
    char head[160];
    bool found = false;
    glob_t files = {0};
    snprintf(head, sizeof head, "PLUMB_TEST(%s, %s)", suite, name);
    if (glob(PLUMB_TESTS_DIR "/test_*.c", 0, NULL, &files) == 0) {
        for (size_t i = 0; i < files.gl_pathc && !found; i++) {
            found = holds(files.gl_pathv[i], head);
        }
    }
    globfree(&files);
    return found || file_holds("tests/cudasim/test_vendor.c", head);
}

/* One place: `case OP "LABEL"`, `test SUITE/NAME` or `text FILE "TEXT"`. */
static bool exists(const char *place)
{
    char kind[8] = "", what[128] = "", text[160] = "", *slash;
    int fields = sscanf(place, " %7s %127s \"%159[^\"]\"", kind, what, text);
    if (strcmp(kind, "test") == 0 && fields == 2 && (slash = strchr(what, '/')) != NULL) {
        *slash = '\0';
        return is_test(what, slash + 1);
    }
    return fields == 3 && (strcmp(kind, "case") == 0   ? is_case(what, text)
                           : strcmp(kind, "text") == 0 ? file_holds(what, text)
                                                       : false);
}

/* "who | what | place; place": at least one place. */
static void check_row(char *row)
{
    char *what = strchr(row, '|'), *where = what ? strchr(what + 1, '|') : NULL;
    int places = 0;
    if (!where) {
        check_fail(__FILE__, __LINE__, "tests/known_bugs.txt: \"%s\" is no \"WHO | WHAT | WHERE\"", row);
        return;
    }
    *what = *where = '\0';
    for (char *at = where + 1, *next; at; at = next) {
        next = strchr(at, ';');
        if (next) {
            *next++ = '\0';
        }
        CHECK_MSG(exists(at), "tests/known_bugs.txt: %s: there is no%s", row, at);
        places++;
    }
    CHECK_MSG(places > 0, "tests/known_bugs.txt: %s: nowhere", row);
}

PLUMB_TEST(known_bugs, are_tried_where_the_list_says)
{
    static char line[2048];
    int rows = 0;
    FILE *file = fopen(PLUMB_TESTS_DIR "/known_bugs.txt", "re");
    REQUIRE(file);
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '\0' && line[0] != '#') {
            check_row(line);
            rows++;
        }
    }
    fclose(file);
    CHECK_MSG(rows >= 30, "%d rows are left", rows);
    CHECK(!exists(" case conv2d \"no such case\"") && !exists(" test known_bugs/nothing") && !exists(" case conv2d"));
}

/* ---- what is no case ---- */

static plumb_context *open_cpu(const char *implementations)
{
    return plumb_open(&(plumb_options){.size = sizeof(plumb_options), .device = "cpu", .threads = 1, .seed = 1,
                                       .implementations = implementations});
}

/* What y holds, widened. */
static bool values_of(plumb_graph *g, plumb_t y, double *to, int count)
{
    plumb_t wide = plumb_cast(g, y, PLUMB_F64);
    plumb_program *program = plumb_compile(g, NULL, &(plumb_compile_options){.size = sizeof(plumb_compile_options),
                                                                             .outputs = &wide, .n_outputs = 1});
    bool ran = program && !plumb_run(program) && !plumb_fetch(program, wide, to, (size_t)count * sizeof *to);
    CHECK_MSG(ran, "%s", plumb_message(plumb_graph_context(g)));
    plumb_program_free(program);
    return ran;
}

/* Whole numbers from -2 to 2, in `dtype`. */
static plumb_t whole(plumb_graph *g, plumb_dtype dtype, plumb_shape shape, uint32_t seed)
{
    double value[256] = {0};
    for (int64_t i = 0; i < plumb_shape_count(&shape) && i < 256; i++) {
        seed = seed * 1664525u + 1013904223u;
        value[i] = (double)((seed >> 24) % 5) - 2;
    }
    return plumb_cast(g, plumb_constant(g, PLUMB_F64, shape, value), dtype);
}

/* PyTorch #163539: sums of 36 products of whole numbers are exact in bf16, forward and back. */
PLUMB_TEST(known_bugs, volumes_in_bf16_are_exact)
{
    static const char *const implementations[] = {NULL, "*=cpu.ref"};
    const plumb_conv3d_options options = {.size = sizeof options, .padding = {1, 0, 1, 0, 1, 0}, .stride = {1, 2, 1}};
    for (int way = 0; way < 2; way++) {
        plumb_context *context = open_cpu(implementations[way]);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "volumes");
        double got[2][3][256];
        int counts[3] = {0};
        for (int low = 0; low < 2; low++) {
            plumb_dtype dtype = low ? PLUMB_BF16 : PLUMB_F64;
            plumb_t x = whole(g, dtype, PLUMB_SHAPE(1, 2, 3, 5, 4), 1), w = whole(g, dtype, PLUMB_SHAPE(3, 2, 2, 3, 3), 2);
            plumb_t out[3] = {plumb_conv3d(g, x, w, PLUMB_NONE, &options)}, dy;
            plumb_shape shape = plumb_shape_of(g, out[0]);
            dy = whole(g, dtype, shape, 3);
            CHECK(plumb_gradients_from(g, out, &dy, 1, (const plumb_t[]){x, w}, 2, out + 1) == PLUMB_OK);
            for (int k = 0; k < 3; k++) {
                shape = plumb_shape_of(g, out[k]);
                counts[k] = (int)plumb_shape_count(&shape);
                REQUIRE(counts[k] > 0 && counts[k] <= 256 && values_of(g, out[k], got[low][k], counts[k]));
            }
        }
        for (int k = 0; k < 3; k++) {
            for (int i = 0; i < counts[k]; i++) {
                CHECK_MSG(got[0][k][i] == got[1][k][i], "result %d, element %d: %g in bf16, %g in f64", k, i, got[1][k][i],
                          got[0][k][i]);
            }
        }
        plumb_graph_free(g);
        plumb_close(context);
    }
}

/* Difference quotients see nothing at a tie, so the gradient check leaves it out. */
PLUMB_TEST(known_bugs, ties_are_shared_or_the_first_wins)
{
    static const char *const implementations[] = {NULL, "*=cpu.ref"};
    static const double tied[6] = {1, 3, 3, -2, -2, 0};
    const plumb_pool2d_options pool = {.size = sizeof pool, .window = {1, 3}};
    for (int way = 0; way < 2; way++) {
        plumb_context *context = open_cpu(implementations[way]);
        REQUIRE(context);
        plumb_graph *g = plumb_graph_new(context, "ties");
        plumb_t x = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 2, 3), tied);
        plumb_t same = plumb_constant(g, PLUMB_F64, PLUMB_SHAPE(1, 1, 2, 3), tied);
        const struct {
            plumb_t y;
            double slope[6];
        } rows[] = {
            {plumb_max(g, x, PLUMB_AXES(3), false), {0, 0.5, 0.5, 0, 0, 1}},
            {plumb_min(g, x, PLUMB_AXES(3), false), {1, 0, 0, 0.5, 0.5, 0}},
            {plumb_max_pool2d(g, x, &pool), {0, 1, 0, 0, 0, 1}},
            {plumb_global_max_pool2d(g, x), {0, 0.5, 0.5, 0, 0, 0}},
            {plumb_maximum(g, x, same), {1, 1, 1, 1, 1, 1}},
            {plumb_minimum(g, same, x), {0, 0, 0, 0, 0, 0}},
        };
        for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
            double slope[6] = {0};
            plumb_t d, sum = plumb_sum(g, rows[k].y, NULL, 0, false);
            REQUIRE(plumb_gradients(g, sum, &x, 1, &d) == PLUMB_OK && values_of(g, d, slope, 6));
            for (int i = 0; i < 6; i++) {
                CHECK_MSG(slope[i] == rows[k].slope[i], "row %zu, element %d: %g, expected %g", k, i, slope[i], rows[k].slope[i]);
            }
        }
        plumb_graph_free(g);
        plumb_close(context);
    }
}
