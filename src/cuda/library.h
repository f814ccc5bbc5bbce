/* A vendor's library, opened at run time: so Plumb builds without its headers and runs without its files. The simulator
 * of tests/cudasim has these two functions of its own, which hand out fakes. */
#ifndef PLUMB_CUDA_LIBRARY_H
#define PLUMB_CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

struct plumb_cuda_symbol {
    const char *name;
    size_t at; /* of the function pointer in the table */
    bool optional;
};

/* A row of symbols: the table's member is called as the function. */
#define PLUMB_CUDA_SYMBOL(table, name) {#name, offsetof(table, name), false}

struct plumb_cuda_library {
    void *handle; /* NULL: not open */
    char file[64]; /* the name under which it was found */
};

/* Opens the first of `names` (sonames, newest first, closed by NULL) that there is and fills `table`, a struct of function
 * pointers, with `symbols`. What is optional and missing is NULL. false: `reason` says why, in one line, and nothing is
 * open. */
bool plumb_cuda_library_open(struct plumb_cuda_library *library, const char *const *names,
                             const struct plumb_cuda_symbol *symbols, int n_symbols, void *table, char *reason,
                             size_t room);
void plumb_cuda_library_close(struct plumb_cuda_library *library); /* also of one that is not open */

#endif
