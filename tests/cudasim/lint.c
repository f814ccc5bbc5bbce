/* The checker's lint, option lint=FILE: how well the lanes of a warp share the memory system. The accesses of a warp that
 * belong together are taken to be those made from one place of the program for the same time by each lane; only whole
 * warps count, for what a tail or a branch leaves over cannot be helped. For device memory the 32-byte sectors that such
 * an access touches are set against the fewest that would hold its bytes; for shared memory the turns that its banks need
 * against those of an access without conflicts. What is found in each launch is added up by place, and the worst launch
 * of each place is written to FILE at exit:
 *
 *   global|shared  file  function  accesses  needed  least  line
 *
 * Some blocks of each launch are looked at, and the first few times of each place in a thread: a loop goes on as it
 * begins. */
#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    PLACES = 4096, BLOCK_PLACES = 256, GROUPS = 1 << 15, TIMES = 12, /* looked at */
    FIRST_BLOCKS = 3, EACH_BLOCK = 61, LANES = 32, SECTOR = 32, BANKS = 32, BANK = 4
};

static struct place { /* of the program */
    uint32_t pc;
    bool shared;
    struct count {
        uint64_t accesses, needed, least;
    } now, worst; /* of this launch; of the worst one */
} places[PLACES];
static int place_count;

static struct group { /* one access of a warp */
    struct group *next;
    int warp, time;
    unsigned lanes, bytes;
    uintptr_t at[LANES];
} *groups;
static int group_count;
static struct {
    uint32_t pc;
    int place;
    struct group *warps[LANES]; /* the newest first */
    unsigned char times[1024];  /* of each thread */
} here[BLOCK_PLACES];           /* places of the block */
static int here_count, block_number;

static int place_of(uint32_t pc, bool shared)
{
    for (int i = 0; i < place_count; i++) {
        if (places[i].pc == pc && places[i].shared == shared) {
            return i;
        }
    }
    if (place_count == PLACES) {
        fprintf(stderr, "cudasim: lint: too many places\n");
        abort();
    }
    places[place_count] = (struct place){.pc = pc, .shared = shared};
    return place_count++;
}

static int find_here(uint32_t pc, bool shared)
{
    for (unsigned i = pc % BLOCK_PLACES, n = 0; n < BLOCK_PLACES; n++, i = (i + 1) % BLOCK_PLACES) {
        if (here[i].pc == pc && places[here[i].place].shared == shared) {
            return (int)i;
        }
        if (!here[i].pc) {
            memset(&here[i], 0, sizeof here[i]);
            here[i].pc = pc;
            here[i].place = place_of(pc, shared);
            here_count++;
            return (int)i;
        }
    }
    return -1;
}

static struct group *find_group(int h, int warp, int time)
{
    for (struct group *g = here[h].warps[warp]; g; g = g->next) {
        if (g->time == time) {
            return g;
        }
    }
    if (group_count == GROUPS) {
        return NULL;
    }
    struct group *g = &groups[group_count++];
    *g = (struct group){.next = here[h].warps[warp], .warp = warp, .time = time};
    here[h].warps[warp] = g;
    return g;
}

void cudasim_lint_access(uintptr_t address, unsigned bytes, bool shared, uint32_t pc)
{
    const int t = cudasim_now.thread, h = t < 0 ? -1 : find_here(pc, shared);
    if (h < 0 || here[h].times[t] >= TIMES) {
        return;
    }
    struct group *g = find_group(h, t / LANES, here[h].times[t]++);
    if (g) {
        g->lanes |= 1u << t % LANES;
        g->bytes = bytes;
        g->at[t % LANES] = address;
    }
}

/* ---- what a warp's access costs ---- */

static int compare(const void *a, const void *b)
{
    const uintptr_t x = *(const uintptr_t *)a, y = *(const uintptr_t *)b;
    return (x > y) - (x < y);
}

static void count_sectors(struct group *g, struct place *place)
{
    size_t sectors = 0, bytes = 0;
    uintptr_t last = UINTPTR_MAX, end = 0;
    qsort(g->at, LANES, sizeof *g->at, compare);
    for (int i = 0; i < LANES; i++) {
        const uintptr_t from = g->at[i] > end ? g->at[i] : end;
        end = g->at[i] + g->bytes;
        bytes += end > from ? end - from : 0;
        for (uintptr_t s = g->at[i] / SECTOR; s <= (end - 1) / SECTOR; s++) {
            sectors += s != last && (last == UINTPTR_MAX || s > last);
            last = last == UINTPTR_MAX || s > last ? s : last;
        }
    }
    place->now.needed += sectors;
    place->now.least += (bytes + SECTOR - 1) / SECTOR;
}

/* The most words that one bank has to give to these lanes: one word goes to any number of lanes at once. */
static size_t turns_of(const uintptr_t *at, int lanes, unsigned bytes)
{
    size_t most = 1;
    for (int bank = 0; bank < BANKS; bank++) {
        uintptr_t seen[LANES * 4];
        size_t count = 0;
        for (int i = 0; i < lanes; i++) {
            for (uintptr_t word = at[i] / BANK; word <= (at[i] + bytes - 1) / BANK; word++) {
                size_t k = 0;
                while (k < count && seen[k] != word) {
                    k++;
                }
                if (word % BANKS == (unsigned)bank && k == count) {
                    seen[count++] = word;
                }
            }
        }
        most = count > most ? count : most;
    }
    return most;
}

static void count_turns(struct group *g, struct place *place)
{
    const int parts = g->bytes <= BANK ? 1 : (int)g->bytes / BANK, lanes = LANES / parts;
    for (int i = 0; i < parts; i++) {
        place->now.needed += turns_of(g->at + i * lanes, lanes, g->bytes);
        place->now.least++;
    }
}

static void end_launch(void)
{
    for (int i = 0; i < place_count; i++) {
        struct count *now = &places[i].now, *worst = &places[i].worst;
        if (now->accesses && (!worst->accesses || now->needed * worst->least > worst->needed * now->least)) {
            *worst = *now;
        }
        *now = (struct count){0};
    }
}

/* The block before is over: its accesses are counted. Says whether the next is looked at. */
bool cudasim_lint_block(bool first_of_launch)
{
    for (int i = 0; here_count && i < BLOCK_PLACES; i++) {
        struct place *place = &places[here[i].place];
        for (int warp = 0; here[i].pc && warp < LANES; warp++) {
            for (struct group *g = here[i].warps[warp]; g; g = g->next) {
                if (g->lanes == UINT32_MAX) {
                    place->now.accesses++;
                    (place->shared ? count_turns : count_sectors)(g, place);
                }
            }
        }
        here[i].pc = 0;
    }
    here_count = group_count = 0;
    if (first_of_launch) {
        end_launch();
    }
    block_number = first_of_launch ? 0 : block_number + 1;
    if (!groups && cudasim_option.lint[0]) {
        groups = malloc(GROUPS * sizeof *groups);
    }
    return groups && (block_number < FIRST_BLOCKS || block_number % EACH_BLOCK == 0);
}

/* ---- the report ---- */

/* "(anonymous namespace)::f<float>(int)" and the like to "f". */
static void bare_name(char *name)
{
    static const char prefix[] = "(anonymous namespace)::";
    char *at;
    while ((at = strstr(name, prefix))) {
        memmove(at, at + sizeof prefix - 1, strlen(at + sizeof prefix - 1) + 1);
    }
    name[strcspn(name, "<(\n")] = 0;
    at = strrchr(name, ' ');
    memmove(name, at ? at + 1 : name, strlen(at ? at + 1 : name) + 1);
}

/* The innermost line of the place that is not of the simulator's header; `tool` gives pairs of a function and a line, as
 * many as were inlined into each other, up to the next address. */
static void write_place(FILE *out, const struct place *p, FILE *tool, char next[static 1024])
{
    char name[1024], line[1024];
    bool found = false;
    while (fgets(next, 1024, tool) && strncmp(next, "0x", 2) != 0) {
        snprintf(name, sizeof name, "%s", next);
        const char *file = fgets(line, sizeof line, tool) ? strrchr(line, '/') : NULL;
        if (!found && file && !strstr(file, "/cudasim.h:")) {
            found = true;
            bare_name(name);
            const int length = (int)strcspn(file + 1, ":");
            fprintf(out, "%s %.*s %s %llu %llu %llu %d\n", p->shared ? "shared" : "global", length, file + 1, name,
                    (unsigned long long)p->worst.accesses, (unsigned long long)p->worst.needed,
                    (unsigned long long)p->worst.least, atoi(file + length + 2));
        }
    }
}

static void write_places(FILE *out)
{
    static char command[64 + PLACES * 12], line[1024];
    size_t length = (size_t)snprintf(command, sizeof command, "addr2line -a -f -C -i -e /proc/%ld/exe", (long)getpid());
    for (int i = 0; i < place_count; i++) {
        length += (size_t)snprintf(command + length, sizeof command - length, " %#x", places[i].pc - 1);
    }
    FILE *tool = popen(command, "r");
    if (tool && fgets(line, sizeof line, tool)) { /* the first address */
        for (int i = 0; i < place_count; i++) {
            write_place(out, &places[i], tool, line);
        }
    }
    if (tool) {
        pclose(tool);
    }
}

__attribute__((destructor)) static void write_report(void)
{
    FILE *out = cudasim_option.lint[0] ? fopen(cudasim_option.lint, "a") : NULL;
    if (!out) {
        return;
    }
    cudasim_lint_block(true);
    write_places(out);
    fclose(out);
}
