/* The `plumb` command: finds the sub-command, and makes sure that output which could not be written is not reported
 * as success. Exit codes are the library's status codes. */
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include "cli/cli.h"

static const struct command commands[] = {
    {"train", "", "Trains a model on a data set and reports every epoch.", command_train},
    {"eval", "", "Evaluates saved weights on a data set.", command_eval},
    {"compare", "RUN...", "Shows several trainings side by side: results, curves, and the settings that differ.",
     command_compare},
    {"tune", "[-- OPTIONS...]", "Searches for settings: many trainings, the losers ended early.", command_tune},
    {"predict", "[INDEX]", "Shows what saved weights say about one example of a data set.", command_predict},
    {"summary", "[MODEL]",
     "Shows a model's layers, parameters, cost and memory before anything is allocated.", command_summary},
    {"gradcheck", "[MODEL]", "Checks a model's gradients against difference quotients in double precision.",
     command_gradcheck},
    {"ops", "", "Lists the registered ops and their implementations.", command_ops},
    {"doctor", "", "Says what was found on this machine, which version, what is off and why.",
     command_doctor},
    {"data", "doctor [SET]", "Says what is in a data set, and what may be wrong with it.", command_data},
    {"bench", "train|op [OP]", "Checks a training step or a single op against the reference, then times it.",
     command_bench},
};
#define COMMANDS ((int)(sizeof(commands) / sizeof(commands[0])))

const struct command *cli_command_at(int index)
{
    return index >= 0 && index < COMMANDS ? &commands[index] : NULL;
}

const struct command *cli_command(const char *name)
{
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

static const char *command_name(const void *user, int index)
{
    (void)user;
    return index < COMMANDS ? commands[index].name : NULL;
}

static int print_usage(void)
{
    printf("Usage: plumb COMMAND [options]\n\n");
    for (int i = 0; i < COMMANDS; i++) {
        printf("  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    printf("\n  plumb COMMAND --help lists the options of a command; plumb --version tells the version.\n"
           "\nExit codes: 0 ok, 1 failed, 2 bad input, 3 device, 4 numeric, 5 input/output.\n");
    return 0;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "plumb: a command is missing (plumb --help lists them)\n");
        return PLUMB_BAD_INPUT;
    }
    const char *word = argv[1];
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        return print_usage();
    }
    if (strcmp(word, "--version") == 0 || strcmp(word, "version") == 0) {
        printf("plumb %s\n", plumb_version());
        return 0;
    }
    const struct command *command = cli_command(word);
    if (command) {
        return command->run(argc - 2, argv + 2);
    }
    const char *near = cli_nearest(word, command_name, NULL);
    char text[256];
    snprintf(text, sizeof(text), "plumb: unknown command '%.100s'%s%s%s (plumb --help lists the commands)",
             word, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
    print_one_line(stderr, text);
    return PLUMB_BAD_INPUT;
}

/* A closed standard stream would lend its number to the next file opened, and our messages would end up in that. */
static void fill_standard_streams(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY) != fd) {
            _exit(PLUMB_IO_ERROR);
        }
    }
}

int main(int argc, char **argv)
{
    fill_standard_streams();
    /* A reader that goes away, or a file that may not grow, is a write error and told by the exit code. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return cli_finish(dispatch(argc, argv));
}
