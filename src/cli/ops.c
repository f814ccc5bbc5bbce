/* ops: the registry, one row for each op and implementation. */
#include "cli/cli.h"
#include "device/plugin.h"

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

int command_ops(int argc, char **argv)
{
    struct common_options common = COMMON_DEFAULTS;
    common.only_plans = true;
    const struct option_row rows[] = {COMMON_ROWS(common)};
    plumb_op_row row;
    int code = 0;
    if (cli_parse(&(struct option_set){cli_command("ops"), CLI_SOME(rows), NULL, NULL}, argc, argv, &code)) {
        return code;
    }
    plumb_context *context = cli_open(&common, &code);
    if (!context) {
        return code;
    }
    if (!common.json) {
        printf("%-24s %-8s %-10s %-22s %-9s %-9s %-6s %s\n", "op", "device", "provider", "implementation",
               "direction", "gradient", "exact", "dtypes");
    }
    int count = 0;
    for (; plumb_op_list(context, count, &row); count++) {
        if (common.json) {
            print_json(&row);
        } else {
            printf("%-24s %-8s %-10s %-22s %-9s %-9s %-6s %s\n", row.op, row.device, row.provider,
                   row.implementation, row.backward ? "backward" : "forward",
                   row.differentiable ? "yes" : "-", row.exact ? "yes" : "-", row.dtypes);
        }
    }
    if (!common.json) {
        char why[512];
        printf("%d implementations%s%s\n", count, plumb_plugin_find(why, sizeof why) ? "" : "; none for cuda: ",
               plumb_plugin_find(why, sizeof why) ? "" : why);
    }
    plumb_close(context);
    return 0;
}
