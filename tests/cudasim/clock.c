/* The order of streams (clock.h): which slot each phase belongs to, and what the running work comes after. Phases are
 * only counted on by the checker build; in the others each piece of work is one. */
#include "clock.h"

#include <stdlib.h>

cudasim_clock cudasim_host_clock;
uint64_t cudasim_phase = 1;

static int users[CUDASIM_SLOTS];
static uint64_t last_phase[CUDASIM_SLOTS];
static struct turn { /* from this phase on, work is the slot's, until the next turn */
    uint64_t phase;
    int slot;
} *turns;
static size_t turn_count, turn_capacity;
static cudasim_clock running_clock;
static int running_slot;

/* A slot that is used again begins after what its former stream did: streams come and go, and what a stream did that
 * is gone is rarely what a new one races with. */
int cudasim_slot_take(void)
{
    int slot = 1;
    while (slot < CUDASIM_SLOTS - 1 && users[slot]) {
        slot++;
    }
    users[slot]++;
    return slot;
}

void cudasim_slot_give(int slot) { users[slot]--; }

static void note_turn(int slot)
{
    if (turn_count && turns[turn_count - 1].slot == slot) {
        return;
    }
    if (turn_count == turn_capacity) {
        size_t capacity = turn_capacity ? 2 * turn_capacity : 64;
        struct turn *more = realloc(turns, capacity * sizeof *more);
        if (!more) {
            abort();
        }
        turns = more;
        turn_capacity = capacity;
    }
    turns[turn_count++] = (struct turn){cudasim_phase, slot};
}

void cudasim_work_begins(int slot, const cudasim_clock *clock)
{
    cudasim_phase++;
    note_turn(slot);
    running_slot = slot;
    running_clock = *clock;
}

void cudasim_work_ends(int slot, cudasim_clock *clock)
{
    last_phase[slot] = cudasim_phase;
    clock->over[slot] = cudasim_phase + 1;
}

uint64_t cudasim_ordered_phases(void)
{
    uint64_t least = cudasim_phase;
    for (int i = 0; i < CUDASIM_SLOTS; i++) {
        if (i != running_slot && last_phase[i] >= running_clock.over[i] && last_phase[i] && running_clock.over[i] < least) {
            least = running_clock.over[i];
        }
    }
    return least;
}

int cudasim_phase_ordered(uint64_t phase)
{
    size_t low = 0, high = turn_count; /* the last turn that began at or before the phase */
    while (high - low > 1) {
        size_t middle = (low + high) / 2;
        *(turns[middle].phase <= phase ? &low : &high) = middle;
    }
    int slot = turn_count ? turns[low].slot : 0;
    return slot == running_slot || phase < running_clock.over[slot];
}
