/* The op set is a matrix of ops and what each must have: the reference, CUDA kernels of our own, a gradient rule. A cell
 * that is missing stands in tests/missing.txt with its reason, so that it is decided and not forgotten; a cell that is
 * there must not stand in it. What an implementation says of itself is the cross-check's matter; here only the lists count,
 * so that no GPU and no plugin are needed. */
#include "check.h"

#include "exec/providers.h"

enum { CPU_REF, CUDA_NATIVE, GRADIENT, COLUMNS };
static const char *const column_name[COLUMNS] = {"cpu.ref", "cuda.native", "gradient"};

static const char *const cuda_rows[] = {
#define PLUMB_IMPL(op, suffix) #op,
#include "cuda/list.h"
#undef PLUMB_IMPL
    NULL};

static bool has(const plumb_op *op, int column)
{
    if (column == CUDA_NATIVE) {
        int i = 0;
        while (cuda_rows[i] && strcmp(cuda_rows[i], op->name) != 0) {
            i++;
        }
        return cuda_rows[i] != NULL;
    }
    return column == GRADIENT ? op->gradient != NULL : plumb_reference(op) != NULL;
}

enum { MOST_ROWS = 512 };
struct row {
    char op[64], column[32];
    int reason; /* its length */
    bool used;
};

/* The rows of tests/missing.txt: "OP COLUMN reason", empty lines and those that begin with '#'. */
static int read_rows(struct row *rows)
{
    char line[512], path[] = PLUMB_TESTS_DIR "/missing.txt";
    int count = 0;
    FILE *file = fopen(path, "re");
    if (!file) {
        check_fail(__FILE__, __LINE__, "%s cannot be read", path);
        return 0;
    }
    while (fgets(line, sizeof line, file) && count < MOST_ROWS) {
        struct row *row = &rows[count];
        int at = 0;
        if (line[0] == '#' || line[0] == '\n') {
            continue;
        }
        if (sscanf(line, "%63s %31s %n", row->op, row->column, &at) != 2 || at == 0) {
            check_fail(__FILE__, __LINE__, "tests/missing.txt: \"%s\" is no \"OP COLUMN reason\"", line);
            continue;
        }
        row->reason = (int)strcspn(line + at, "\n");
        row->used = false;
        count++;
    }
    CHECK_MSG(count < MOST_ROWS, "raise MOST_ROWS");
    fclose(file);
    return count;
}

static struct row *find_row(struct row *rows, int count, const char *op, const char *column)
{
    for (int i = 0; i < count; i++) {
        if (strcmp(rows[i].op, op) == 0 && strcmp(rows[i].column, column) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

PLUMB_TEST(matrix, missing_cells_have_a_reason)
{
    static struct row rows[MOST_ROWS];
    int count = read_rows(rows);
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        for (int column = 0; column < COLUMNS && !(op->flags & PLUMB_OP_LEAF); column++) {
            struct row *row = find_row(rows, count, op->name, column_name[column]);
            CHECK_MSG(has(op, column) || row, "%s has no %s: add it, or the line \"%s %s REASON\" to tests/missing.txt",
                      op->name, column_name[column], op->name, column_name[column]);
            CHECK_MSG(!has(op, column) || !row, "%s has %s: take \"%s %s\" out of tests/missing.txt", op->name,
                      column_name[column], op->name, column_name[column]);
            if (row) {
                CHECK_MSG(row->reason >= 10, "tests/missing.txt: %s %s: say why it is missing", row->op, row->column);
                CHECK_MSG(!row->used, "tests/missing.txt: %s %s", row->op, row->column);
                row->used = true;
            }
        }
    }
    for (int i = 0; i < count; i++) {
        CHECK_MSG(rows[i].used, "tests/missing.txt: \"%s %s\" names no cell, or one that is named twice: ops are those of "
                  "src/op/table.h, columns cpu.ref, cuda.native and gradient", rows[i].op, rows[i].column);
    }
}
