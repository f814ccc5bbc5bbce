/* ops: the registry, one row for each op and implementation; or the matrix, one row for each op. The last line counts. */
#include "cli/cli.h"
#include "device/plugin.h"
#include "op/op.h"

static void print_json(const plumb_op_row *row)
{
    const struct {
        const char *key, *text;
    } texts[] = {{"op", row->op},
                 {"device", row->device},
                 {"provider", row->provider},
                 {"implementation", row->implementation},
                 {"dtypes", row->dtypes}};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        printf("%s\"%s\":", i ? "," : "{", texts[i].key);
        json_text(stdout, texts[i].text);
    }
    printf(",\"direction\":\"%s\",\"differentiable\":%s,\"exact\":%s}\n",
           row->backward ? "backward" : "forward", row->differentiable ? "true" : "false",
           row->exact ? "true" : "false");
}

static void print_row(const plumb_op_row *row)
{
    printf("%-24s %-8s %-10s %-22s %-9s %-9s %-6s %s\n", row->op, row->device, row->provider, row->implementation,
           row->backward ? "backward" : "forward", row->differentiable ? "yes" : "-", row->exact ? "yes" : "-",
           row->dtypes);
}

/* ---- the matrix ---- */

static const struct column {
    const char *device, *provider, *title;
} columns[] = {{"cpu", "ref", "cpu.ref"}, {"cpu", "native", "cpu.native"}, {"cuda", "native", "cuda.native"},
               {"cuda", "vendor", "cuda.vendor"}};
enum { COLUMNS = sizeof columns / sizeof *columns, CPU_REF = 0, CUDA_NATIVE = 2 };

/* The dtypes of the op's first implementation in that column; NULL where there is none. */
static const char *cell(plumb_context *context, const char *op, const struct column *column)
{
    plumb_op_row row;
    for (int i = 0; plumb_op_list(context, i, &row); i++) {
        if (strcmp(row.op, op) == 0 && strcmp(row.device, column->device) == 0 &&
            strcmp(row.provider, column->provider) == 0) {
            return row.dtypes;
        }
    }
    return NULL;
}

static void print_matrix(plumb_context *context, bool with_cuda)
{
    int width = with_cuda ? COLUMNS : CUDA_NATIVE;
    printf("%-26s %-9s", "op", "gradient");
    for (int c = 0; c < width; c++) {
        printf(" %-28s", columns[c].title);
    }
    putchar('\n');
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        if (op->flags & PLUMB_OP_LEAF) {
            continue;
        }
        printf("%-26s %-9s", op->name, op->gradient ? "yes" : "-");
        for (int c = 0; c < width; c++) {
            const char *dtypes = cell(context, op->name, &columns[c]);
            printf(" %-28s", dtypes ? dtypes : "-");
        }
        putchar('\n');
    }
}

/* Of ops that are computed: inputs, variables and constants are not. */
static void print_counts(plumb_context *context, int implementations, bool with_cuda, const char *why)
{
    int ops = 0, gradients = 0, backward = 0, missing[COLUMNS] = {0};
    for (int i = 0; plumb_op_at(i); i++) {
        const plumb_op *op = plumb_op_at(i);
        if (op->flags & PLUMB_OP_LEAF) {
            continue;
        }
        ops++;
        gradients += op->gradient != NULL;
        backward += (op->flags & PLUMB_OP_BACKWARD) != 0;
        for (int c = 0; c < COLUMNS; c++) {
            missing[c] += !cell(context, op->name, &columns[c]);
        }
    }
    printf("%d ops (%d of them backward), %d with a gradient rule; %d without cpu.ref", ops, backward, gradients,
           missing[CPU_REF]);
    if (with_cuda) {
        printf(", %d without cuda.native; %d implementations\n", missing[CUDA_NATIVE], implementations);
    } else {
        printf("; %d implementations, none for cuda: %s\n", implementations, why);
    }
}

int command_ops(int argc, char **argv)
{
    struct common_options common = COMMON_DEFAULTS;
    bool matrix = false;
    common.only_plans = true;
    const struct option_row rows[] = {
        {"matrix", NULL, "one row for each op: its gradient rule, and the dtypes it has in each provider", OPTION_FLAG,
         &matrix, 0, 0, NULL},
        COMMON_ROWS(common)};
    plumb_op_row row;
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("ops"), CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    plumb_context *context = cli_open(&common, &code);
    if (!context) {
        return code;
    }
    char why[512];
    bool with_cuda = plumb_plugin_find(why, sizeof why) != NULL;
    if (matrix && !common.json) {
        print_matrix(context, with_cuda);
    } else if (!common.json) {
        printf("%-24s %-8s %-10s %-22s %-9s %-9s %-6s %s\n", "op", "device", "provider", "implementation",
               "direction", "gradient", "exact", "dtypes");
    }
    int count = 0;
    for (; plumb_op_list(context, count, &row); count++) {
        if (common.json) {
            print_json(&row);
        } else if (!matrix) {
            print_row(&row);
        }
    }
    if (!common.json) {
        print_counts(context, count, with_cuda, why);
    }
    plumb_close(context);
    return 0;
}
